"""Where a result comes from: code, packages, machine and data."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from vitlib import data, paths

PACKAGES = ("torch", "torchvision", "numpy", "safetensors", "matplotlib", "thop", "torchsummary")


def environment(device: torch.device) -> dict[str, Any]:
    """Describe the code, the packages and the machine that are about to make a result on `device`."""
    return {
        "code": code(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "data_sha256": data.SHA256,
    }


def code() -> dict[str, Any]:
    """Return the commit of the project and whether the library and its requirements were as committed.

    Where the project is no git checkout of its own, the commit is taken from the environment variable
    ``VITLIB_COMMIT`` and the tree counts as unknown (None).
    """
    try:
        if Path(_git("rev-parse", "--show-toplevel")) == paths.ROOT:
            clean = not _git("status", "--porcelain", "--", "vitlib", "requirements.txt")
            return {"commit": _git("rev-parse", "HEAD"), "clean": clean}
    except (OSError, subprocess.CalledProcessError):
        pass
    return {"commit": os.environ.get("VITLIB_COMMIT"), "clean": None}


def device_name(device: torch.device) -> str:
    """Return the name of the processor that `device` stands for."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpu_info = Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in _lines(cpu_info) if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(paths.ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.is_file() else []
