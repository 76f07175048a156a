"""A step needs nothing from the host, so it can be recorded and replayed; here a stand-in plays the GPU's graph."""

from contextlib import contextmanager

import pytest
import torch

from tests.conftest import TINY
from vitlib import TrainConfig, data
from vitlib.engine import WARM, Engine


@pytest.fixture
def engine():
    images, labels = (part[:512] for part in data.load("train"))
    config = TrainConfig(model=TINY, epochs=2, batch_size=64, train_images=512, crop=2)
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
