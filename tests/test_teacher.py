from dataclasses import replace

import pytest
import torch

from tests.conftest import TINY
from vitlib import TrainConfig, data, train
from vitlib.evaluate import evaluate
from vitlib.training import distillation

CONFIG = TrainConfig(model=TINY, epochs=1, batch_size=64, train_images=256, validation_images=59_000)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(teacher, "FOLDER", tmp_path / "teachers")
    return tmp_path / "teachers"


@pytest.fixture
def runs(tmp_path):
    return [
        train(replace(CONFIG, seed=seed), tmp_path / f"run-{seed}", compiled=False, test="never", progress=print)
        for seed in (0, 1)
    ]


def split(config):
    images, labels = data.load("train")
    index, held_out = data.training_split(config.train_images, config.validation_images)
    return images, labels, index, held_out


def test_a_teacher_answers_as_its_runs_do_on_the_mean_and_not_to_what_is_held_out(runs, folder):
    images, labels, index, held_out = split(CONFIG)
    distillation.make(runs, "pair")
    config = replace(CONFIG, teacher="pair", teacher_weight=1)
    answers = distillation.targets(config, labels[index], index)
    mean = torch.stack([evaluate(run, images[index], labels[index]).probabilities for run in runs]).mean(dim=0)
    assert torch.allclose(answers.double(), mean, atol=1e-3)
    with pytest.raises(ValueError, match="does not answer every training image"):
        distillation.targets(config, labels[held_out], held_out)


def test_labels_and_answers_are_weighted(runs, folder):
    _, labels, index, _ = split(CONFIG)
    distillation.make(runs, "pair")
    whole, half, none = (
        distillation.targets(replace(CONFIG, teacher="pair", teacher_weight=w), labels[index], index)
        for w in (1, 0.5, 0)
    )
    assert torch.equal(none.argmax(1), labels[index])
    assert torch.allclose(half, (whole + none) / 2)
    assert torch.equal(distillation.targets(CONFIG, labels[index], index), labels[index])


def test_a_run_learns_from_a_teacher_and_its_manifest_says_which(runs, folder, tmp_path):
    distillation.make(runs, "pair")
    taught = train(replace(CONFIG, teacher="pair"), tmp_path / "taught", compiled=False, test="never", progress=print)
    assert taught.manifest["starts"][-1]["teacher_sha256"] == distillation.digest("pair")
    assert taught.history[0]["train_loss"] != runs[0].history[0]["train_loss"]


def test_a_teacher_that_is_missing_or_damaged_is_named_and_nothing_is_begun(folder, tmp_path):
    config = replace(CONFIG, teacher="owl")
    with pytest.raises(ValueError, match="teacher is 'owl', but has to be one of those there are: none yet"):
        train(config, tmp_path / "run", compiled=False, test="never", progress=print)
    folder.mkdir()
    (folder / "owl.safetensors").write_bytes(b"not a tensor")
    with pytest.raises(ValueError, match=r"owl\.safetensors is damaged"):
        train(config, tmp_path / "run", compiled=False, test="never", progress=print)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".run.lock", "teachers"]
