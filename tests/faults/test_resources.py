"""Out of resources: room, memory, a compiler, a network, a folder that can be written, a browser."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest

from tests.faults import trial
from tests.faults.test_killed import CONFIG, TRAIN, TRAINING
from vitlib import TrainConfig, ViTConfig, data, load_run, train

needs_root = pytest.mark.skipif(
    not sys.platform.startswith("linux") or os.geteuid() != 0,
    reason="mounting a small or read-only disk takes Linux and root",
)


@pytest.fixture
def small_disk(tmp_path):
    """Return a folder on a disk of its own with room for 400 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", disk], check=True)


@needs_root
@trial.only_full
def test_a_full_disk_gets_one_sentence_and_room_lets_it_go_on(tmp_path, small_disk):
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(trial.chance("disk").randrange(250_000, 330_000)))
    status, said = trial.call([*TRAINING, str(small_disk / "run")])
    assert status != 0
    last = said.strip().splitlines()[-1]
    assert "No space left on device; put that right, and the same call goes on after the last finished epoch" in last
    assert not (small_disk / "run").exists()
    ballast.unlink()
    status, said = trial.call([*TRAINING, str(small_disk / "run")])
    assert status == 0, said
    whole = train(CONFIG, tmp_path / "whole", device="cpu", compiled=False, progress=lambda _: None)
    assert trial.result(load_run(small_disk / "run")) == trial.result(whole)


