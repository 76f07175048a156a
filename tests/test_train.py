import json
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from filelock import FileLock

from tests.conftest import TINY, eagerly, result, weights
from vitlib import TrainConfig, ViT, data, load_run, runs, train
from vitlib.evaluate import evaluate
from vitlib.training.objective import compute_type, make_loss
from vitlib.training.optimizers import learning_rate_fraction, make_optimizers


def test_the_same_seed_gives_the_same_run_bit_for_bit(quick, tmp_path):
    one, again = eagerly(quick, tmp_path / "one"), eagerly(quick, tmp_path / "again")
    assert result(one) == result(again)
    assert weights(eagerly(replace(quick, seed=1), tmp_path / "other")) != weights(one)


def test_the_test_set_is_opened_once_after_the_last_epoch_or_never(quick, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(data, "load", lambda split, load=data.load: opened.append(split) or load(split))
    unseen = eagerly(quick, tmp_path / "unseen", test="never")
    assert opened == ["train"]
    assert set(unseen.metrics) == {"validation"}
    assert eagerly(quick, tmp_path / "unseen", test="never").path == unseen.path
    with pytest.raises(
        ValueError, match=r"unseen holds a run with test='never' \(requested: 'last'\): name another folder"
    ):
        eagerly(quick, tmp_path / "unseen")
    seen = eagerly(quick, tmp_path / "seen", progress=opened.append)
    assert weights(seen) == weights(unseen)
    assert opened.count("test") == 1
    assert not any(event.startswith("epoch") for event in opened[opened.index("test") :])


def test_a_run_without_validation_images_is_saved_and_loaded_without_their_results(quick, tmp_path):
    lines = []
    run = eagerly(replace(quick, validation_images=0), tmp_path / "run", test="never", progress=lines.append)
    assert run.metrics == {}
    assert [row["validation_accuracy"] for row in run.history] == [None, None]
    assert [line for line in lines if "epoch 2/2" in line and "validation" not in line]
    assert set(eagerly(run.config, tmp_path / "tested").metrics) == {"loss", "correct", "total"}


@pytest.mark.parametrize(("file", "name"), [("metrics.json", "validation"), ("history.csv", "validation_loss")])
def test_results_on_validation_images_may_not_be_missing_where_there_are_any(quick, tmp_path, file, name):
    path = eagerly(quick, tmp_path / "run").path
    text = (path / file).read_text(encoding="utf-8")
    (path / file).write_text(text.replace(name, f"x_{name}"), encoding="utf-8")
    runs.write_sums(path)
    with pytest.raises(ValueError, match=rf"{name} is None, but must be that of 100 validation images"):
        load_run(path)


def test_a_run_that_is_tested_every_epoch_learns_the_same(quick, tmp_path):
    quick = replace(quick, precision="float32")  # in which the epochs are tested, too
    watched = eagerly(quick, tmp_path / "watched", test="every")
    assert weights(watched) == weights(eagerly(quick, tmp_path / "run"))
    for row in load_run(tmp_path / "watched").history:
        assert len(row["test_correct"]) == 10
    assert row["test_loss"] == pytest.approx(watched.metrics["loss"], abs=1e-4)
    assert sum(row["test_correct"]) == pytest.approx(sum(watched.metrics["correct"]), abs=3)


def test_neither_training_nor_loading_a_model_takes_the_callers_random_numbers(quick, tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    assert eagerly(quick, tmp_path / "run").model.config == quick.model
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_one_batch_can_be_learned_by_heart(optimizer):
    config = TrainConfig(model=TINY, optimizer=optimizer, lr=0.01, precision="float32", batch_size=32)
    model = ViT(config.model)
    optimizers = make_optimizers(model, config)
    loss_function = make_loss(model, config)
    images, labels = (part[:32] for part in data.load("train"))
    for _ in range(300):
        loss = loss_function(images, labels)
        loss.backward()
        for each in optimizers:
            each.step()
            each.zero_grad()
    assert loss < 0.01


def test_every_parameter_has_one_optimizer():
    model = ViT(TINY)
    for optimizer in ("muon", "adamw"):
        groups = [
            g for o in make_optimizers(model, TrainConfig(model=TINY, optimizer=optimizer)) for g in o.param_groups
        ]
        held = [id(p) for group in groups for p in group["params"]]
        assert sorted(held) == sorted(id(p) for p in model.parameters())


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_weight_decay_shrinks_matrices_alone(optimizer):
    model = ViT(TINY)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    config = TrainConfig(model=TINY, optimizer=optimizer, lr=0.1, muon_lr=0.1, weight_decay=0.5)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    for each in make_optimizers(model, config):
        each.step()
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.detach(), before[name] * (0.95 if p.ndim == 2 else 1), msg=name)


def test_label_smoothing_spreads_a_share_of_the_target_over_all_classes():
    model = ViT(TINY)
    images, labels = (part[:8] for part in data.load("train"))
    config = TrainConfig(model=TINY, label_smoothing=0.1)
    log_p = model(data.normalise(images).unsqueeze(1)).log_softmax(dim=1)
    expected = -(0.9 * log_p[range(8), labels] + 0.1 * log_p.mean(dim=1)).mean()
    torch.testing.assert_close(make_loss(model, config)(images, labels), expected)


def test_a_constant_learning_rate_stays_at_its_peak():
    assert [learning_rate_fraction(step, 100, 0.02, "constant") for step in (0, 1, 2, 99)] == [0.5, 1.0, 1.0, 1.0]


def test_the_learning_rate_rises_to_its_peak_and_falls_to_zero():
    rates = [learning_rate_fraction(step, 100, 0.1) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1)
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 0.02


def test_a_finished_run_is_returned_as_it_is(quick, tmp_path):
    first = eagerly(quick, tmp_path / "run")
    times = {path.name: path.stat().st_mtime_ns for path in first.path.iterdir()}
    # no look at the device: this one is not there, and nothing is trained
    again = eagerly(quick, tmp_path / "run", device="cuda")
    assert {path.name: path.stat().st_mtime_ns for path in again.path.iterdir()} == times
    assert set(times) == set(runs.FILES)


def test_another_configuration_never_overwrites(quick, tmp_path):
    before = weights(eagerly(quick, tmp_path / "run"))
    with pytest.raises(ValueError) as error:
        eagerly(replace(quick, epochs=3), tmp_path / "run")
    assert str(error.value).endswith(
        "run holds a run with epochs=2 (requested: 3): move that folder away, or give the new run another name."
    )
    assert weights(load_run(tmp_path / "run")) == before


def test_another_configuration_does_not_continue_a_started_run(quick, tmp_path):
    partial = tmp_path / "run.partial"
    partial.mkdir()
    runs.write_json(partial / "config.json", quick.to_dict())
    with pytest.raises(ValueError, match="run holds a run with seed=0"):
        eagerly(replace(quick, seed=1), tmp_path / "run")


def test_a_started_run_does_not_continue_with_another_use_of_the_test_set(quick, tmp_path):
    def stop(line):
        if line.startswith("epoch 1"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        eagerly(quick, tmp_path / "run", test="every", progress=stop)
    with pytest.raises(ValueError, match=r"run was begun with test='every' \(requested: 'last'\): continue with that"):
        eagerly(quick, tmp_path / "run")


KILLED = """
import json, os, signal, sys
from vitlib import TrainConfig, train
from vitlib.training import loop
loop.CHECKPOINT_SECONDS = float(sys.argv[3])
def progress(line):
    if line.startswith("epoch 2"):
        os.kill(os.getpid(), signal.SIGKILL)
train(TrainConfig.from_dict(json.loads(sys.argv[1])), sys.argv[2], device="cpu", compiled=False, progress=progress)
"""


@pytest.mark.parametrize(("seconds_between_checkpoints", "kept"), [(0, 2), (1000, 1)])
def test_a_run_killed_midway_continues_to_the_same_weights(quick, tmp_path, seconds_between_checkpoints, kept):
    config = replace(quick, epochs=3, model=replace(TINY, dropout=0.1))
    arguments = [sys.executable, "-c", KILLED, json.dumps(config.to_dict()), str(tmp_path / "killed")]
    arguments.append(str(seconds_between_checkpoints))
    assert subprocess.run(arguments, cwd="/", check=False).returncode == -signal.SIGKILL
    assert not (tmp_path / "killed").exists()
    said = []
    continued = eagerly(config, tmp_path / "killed", progress=said.append)
    assert any(f"after epoch {kept}" in line for line in said)
    assert result(continued) == result(eagerly(config, tmp_path / "whole"))
    assert len(continued.manifest["starts"]) == 2


def test_two_processes_do_not_train_one_run(quick, tmp_path):
    with FileLock(tmp_path / ".run.lock"), pytest.raises(RuntimeError, match="is being trained by another process"):
        eagerly(quick, tmp_path / "run")


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ({"device": "tpu"}, "device is 'tpu', but must be one of auto, cpu, cuda"),
        ({"test": "often"}, "test is 'often', but must be one of never, last, every"),
        pytest.param(
            {"device": "cuda"},
            "device is 'cuda', but PyTorch finds no CUDA GPU",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU"),
        ),
    ],
)
def test_an_option_that_cannot_be_gets_one_sentence(quick, tmp_path, option, sentence):
    with pytest.raises(ValueError, match=sentence):
        train(quick, tmp_path / "run", **option)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("steps", "which"), [(2, "training"), (1, "validation")])
