"""Out of disk, memory, compiler or network: one sentence says so, and what was finished stays."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest

from tests.conftest import eagerly, result
from tests.faults import trial
from tests.faults.test_killed import CONFIG, TRAIN, TRAINING
from vitlib import TrainConfig, ViTConfig, data, load_run

pytestmark = pytest.mark.faults
on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")


@pytest.fixture
def small_disk(tmp_path):
    """Return a folder with room for 400 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", disk]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting takes root")
    yield disk
    subprocess.run(["umount", disk], check=True)


@on_linux
def test_a_full_disk_gets_one_sentence_and_with_room_training_continues(tmp_path, small_disk):
    (small_disk / "ballast").write_bytes(bytes(336 * 2**10))  # there is room for one checkpoint, not for two
    status, output = trial.call([*TRAINING, str(small_disk / "run")])
    assert status != 0
    last = output.strip().splitlines()[-1]
    assert "No space left on device; fix that, and the same call continues after the last checkpoint" in last
    assert not (small_disk / "run").exists()
    (small_disk / "ballast").unlink()
    status, output = trial.call([*TRAINING, str(small_disk / "run")])
    assert status == 0, output
    assert "continuing" in output
    assert result(load_run(small_disk / "run")) == result(eagerly(CONFIG, tmp_path / "whole"))


READ = """
from vitlib import data, load_run
from vitlib.evaluate import evaluate
run = load_run("runs/report")
images, labels = data.load("test")
print(evaluate(run, images[:100], labels[:100]).total)
"""


@on_linux
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")
def test_a_read_only_checkout_is_read_and_what_would_write_says_so(tmp_path):
    folder, surroundings = trial.clone(tmp_path / "project")
    read_only = f"mount --bind {folder} {folder} && mount -o remount,ro,bind {folder} && cd {folder} && "
    for command, fits in (
        (f"{trial.PYTHON} -c '{READ}'", True),
        ("make report PROFILE=smoke", False),
        ("make html", False),
        (f"{trial.PYTHON} tools/report.py execute smoke what_if", False),
    ):
        status, output = trial.call(["unshare", "--mount", "bash", "-c", read_only + command], folder, **surroundings)
        assert (status == 0) == fits, output
        assert fits or "Read-only file system: " in output, output
        assert "Traceback" not in output


LIMIT = """
import resource, torch
from vitlib import data
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + 700 * 2**20,) * 2)
"""


@on_linux
@pytest.mark.parametrize(("images", "fits"), [(8192, False), (16, True)])
def test_too_little_memory_for_a_batch_gets_one_sentence_and_a_smaller_batch_trains(tmp_path, images, fits):
    model, few = ViTConfig(depth=1), {"epochs": 1, "validation_images": 10, "precision": "float32"}
    config = TrainConfig(model=model, batch_size=images, train_images=images, **few)
    command = [trial.PYTHON, "-c", LIMIT + TRAIN, json.dumps(config.to_dict()), str(tmp_path / "run")]
    status, output = trial.call(command, OMP_NUM_THREADS="1")
    assert (status == 0) == (tmp_path / "run").exists() == fits, output
    assert fits or output.strip().splitlines()[-1] == (
        "MemoryError: this training does not fit into the memory of cpu: lower batch_size=8192, or the network's "
        "embed_dim=64 or depth=1."
    )


def test_a_killed_kernel_gets_one_sentence(tmp_path):
    """As the system does when the memory is full."""
    folder, surroundings = trial.clone(tmp_path / "project")
    source = folder / "notebooks" / "01_model.ipynb"
    content = json.loads(source.read_text(encoding="utf-8"))
    content["cells"][1]["source"] = ["import os, signal\n", "os.kill(os.getpid(), signal.SIGKILL)"]
    source.write_text(json.dumps(content), encoding="utf-8")
    command = [trial.PYTHON, "tools/report.py", "execute", "smoke", "01_model"]
    status, output = trial.call(command, folder, **surroundings)
    assert status != 0
    assert "01_model: its kernel was killed, probably because the memory is full" in output
    assert "Traceback" not in output
    assert not (folder / "build" / "smoke" / "book" / source.name).exists()


MEASURE = """
import json, sys
import psutil
from vitlib import TrainConfig, train
used = []
def progress(line):
    if line.startswith("epoch"):
        used.append(psutil.Process().memory_info().rss)
train(TrainConfig.from_dict(json.loads(sys.argv[1])), sys.argv[2], device="cpu", compiled=False, progress=progress)
print(json.dumps(used))
"""


def test_memory_stays_flat_over_many_epochs(tmp_path):
    config = replace(CONFIG, epochs=150, train_images=128)
    command = [trial.PYTHON, "-c", MEASURE, json.dumps(config.to_dict()), str(tmp_path / "run")]
    status, output = trial.call(command)
    assert status == 0, output
    used = json.loads(output.splitlines()[-1])
    assert len(used) == len(load_run(tmp_path / "run").history) == 150
    assert max(used[-15:]) - used[15] < 16 * 2**20, used


def test_without_a_compiler_training_says_so_and_trains(tmp_path):
    config = replace(CONFIG, epochs=1)
    program = TRAIN.replace("compiled=False", "compiled=True")
    missing = {"CXX": str(tmp_path / "no-compiler"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    command = [trial.PYTHON, "-c", program, json.dumps(config.to_dict()), str(tmp_path / "run")]
    status, output = trial.call(command, TORCH_COMPILE_DISABLE="0", **missing)
    assert status == 0, output
    assert "torch.compile does not work here" in output
    assert result(load_run(tmp_path / "run")) == result(eagerly(config, tmp_path / "eager"))


# ---- without a network --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def offline():
    """Return the words that start a command which reaches no host."""
    words = ["unshare", "--net", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    if shutil.which("unshare") is None or subprocess.run([*words, "true"], capture_output=True, check=False).returncode:
        pytest.skip("unshare --net does not work here")
    return words


@pytest.mark.skipif(data.DEBIAN_FOLDER.is_dir(), reason="Debian's package of the data is installed here")
def test_without_a_network_damaged_data_is_rejected_and_one_sentence_says_what_to_do(tmp_path, offline):
    damaged = {
        "train-images-idx3-ubyte": b"",
        "train-labels-idx1-ubyte.gz": b"\x1f\x8b\x08 an archive that is cut off",
        "t10k-images-idx3-ubyte.gz": b"no archive at all",
        "t10k-labels-idx1-ubyte": bytes(10_008),
    }
    for name, content in damaged.items():
        (tmp_path / name).write_bytes(content)
    status, output = trial.call([*offline, trial.PYTHON, "tools/report.py", "data"], FASHION_MNIST=str(tmp_path))
    assert status != 0
    assert all(f"{name} is rejected" in output for name in damaged if name.startswith("train")), output
    last = output.strip().splitlines()[-1]
    assert last.endswith("Connect to a network, or set FASHION_MNIST to a folder with its four files.")
    assert "Traceback" not in output
    assert {path.name for path in tmp_path.rglob("*ubyte*")} == damaged.keys()


def test_without_a_network_the_installation_says_so_and_an_installed_project_builds_the_book(tmp_path, offline):
    folder, surroundings = trial.clone(tmp_path / "project")
    status, output = trial.call([*offline, "make", "html"], folder, **surroundings)
    assert status == 0, output
    shutil.rmtree(folder / ".venv")
    status, output = trial.call([*offline, "make", "html"], folder, PIP_RETRIES="1", PIP_NO_CACHE_DIR="1")
    assert status != 0
    assert "The packages cannot be fetched: is there a network?" in output
    assert not (folder / ".venv" / "installed").exists()
