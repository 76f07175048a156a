"""What a run was made with: code, packages, machine and data."""

import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from vitlib import data, paths

PACKAGES = ("torch", "torchvision", "numpy", "safetensors", "matplotlib", "thop", "torchsummary")
# The code that decides a run's result. A change of a figure, a page or a test does not.
TRAINING_CODE = (":(glob)vitlib/*.py", "vitlib/training", "requirements.txt")


def environment(device: torch.device) -> dict[str, Any]:
    """Describe the code, the packages, the machine and the data of a result that is about to be made on `device`."""
    return {
        "code": code(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "device": device_name(device),
        "device_kind": device.type,
        "threads": torch.get_num_threads(),
        "data_sha256": data.SHA256,
    }


def code() -> dict[str, Any]:
    """Return the project's commit, and whether the code that decides a result is as committed (``clean``).

    Outside of a git checkout of its own, the commit is that of the environment variable ``VITLIB_COMMIT``, and
    ``clean`` is None: unknown.
    """
    try:
        if Path(_git("rev-parse", "--show-toplevel")) == paths.ROOT:
            clean = not _git("status", "--porcelain", "--", *TRAINING_CODE)
            return {"commit": _git("rev-parse", "HEAD"), "clean": clean}
    except (OSError, subprocess.CalledProcessError):
        pass
    return {"commit": os.environ.get("VITLIB_COMMIT"), "clean": None}


def device_name(device: torch.device) -> str:
    """Return the name of the processor of a device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpu_info = Path("/proc/cpuinfo")
    lines = cpu_info.read_text(encoding="utf-8").splitlines() if cpu_info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def short_name(device: str) -> str:
    """Return the short name of a GPU, such as ``h100``, by which benchmark results are named, from its full one."""
    short = re.search(r"\b[A-Z]{1,2}\d{1,3}\b", device)
    return (short[0] if short else re.sub(r"\W+", "-", device)).lower()


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(paths.ROOT), *arguments]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout.strip()
