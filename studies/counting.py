"""Ask every counting tool for the cost of this network, and of the same mathematics written differently.

    pip install -r requirements-counters.txt
    python studies/counting.py

Writes studies/counting.json: the versions, and for each way of writing the network and each tool the multiply-
accumulates and the parameters that the tool reports, as it reports them (null where it reports none or fails). A tool
that calls its number FLOPs and means two a multiply-accumulate is halved, which is noted.
"""

import contextlib
import io
import json
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitlib import ViT, ViTConfig, paths
from vitlib.counting import counters
from vitlib import model as written

TABLE = paths.ROOT / "studies" / "counting.json"
CONFIG = ViTConfig()
SIZE = (CONFIG.channels, CONFIG.image_size, CONFIG.image_size)

# ---- the same mathematics, written differently ----------------------------------------------------------------------


def torch_matmul(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention by ``torch.matmul``, which tools can intercept where they miss the operator ``@``."""
    scores = torch.matmul(q, k.transpose(-2, -1)) / q.shape[-1] ** 0.5
    return torch.matmul(scores.softmax(dim=-1), v)


def torch_einsum(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention by ``torch.einsum``."""
    scores = torch.einsum("bhnk,bhmk->bhnm", q, k) / q.shape[-1] ** 0.5
    return torch.einsum("bhnm,bhmk->bhnk", scores.softmax(dim=-1), v)


class ModuleAttention(nn.Module):
    """Attention by ``nn.MultiheadAttention``."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.core = nn.MultiheadAttention(config.embed_dim, config.num_heads, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return what each token gathers from all tokens."""
        return self.core(x, x, x, need_weights=False)[0]


def module_layer(config: ViTConfig) -> nn.Module:
    """Return a whole layer by ``nn.TransformerEncoderLayer``; it has two norms."""
    return nn.TransformerEncoderLayer(
        config.embed_dim,
        config.num_heads,
        config.hidden_dim,
        dropout=0.0,
        activation="gelu",
        batch_first=True,
        norm_first=True,
    )


def _ours(name: str | None = None, replacement: Any = None) -> Callable[[], nn.Module]:  # noqa: ANN401
    """Return a maker of the network with one name of `vitlib.model` replaced, in the making and in the running."""

    def make() -> nn.Module:
        if name is None:
            return ViT(CONFIG).eval()
        with mock.patch.object(written, name, replacement):
            model = ViT(CONFIG).eval()
        forward = model.forward

        def replaced(x: Tensor) -> Tensor:
            with mock.patch.object(written, name, replacement):
                return forward(x)

        model.forward = replaced
        return model

    return make


def timm_vit() -> nn.Module:
    """Return timm's VisionTransformer of the same dimensions; it has two norms a layer."""
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(
        img_size=CONFIG.image_size,
        patch_size=CONFIG.patch_size,
        in_chans=CONFIG.channels,
        num_classes=CONFIG.num_classes,
        embed_dim=CONFIG.embed_dim,
        depth=CONFIG.depth,
        num_heads=CONFIG.num_heads,
        mlp_ratio=CONFIG.mlp_ratio,
    ).eval()


FORMS: dict[str, Callable[[], nn.Module]] = {
    "q @ k": _ours(),
    "torch.matmul": _ours("attention", torch_matmul),
    "torch.einsum": _ours("attention", torch_einsum),
    "scaled_dot_product_attention": _ours("attention", F.scaled_dot_product_attention),
    "nn.MultiheadAttention": _ours("MultiHeadAttention", ModuleAttention),
    "nn.TransformerEncoderLayer": _ours("TransformerEncoder", module_layer),
    "timm": timm_vit,
}

# ---- the tools: a model -> (MACs, parameters) -----------------------------------------------------------------------

Answer = tuple[int | None, int | None]


def thop(model: nn.Module) -> Answer:
    """Count with thop."""
    import thop

    macs, parameters = thop.profile(model, inputs=(torch.zeros(1, *SIZE),), verbose=False)
    return int(macs), int(parameters)


def torchsummary(model: nn.Module) -> Answer:
    """Count with torchsummary, which gives parameters only."""
    return None, counters.summary_of(model, SIZE)[1]


def torchinfo(model: nn.Module) -> Answer:
    """Count with torchinfo: its "mult-adds" and its parameters."""
    import torchinfo

    result = torchinfo.summary(model, input_size=(1, *SIZE), verbose=0)
    return int(result.total_mult_adds), int(result.total_params)


def fvcore(model: nn.Module) -> Answer:
    """Count with fvcore, whose "flops" are multiply-accumulates."""
    from fvcore.nn import FlopCountAnalysis, parameter_count

    analysis = FlopCountAnalysis(model, torch.zeros(1, *SIZE))
    analysis.unsupported_ops_warnings(enabled=False).uncalled_modules_warnings(enabled=False)
    return int(analysis.total()), int(parameter_count(model)[""])


def _ptflops(model: nn.Module, backend: str) -> Answer:
    from ptflops import get_model_complexity_info

    macs, parameters = get_model_complexity_info(
        model, SIZE, as_strings=False, print_per_layer_stat=False, verbose=False, backend=backend
    )
    return int(macs), int(parameters)


def ptflops(model: nn.Module) -> Answer:
    """Count with ptflops, by its hooks on modules and functions."""
    return _ptflops(model, "pytorch")


def ptflops_aten(model: nn.Module) -> Answer:
    """Count with ptflops, by the operators that the dispatcher sees."""
    return _ptflops(model, "aten")


def calflops(model: nn.Module) -> Answer:
    """Count with calflops."""
    from calflops import calculate_flops

    _, macs, parameters = calculate_flops(model, (1, *SIZE), output_as_string=False, print_results=False)
    return int(macs), int(parameters)


def flop_counter(model: nn.Module) -> Answer:
    """Count with PyTorch's FlopCounterMode: FLOPs, halved."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, *SIZE))
    return counter.get_total_flops() // 2, None


TOOLS: dict[str, tuple[str, Callable[[nn.Module], Answer]]] = {  # name -> package, counter
    "thop": ("thop", thop),
    "torchsummary": ("torchsummary", torchsummary),
    "torchinfo": ("torchinfo", torchinfo),
    "fvcore": ("fvcore", fvcore),
    "ptflops": ("ptflops", ptflops),
    "ptflops, aten": ("ptflops", ptflops_aten),
    "calflops": ("calflops", calflops),
    "FlopCounterMode": ("torch", flop_counter),
}


def ask(tool: str, form: str) -> dict[str, Any]:
    """Return what a tool says of the network written in a form: ``macs`` and ``parameters``."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            macs, parameters = TOOLS[tool][1](FORMS[form]())
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        return {"macs": None, "parameters": None, "failed": type(error).__name__}
    return {"macs": macs, "parameters": parameters}


def main() -> None:
    """Ask all tools about all forms and write the table."""
    packages = sorted({package for package, _ in TOOLS.values()} | {"timm"})
    result = {
        "versions": {name: version(name) for name in packages},
        "counts": {form: {tool: ask(tool, form) for tool in TOOLS} for form in FORMS},
    }
    scratch = TABLE.with_suffix(".part")
    scratch.write_text(json.dumps(result, indent=1) + "\n")
    scratch.replace(TABLE)
    print(f"{len(TOOLS)} tools on {len(FORMS)} forms: {paths.show(TABLE)}")


if __name__ == "__main__":
    sys.exit(main())
