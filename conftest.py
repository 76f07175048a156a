"""How pytest shares tests among workers, and what a notebook may not do while nbval checks it."""

import os
from typing import Any

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Keep the pages that nbval checks from training."""
    if config.option.nbval:
        os.environ["VITLIB_CHECKING"] = "1"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:  # noqa: ANN401
    """With several workers (pytest -n 2), keep the cells of a page, and the tests of a file, on one worker."""
    from xdist.scheduler import LoadFileScheduling  # which a GPU machine lacks

    return LoadFileScheduling(config, log)
