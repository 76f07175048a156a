"""Contestants of a benchmark in processes of their own: many compile at the same time, then one measures at a time."""

import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from multiprocessing import connection
from typing import Any, Self

SPAWN = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
CACHE = "TORCHINDUCTOR_CACHE_DIR"


class Host:
    """A process that makes a contestant and takes one of its measurements at each call.

    Args:
        name: of the contestant, for messages.
        make: a function of a module, called with `arguments` in the process; returns what takes a measurement.
        arguments: plain values.
        fresh: use none of the code that earlier processes compiled.
    """

    def __init__(
        self, name: str, make: Callable[..., Callable[[], Any]], *arguments: object, fresh: bool = False
    ) -> None:
        self.name = name
        self.pipe, self._theirs = SPAWN.Pipe()
        self._cache = tempfile.TemporaryDirectory() if fresh else None
        cache = self._cache.name if self._cache else None
        self._process = SPAWN.Process(target=_serve, args=(self._theirs, cache, make, arguments))
        self._made = False

    def start(self) -> None:
        """Start the process, which makes the contestant."""
        self._process.start()
        self._theirs.close()  # so that this end notices when the process dies

    def __call__(self) -> Any:  # noqa: ANN401
        """Take a measurement and return it; SystemExit if that, or making the contestant, fails."""
        if not self._made:
            self._receive()
            self._made = True
        with suppress(OSError):  # a process that was killed sends nothing back
            self.pipe.send(None)
        return self._receive()

    def _receive(self) -> Any:  # noqa: ANN401
        try:
            value, error = self.pipe.recv()
        except (EOFError, OSError):
            value, error = None, "its process was killed, perhaps for lack of memory"
        if error:
            raise SystemExit(f"{self.name} cannot be measured: {error}")
        return value

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.pipe.close()  # which ends the process, unless it is still compiling
        if self._process.pid:
            self._process.join(2)
            self._process.kill()
            self._process.join()
        if self._cache:
            self._cache.cleanup()


def start(hosts: Iterable[Host], processes: int) -> None:
    """Start the hosts, at most `processes` compiling at a time, and wait until each is ready or has failed."""
    waiting, making = [*hosts], []
    while waiting or making:
        while waiting and len(making) < processes:
            host = waiting.pop(0)
            host.start()
            making.append(host.pipe)
        for pipe in connection.wait(making):
            making.remove(pipe)


def _serve(
    pipe: connection.Connection, cache: str | None, make: Callable[..., Callable[[], Any]], arguments: tuple
) -> None:
    """Make a contestant, then answer each request with a measurement, until the other end is gone."""
    if cache:
        os.environ[CACHE] = cache
    try:
        case = make(*arguments)
        pipe.send((None, None))
        while True:
            pipe.recv()
            pipe.send((case(), None))
    except EOFError:
        pass
    except BaseException as error:  # a missing package or a failed compilation ends with SystemExit
        with suppress(OSError):
            pipe.send((None, " ".join(str(error).split()) or type(error).__name__))
