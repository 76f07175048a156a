"""Fashion-MNIST: downloaded, verified and returned as tensors (Xiao et al., 2017).

The four files come from a folder that the reader names, from torchvision's mirror, or from Debian's package
``dataset-fashion-mnist``. Whatever the source, the SHA-256 of the decompressed bytes is checked before use.
Axis: N images.
"""

import errno
import gzip
import hashlib
import os
import shutil
import socket
import subprocess
import tempfile
import zlib
from pathlib import Path

import torch
from filelock import FileLock
from torch import Tensor

from vitlib import paths
from vitlib.config import CLASSES as CLASSES
from vitlib.config import TRAIN_IMAGES

MEAN, STD = 0.2860, 0.3530  # of the training set's pixels, on a scale from 0 to 1
SHA256 = {  # of the decompressed files
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
DEBIAN_PACKAGE = "dataset-fashion-mnist"
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")

LOCAL_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)  # of this machine's disk, not of a source

_SPLITS = {"train": "train", "test": "t10k"}
_HEADER = {"images": 16, "labels": 8}  # bytes before the data in an IDX file


class DataError(RuntimeError):
    """Fashion-MNIST is not in the folder and cannot be downloaded."""


def default_root() -> Path:
    """Return the folder of the data: ``$FASHION_MNIST`` if that is set, otherwise ``.data/`` in the project.

    A relative one is taken from the project's root, as pages run in several folders.
    """
    return paths.ROOT / _expanded(os.environ.get("FASHION_MNIST") or ".data")


def _expanded(folder: str | Path) -> Path:
    """Return a folder with ``~`` and ``$VARIABLES`` replaced; DataError if one of them is unknown."""
    expanded = os.path.expandvars(folder)
    try:
        if "$" not in expanded:
            return Path(expanded).expanduser()
    except RuntimeError:  # no such user
        pass
    raise DataError(f"The folder of the data is {str(folder)!r}, but must name known users and variables only.")


def _folder(root: str | Path | None) -> Path:
    """Return the folder that an argument `root` means."""
    return default_root() if root is None else _expanded(root).absolute()


def load(split: str, root: str | Path | None = None) -> tuple[Tensor, Tensor]:
    """Return the images and labels of a split, after downloading them if they are missing.

    Args:
        split: ``"train"`` (60,000 images) or ``"test"`` (10,000).
        root: folder of the four IDX files, plain or gzipped, directly or in torchvision's layout
            (``FashionMNIST/raw``). Missing files are downloaded into it. As in torchvision, ``~`` is the home folder
            and a relative path is taken from the working directory; the default is `default_root`.

    Returns:
        Images as uint8 (N, 28, 28), 0 black to 255 white, and labels as int64 (N,), 0 to 9 as in `CLASSES`.

    Raises:
        ValueError: `split` is unknown.
        DataError: no source has files with the right checksum; the message names the reason for each source.
    """
    if split not in _SPLITS:
        raise ValueError(f"split is {split!r}, but must be 'train' or 'test'.")
    images, labels = (f"{_SPLITS[split]}-images-idx3-ubyte", f"{_SPLITS[split]}-labels-idx1-ubyte")
    content = _read([images, labels], _folder(root))
    pixels = torch.frombuffer(content[images], dtype=torch.uint8, offset=_HEADER["images"])
    return (
        pixels.view(-1, 28, 28),
        torch.frombuffer(content[labels], dtype=torch.uint8, offset=_HEADER["labels"]).long(),
    )


def require_images(images: Tensor) -> None:
    """Raise a ValueError unless `images` are uint8 (N, 28, 28): values of 0 to 1 would look almost black."""
    if images.dtype != torch.uint8 or images.shape[1:] != (28, 28):
        raise ValueError(
            f"images are {str(images.dtype).removeprefix('torch.')} {tuple(images.shape)}, but must be uint8 "
            f"(N, 28, 28), 0 black to 255 white; for ToTensor's x that is (255 * x).round().byte().squeeze(1)."
        )


def normalise(images: Tensor) -> Tensor:
    """Return images (..., 28, 28) of 0 to 255 as float32 with the training set's mean 0 and standard deviation 1."""
    return (images.float() / 255 - MEAN) / STD


def training_split(train_images: int, validation_images: int) -> tuple[Tensor, Tensor]:
    """Return the indices of training and validation images within the training set: two disjoint int64 vectors.

    The split is the same for every run: a permutation of all images with a fixed seed, validation images first.
    """
    order = torch.randperm(TRAIN_IMAGES, generator=torch.Generator().manual_seed(2017))
    return order[validation_images : validation_images + train_images], order[:validation_images]


