"""What several tests share."""

import os

import matplotlib as mpl
import pytest
import torch
from filelock import FileLock

from vitlib import TrainConfig, ViTConfig, data

NEEDS_GPU = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA GPU"),
]

mpl.use("Agg")  # whatever MPLBACKEND says
TINY = ViTConfig(patch_size=14, embed_dim=8, depth=2, num_heads=2, mlp_ratio=2)


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
def quick():
    """Return settings of a run that takes a second or two."""
    return TrainConfig(model=TINY, epochs=2, batch_size=64, train_images=512, validation_images=100, crop_padding=2)


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
