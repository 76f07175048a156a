"""Run tasks in processes, a few at a time, and show them: one block that changes on a terminal, lines elsewhere."""

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing import connection
from typing import Any

from command import STOPPED, UserError, exit_on_user_error

Send = Callable[[str, str], None]  # "line" and a line to print, or "state" and what the task does now
FORK = multiprocessing.get_context("fork")  # starts in no time, and a child holds the locks of its parent


class Display:
    """Prints lines above a block with a line for each running task."""

    def __init__(self) -> None:
        self.terminal = sys.stdout.isatty()
        self.running: dict[str, tuple[float, str]] = {}  # start and state by task
        self._height = 0  # lines of the block on the screen

    def say(self, line: str) -> None:
        """Print a line."""
        self._erase()
        print(line, flush=True)
        self.draw()

    def draw(self) -> None:
        """Show what runs and for how long."""
        if not self.terminal:
            return
        self._erase()
        width = os.get_terminal_size().columns - 1
        for name, (start, state) in self.running.items():
            seconds = int(time.monotonic() - start)
            print(f"  {name:18}{state:16}{seconds // 60}:{seconds % 60:02d}"[:width])
        self._height = len(self.running)
        sys.stdout.flush()

    def _erase(self) -> None:
        if self._height:
            print(f"\x1b[{self._height}A\x1b[J", end="")  # up to the block's first line, and clear to the screen's end
            self._height = 0


def run(task: Callable[[str, Send], None], names: Sequence[str], at_once: int) -> None:
    """Run `task(name, send)` for each name, `at_once` at a time; after a failure those that run may finish.

    Raises:
        UserError: a task failed, was killed, or Ctrl-C stopped it; the message has a sentence for each reason.
    """
    display, waiting, failures = Display(), list(names), dict[str, None]()
    running: dict[str, tuple[Any, Any]] = {}  # process and its connection by name
    while running or (waiting and not failures):
        while waiting and len(running) < at_once and not failures:
            name = waiting.pop(0)
            ours, theirs = FORK.Pipe(duplex=False)
            process = FORK.Process(target=_child, args=(task, name, theirs))
            process.start()
            theirs.close()
            running[name], display.running[name] = (process, ours), (time.monotonic(), "")
        display.draw()
        try:
            ready = connection.wait([ours for _, ours in running.values()], timeout=1)
            for name in [name for name, (_, ours) in running.items() if ours in ready]:
                _receive(name, running, display, failures)
        except KeyboardInterrupt:  # the children got it too
            failures[STOPPED] = None
    if failures:
        raise UserError("\n".join(failures))


def _receive(name: str, running: dict[str, tuple[Any, Any]], display: Display, failures: dict[str, None]) -> None:
    """Take one message of a task, or notice its end."""
    process, ours = running[name]
    try:
        kind, text = ours.recv()
    except EOFError:
        process.join()
        if process.exitcode < 0:
            failures[f"{name} was killed, probably because the memory is full: run the same command again."] = None
        elif process.exitcode and not failures:
            failures[f"{name} failed: see above."] = None
        del running[name], display.running[name]
        return
    if kind == "line":
        display.say(text)
    elif kind == "state":
        display.running[name] = display.running[name][0], text
    else:
        failures[text] = None


def _child(task: Callable[[str, Send], None], name: str, theirs: Any) -> None:  # noqa: ANN401
    """Run a task, and send the sentence of a failure."""

    def send(kind: str, text: str) -> None:
        theirs.send((kind, text))

    try:
        with exit_on_user_error():
            task(name, send)
    except SystemExit as end:
        send("failure", str(end).strip())
        sys.exit(1)
