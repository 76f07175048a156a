"""How the commands in this folder end: a user's error is one sentence and status 1, never a traceback."""

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager

STOPPED = "Stopped. Run the same command again to continue."

for stream in (sys.stdout, sys.stderr):  # a terminal whose encoding lacks a character shows an escape
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")


class UserError(Exception):
    """Something that the user can put right. Its text is the whole message."""


@contextmanager
def exit_on_user_error(*errors: type[Exception]) -> Iterator[None]:
    """End the process with one sentence on a UserError, one of `errors`, Ctrl-C or an error of the system."""
    expected: tuple[type[Exception], ...] = (UserError, *errors)
    try:
        yield
    except expected as error:
        sys.exit(f"\n{error}")
    except KeyboardInterrupt:
        sys.exit(f"\n{STOPPED}")
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        sys.exit(f"\n{error.strerror or error}{where}. Fix that and run the same command again.")
