"""A step needs nothing from the host, so it can be recorded and replayed; here a stand-in plays the GPU's graph."""

from contextlib import contextmanager

import pytest
import torch

from tests.conftest import TINY
from vitlib import TrainConfig, data
from vitlib.training.engine import WARM, Engine


@pytest.fixture
def engine():
    images, labels = (part[:512] for part in data.load("train"))
    config = TrainConfig(model=TINY, epochs=2, batch_size=64, train_images=512, crop_padding=2)
    return Engine(config, images, labels, torch.device("cpu"), compiled=False)


def trained(engine):
    engine.begin([0])
    losses = [engine.epoch(epoch)[0] for epoch in range(2)]
    return losses, [p.detach().clone() for p in engine.model.parameters()]


def test_a_recorded_step_is_replayed_and_training_is_the_same(engine, monkeypatch):
    plain = trained(engine)
    replayed, step = [], engine._step

    class Graph:
        def replay(self):
            replayed.append(1)
            step()

    @contextmanager
    def record(_):
        monkeypatch.setattr(engine, "_step", lambda: None)  # recording executes nothing
        yield

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", record)
    engine._records, engine._taken = True, 0
    losses, weights = trained(engine)
    assert len(replayed) == 2 * engine.steps - WARM
    assert losses == plain[0]
    assert all(torch.equal(a, b) for a, b in zip(weights, plain[1], strict=True))


def test_a_step_that_cannot_be_recorded_is_taken_all_the_same(engine, monkeypatch):
    plain = trained(engine)

    @contextmanager
    def record(_):
        raise RuntimeError("operation not permitted when stream is capturing")
        yield

    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "graph", record)
    engine._records, engine._taken = True, 0
    with pytest.warns(UserWarning, match="a step cannot be recorded as a CUDA graph .operation not permitted"):
        losses, _ = trained(engine)
    assert losses == plain[0]


def small(seeds=1, **settings):
    images, labels = (part[:256] for part in data.load("train"))
    config = TrainConfig(model=TINY, epochs=2, batch_size=64, train_images=256, **settings)
    engine = Engine(config, images, labels, torch.device("cpu"), seeds, compiled=False)
    engine.begin(range(seeds))
    return engine


def test_averaged_weights_are_the_mean_that_the_decay_asks_for():
    engine = small(ema_decay=0.9)
    mean = [p.detach().clone() for p in engine.model.parameters()]
    average, steps = engine._average, []

    def beside():
        decay = min(0.9, (1 + len(steps)) / (10 + len(steps)))
        for m, p in zip(mean, engine.model.parameters(), strict=True):
            m.mul_(decay).add_(p.detach(), alpha=1 - decay)
        steps.append(decay)
        average()

    engine._average = beside
    for epoch in range(2):
        engine.epoch(epoch)
    assert len(steps) == 2 * engine.steps
    trained = list(engine.model.parameters())
    for m, p, q in zip(mean, engine.network(0).parameters(), trained, strict=True):
        assert torch.allclose(m, p, atol=1e-6)
        assert not torch.equal(p, q)


def test_averaged_weights_continue_from_a_checkpoint():
    whole, begun, resumed = small(ema_decay=0.9), small(ema_decay=0.9), small(ema_decay=0.9)
    for epoch in range(2):
        whole.epoch(epoch)
    begun.epoch(0)
    resumed.restore(begun.states())
    resumed.epoch(1)
    for a, b in zip(whole.network(0).parameters(), resumed.network(0).parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("seeds", [1, 2])
def test_sharpness_aware_steps_take_the_gradient_uphill_and_start_where_they_were(seeds):
    engine = small(seeds, sam_rho=0.05, optimizer="adamw", precision="float32")
    start = [p.detach().clone() for p in engine._parameters]
    seen = []
    gradients = engine._gradients
    engine._gradients = lambda *batch: (
        seen.append([p.detach().clone() for p in engine._parameters]),
        gradients(*batch),
    )[1]
    for optimizer in engine.optimizers:
        optimizer.step = lambda: None
    engine._draw(0)
    engine._step()
    assert len(seen) == 2
    for s in range(seeds):
        moved = [b[s] - a[s] if seeds > 1 else b - a for a, b in zip(*seen, strict=True)]
        length = sum(m.square().sum() for m in moved).sqrt()
        assert length.item() == pytest.approx(0.05, rel=1e-3)
    assert all(torch.allclose(a, p, atol=1e-6) for a, p in zip(start, engine._parameters, strict=True))


@pytest.mark.parametrize(
    "settings",
    [
        {"randaugment": 0.5, "erase": 0.5},
        {"mixup": 0.4, "cutmix": 0.4},
        {"ema_decay": 0.99},
        {"initialisation": "mimetic"},
    ],
)
def test_a_seed_beside_another_trains_as_it_does_alone(settings):
    alone, together = small(precision="float32", **settings), small(2, precision="float32", **settings)
    for epoch in range(2):
        (loss,), (beside, other) = alone.epoch(epoch)[0], together.epoch(epoch)[0]
        assert loss == pytest.approx(beside, abs=2e-4)
        assert loss != pytest.approx(other, abs=4e-4)
