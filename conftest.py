"""What pytest leaves out unless it is selected, and what a notebook may not do while nbval checks it."""

import os
from collections import Counter
from typing import Any

import pytest

LEFT_OUT = pytest.StashKey[Counter[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Keep the pages that nbval checks from training."""
    if config.option.nbval:
        os.environ["VITLIB_CHECKING"] = "1"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:  # noqa: ANN401
    """With several workers (pytest -n 2), keep the cells of a page, and the tests of a file, on one worker."""
    from xdist.scheduler import LoadFileScheduling  # which a GPU machine lacks

    return LoadFileScheduling(config, log)


def commands(config: pytest.Config) -> dict[str, str]:
    """Return the command that runs each kind of test, from the markers in pyproject.toml."""
    lines = (line.partition(": run by ") for line in config.getini("markers"))
    return {kind: command for kind, _, command in lines if command}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests of a kind, unless the command line selects by marker or names a test."""
    if config.option.markexpr or any("::" in argument for argument in config.args):
        return
    kinds = commands(config)
    kind_of = {item: mark.name for item in items for mark in [*item.iter_markers()][::-1] if mark.name in kinds}
    config.stash[LEFT_OUT] = Counter(kind_of.values())
    if hasattr(config, "workeroutput"):  # a worker of pytest -n, which has no summary of its own
        config.workeroutput["left out"] = dict(config.stash[LEFT_OUT])
    config.hook.pytest_deselected(items=list(kind_of))
    items[:] = [item for item in items if item not in kind_of]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:  # noqa: ANN401
    """Take from a worker what it left out; all workers leave out the same."""
    node.config.stash[LEFT_OUT] = Counter(getattr(node, "workeroutput", {}).get("left out", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name the command that runs what was left out."""
    counts, kinds = config.stash.get(LEFT_OUT, Counter()), commands(config)
    if counts:
        listed = ", ".join(f"{n} {kind} test{'s' * (n > 1)} ({kinds[kind]})" for kind, n in sorted(counts.items()))
        terminalreporter.write_line(f"Left out: {listed}.")
