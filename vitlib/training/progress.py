"""How training shows where it is: one bar where somebody looks on, plain lines in a log."""

import os
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Self

from tqdm import tqdm

NOTEBOOKS = ("JPY_SESSION_NAME", "VSCODE_PID", "COLAB_RELEASE_TAG")  # set where a person has a notebook open


def watched() -> bool:
    """Return whether somebody looks on: a terminal, or an open notebook, but no page that papermill executes."""
    if in_notebook():
        return "REPORT_HOME" not in os.environ and any(name in os.environ for name in NOTEBOOKS)
    return sys.stdout.isatty()


def in_notebook() -> bool:
    """Return whether this runs in a notebook's kernel."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and ipython.get_ipython() is not None


class Progress:
    """A bar over the images still to come, or lines.

    Args:
        write: receives a line per event; None for a bar where somebody looks on, and printed lines elsewhere.

    Counting images costs no look at the device; what the bar says of loss and accuracy is of the last epoch.
    """

    def __init__(self, write: Callable[[str], None] | None = None) -> None:
        self._wants_bar = write is None and watched()
        self._write = write or print
        self._bar: tqdm | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def start(self, total: int, done: int = 0) -> None:
        """Begin to count: `done` of `total` images were trained on before."""
        if self._wants_bar:
            options = {"unit": " images", "unit_scale": True, "dynamic_ncols": True, "file": sys.stdout}
            self._bar = tqdm(total=total, initial=done, **options)

    def advance(self, images: int) -> None:
        """Count images that were handed to the device."""
        if self._bar is not None:
            self._bar.update(images)

    def say(self, line: str) -> None:
        """Say that something happened."""
        if self._bar is None:
            self._write(line)
        else:
            self._bar.write(line, file=sys.stdout)

    def epoch(self, line: str, short: str) -> None:
        """Say how an epoch went: `line` in a log, `short` beside the bar."""
        if self._bar is None:
            self._write(line)
        else:
            self._bar.set_postfix_str(short)

    def stop(self) -> None:
        """Leave the bar as it is and go on with lines."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
