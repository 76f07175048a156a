"""A damaged file is refused by its name, with what to do; it never becomes a number."""

import gzip
import importlib.util
import json
import re
import shutil
from dataclasses import replace

import pytest

from tests.faults import trial
from vitlib import data, load_run, paths, runs, train

spec = importlib.util.spec_from_file_location("report", paths.ROOT / "tools" / "report.py")
report = importlib.util.module_from_spec(spec)
spec.loader.exec_module(report)

KINDS = ("truncated", "emptied", "flipped", "swapped", "removed")


def damage(path, kind, other, chance):
    """Damage a file; `other` is the file it is swapped with."""
    content = bytearray(path.read_bytes())
    if kind == "truncated":
        path.write_bytes(content[: chance.randrange(1, len(content))])
    elif kind == "emptied":
        path.write_bytes(b"")
    elif kind == "flipped":
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(content)
    elif kind == "swapped":
        shutil.copyfile(other, path)
    else:
        path.unlink()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return the folders of two runs that differ in their seed."""
    from tests.conftest import TINY
    from vitlib import TrainConfig

    config = TrainConfig(model=TINY, epochs=2, batch_size=64, train_images=256, validation_images=100)
    folder = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        train(replace(config, seed=seed), folder / f"{seed}", device="cpu", compiled=False, progress=lambda _: None)
    return folder


def test_a_run_with_a_damaged_file_is_refused_by_the_files_name(tmp_path, made):
    chance, refused, tried = trial.chance("damaged run"), 0, 0
    for name in runs.FILES:
        for kind in KINDS:
            for _ in range(trial.count(1, 20) if kind in ("truncated", "flipped") else 1):
                folder = tmp_path / f"run-{tried}"
                shutil.copytree(made / "0", folder)
                damage(folder / name, kind, made / "1" / name, chance)
                tried += 1
                with pytest.raises(ValueError) as error:
                    load_run(folder).model  # noqa: B018
                words = str(error.value)
                assert name in words, (kind, words)
                assert "restore the file, or remove the folder and train again" in words
                refused += 1
    trial.note("Damaged inputs refused: files of a run", f"{refused} of {tried}", "run_with_a_damaged")


def test_a_started_run_with_damaged_files_never_gives_another_result(tmp_path, made):
    """Damaged settings are refused; a damaged or foreign checkpoint is left aside and trained again."""

    def stop(line):
        if line.startswith("epoch 1"):
            raise KeyboardInterrupt

    config = load_run(made / "0").config
    options = {"device": "cpu", "compiled": False}
    for seed in (0, 1):
        with pytest.raises(KeyboardInterrupt):
            train(replace(config, seed=seed), tmp_path / f"{seed}", progress=stop, **options)
    (mine,), (foreign,) = ((tmp_path / f"{seed}.partial").glob("checkpoint-*") for seed in (0, 1))
    chance, held, tried = trial.chance("damaged checkpoint"), 0, 0
    for kind in KINDS:
        folder = tmp_path / f"again-{kind}"
        partial = shutil.copytree(tmp_path / "0.partial", folder.with_name(f"{folder.name}.partial"))
        damage(partial / mine.name, kind, foreign, chance)
        if kind == "swapped":  # under its own name, which tells the checksum that it has
            (partial / mine.name).rename(partial / foreign.name)
        run = train(config, folder, progress=lambda _: None, **options)
        tried += 1
        held += trial.result(run) == trial.result(load_run(made / "0"))
        if kind != "removed":
            folder = tmp_path / f"settings-{kind}"
            partial = shutil.copytree(tmp_path / "0.partial", folder.with_name(f"{folder.name}.partial"))
            damage(partial / "config.json", kind, tmp_path / "1.partial" / "config.json", chance)
            tried += 1
            try:
                run = train(config, folder, progress=lambda _: None, **options)
            except ValueError as error:
                assert str(folder) in str(error)
                held += 1
            else:  # a flipped bit in white space changes nothing
                held += kind == "flipped" and trial.result(run) == trial.result(load_run(made / "0"))
    assert held == tried
    trial.note("Damaged inputs refused or trained again: a started run", f"{held} of {tried}", "started_run")


def test_a_damaged_archive_of_the_data_is_refused_by_its_name(tmp_path, monkeypatch, capsys):
    def unreachable(scratch):
        raise OSError("no route to host")

    monkeypatch.setattr(data, "_from_torchvision", unreachable)
    monkeypatch.setattr(data, "_from_debian", unreachable)
    data.load("train")
    content, _ = data._verified(list(data.SHA256), data.default_root())
    whole = tmp_path / "whole"
    whole.mkdir()
    for name, raw in content.items():
        (whole / name).write_bytes(raw)
        if trial.FULL or "labels" in name:
            (whole / f"{name}.gz").write_bytes(gzip.compress(raw, 1))
    chance, refused, tried = trial.chance("damaged data"), 0, 0
    for path in sorted(whole.iterdir()):
        if not trial.FULL and "labels" not in path.name:
            continue
        half = path.name.split("-")[0]
        other = whole / path.name.replace(half, {"train": "t10k", "t10k": "train"}[half])
        for kind in KINDS[:4]:
            folder = tmp_path / f"data-{tried}"
            folder.mkdir()
            shutil.copyfile(path, folder / path.name)
            damage(folder / path.name, kind, other, chance)
            tried += 1
            with pytest.raises(data.DataError) as error:
                data.load("train" if "train" in path.name else "test", folder)
            assert f"{path.name} is refused" in str(error.value)
            assert "set FASHION_MNIST to a folder with its four files" in str(error.value)
            refused += 1
            shutil.rmtree(folder)
    trial.note("Damaged inputs refused: archives of the data", f"{refused} of {tried}", "damaged_archive")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Return a copy of what tools/report.py reads."""
    for folder in ("profiles", "notebooks"):
        shutil.copytree(paths.ROOT / folder, tmp_path / folder)
    monkeypatch.setattr(report, "ROOT", tmp_path)
    return tmp_path


