"""Training on a GPU: recorded steps against eager ones, checkpoints, evaluation, and a page (pytest -m gpu)."""

import json
import os
import subprocess
import sys

import gpu
import pytest
import torch

from tests.conftest import NEEDS_GPU
from vitlib import TrainConfig, ViTConfig, data, load_run, paths, runs, train
from vitlib.evaluate import evaluate
from vitlib.training.engine import WARMUP_STEPS, Engine

pytestmark = NEEDS_GPU
STEPS, BATCH = 12, 64
SETTINGS = [(1, {}), (3, {}), (1, {"erase": 0.5, "mixup": 0.5})]


def make(seeds=1, **settings):
    """Return a compiled engine with the attention kernel."""
    images, labels = (part[: STEPS * BATCH] for part in data.load("train"))
    model = ViTConfig(embed_dim=32, num_heads=2, depth=2)
    config = TrainConfig(model=model, epochs=3, batch_size=BATCH, train_images=len(images), crop_padding=2, **settings)
    engine = Engine(config, images, labels, torch.device("cuda"), seeds)
    engine.begin(range(seeds))
    return engine


def assert_close(engine, other):
    for ours, theirs in zip(engine.parameters, other, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0.02, atol=2e-3)


@pytest.fixture(scope="module", params=SETTINGS, ids=str)
def engine(request):
    """Return an engine of the settings; it compiles once for all tests."""
    seeds, settings = request.param
    return make(seeds, **settings)


def test_recorded_steps_train_as_eager_steps_do(engine):
    found = []
    for recorded in (False, True):
        engine.record_steps = recorded
        engine.begin(engine.seeds)
        losses = [engine.epoch(epoch)[0] for epoch in range(2)]
        found.append((losses, [p.detach().clone() for p in engine.parameters]))
        assert (engine._graph is not None) == recorded
    (expected, weights), (losses, _) = found
    for ours, theirs in zip(losses, expected, strict=True):
        assert ours == pytest.approx(theirs, abs=5e-3)
    assert_close(engine, weights)


def test_a_recorded_step_continues_from_a_restored_checkpoint(engine):
    engine.begin(engine.seeds)
    engine.epoch(0)
    assert engine._steps_taken > WARMUP_STEPS
    assert engine._graph is not None
    kept = engine.states()
    losses = engine.epoch(1)[0]
    expected = [p.detach().clone() for p in engine.parameters]
    engine.epoch(2)
    engine.restore(kept)
    assert engine.epoch(1)[0] == pytest.approx(losses, abs=1e-3)
    assert_close(engine, expected)


def test_an_engine_begins_anew_with_other_seeds():
    engine, losses = make(), []
    for seed in (0, 1, 0):
        engine.begin([seed])
        losses.append(engine.epoch(0)[0])
    assert losses[0] == pytest.approx(losses[2], abs=5e-3)
    assert losses[0] != losses[1]


def test_the_compiled_step_learns_as_the_plain_one():
    compiled = make()
    config = compiled.config
    plain = Engine(config, compiled.images, compiled.targets, compiled.device, compiled=False)
    plain.record_steps = False
    plain.begin([0])
    for epoch in range(2):
        assert compiled.epoch(epoch)[0] == pytest.approx(plain.epoch(epoch)[0], abs=0.02)


@pytest.mark.parametrize("seeds", [1, 3])
def test_all_seeds_are_evaluated_as_each_network_is(seeds, test_set):
    engine = make(seeds)
    engine.epoch(0)
    for s, ours in enumerate(engine.evaluate(*test_set)):
        exact = evaluate(engine.network(s), *test_set)
        assert ours.loss == pytest.approx(exact.loss, abs=0.01)
        assert ours.accuracy == pytest.approx(exact.accuracy, abs=0.005)


def test_evaluation_in_float64_gives_the_digits_of_a_cpu(test_set):
    engine = make()
    engine.epoch(0)
    network = engine.network(0)
    here = evaluate(network, *test_set)
    there = evaluate(network.cpu(), *test_set)
    assert here.loss == pytest.approx(there.loss, abs=1e-10)
    assert here.confusion.equal(there.confusion)


def test_a_run_is_trained_and_evaluated_on_the_device(quick, tmp_path):
    run = train(quick, tmp_path / "run", device="cuda", progress=lambda _: None)
    assert run.manifest["starts"][0] | {"device_kind": "cuda", "precision": "bfloat16"} == run.manifest["starts"][0]
    found = evaluate(run, *data.load("test"))
    assert found.correct == run.metrics["correct"]
    assert found.loss == pytest.approx(run.metrics["loss"], abs=1e-9)


def test_the_training_page_executes_on_the_gpu(tmp_path):
    command = [sys.executable, "-m", "papermill", "notebooks/02_training.ipynb", str(tmp_path / "out.ipynb")]
    command += ["--kernel", "python3", "--parameters_yaml", json.dumps({"run_name": "report"} | gpu.TINY)]
    surroundings = os.environ | {"REPORT_HOME": str(tmp_path)}
    subprocess.run(command, cwd=paths.ROOT, env=surroundings, check=True, capture_output=True)
    run = load_run(tmp_path / "runs" / "report")
    assert run.manifest["starts"][-1]["device_kind"] == "cuda"
    assert runs.is_complete(run.path)
