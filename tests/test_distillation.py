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
    monkeypatch.setattr(distillation, "FOLDER", tmp_path / "teachers")
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


def test_a_teacher_gives_the_mean_answer_of_its_runs_and_none_to_validation_images(runs, folder):
    images, labels, index, held_out = split(CONFIG)
    config = replace(CONFIG, teacher=distillation.make(runs, "pair").stem, teacher_weight=1)
    answers = distillation.targets(config, labels[index], index)
    mean = torch.stack([evaluate(run, images[index], labels[index]).probabilities for run in runs]).mean(dim=0)
    assert torch.allclose(answers.double(), mean, atol=1e-3)
    with pytest.raises(ValueError, match="has to be a teacher made from runs with the same validation_images=59000"):
        distillation.targets(config, labels[held_out], held_out)


def test_labels_and_answers_are_weighted(runs, folder):
    _, labels, index, _ = split(CONFIG)
    config = replace(CONFIG, teacher=distillation.make(runs, "pair").stem)
    whole, half, none = (
        distillation.targets(replace(config, teacher_weight=weight), labels[index], index) for weight in (1, 0.5, 0)
    )
    assert torch.equal(none.argmax(1), labels[index])
    assert torch.allclose(half, (whole + none) / 2)
    assert torch.equal(distillation.targets(CONFIG, labels[index], index), labels[index])


def test_a_teachers_content_belongs_to_the_runs_identity(runs, folder, tmp_path):
    options = {"compiled": False, "test": "never", "progress": print}
    path = distillation.make(runs, "pair")
    config = replace(CONFIG, teacher=path.stem)
    run = train(config, tmp_path / "taught", **options)
    assert run.history[0]["train_loss"] != runs[0].history[0]["train_loss"]
    other = replace(CONFIG, teacher=distillation.make(runs[:1], "pair").stem)
    assert other.digest != config.digest
    with pytest.raises(ValueError, match="taught holds a run with teacher="):
        train(other, tmp_path / "taught", **options)
    path.write_bytes((folder / f"{other.teacher}.safetensors").read_bytes())
    with pytest.raises(ValueError, match=r"teacher is 'pair-.*, but has to be named after its content"):
        train(config, tmp_path / "again", **options)


def test_a_missing_teacher_gets_one_sentence_and_nothing_is_started(folder, tmp_path):
    with pytest.raises(ValueError, match=r"teacher is 'owl', but has to be a teacher in .* .none yet."):
        train(replace(CONFIG, teacher="owl"), tmp_path / "run", compiled=False, test="never", progress=print)
    assert [path.name for path in tmp_path.iterdir()] == [".run.lock"]