def test_a_diverged_run_says_so(quick, tmp_path, steps, which):
    config = replace(
        quick, lr=1e30, optimizer="adamw", precision="float32", epochs=1, train_images=steps * 32, batch_size=32
    )
    with pytest.raises(FloatingPointError, match=f"the {which} loss is nan"):
        eagerly(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_manifest_says_in_which_precision_training_computed(quick, tmp_path):
    computed = str(compute_type(quick, torch.device("cpu"))).removeprefix("torch.")
    assert eagerly(quick, tmp_path / "run").manifest["starts"][0]["precision"] == computed


def test_training_compiles_or_says_that_it_cannot(quick, tmp_path, monkeypatch):
    def broken(*_, **__):
        def fail(*_):
            raise RuntimeError("no compiler")

        return fail

    monkeypatch.setattr(torch, "compile", broken)
    said = []
    run = train(quick, tmp_path / "run", device="cpu", progress=said.append)
    assert run.manifest["starts"][0]["compiled"] is False
    assert "torch.compile does not work here (no compiler): training uncompiled, slower." in said


def test_predictions_of_a_run_are_those_of_its_evaluation(quick, tmp_path, test_set):
    run = eagerly(quick, tmp_path / "run")
    images, labels = test_set
    assert evaluate(run, images, labels).correct == run.metrics["correct"]
    logits = run.predict(images[:20])
    assert (logits.shape, logits.dtype) == ((20, 10), torch.float32)
    expected = evaluate(run, images[:20], labels[:20]).logits
    torch.testing.assert_close(logits.double(), expected, rtol=1e-4, atol=1e-4)


def test_an_unknown_run_names_the_runs_there_are(quick, tmp_path):
    with pytest.raises(ValueError, match=r"run is .*nowhere.* must be a finished run; there is none here yet"):
        load_run(tmp_path / "nowhere")
    eagerly(quick, tmp_path / "run")
    with pytest.raises(ValueError, match=r"but must be one of .*run"):
        load_run(tmp_path / "nowhere")


def test_an_epoch_of_one_step_is_kept_and_read(quick, tmp_path):
    run = eagerly(replace(quick, train_images=64), tmp_path / "run")
    assert all(row["images_per_second"] > 0 for row in load_run(run.path).history)


def test_a_kill_while_finishing_loses_nothing(quick, tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(runs, "save_run", killed)
        with pytest.raises(KeyboardInterrupt):
            eagerly(quick, tmp_path / "run")
    said = []
    run = eagerly(quick, tmp_path / "run", progress=said.append)
    assert not any(line.startswith("epoch") for line in said)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".run.lock", "run"]
    assert len(run.manifest["starts"]) == 2
