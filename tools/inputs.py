"""Which data files a page was computed from: recorded in its kernel, then stored in its metadata by SHA-256."""

import hashlib
import os
import sys
from pathlib import Path

DATA = (".csv", ".json", ".safetensors", "SHA256SUMS")  # no settings, code or pages; the data set checks itself


def record(log: str) -> None:
    """Write the path of each data file that this process opens for reading to the file `log`, one a line."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
    seen = set()

    def note(event: str, arguments: tuple) -> None:
        if event != "open" or not isinstance(arguments[0], str | bytes | os.PathLike):  # a descriptor has no path
            return
        path, reads = os.fsdecode(arguments[0]), arguments[2] & os.O_ACCMODE == os.O_RDONLY
        if reads and path.endswith(DATA) and path not in seen:
            seen.add(path)
            os.write(file, os.fsencode(f"{os.path.abspath(path)}\n"))  # noqa: PTH100

    sys.addaudithook(note)


def kernel_option(log: Path) -> str:
    """Return the option that makes a Jupyter kernel record its inputs from the start."""
    return f"--IPKernelApp.exec_lines=__import__('runpy').run_path({__file__!r})['record']({str(log)!r})"


def hashes(log: Path, root: Path, output_root: Path) -> dict[str, str]:
    """Return the SHA-256 of the project's files that `log` lists, by their path as it is after publishing.

    Args:
        log: what `record` wrote.
        root: the project.
        output_root: the folder of the rerun, whose ``runs/`` becomes the project's.
    """
    digests = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        path = Path(line)
        base = output_root if path.is_relative_to(output_root) else root
        parts = path.relative_to(base).parts if path.is_relative_to(base) else ()
        inside = parts and parts[0] != "build" and not any(part.startswith(".") for part in parts)
        if inside and path.is_file():  # training removes what it kept to resume from
            digests["/".join(parts)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return dict(sorted(digests.items()))
