"""What thop, torchsummary and PyTorch's dispatcher count on the real model."""

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

from vitlib import printed
from vitlib.config import ViTConfig
from vitlib.model import ViT
from vitlib.printed import SummaryRow


def summary(config: ViTConfig) -> tuple[tuple[SummaryRow, ...], int]:
    """Return the rows and the total parameters that ``torchsummary.summary`` prints for the network."""
    return summary_of(ViT(config), (config.channels, config.image_size, config.image_size))


def summary_of(model: nn.Module, size: tuple[int, ...]) -> tuple[tuple[SummaryRow, ...], int]:
    """Return torchsummary's rows and total for any module; `size` is that of one input, such as (C, H, W).

    A module with several outputs, such as `torch.nn.MultiheadAttention`, has a row with the shape of the first.

    Raises:
        RuntimeError: torchsummary prints a row that cannot be read.
    """
    text = StringIO()
    with redirect_stdout(text):
        torchsummary.summary(model, size, device="cpu")
    found = printed.summary(text.getvalue())
    if len(found.rows) != text.getvalue().split("=" * 64)[1].strip().count("\n") + 1:
        raise RuntimeError(f"torchsummary's table has a row that cannot be read:\n{text.getvalue()}")
    total = found.totals["parameters"].exact
    assert total is not None, "torchsummary prints its total in full"
    return found.rows, total


def thop_profile(config: ViTConfig) -> tuple[float, float]:
    """Return the MACs and parameters that ``thop.profile`` reports for one image: floats, as thop returns them."""
    images = torch.zeros(1, config.channels, config.image_size, config.image_size)
    macs, parameters = thop.profile(ViT(config), inputs=(images,), verbose=False)
    return macs, parameters


def parameters(config: ViTConfig) -> int:
    """Return the number of trainable parameters, each counted once."""
    with torch.device("meta"):
        return sum(p.numel() for p in ViT(config).parameters())


@dataclass(frozen=True)
class Operation:
    """An operator that the dispatcher ran: its module's path, its name, its MACs, and how many numbers it wrote."""

    module: str
    operator: str
    macs: int
    activations: int


def operations(config: ViTConfig) -> list[Operation]:
    """Return every arithmetic operation of a forward pass over one image, in order, as PyTorch's dispatcher sees it.

    A matrix product's MACs are half the FLOPs of PyTorch's own formula (`torch.utils.flop_counter`) for the shapes that
    arrive. The pass runs on the meta device, which tracks shapes and computes no numbers.

    Raises:
        RuntimeError: an operator is in neither `ARITHMETIC` nor `SHAPES`.
    """
    with torch.device("meta"):
        model = ViT(config).eval()
        images = torch.empty(1, config.channels, config.image_size, config.image_size)
    with _Recorder() as recorder, torch.no_grad():
        model(images)
    return recorder.operations


ARITHMETIC = frozenset({"addmm", "mm", "bmm", "add", "div", "_softmax", "gelu", "native_layer_norm"})
SHAPES = frozenset(  # these compute nothing: they copy, or view the same numbers in another shape
    {"view", "_unsafe_view", "transpose", "permute", "expand", "unsqueeze", "select", "slice", "t"}
    | {"clone", "cat", "detach"}
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
        operator = func._overloadpacket.__name__
        if operator in ARITHMETIC:
            module = max(self.modules.parents, key=len)
            last = self.operations[-1] if self.operations else None
            if operator == "add" and last and (last.module, last.operator) == (module, "mm"):
                return out  # a linear layer's bias: for some layouts PyTorch splits addmm into mm and add
            formula = flop_registry.get(func._overloadpacket)
            flops = formula(*args, **(kwargs or {}), out_val=out) if formula else 0
            written = (out[0] if isinstance(out, tuple) else out).numel()
            self.operations.append(Operation(module, operator, flops // 2, written))
        elif operator not in SHAPES:
            raise RuntimeError(f"the operator is {operator!r}, but has to be one of ARITHMETIC or SHAPES.")
        return out