LIMITED = "import resource, torch\nfrom vitlib import data\n{}\n" + TRAIN
ROOM = """
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + 700 * 2**20,) * 2)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the memory of a process is limited on Linux only")
@trial.only_full
def test_too_little_memory_for_a_batch_gets_one_sentence_and_a_smaller_batch_trains(tmp_path):
    config = TrainConfig(
        model=ViTConfig(depth=1),
        epochs=1,
        batch_size=8192,
        train_images=8192,
        validation_images=10,
        precision="float32",
    )
    for batch_size, fits in ((8192, False), (16, True)):
        settings = replace(config, batch_size=batch_size, train_images=8192 if not fits else 64)
        command = [sys.executable, "-c", LIMITED.format(ROOM), json.dumps(settings.to_dict())]
        status, said = trial.call([*command, str(tmp_path / f"{batch_size}")], OMP_NUM_THREADS="1")
        assert (status == 0) == fits, said
        if not fits:
            assert said.strip().splitlines()[-1] == (
                "MemoryError: the memory of cpu does not hold this training: lower batch_size=8192, or the network's "
                "embed_dim=64 or depth=1."
            )
        assert (tmp_path / f"{batch_size}").exists() == fits


@trial.only_full
def test_a_kernel_ended_from_outside_gets_one_sentence(tmp_path):
    """What the system does where all memory is taken."""
    folder, log = tmp_path / "project", tmp_path / "log"
    surroundings = trial.clone(folder)
    page = folder / "notebooks" / "01_model.ipynb"
    content = json.loads(page.read_text())
    content["cells"][1]["source"] = ["import os, signal\n", "os.kill(os.getpid(), signal.SIGKILL)"]
    page.write_text(json.dumps(content))
    status, said = trial.call([trial.PYTHON, "tools/report.py", "execute", "smoke", "01_model"], folder, **surroundings)
    assert status != 0
    assert "01_model: its Python was ended from outside, as happens where the memory is full" in said
    assert "Traceback" not in said
    assert not (folder / "build" / "smoke" / "book" / page.name).exists()
    assert not log.exists()


@trial.only_full
def test_without_a_compiler_training_says_so_and_trains(tmp_path):
    program = TRAIN.replace("compiled=False", "compiled=True")
    config = replace(CONFIG, epochs=1)
    missing = {"CXX": str(tmp_path / "no-compiler"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    command = [sys.executable, "-c", program, json.dumps(config.to_dict()), str(tmp_path / "run")]
    status, said = trial.call(command, TORCH_COMPILE_DISABLE="0", **missing)
    assert status == 0, said
    assert "torch.compile does not work here" in said
    assert "training uncompiled, slower." in said
    eager = train(config, tmp_path / "eager", device="cpu", compiled=False, progress=lambda _: None)
    assert trial.result(load_run(tmp_path / "run")) == trial.result(eager)


@pytest.fixture(scope="module")
def without_network():
    """Return the words that start a command in which no host can be reached."""
    words = ["unshare", "--net", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    if shutil.which("unshare") is None or subprocess.run([*words, "true"], capture_output=True, check=False).returncode:
        pytest.skip("a process cannot be taken off the network here (unshare --net)")
    return words


@pytest.mark.skipif(
    data.DEBIAN_FOLDER.is_dir(), reason="Debian's package of the data is installed: no network is needed"
)
def test_without_a_network_the_data_is_asked_for_in_one_sentence(tmp_path, without_network):
    command = [*without_network, trial.PYTHON, "tools/report.py", "data"]
    status, said = trial.call(command, FASHION_MNIST=str(tmp_path / "data"))
    assert status != 0
    last = said.strip().splitlines()[-1]
    assert last.endswith("Connect to a network, or set FASHION_MNIST to a folder with its four files.")
    assert "Traceback" not in said
    assert not list((tmp_path / "data").rglob("*ubyte*"))


@trial.only_full
def test_without_a_network_the_installation_says_so(tmp_path, without_network):
    folder = tmp_path / "project"
    trial.clone(folder)
    (folder / ".venv").unlink()
    status, said = trial.call([*without_network, "make", "report"], folder, PIP_RETRIES="0", PIP_NO_CACHE_DIR="1")
    assert status != 0
    assert "The packages cannot be fetched: is there a network?" in said
    assert not (folder / ".venv" / "installed").exists()


@trial.only_full
def test_without_a_network_pages_and_book_are_made_all_the_same(tmp_path, without_network):
    folder = tmp_path / "project"
    surroundings = trial.clone(folder)
    status, said = trial.call([*without_network, "make", "html"], folder, **surroundings)
    assert status == 0, said


READ = """
from vitlib import data, load_run
from vitlib.evaluate import evaluate
run = load_run("runs/report")
images, labels = data.load("test")
print(evaluate(run, images[:100], labels[:100]).total)
"""


@needs_root
@trial.only_full
def test_a_read_only_checkout_reads_and_says_that_it_cannot_write(tmp_path):
    folder = tmp_path / "project"
    surroundings = trial.clone(folder)
    read_only = f"mount --bind {folder} {folder} && mount -o remount,ro,bind {folder} && cd {folder} && "
    for command, fits, words in (
        (f"{trial.PYTHON} -c '{READ}'", True, "["),
        ("make report PROFILE=smoke", False, "Read-only file system: "),
        ("make html", False, "Read-only file system: "),
        (f"{trial.PYTHON} tools/report.py execute smoke what_if", False, "Read-only file system: "),
    ):
        status, said = trial.call(["unshare", "--mount", "bash", "-c", read_only + command], folder, **surroundings)
        assert (status == 0) == fits, said
        assert words in said, said
        assert "Traceback" not in said


def test_without_a_browser_the_pdf_says_so(tmp_path):
    status, said = trial.call(
        [trial.PYTHON, "tools/pdf.py", str(tmp_path), str(tmp_path / "a.pdf")], PATH=str(tmp_path)
    )
    assert status != 0
    assert said.strip() == "No Chromium on this machine: install it (Debian: apt-get install chromium)."
    assert not any(tmp_path.iterdir())


@trial.only_full
def test_without_a_browser_its_tests_are_skipped_with_a_sentence_or_fail_where_they_must(tmp_path):
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "tests/test_browser.py"]
    command += ["-k", "theme_is_the_readers"]
    for changes, wanted in (({"CI": ""}, 0), ({"CI": "1"}, 1)):
        status, said = trial.call(command, PATH=str(tmp_path), **changes)
        assert (status, "no Chromium on this machine: install it" in said) == (wanted, True), said
