"""Packs of results: a few archives that stand alone, each replaced atomically, that carry what a GPU measured.

A pack is a folder of ``gpu-0.tar.gz``, ``gpu-1.tar.gz`` and so on. Each begins with ``pack.json`` (`About`), which says
what made it and lists the SHA-256 of every other file in it. The first one holds tables, benchmarks, logs and the
report's run, and changes with each result; the others hold runs and networks with their weights, which never change.
"""

import gzip
import hashlib
import io
import os
import re
import subprocess
import tarfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from command import UserError
from pydantic import BaseModel, ConfigDict, ValidationError

from vitlib import paths, runs
from vitlib.config import complaint

NAME = "gpu-{}.tar.gz"
ARCHIVES = 5  # at most
LIMIT = 15_500_000  # bytes of the files in an archive: with its headers it stays below 16 MB
UNPACKED = 32_000_000  # bytes of an archive that are read, at most
ABOUT = "pack.json"
RUN = rf"(?:{'|'.join(map(re.escape, runs.FILES))})"
ALLOWED = re.compile(
    rf"runs/report/{RUN}"
    r"|benchmarks/results/speed-[a-z0-9-]+-[a-z]+\.json"
    r"|studies/results/[\w-]+\.csv"
    r"|studies/teachers/[\w-]+\.json"
    r"|studies/teachers/networks/[0-9a-f]+/\d+\.(?:json|safetensors)"
    rf"|build/studies/[\w-]+/runs/(?:never|last|every)/[0-9a-f]{{12}}/seed-\d+/{RUN}"
    r"|log/[\w-]+\.txt"
)
# the code that decides a result
CODE = re.compile(r"vitlib/(?:training/|studies/)?\w+\.py|benchmarks/\w+\.py")


class About(BaseModel):
    """``pack.json``."""

    model_config = ConfigDict(strict=True, extra="forbid")

    commit: str
    code: dict[str, str]  # git's hash of each file that decides a result
    device: str  # its name
    smoke: bool
    parts: dict[str, str]  # what became of each part, in words
    files: dict[str, str] = {}  # SHA-256 of each other file of the archive


@dataclass(frozen=True)
class Pack:
    """What one or more archives of a pack hold: files by their path in the project."""

    about: list[About]  # of each archive
    files: dict[str, bytes]


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def check_code(about: About) -> None:
    """Check that the code of an archive is that of its commit, and that HEAD contains this commit; else UserError."""
    git, commit = ["git", "-C", str(paths.ROOT)], about.commit
    contained = [*git, "merge-base", "--is-ancestor", commit, "HEAD"]
    if not commit.isalnum() or subprocess.run(contained, capture_output=True, check=False).returncode:
        raise UserError(f"The pack was made at commit {commit!r}, which HEAD does not contain: nothing was changed.")
    listed = subprocess.run([*git, "ls-tree", "-r", commit], capture_output=True, encoding="utf-8", check=True).stdout
    entries = (line.partition("\t") for line in listed.splitlines())
    committed = {name: entry.split()[2] for entry, _, name in entries if CODE.fullmatch(name)}
    for name in sorted(committed.keys() | about.code.keys()):
        if committed.get(name) != about.code.get(name):
            raise UserError(f"{name} is not that of commit {commit[:12]}, so nobody could say what made the results.")


# ---- writing -------------------------------------------------------------------------------------------------------


def save(folder: Path, about: About, small: Mapping[str, Path], large: Iterable[Mapping[str, Path]]) -> None:
    """Bring the pack in a folder up to date; each archive is there as a whole or as it was before.

    Args:
        folder: of the archives.
        about: what made the results.
        small: files of the first archive, by their path in the project.
        large: groups of files that stay together, most valuable first; one that does not fit is left out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / NAME.format(0), about, {name: path.read_bytes() for name, path in small.items()})
    archives = [folder / NAME.format(number) for number in range(1, ARCHIVES)]
    held = {path: read([path]).files if path.is_file() else {} for path in archives}
    grown = set()
    for group in large:
        if any(next(iter(group)) in files for files in held.values()):
            continue
        size = sum(path.stat().st_size for path in group.values())
        for archive, files in held.items():
            if size + sum(map(len, files.values())) <= LIMIT:
                files |= {name: path.read_bytes() for name, path in group.items()}
                grown.add(archive)
                break
    for archive in grown:
        _write(archive, about, held[archive])


def _write(archive: Path, about: About, files: Mapping[str, bytes]) -> None:
    sums = {name: _sha256(content) for name, content in files.items()}
    head = about.model_copy(update={"files": sums}).model_dump_json(indent=1).encode()
    scratch = archive.with_name(f".{archive.name}.part")
    with scratch.open("wb") as file:
        with (
            gzip.GzipFile("", "wb", 1, file, mtime=0) as zipped,
            tarfile.open(fileobj=zipped, mode="w", encoding="utf-8") as tar,
        ):
            for name, content in ({ABOUT: head} | dict(files)).items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(archive)


# ---- reading -------------------------------------------------------------------------------------------------------


def archives_of(path: Path) -> list[Path]:
    """Return the archives of a pack, from its folder or one archive; UserError if there is none."""
    archives = sorted(path.glob(NAME.format("[0-9]"))) if path.is_dir() else [path]
    if not archives or not all(archive.is_file() for archive in archives):
        raise UserError(f"FILE is {str(path)!r}, but must be a pack: an archive {NAME.format(0)}, or its folder.")
    return archives


def read(archives: Iterable[Path]) -> Pack:
    """Return what archives hold, after checking every byte; UserError, one sentence, if anything is wrong."""
    about: list[About] = []
    files: dict[str, bytes] = {}
    for archive in archives:
        head, content = _read(archive)
        about.append(head)
        files |= content
    return Pack(about, files)


def _read(archive: Path) -> tuple[About, dict[str, bytes]]:
    try:
        with gzip.open(archive) as file:
            content = file.read(UNPACKED)  # to the end: then gzip has checked its own sum
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:", encoding="utf-8") as tar:
            members = [(member, _content(tar, member)) for member in tar]
        (first, head), *rest = members
        if first.name != ABOUT:
            raise ValueError(f"its first file is {first.name!r}, not {ABOUT}")
        about = About.model_validate_json(head)
    except ValidationError as error:
        raise UserError(f"{archive} is not a pack ({complaint(error, About.model_fields)[:-1]}).") from error
    except (OSError, EOFError, ValueError, tarfile.TarError, zlib.error) as error:
        raise UserError(f"{archive} is damaged or cut off ({error or type(error).__name__}): copy it again.") from error
    for member, _ in rest:
        if not member.isreg() or not ALLOWED.fullmatch(member.name):
            raise UserError(f"{archive} holds {member.name!r}, but a pack may hold only results: nothing was taken.")
    files = {member.name: content for member, content in rest}
    if len(files) < len(rest) or {name: _sha256(content) for name, content in files.items()} != about.files:
        raise UserError(f"{archive} holds other files than its {ABOUT} lists: copy it again.")
    return about, files


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member) if member.isreg() else None
    return file.read() if file else b""