def test_a_damaged_notebook_or_page_is_refused_by_its_name(project):
    chance, refused, tried = trial.chance("damaged notebook"), 0, 0
    home = project / "build" / "smoke"
    for source in sorted((project / "notebooks").glob("*.ipynb")):
        whole = source.read_bytes()
        for kind in ("truncated", "emptied", "removed"):
            damage(source, kind, None, chance)
            with pytest.raises(
                report.MistakeError, match=f"notebooks/{source.stem}.ipynb is missing or damaged: restore"
            ):
                report.execute("smoke", source.stem)
            assert not (home / "book" / source.name).exists()
            source.write_bytes(whole)
            refused, tried = refused + 1, tried + 1
    shutil.copytree(paths.ROOT / "book", home / "book", ignore=shutil.ignore_patterns("_*"))
    for page in sorted((home / "book").glob("*.ipynb")):
        whole = page.read_bytes()
        for kind in ("truncated", "emptied", "swapped"):
            damage(page, kind, project / "notebooks" / "01_model.ipynb", chance)
            with pytest.raises(report.MistakeError, match=re.escape(f"build/smoke/book/{page.name} ")):
                report.publish("smoke")
            page.write_bytes(whole)
            refused, tried = refused + 1, tried + 1
    assert not (project / "book").exists()
    trial.note("Damaged inputs refused: notebooks and pages", f"{refused} of {tried}", "damaged_notebook_or_page")


def test_a_damaged_profile_is_refused_by_its_name(project):
    chance, refused, tried = trial.chance("damaged profile"), 0, 0
    path = project / "profiles" / "smoke.yaml"
    whole = path.read_bytes()
    broken = [
        b"",
        whole.replace(b"02_training:", b"02_training"),
        whole.replace(b"  epochs: 2", b"\tepochs: 2"),
        b"\0" + whole,
    ]
    broken += [b"[" * 5000, (paths.ROOT / "_toc.yml").read_bytes(), json.dumps([1, 2]).encode()]
    for _ in range(20):
        content = bytearray(whole)
        content[chance.randrange(len(content))] ^= 0x80  # no letter of any profile has this bit
        broken.append(bytes(content))
    for content in broken:
        path.write_bytes(content)
        with pytest.raises(report.MistakeError, match=r"profiles/smoke\.yaml"):
            report.profile("smoke")
        refused, tried = refused + 1, tried + 1
    trial.note("Damaged inputs refused: profiles", f"{refused} of {tried}", "damaged_profile")
