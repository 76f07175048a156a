"""What the commands in this folder share: actions by name, and mistakes that end with one sentence and status 1."""

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager


class MistakeError(Exception):
    """Something the caller can put right; its text is the whole message."""


@contextmanager
def in_sentences(*mistakes: type[Exception]) -> Iterator[None]:
    """End the process with one sentence where a mistake (`mistakes` are too), Ctrl-C or the system ends the block."""
    try:
        yield
    except (MistakeError, *mistakes) as mistake:
        sys.exit(f"\n{mistake}")
    except KeyboardInterrupt:
        sys.exit("\nStopped. The same command goes on from here.")
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        sys.exit(f"\n{error.strerror or error}{where}. Put that right and run the same command again.")


def act(actions: Mapping[str, Callable[..., object]], about: str, *mistakes: type[Exception]) -> None:
    """Do what the command line asks for: the name of an action, then its arguments.

    Args:
        actions: what may be asked for.
        about: the command in one line, said where the arguments are not those of the action.
        mistakes: errors that are the caller's, beside MistakeError.
    """
    action, *arguments = sys.argv[1:] or [""]
    with in_sentences(*mistakes):
        if action not in actions:
            raise MistakeError(f"action is {action!r}, but has to be one of {', '.join(actions)}.")
        try:
            inspect.signature(actions[action]).bind(*arguments)
        except TypeError as error:
            raise MistakeError(f"{action}: {error}; {about}") from error
        actions[action](*arguments)