def _read(names: list[str], root: Path) -> dict[str, bytearray]:
    """Return the verified bytes of the named files, from `root` or downloaded into it."""
    content, rejected = _verified(names, root)
    if len(content) == len(names):
        return content
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / ".lock"):
            content, rejected = _verified(names, root)  # another process may have downloaded them
            if len(content) < len(names):
                for sentence in rejected:
                    print(sentence, flush=True)
                _fetch(root, rejected)
                content, rejected = _verified(names, root)
    except OSError as error:
        raise DataError(" ".join([*rejected, f"Fashion-MNIST cannot be written to {root}: {error}."])) from error
    return content


def _verified(names: list[str], root: Path) -> tuple[dict[str, bytearray], list[str]]:
    """Return the files of `root` with the right checksum, and a sentence about each rejected one."""
    content, rejected = {}, []
    for name in names:
        for folder in (root / "FashionMNIST" / "raw", root):
            for path in (folder / name, folder / f"{name}.gz"):
                if name in content or not path.is_file():
                    continue
                data = _decompressed(path)
                digest = hashlib.sha256(data).hexdigest()
                if digest == SHA256[name]:
                    content[name] = data
                else:
                    rejected.append(
                        f"{paths.relative(path)} is rejected: its content has SHA-256 {digest[:12]}…, but "
                        f"Fashion-MNIST's has {SHA256[name][:12]}…."
                    )
    return content, rejected


def _decompressed(path: Path) -> bytearray:
    """Return a file's bytes, decompressed if it is gzipped; none if the archive is damaged."""
    data = path.read_bytes()
    if path.suffix != ".gz":
        return bytearray(data)
    try:
        return bytearray(gzip.decompress(data))
    except (OSError, EOFError, zlib.error):
        return bytearray()


def _fetch(root: Path, rejected: list[str]) -> None:
    """Download the four files and move them to ``root/FashionMNIST/raw``, each complete or not at all."""
    failures = []
    sources = ("torchvision's mirror", download_from_torchvision), ("Debian's package", download_from_debian)
    for source, fetch in sources:
        print(f"Fashion-MNIST: downloading from {source} ...", flush=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=".fetch-") as scratch:
            try:
                where = fetch(Path(scratch))
            except (OSError, RuntimeError, subprocess.SubprocessError) as error:
                if isinstance(error, OSError) and error.errno in LOCAL_ERRORS:
                    raise
                reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
                print(f"Fashion-MNIST: {source} cannot be reached ({reason}).", flush=True)
                failures.append(f"{source}: {reason}")
                continue
            content, wrong = _verified(list(SHA256), where)
            if len(content) < len(SHA256):
                failures.append(f"{source}: {' '.join(wrong) or 'files are missing.'}")
                continue
            raw = root / "FashionMNIST" / "raw"
            raw.mkdir(parents=True, exist_ok=True)
            for name, data in content.items():
                (Path(scratch) / name).write_bytes(data)
                (Path(scratch) / name).replace(raw / name)
            print(f"Fashion-MNIST: from {source}, checksums verified, kept in {paths.relative(raw)}.", flush=True)
            return
    raise DataError(
        " ".join(rejected) + f" Fashion-MNIST is not in {paths.relative(root)} and cannot be downloaded "
        f"({'; '.join(failures)}). Connect to a network, or set FASHION_MNIST to a folder with its four files."
    )


def download_from_torchvision(scratch: Path) -> Path:
    """Download from torchvision's mirror into `scratch`; return the folder of the files."""
    from torchvision.datasets import FashionMNIST  # slow to import

    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(20)  # seconds; torchvision sets none of its own
    try:
        FashionMNIST(scratch, download=True)
    finally:
        socket.setdefaulttimeout(timeout)
    return scratch


def download_from_debian(scratch: Path) -> Path:
    """Return the folder of Debian's package if it is installed, otherwise download and unpack it into `scratch`."""
    if DEBIAN_FOLDER.is_dir():
        return DEBIAN_FOLDER
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise RuntimeError(f"{DEBIAN_PACKAGE} is not installed and {tool} is not on this machine")
    _run(["apt-get", "download", DEBIAN_PACKAGE], scratch)
    _run(["dpkg-deb", "-x", next(scratch.glob("*.deb")).name, "."], scratch)
    return scratch / DEBIAN_FOLDER.relative_to("/")


def _run(command: list[str], folder: Path) -> None:
    result = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", timeout=300)
    if result.returncode:
        raise RuntimeError(result.stderr.strip().splitlines()[-1] if result.stderr.strip() else "it failed")
