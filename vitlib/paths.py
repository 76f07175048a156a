"""The folders of the project.

Every path is resolved from here and never from the working directory, because papermill runs a notebook in the
project's root, nbval runs it in ``book/`` and a reader may run it anywhere.
"""

import os
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAME = re.compile(r"[\w.+-]{1,100}")  # of a file or folder: nothing that a page or a shell reads as more


def home() -> Path:
    """Return the folder that holds the report's ``runs/`` and ``book/``.

    It is the project's root, where the published report lives, unless the environment variable ``REPORT_HOME`` names
    the folder of a rerun (``make report`` sets it to ``build/<profile>``).
    """
    return (ROOT / os.environ.get("REPORT_HOME", "")).resolve()


def resolve(path: str | Path) -> Path:
    """Return `path` as an absolute path; a relative one is taken from `home` and stays inside.

    Raises:
        ValueError: a relative path leads out of `home`, or has an empty name (as ``runs//tmp/x`` does) or one of other
            signs than letters, digits, ``._+-``.
    """
    parts = [] if Path(path).is_absolute() else str(path).rstrip("/").split("/")
    if ".." in parts or not all(NAME.fullmatch(part) for part in parts):
        raise ValueError(
            f"path is {str(path)!r}, but has to be absolute or stay inside the project, in names of at most 100 "
            "letters, digits, ., _, + and -."
        )
    return home() / path


def show(path: str | Path) -> str:
    """Return `path` as it is printed: relative to the project's root where it lies inside, else in full."""
    path = Path(path)
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)
