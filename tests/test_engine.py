"""A step needs nothing from the host, so it can be recorded and replayed; a stand-in replaces the GPU's graph."""

from contextlib import contextmanager

import pytest
import torch

from tests.conftest import TINY
from vitlib import TrainConfig, data
from vitlib.evaluate import evaluate
from vitlib.training import engine as engine_module
from vitlib.training.engine import WARMUP_STEPS, Engine
from vitlib.training.objective import compute_type

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def small(seeds=1, images=256, **settings):
    pixels, labels = (part[:images] for part in data.load("train"))
    config = TrainConfig(model=TINY, epochs=2, batch_size=64, train_images=images, **settings)
    engine = Engine(config, pixels, labels, CPU, seeds, compiled=False)
    engine.begin(range(seeds))
    return engine


@pytest.fixture
def engine():
    return small(images=512, crop_padding=2)


def trained(engine):
    engine.begin([0])
    losses = [engine.epoch(epoch)[0] for epoch in range(2)]
    return losses, [p.detach().clone() for p in engine.parameters]


@pytest.fixture
def recorded(engine, monkeypatch):
    """Let the engine record its steps; return the list that grows with each replay."""
    replayed, step = [], engine.training_step

    class Graph:
        def replay(self):
            replayed.append(1)
            step()

    @contextmanager
    def record(_):
        with monkeypatch.context() as patch:
            patch.setattr(engine, "training_step", lambda: None)  # recording executes nothing
            yield

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", record)
    engine.record_steps = True
    return replayed


def test_a_recorded_step_is_replayed_and_training_is_the_same(engine, recorded):
    losses, weights = trained(engine)
    assert len(recorded) == 2 * engine.steps - WARMUP_STEPS
    engine.record_steps, steps = False, len(recorded)
    expected = trained(small(images=512, crop_padding=2))
    assert losses == expected[0]
    assert len(recorded) == steps
    assert all(torch.equal(a, b) for a, b in zip(weights, expected[1], strict=True))


def test_a_step_that_cannot_be_recorded_is_taken_eagerly(engine, monkeypatch):
    def record(_):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "graph", record)
    engine.record_steps = True
    with pytest.warns(UserWarning, match="a step cannot be recorded as a CUDA graph .operation not permitted"):
        losses, _ = trained(engine)
    assert losses == trained(small(images=512, crop_padding=2))[0]


def test_restoring_keeps_the_tensors_that_a_recorded_step_reads():
    engine, other = small(), small()
    for each in (engine, other):
        each.epoch(0)
    other.epoch(1)

    def tensors(e):
        states = [tensor for o in e.optimizers for state in o.state.values() for tensor in state.values()]
        return [*e.parameters, *states]

    before = [tensor.data_ptr() for tensor in tensors(engine)]
    engine.restore(other.states())
    assert [tensor.data_ptr() for tensor in tensors(engine)] == before
    for ours, theirs in zip(tensors(engine), tensors(other), strict=True):
        assert torch.equal(ours, theirs)


@pytest.fixture
def bfloat16(monkeypatch):
    """Let engines compute in bfloat16, however slow this CPU is at it."""
    monkeypatch.setattr(engine_module, "compute_type", lambda *_: torch.bfloat16)


@pytest.mark.parametrize("seeds", [1, 2])
def test_in_bfloat16_the_network_computes_with_rounded_weights_and_the_optimizers_keep_float32(seeds, bfloat16):
    engine = small(seeds)
    loss = engine.epoch(0)[0][0]
    for w, p in zip(engine.parameters, engine.model.parameters(), strict=True):
        assert (w.dtype, w.grad.dtype, p.dtype, p.grad.dtype) == (torch.float32,) * 2 + (torch.bfloat16,) * 2
        assert torch.equal(p, w.bfloat16())
        assert torch.equal(w.grad, p.grad.float())
    assert any(not torch.equal(w, w.bfloat16().float()) for w in engine.parameters)
    assert loss == pytest.approx(small(seeds, precision="float32").epoch(0)[0][0], rel=0.01)


def test_training_in_bfloat16_continues_from_a_checkpoint(bfloat16):
    whole, begun, resumed = (small() for _ in range(3))
    for epoch in range(2):
        whole.epoch(epoch)
    begun.epoch(0)
    resumed.restore(begun.states())
    resumed.epoch(1)
    assert all(torch.equal(a, b) for a, b in zip(resumed.parameters, whole.parameters, strict=True))


@pytest.mark.parametrize("seeds", [1, 3])
def test_all_seeds_are_evaluated_as_each_network_is(seeds):
    engine = small(seeds, precision="float32")
    engine.epoch(0)
    images, labels = (part[:250] for part in data.load("test"))
    answers = engine.evaluate(images, labels)
    assert len(answers) == seeds
    for s, ours in enumerate(answers):
        expected = evaluate(engine.network(s), images, labels, dtype=torch.float32)
        torch.testing.assert_close(ours.logits, expected.logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("supported", "computed"), [(True, torch.bfloat16), (False, torch.float32)])
def test_a_cpu_that_is_slow_at_bfloat16_computes_in_float32(supported, computed, monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: supported)
    assert compute_type(TrainConfig(), CPU) == computed
    assert compute_type(TrainConfig(), CUDA) == torch.bfloat16
    assert compute_type(TrainConfig(precision="float32"), CUDA) == torch.float32


@pytest.mark.parametrize("settings", [{"crop_padding": 2, "erase": 0.5}, {"mixup": 0.4}])
def test_a_seed_beside_another_trains_as_it_does_alone(settings):
    alone, together = small(precision="float32", **settings), small(2, precision="float32", **settings)
    for epoch in range(2):
        (loss,), (beside, other) = alone.epoch(epoch)[0], together.epoch(epoch)[0]
        assert loss == pytest.approx(beside, abs=2e-4)
        assert loss != pytest.approx(other, abs=4e-4)


def test_gradients_of_many_seeds_are_those_of_each_alone_when_compiled():
    many = small(3, images=192, precision="float32")
    images, labels = many.images.view(3, 64, 28, 28), many.targets.view(3, 64)
    losses = torch.compile(many.loss_function, backend="aot_eager")(images, labels)
    losses.sum().backward()
    for seed in range(3):
        one = small(images=192, precision="float32")
        one.begin([seed])
        loss = one.loss_function(images[seed], labels[seed])
        loss.backward()
        torch.testing.assert_close(losses[seed], loss)
        for batched, p in zip(many.model.parameters(), one.model.parameters(), strict=True):
            torch.testing.assert_close(batched.grad[seed], p.grad, rtol=1e-4, atol=1e-6)


def test_the_engine_begins_anew_with_other_seeds():
    engine, losses = small(images=128), []
    for seed in (1, 2, 1):
        engine.begin([seed])
        losses.append(engine.epoch(0)[0])
    assert losses[0] == losses[2] != losses[1]
