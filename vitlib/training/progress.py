"""How training shows its progress: a bar where a person watches, plain lines in a log."""

import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Self

from tqdm import tqdm

NOTEBOOKS = ("JPY_SESSION_NAME", "VSCODE_PID", "COLAB_RELEASE_TAG")  # set where a person has a notebook open


def is_interactive() -> bool:
    """Return whether a person watches: in a terminal or an open notebook, but not in a page that papermill executes."""
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
        write: receives a line per event; None for a bar where a person watches, and printed lines elsewhere.

    Counting images does not wait for the device. The loss and accuracy beside the bar are those of the last epoch.
    """

    def __init__(self, write: Callable[[str], None] | None = None) -> None:
        self._wants_bar = write is None and is_interactive()
        self._write = write or partial(print, flush=True)
        self._bar: tqdm | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, total: int, done: int = 0) -> None:
        """Start the bar, after `done` of `total` images."""
        if self._wants_bar:
            options = {"unit": " images", "unit_scale": True, "dynamic_ncols": True, "file": sys.stdout}
            self._bar = tqdm(total=total, initial=done, **options)

    def advance(self, images: int) -> None:
        """Count images."""
        if self._bar is not None:
            self._bar.update(images)

    def say(self, line: str) -> None:
        """Print a line."""
        if self._bar is None:
            self._write(line)
        else:
            self._bar.write(line, file=sys.stdout)

    def epoch(self, line: str, short: str) -> None:
        """Show the result of an epoch: `line` in a log, `short` beside the bar."""
        if self._bar is None:
            self._write(line)
        else:
            self._bar.set_postfix_str(short)

    def stop(self) -> None:
        """Close the bar; lines are printed from now on."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
