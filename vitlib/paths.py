"""The folders of the project.

Every path is resolved from here and never from the working directory: papermill runs a notebook in the project's root,
nbval runs it in ``book/``, and a reader may run it anywhere.
"""

import os
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAME = re.compile(r"[\w.+-]{1,100}")  # of a file or folder: no character that a page or a shell could interpret


def output_root() -> Path:
    """Return the folder that holds ``runs/`` and ``book/``.

    It is the project's root, where the published report lies, unless the environment variable ``REPORT_HOME`` names
    the folder of a rerun (``make report`` sets it to ``build/<profile>``).
    """
    return (ROOT / os.environ.get("REPORT_HOME", "")).resolve()


def resolve(path: str | Path) -> Path:
    """Return `path` as an absolute path; a relative one is taken from `output_root` and stays inside.

    Raises:
        ValueError: a relative path leaves `output_root`, has an empty part (``runs//tmp/x``), or holds other
            characters than letters, digits and ``._+-``.
    """
    parts = [] if Path(path).is_absolute() else str(path).rstrip("/").split("/")
    if ".." in parts or not all(NAME.fullmatch(part) for part in parts):
        raise ValueError(
            f"path is {str(path)!r}, but must be absolute or stay inside the project, in names of at most 100 "
            "letters, digits, ., _, + and -."
        )
    return output_root() / path


def relative(path: str | Path) -> str:
    """Return `path` as it is printed: relative to the project's root if it lies inside, otherwise in full."""
    path = Path(path)
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)
