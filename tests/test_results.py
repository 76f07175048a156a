"""What networks answer: calibration, what all get wrong, and the file of a study's answers."""

import math
import shutil

import pytest
import torch

from tests.test_study import HEAD, TAUGHT, make_study, run_all, trained  # noqa: F401
from vitlib import data, runs
from vitlib.evaluate import Evaluation, evaluate
from vitlib.report import results
from vitlib.studies import answers, study
from vitlib.training import distillation, views


def test_the_fitted_temperature_undoes_an_overconfidence():
    logits = 2 * torch.randn(20_000, 10, dtype=torch.float64)
    labels = torch.distributions.Categorical(logits=logits).sample()
    overconfident = Evaluation(3 * logits, labels)
    temperature = results.fit_temperature(overconfident)
    assert temperature == pytest.approx(3, rel=0.03)
    scaled = results.at_temperature(overconfident, temperature)
    assert torch.equal(scaled.predictions, overconfident.predictions)
    assert scaled.calibration_error() < 0.02 < 0.1 < overconfident.calibration_error()


def test_the_loss_of_mistakes_is_that_of_the_wrong_answers():
    probabilities = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4]], dtype=torch.float64)
    result = Evaluation(probabilities.log(), torch.tensor([0, 1, 1]))
    assert results.loss_of_mistakes(result) == pytest.approx(-(math.log(0.2) + math.log(0.4)) / 2)


def test_the_share_among_tops_leaves_out_mistakes_with_other_classes():
    labels, predictions = torch.tensor([0, 6, 6, 5, 2, 9]), torch.tensor([6, 4, 8, 7, 2, 9])
    assert results.share_among_tops(Evaluation(torch.eye(10)[predictions], labels)) == 2 / 4


def test_images_that_all_get_wrong_are_those_that_none_gets_right():
    labels = torch.tensor([0, 1, 2, 0])
    predictions = [[1, 1, 0, 2], [2, 1, 1, 0], [1, 0, 0, 0]]
    evaluations = [Evaluation(torch.eye(3)[answer], labels) for answer in predictions]
    assert results.missed_by_all(evaluations).tolist() == [0, 2]


def test_gathered_answers_are_those_of_the_runs_and_their_teacher(make_study, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(views, "FOLDER", tmp_path / "teachers")
    few = {"train": None, "test": 400}  # images
    monkeypatch.setattr(data, "load", lambda split, load=data.load: [part[: few[split]] for part in load(split)])
    made = make_study((HEAD + TAUGHT).replace("seeds: 0-2", "seeds: 0-1"), test="last")
    run_all(made)
    made = study.load(str(made.path))
    path = answers.gather(made, ["taught", "homework"])
    images, labels = data.load("test")
    for variant in ("taught", "homework"):
        for seed, found in enumerate(answers.load(made, variant)):
            seen = evaluate(runs.load_run(made.folder(made.variants[variant]) / f"seed-{seed}"), images, labels)
            assert (found.predictions != seen.predictions).sum() <= 1
            torch.testing.assert_close(found.probabilities, seen.probabilities, rtol=0, atol=1e-3)
    assert [len(each.labels) for each in answers.load(made, "homework", "validation")] == [100, 100]
    (teacher,) = answers.load(made, "taught", "teacher")
    name = made.with_made_teacher(made.variants["taught"]).teacher
    expected = distillation.answers(distillation.networks(name), images).softmax(1)
    torch.testing.assert_close(teacher.probabilities.float(), expected, rtol=0, atol=1e-3)
    with pytest.raises(ValueError, match=r"answers is 'homework/teacher', but must be one of homework/test, "):
        answers.load(made, "homework", "teacher")
    made.table.write_text(made.table.read_text(encoding="utf-8").replace(",0.", ",0.9", 9), encoding="utf-8")
    with pytest.raises(ValueError, match=r"test accuracy of 'homework' is .*, as in"):
        answers.load(study.load(str(made.path)), "homework")
    text = made.path.read_text(encoding="utf-8")
    made.path.write_text(text.replace("  taught:", "  flipped: {flip: true}\n  taught:"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"variant is 'flipped', but must be one with a row in "):
        answers.gather(study.load(str(made.path)), ["flipped"])
    shutil.rmtree(made.work)
    with pytest.raises(ValueError, match="seed-0"):
        answers.gather(made, ["homework"])
    assert path.is_file()
