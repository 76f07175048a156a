"""What several tests share."""

import os
import shutil
import socket
import subprocess
import time
from contextlib import ExitStack
from urllib.parse import urlsplit

import matplotlib as mpl
import pytest
import torch
from filelock import FileLock

from vitlib import TrainConfig, ViTConfig, data, paths, train

NEEDS_GPU = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA GPU"),
]

mpl.use("Agg")  # whatever MPLBACKEND says
TINY = ViTConfig(patch_size=14, embed_dim=8, depth=2, num_heads=2, mlp_ratio=2)
SILENT = {"device": "cpu", "compiled": False, "progress": lambda _: None}


def eagerly(config, run_dir, **options):
    """Train on the CPU without compilation and without words."""
    return train(config, run_dir, **SILENT | options)


def weights(run):
    return (run.path / "model.safetensors").read_bytes()


def result(run):
    """Return what has to be the same, bit for bit, however often a run was interrupted."""
    timed = ("seconds", "images_per_second")
    return weights(run), [{k: v for k, v in row.items() if k not in timed} for row in run.history], run.metrics


def git(folder, *arguments):
    """Return what git prints in a folder; it commits as nobody."""
    command = ["git", "-C", folder, "-c", "user.name=nobody", "-c", "user.email=nobody@example.org", *arguments]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout


def environment(**changes):
    """Return the environment of a process that may train, does so uncompiled, and writes where a reader's would."""
    unwanted = ("VITLIB_CHECKING", "REPORT_HOME", "PYTEST_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    return kept | {"TORCH_COMPILE_DISABLE": "1"} | changes


def call(command, cwd=paths.ROOT, timeout=600, **changes):
    """Run a command to its end; return its status and its output, stderr last."""
    options = {"cwd": cwd, "env": environment(**changes), "timeout": timeout}
    done = subprocess.run(command, **options, capture_output=True, encoding="utf-8", check=False)
    return done.returncode, done.stdout + done.stderr


def wait_until(condition, what, seconds=600):
    """Wait until `condition()` holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} never came"
        time.sleep(0.05)


def damage(path, kind, other=None):
    """Damage a file; `other` is the file it is swapped with."""
    content = bytearray(path.read_bytes())
    if kind == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif kind == "emptied":
        path.write_bytes(b"")
    elif kind == "flipped":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif kind == "swapped":
        shutil.copyfile(other, path)
    else:
        path.unlink()


@pytest.fixture(autouse=True, scope="package")
def _may_train():
    """Keep from the tests, and from what they start, that nbval checks pages: only those may not train."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("VITLIB_CHECKING", raising=False)
        yield


@pytest.fixture(autouse=True)
def _same_random_numbers_every_time():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def test_set():
    return data.load("test")


@pytest.fixture
def no_source(monkeypatch):
    """Let no download of the data succeed."""

    def unreachable(scratch):
        raise OSError("no route to host")

    monkeypatch.setattr(data, "download_from_torchvision", unreachable)
    monkeypatch.setattr(data, "download_from_debian", unreachable)


@pytest.fixture
def quick():
    """Return settings of a run that takes a second or two."""
    return TrainConfig(model=TINY, epochs=2, batch_size=64, train_images=512, validation_images=100, crop_padding=2)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Return an empty project with the real notebooks, into which profiles can be written."""
    import report  # needs packages that a GPU machine may lack

    (tmp_path / "profiles").mkdir()
    (tmp_path / "notebooks").symlink_to(paths.ROOT / "notebooks")
    monkeypatch.setattr(report, "ROOT", tmp_path)
    monkeypatch.setenv("REPORT_HOME", "")  # the tool changes it, and this changes it back
    return tmp_path


@pytest.fixture(scope="session")
def pages(tmp_path_factory):
    """Return the published book, built with warnings as errors, once for all workers, and parsed."""
    from tests.book import Site, build, copy_of_the_book  # needs packages that a GPU machine may lack

    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder = shared / "html"
    with FileLock(shared / "html.lock"):
        if not folder.exists():
            folder.mkdir()
            result = build(copy_of_the_book(folder), folder)
            assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return Site(folder / "_build" / "html")


@pytest.fixture(scope="module")
def debugging_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def browser(debugging_port):
    """Return the one Chromium that all tests of a file use."""
    from playwright.sync_api import sync_playwright  # needs packages that a GPU machine may lack

    from tests.browser import launch

    with sync_playwright() as driver:
        chromium = launch(driver, debugging_port)
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser, pages):
    """Return a function that opens a page without a network; an error in its console fails the test."""
    from tests.browser import watch

    contexts, problems, requested = [], [], set()

    def open_page(name, width=1280, folder=pages.folder, **options):
        contexts.append(browser.new_context(offline=True, viewport={"width": width, "height": 800}, **options))
        page = contexts[-1].new_page()
        watch(page, problems)
        page.goto((folder / f"{name}.html").as_uri())
        return page

    yield open_page
    for context in contexts:
        requested |= {urlsplit(url).netloc for page in context.pages for url in getattr(page, "requested", ())}
        context.close()
    assert problems == []
    assert requested <= {""}


@pytest.fixture
def served():
    """Return a function that serves a folder on this machine and returns its address."""
    from tests.browser import serving

    with ExitStack() as stack:
        yield lambda folder: stack.enter_context(serving(folder))
