"""What the tools count on the real model: thop, torchsummary, and PyTorch's own dispatcher."""

import re
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import Any

import thop
import torch
import torchsummary
from torch import Tensor
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
    printed = StringIO()
    size = (config.channels, config.image_size, config.image_size)
    with redirect_stdout(printed):
        torchsummary.summary(ViT(config), size, device="cpu")
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
class MatrixProduct:
    """A matrix product that the dispatcher carried out: in which module, by which operator, at what cost."""

    module: str
    operator: str
    macs: int


def matrix_products(config: ViTConfig) -> list[MatrixProduct]:
    """Return every matrix product of a forward pass over one image, in order, as PyTorch's dispatcher sees it.

    The cost of each is PyTorch's own formula (`torch.utils.flop_counter`, two FLOPs a MAC) on the shapes that arrive.
    The pass runs on the meta device: shapes are real, numbers are not computed.
    """
    with torch.device("meta"):
        model = ViT(config)
        images = torch.empty(1, config.channels, config.image_size, config.image_size)
    with _Recorder() as recorder, torch.no_grad():
        model(images)
    return recorder.products


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.products: list[MatrixProduct] = []
        self.modules = ModuleTracker()

    def __enter__(self) -> "_Recorder":
        self.modules.__enter__()
        return super().__enter__()

    def __exit__(self, *exception: Any) -> None:  # noqa: ANN401
        super().__exit__(*exception)
        self.modules.__exit__(*exception)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Tensor:  # noqa: ANN401
        out = func(*args, **(kwargs or {}))
        if func._overloadpacket in flop_registry:
            flops = flop_registry[func._overloadpacket](*args, **(kwargs or {}), out_val=out)
            module = max(self.modules.parents, key=len)
            self.products.append(MatrixProduct(module, func._overloadpacket.__name__, flops // 2))
        return out


def _number(text: str) -> int:
    return int(text.replace(",", ""))
