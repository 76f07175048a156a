"""What seven counting tools report for the network, in each form that its code can take.

    pip install -r requirements-counters.txt
    python -m vitlib.counting.tools

writes studies/counting.json: the tools' versions, and by form and tool the MACs and parameters as the tool reports
them, null where it reports none or fails. FlopCounterMode reports FLOPs, two per MAC; they are halved.
"""

import io
import sys
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import nn

from vitlib import paths, printed, runs
from vitlib.counting.forms import CONFIG, FORMS
from vitlib.printed import SummaryRow

TABLE = paths.ROOT / "studies" / "counting.json"
SIZE = (CONFIG.channels, CONFIG.image_size, CONFIG.image_size)

Counts = tuple[int | None, int | None]  # MACs, parameters


def thop(model: nn.Module) -> Counts:
    """Count with thop."""
    import thop

    macs, parameters = thop.profile(model, inputs=(torch.zeros(1, *SIZE),), verbose=False)
    return int(macs), int(parameters)


def torchsummary(model: nn.Module) -> Counts:
    """Count with torchsummary, which reports parameters only."""
    return None, summary(model, SIZE)[1]


def summary(model: nn.Module, size: tuple[int, ...]) -> tuple[tuple[SummaryRow, ...], int]:
    """Return the rows and the total parameters that torchsummary prints.

    A module with several outputs, such as `torch.nn.MultiheadAttention`, has a row with the shape of the first.

    Args:
        model: the network.
        size: of one input, such as (C, H, W).

    Raises:
        RuntimeError: torchsummary prints a row that cannot be read.
    """
    import torchsummary

    text = io.StringIO()
    with redirect_stdout(text):
        torchsummary.summary(model, size, device="cpu")
    table = printed.summary(text.getvalue())
    if len(table.rows) != text.getvalue().split("=" * 64)[1].strip().count("\n") + 1:
        raise RuntimeError(f"torchsummary's table has a row that cannot be read:\n{text.getvalue()}")
    total = table.totals["parameters"].exact
    assert total is not None, "torchsummary prints its total in full"
    return table.rows, total


def torchinfo(model: nn.Module) -> Counts:
    """Count with torchinfo, which calls MACs mult-adds."""
    import torchinfo

    result = torchinfo.summary(model, input_size=(1, *SIZE), verbose=0)
    return int(result.total_mult_adds), int(result.total_params)


def fvcore(model: nn.Module) -> Counts:
    """Count with fvcore, which calls MACs flops."""
    from fvcore.nn import FlopCountAnalysis, parameter_count

    analysis = FlopCountAnalysis(model, torch.zeros(1, *SIZE))
    analysis.unsupported_ops_warnings(enabled=False).uncalled_modules_warnings(enabled=False)
    return int(analysis.total()), int(parameter_count(model)[""])


def ptflops(model: nn.Module, backend: str = "pytorch") -> Counts:
    """Count with ptflops: by hooks on modules and functions ("pytorch"), or by the dispatcher's operators ("aten")."""
    from ptflops import get_model_complexity_info

    macs, parameters = get_model_complexity_info(
        model, SIZE, as_strings=False, print_per_layer_stat=False, verbose=False, backend=backend
    )
    return int(macs), int(parameters)


def calflops(model: nn.Module) -> Counts:
    """Count with calflops."""
    from calflops import calculate_flops

    _, macs, parameters = calculate_flops(model, (1, *SIZE), output_as_string=False, print_results=False)
    return int(macs), int(parameters)


def flop_counter(model: nn.Module) -> Counts:
    """Count with PyTorch's FlopCounterMode, which reports FLOPs: two per MAC."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, *SIZE))
    return counter.get_total_flops() // 2, None


TOOLS: dict[str, tuple[str, Callable[[nn.Module], Counts]]] = {  # name -> package, function
    "thop": ("thop", thop),
    "torchsummary": ("torchsummary", torchsummary),
    "torchinfo": ("torchinfo", torchinfo),
    "fvcore": ("fvcore", fvcore),
    "ptflops": ("ptflops", ptflops),
    "ptflops, aten": ("ptflops", partial(ptflops, backend="aten")),
    "calflops": ("calflops", calflops),
    "FlopCounterMode": ("torch", flop_counter),
}


def count(tool: str, form: str) -> dict[str, Any]:
    """Return the ``macs`` and ``parameters`` that a tool reports for a form; if it fails, the error's type, too."""
    silent = io.StringIO()
    with redirect_stdout(silent), redirect_stderr(silent), warnings.catch_warnings(action="ignore"):
        try:
            macs, parameters = TOOLS[tool][1](FORMS[form]())
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            return {"macs": None, "parameters": None, "failed": type(error).__name__}
    return {"macs": macs, "parameters": parameters}


def main() -> None:
    """Run every tool on every form and write the table."""
    try:
        versions = {name: version(name) for name in sorted({package for package, _ in TOOLS.values()} | {"timm"})}
    except PackageNotFoundError as error:
        sys.exit(f"{error.name} is not installed: pip install -r requirements-counters.txt")
    counts = {form: {tool: count(tool, form) for tool in TOOLS} for form in FORMS}
    runs.write_json(TABLE, {"versions": versions, "counts": counts})
    print(f"{len(TOOLS)} tools on {len(FORMS)} forms: {paths.relative(TABLE)}")


if __name__ == "__main__":
    main()
