import math

import pytest
import torch

from vitlib import ViT, ViTConfig, load_run, paths
from vitlib.evaluate import BATCH, Evaluation, evaluate, wilson_interval
from vitlib.report import attention_maps


def test_counts_and_loss_by_hand():
    logits = torch.tensor([[2.0, 0, 0], [0, 2, 0], [0, 2, 0], [0, 0, 2]]).double()
    result = Evaluation(logits, torch.tensor([0, 1, 2, 2]))
    assert (result.correct, result.total, result.accuracy) == ([1, 1, 1], [1, 1, 2], 0.75)
    right = -math.log(math.e**2 / (math.e**2 + 2))
    assert result.loss == pytest.approx((3 * right + (right + 2)) / 4)
    assert result.confusion.tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 1]]


def test_loss_does_not_depend_on_batches_or_threads(test_set, monkeypatch):
    images, labels = (part[:300] for part in test_set)
    model, losses = ViT(ViTConfig(depth=1)), []
    for batch_size in (7, 300):
        monkeypatch.setitem(BATCH, "cpu", batch_size)
        losses.append(evaluate(model, images, labels).loss)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    losses.append(evaluate(model, images, labels).loss)
    torch.set_num_threads(threads)
    assert max(losses) - min(losses) < 1e-12


class Small(ViT):
    """A network on a device whose memory holds at most `room` images."""

    def forward(self, images):
        if len(images) > self.room:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 51200000 bytes.")
        return super().forward(images)


def test_too_little_memory_for_a_batch_gets_a_smaller_one_and_the_same_result(test_set):
    images, labels = (part[:300] for part in test_set)
    model = Small(ViTConfig(depth=1))
    model.room = 300
    whole = evaluate(model, images, labels)
    model.room = 20
    assert evaluate(model, images, labels).loss == pytest.approx(whole.loss, abs=1e-12)
    model.room = 0
    with pytest.raises(RuntimeError, match="allocate memory"):
        evaluate(model, images, labels)


def test_evaluation_is_without_dropout_and_leaves_the_model_as_it_was(test_set):
    images, labels = (part[:50] for part in test_set)
    model = ViT(ViTConfig(depth=1, dropout=0.5)).train()
    assert evaluate(model, images, labels).loss == evaluate(model, images, labels).loss
    assert model.training
    assert next(model.parameters()).dtype == torch.float32


def test_unequal_images_and_labels_get_one_sentence(test_set):
    with pytest.raises(ValueError, match="images are 2 and labels 3, but must be equally many, at least 1"):
        evaluate(ViT(ViTConfig(depth=1)), test_set[0][:2], test_set[1][:3])


@pytest.mark.parametrize("wrong", [lambda x: x / 255, lambda x: x.long(), lambda x: x.unsqueeze(1), lambda x: x[0]])
def test_images_of_another_type_or_shape_get_one_sentence_and_no_answer(test_set, wrong):
    images = wrong(test_set[0][:2])
    run = load_run(paths.ROOT / "runs" / "report")
    calls = (
        lambda: run.predict(images),
        lambda: evaluate(run, images, test_set[1][: len(images)]),
        lambda: next(attention_maps.observe(run.model, images)),
    )
    for call in calls:
        with pytest.raises(ValueError, match=r"images are .* but must be uint8 \(N, 28, 28\), 0 black to 255 white"):
            call()


def test_wilson_interval_by_hand():
    # 8 of 10: centre (p + z²/2n) / (1 + z²/n), half-width z sqrt(p(1-p)/n + z²/4n²) / (1 + z²/n)
    z = 1.959964
    low, high = wilson_interval(8, 10)
    assert (low + high) / 2 == pytest.approx((0.8 + z * z / 20) / (1 + z * z / 10))
    assert (high - low) / 2 == pytest.approx(z * math.sqrt(0.016 + z * z / 400) / (1 + z * z / 10))


def answers(rows):
    """Answers of two classes to images of the first: the probability it gets, and how many images get it."""
    first = torch.tensor([p for p, n in rows for _ in range(n)], dtype=torch.float64)
    return Evaluation(torch.stack([first, 1 - first], dim=1).log(), torch.zeros(len(first), dtype=torch.int64))


def test_calibration_by_hand():
    # 3 images at 0.9 for the right class, 1 at 0.9 for the wrong one, 2 at 0.6 for the right one
    result = answers([(0.9, 3), (0.1, 1), (0.6, 2)])
    rows = result.calibration()
    assert rows == [(pytest.approx(0.6), 1.0, 2), (pytest.approx(0.9), 0.75, 4)]
    assert result.calibration_error() == pytest.approx((2 * 0.4 + 4 * 0.15) / 6)
