"""Many seeds at once: each equals itself alone, is kept as a run of its own, and survives a kill."""

import json
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import safetensors.torch
import torch

from tests.conftest import SILENT, TINY, result
from vitlib import data, runs, train, train_seeds
from vitlib.training.progress import Progress


def tensors(run):
    return safetensors.torch.load_file(run.path / "model.safetensors")


@pytest.mark.parametrize(("optimizer", "share_norm"), [("muon", True), ("adamw", False)])
def test_each_seed_of_many_equals_that_seed_alone(quick, tmp_path, monkeypatch, optimizer, share_norm):
    monkeypatch.setattr(data, "load", lambda split, load=data.load: [part[:1000] for part in load(split)])
    monkeypatch.setattr(data, "training_split", lambda train_images, _: torch.arange(1000).split([train_images, 488]))
    model = replace(TINY, share_norm=share_norm)
    config = replace(quick, optimizer=optimizer, precision="float32", lr=0.001, model=model)
    together = train_seeds(config, [3, 1], tmp_path / "together", **SILENT)
    assert [run.config.seed for run in together] == [3, 1]
    for run in together:
        alone = train(run.config, tmp_path / "alone" / str(run.config.seed), **SILENT)
        assert alone.config.digest == run.config.digest
        for name, tensor in tensors(alone).items():
            if name.endswith("key.bias"):  # shifts a row of scores by a constant: no gradient but rounding, no effect
                continue
            torch.testing.assert_close(tensors(run)[name], tensor, rtol=1e-3, atol=1e-4)
        for ours, theirs in zip(run.history, alone.history, strict=True):
            assert ours["train_loss"] == pytest.approx(theirs["train_loss"], abs=2e-5)
        assert run.metrics["loss"] == pytest.approx(alone.metrics["loss"], abs=1e-4)


KILLED = """
import json, os, signal, sys
from vitlib import TrainConfig, train, train_seeds
from vitlib.training import checkpoint, loop
loop.CHECKPOINT_SECONDS = 0
save, count = checkpoint.save, []
def killing(*arguments):  # between the checkpoints of the second epoch's first and second seed
    count.append(1)
    if len(count) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return save(*arguments)
checkpoint.save = killing
config = TrainConfig.from_dict(json.loads(sys.argv[1]))
train_seeds(config, range(2), sys.argv[2], device="cpu", compiled=False, progress=print)
"""


def test_seeds_killed_between_their_checkpoints_continue_to_the_same_weights(quick, tmp_path):
    arguments = [sys.executable, "-c", KILLED, json.dumps(quick.to_dict()), str(tmp_path / "killed")]
    assert subprocess.run(arguments, check=False, capture_output=True).returncode == -signal.SIGKILL
    said = []
    continued = train_seeds(quick, range(2), tmp_path / "killed", **SILENT | {"progress": said.append})
    assert any(line.endswith("after epoch 1") for line in said)
    whole = train_seeds(quick, range(2), tmp_path / "whole", **SILENT)
    assert [*map(result, continued)] == [*map(result, whole)]
    assert all({path.name for path in run.path.iterdir()} == set(runs.FILES) for run in continued)
    assert not list((tmp_path / "killed").glob("*.partial"))


def test_finished_seeds_are_left_out(quick, tmp_path):
    first = train_seeds(quick, [0], tmp_path, **SILENT)[0]
    made = first.path.stat().st_mtime_ns
    said = []
    both = train_seeds(quick, [0, 1], tmp_path, **SILENT | {"progress": said.append})
    assert first.path.stat().st_mtime_ns == made
    assert [run.path.name for run in both] == ["seed-0", "seed-1"]
    assert sum(line.startswith("epoch") for line in said) == quick.epochs


@pytest.mark.parametrize(
    ("seeds", "model", "sentence"),
    [
        ([], TINY, r"seeds is \[\], but must be at least one seed"),
        ([1, 1], TINY, r"seeds is \[1, 1\], but must be at least one seed, and each only once"),
        ([1, 2], replace(TINY, dropout=0.1), "dropout is 0.1, but must be 0 if several seeds train at once"),
    ],
)
def test_seeds_that_cannot_train_together_get_one_sentence(quick, tmp_path, seeds, model, sentence):
    with pytest.raises(ValueError, match=sentence):
        train_seeds(replace(quick, model=model), seeds, tmp_path, **SILENT)
    assert not list(tmp_path.iterdir())


def test_a_log_gets_lines_and_a_terminal_a_bar(monkeypatch, capsys):
    def show():
        with Progress() as display:
            display.say("compiling")
            display.start(200)
            display.advance(100)
            display.epoch("epoch 1/2   loss 0.5", "epoch 1/2, loss 0.5")

    show()
    assert capsys.readouterr().out == "compiling\nepoch 1/2   loss 0.5\n"
    monkeypatch.setattr("vitlib.training.progress.is_interactive", lambda: True)
    show()
    out, error = capsys.readouterr()
    assert "100/200" in out
    assert "epoch 1/2, loss 0.5" in out
    assert error == ""


def test_a_page_that_papermill_executes_gets_lines(monkeypatch):
    monkeypatch.setattr("vitlib.training.progress.in_notebook", lambda: True)
    for name in ("JPY_SESSION_NAME", "VSCODE_PID", "COLAB_RELEASE_TAG", "REPORT_HOME"):
        monkeypatch.delenv(name, raising=False)
    from vitlib.training.progress import is_interactive

    assert not is_interactive()
    monkeypatch.setenv("JPY_SESSION_NAME", "page.ipynb")
    assert is_interactive()
    monkeypatch.setenv("REPORT_HOME", "build/quick")
    assert not is_interactive()
