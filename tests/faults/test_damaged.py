"""A damaged file is refused by its name, with what to do about it; it never becomes a number."""

import shutil
from dataclasses import replace

import pytest
import report

from tests.conftest import TINY, damage, eagerly, result
from vitlib import TrainConfig, load_run, paths, runs
from vitlib.training import checkpoint

KINDS = ("truncated", "emptied", "flipped", "swapped", "removed")
CONFIG = TrainConfig(model=TINY, epochs=2, batch_size=64, train_images=256, validation_images=100)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return a folder with two finished runs, 0 and 1, that differ in their seed."""
    folder = tmp_path_factory.mktemp("finished")
    for seed in (0, 1):
        eagerly(replace(CONFIG, seed=seed), folder / f"{seed}")
    return folder


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """Return a folder with the same two runs, stopped after an epoch."""

    def stop(line):
        if line.startswith("epoch 1"):
            raise KeyboardInterrupt

    folder = tmp_path_factory.mktemp("started")
    for seed in (0, 1):
        with pytest.raises(KeyboardInterrupt):
            eagerly(replace(CONFIG, seed=seed), folder / f"{seed}", progress=stop)
    return folder


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", runs.FILES)
def test_a_run_with_a_damaged_file_is_refused_by_the_files_name(tmp_path, finished, name, kind):
    run = shutil.copytree(finished / "0", tmp_path / "run")
    damage(run / name, kind, finished / "1" / name)
    with pytest.raises(ValueError, match="restore the file, or remove the folder and train again") as error:
        load_run(run)
    assert name in str(error.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_started_run_with_a_damaged_checkpoint_trains_to_the_same_result(tmp_path, started, finished, kind):
    own, other = (next(checkpoint.partial_folder(started / seed).glob("checkpoint-*")) for seed in "01")
    partial = shutil.copytree(own.parent, checkpoint.partial_folder(tmp_path / "run"))
    damage(partial / own.name, kind, other)
    if kind == "swapped":  # the other's name has the other's checksum
        (partial / own.name).rename(partial / other.name)
    assert result(eagerly(CONFIG, tmp_path / "run")) == result(load_run(finished / "0"))


@pytest.mark.faults
@pytest.mark.parametrize("kind", ["truncated", "emptied", "swapped"])
def test_a_started_run_with_damaged_settings_is_refused(tmp_path, started, kind):
    settings, other = (checkpoint.partial_folder(started / seed) / "config.json" for seed in "01")
    partial = shutil.copytree(settings.parent, checkpoint.partial_folder(tmp_path / "run"))
    damage(partial / settings.name, kind, other)
    with pytest.raises(ValueError, match=str(tmp_path / "run")):
        eagerly(CONFIG, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Return a copy of what tools/report.py reads."""
    for folder in ("profiles", "notebooks"):
        shutil.copytree(paths.ROOT / folder, tmp_path / folder)
    shutil.copytree(paths.ROOT / "book", tmp_path / "build" / "smoke" / "book", ignore=shutil.ignore_patterns("_*"))
    monkeypatch.setattr(report, "ROOT", tmp_path)
    monkeypatch.setenv("REPORT_HOME", "")
    return tmp_path


@pytest.mark.parametrize("kind", ["truncated", "emptied", "removed"])
def test_a_damaged_notebook_is_not_executed(project, kind):
    damage(project / "notebooks" / "what_if.ipynb", kind)
    (project / "build" / "smoke" / "book" / "what_if.ipynb").unlink()
    with pytest.raises(report.UserError, match=r"notebooks/what_if\.ipynb is missing or damaged: restore it"):
        report.execute("smoke", ["what_if"])
    assert not (project / "build" / "smoke" / "book" / "what_if.ipynb").exists()


@pytest.mark.parametrize(
    ("kind", "failure"),
    [
        ("truncated", "is missing or damaged: remove it and run make report again"),
        ("emptied", "is missing or damaged: remove it and run make report again"),
        ("swapped", "differs from notebooks/01_model.ipynb: run make report"),
    ],
)
def test_a_damaged_page_is_not_published(project, kind, failure):
    damage(project / "build" / "smoke" / "book" / "01_model.ipynb", kind, project / "notebooks" / "what_if.ipynb")
    with pytest.raises(report.UserError, match=rf"build/smoke/book/01_model\.ipynb {failure}"):
        report.publish("smoke")
    assert not (project / "book").exists()
