"""What the tools count on the real model: thop, torchsummary, and PyTorch's own dispatcher."""

import re
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import Any

import thop
import torch
import torchsummary
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from torch.utils.module_tracker import ModuleTracker

from vitlib.config import ViTConfig
from vitlib.model import ViT


@dataclass(frozen=True)
class SummaryRow:
    """A row of torchsummary's table: number, class, output shape (-1 for the batch) and parameters."""

    index: int
    type: str
    output_shape: tuple[int, ...]
    parameters: int


def summary(config: ViTConfig) -> tuple[list[SummaryRow], int]:
    """Return the rows that ``torchsummary.summary`` prints for the model, and the total that it prints."""
    return summary_of(ViT(config), (config.channels, config.image_size, config.image_size))


def summary_of(model: nn.Module, size: tuple[int, ...]) -> tuple[list[SummaryRow], int]:
    """Return torchsummary's rows and total for any module that takes inputs of `size`, without the batch."""
    printed = StringIO()
    with redirect_stdout(printed):
        torchsummary.summary(model, size, device="cpu")
    pattern = r"(\w+)-(\d+) +\[([-\d, ]+)\] +([\d,]+)"
    rows = [
        SummaryRow(int(index), kind, tuple(int(n) for n in shape.split(",")), _number(parameters))
        for kind, index, shape, parameters in re.findall(pattern, printed.getvalue())
    ]
    total = re.search(r"Total params: ([\d,]+)", printed.getvalue())
    assert total is not None, "torchsummary prints its total"
    return rows, _number(total[1])


def thop_profile(config: ViTConfig) -> tuple[float, float]:
    """Return the MACs and parameters that ``thop.profile`` gives for one image, as it gives them."""
    images = torch.zeros(1, config.channels, config.image_size, config.image_size)
    macs, parameters = thop.profile(ViT(config), inputs=(images,), verbose=False)
    return macs, parameters


def parameters(config: ViTConfig) -> int:
    """Return the number of trainable parameters, each counted once."""
    with torch.device("meta"):
        return sum(p.numel() for p in ViT(config).parameters())


@dataclass(frozen=True)
class Operation:
    """What the dispatcher carried out: in which module, by which operator, its MACs and how many numbers it wrote."""

    module: str
    operator: str
    macs: int
    activations: int


# operators that compute; what is left only allocates, copies, or looks at the same numbers in another shape
ARITHMETIC = frozenset({"addmm", "mm", "bmm", "add", "div", "_softmax", "gelu", "native_layer_norm"})


def operations(config: ViTConfig) -> list[Operation]:
    """Return every arithmetic operation of a forward pass over one image, in order, as PyTorch's dispatcher sees it.

    The MACs of a matrix product are PyTorch's own formula (`torch.utils.flop_counter`, two FLOPs a MAC) on the shapes
    that arrive. The pass runs on the meta device: shapes are real, numbers are not computed.

    Raises:
        RuntimeError: an operator came by that is neither known to compute nor known not to.
    """
    with torch.device("meta"):
        model = ViT(config).eval()
        images = torch.empty(1, config.channels, config.image_size, config.image_size)
    with _Recorder() as recorder, torch.no_grad():
        model(images)
    return recorder.operations


_SHAPES = frozenset(
    "view _unsafe_view transpose permute expand unsqueeze select slice t clone cat detach".split()  # noqa: SIM905
)


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.operations: list[Operation] = []
        self.modules = ModuleTracker()

    def __enter__(self) -> "_Recorder":
        self.modules.__enter__()
        return super().__enter__()

    def __exit__(self, *exception: Any) -> None:  # noqa: ANN401
        super().__exit__(*exception)
        self.modules.__exit__(*exception)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Tensor:  # noqa: ANN401
        out = func(*args, **(kwargs or {}))
        packet = func._overloadpacket
        if packet.__name__ in ARITHMETIC:
            price = flop_registry.get(packet)
            flops = price(*args, **(kwargs or {}), out_val=out) if price else 0
            written = (out[0] if isinstance(out, tuple) else out).numel()
            module = max(self.modules.parents, key=len)
            last = self.operations[-1] if self.operations else None
            if packet.__name__ == "add" and last and (last.module, last.operator) == (module, "mm"):
                return out  # a linear layer's bias: for some layouts PyTorch writes addmm as mm and add
            self.operations.append(Operation(module, packet.__name__, flops // 2, written))
        elif packet.__name__ not in _SHAPES:
            raise RuntimeError(f"the operator is {packet.__name__!r}, which this count does not know yet.")
        return out


def _number(text: str) -> int:
    return int(text.replace(",", ""))
