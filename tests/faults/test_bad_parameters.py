"""A parameter that cannot be gets one sentence that names it, an exit that is not zero, and nothing is written."""

import importlib.util
import re
import shutil
import tempfile
from pathlib import Path

import pytest
import torch

from tests.faults import trial
from vitlib import TrainConfig, ViTConfig, data, load_run, paths, train, train_seeds
from vitlib.evaluate import evaluate, wilson_interval

spec = importlib.util.spec_from_file_location("report", paths.ROOT / "tools" / "report.py")
report = importlib.util.module_from_spec(spec)
spec.loader.exec_module(report)

NAN, INF, MARKUP = float("nan"), float("inf"), "<script>alert(1)</script>"
SETTINGS = [
    *({"epochs": value} for value in (0, -1, 1.5, "3", "", None, True, NAN, INF, 10**30, [1], MARKUP)),
    *({"batch_size": value} for value in (0, -128, 60_001, 2.0, "many")),
    *({"optimizer": value} for value in ("sgd", "", None, "Muon", MARKUP, ["adamw"])),
    *({"lr": value} for value in (-1e-9, NAN, INF, -INF, "0.1", None, 10**400, 1j, True)),
    *({"muon_lr": value} for value in (-1, NAN)),
    *({"weight_decay": value} for value in (-0.1, INF)),
    *({"warmup": value} for value in (1, 1.5, -0.1, NAN)),
    *({"flip": value} for value in (1, 0, "yes", None)),
    *({"crop_padding": value} for value in (-1, 0.5, 29, 10**9)),
    *({"label_smoothing": value} for value in (1, -0.1, NAN)),
    *({"train_images": value} for value in (0, 60_000, -5, 10**12)),
    *({"validation_images": value} for value in (0, 60_000)),
    *({"precision": value} for value in ("float16", "", 32)),
    *({"seed": value} for value in (-1, 2**63, 0.0, "1", NAN)),
    *({"model": value} for value in (None, {"depth": 2}, ViTConfig(image_size=32), ViTConfig(channels=3))),
]
DIMENSIONS = [
    *({"patch_size": value} for value in (0, 5, 29, -4, "4", 4.0)),
    *({"embed_dim": value} for value in (0, 63, 10**9, NAN)),
    *({"depth": value} for value in (0, -1, 10**9, True)),
    *({"num_heads": value} for value in (0, 3, 65, "")),
    *({"mlp_ratio": value} for value in (0, 0.5)),
    *({"dropout": value} for value in (1, -0.1, NAN, "0")),
    *({"share_norm": value} for value in (1, "no")),
]
PATHS = ["../outside", "runs/../../outside", "runs/a b", f"runs/{MARKUP}", "runs/a`b", "runs/a\nb", "runs/a\0b"]
PATHS += ["runs/" + "a" * 300, "runs/$(id)", "runs/a;b", "runs/{a}"]


def named(function, name):
    """Return whether a call is refused in one sentence that names the parameter."""
    try:
        function()
    except (ValueError, TypeError) as error:
        sentence = str(error)
        assert name in sentence, sentence
        assert re.search(" but ha(s|ve) to be ", sentence) or isinstance(error, TypeError), sentence
        assert "\n" not in sentence
        return True
    return False


def test_library_names_every_bad_parameter(tmp_path, monkeypatch):
    monkeypatch.setenv("REPORT_HOME", str(tmp_path))
    tiny = TrainConfig(model=ViTConfig(patch_size=14, embed_dim=8, depth=1), train_images=128, validation_images=10)
    images, labels = torch.zeros(2, 28, 28, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64)
    calls = [(lambda s=s: TrainConfig(**s), next(iter(s))) for s in SETTINGS]
    calls += [(lambda s=s: ViTConfig(**s), next(iter(s))) for s in DIMENSIONS]
    calls += [(lambda p=p: train(tiny, p), "path") for p in PATHS]
    calls += [(lambda p=p: load_run(p), "path") for p in PATHS]
    calls += [
        (lambda: TrainConfig(epoch=3), "epoch"),
        (lambda: TrainConfig.from_dict({"epoch": 3}), "epoch"),
        (lambda: TrainConfig.from_dict([]), "TrainConfig"),
        (lambda: TrainConfig.from_dict({"model": 3}), "ViTConfig"),
        (lambda: train(tiny, "runs/x", device="tpu"), "device"),
        (lambda: train(tiny, "runs/x", device=""), "device"),
        (lambda: train_seeds(tiny, [], "runs"), "seeds"),
        (lambda: train_seeds(tiny, [1, 1], "runs"), "seeds"),
        (lambda: train_seeds(tiny, [-1], "runs"), "seed"),
        (lambda: load_run("runs/nowhere"), "run"),
        (lambda: data.load("valid"), "split"),
        (lambda: evaluate(None, images, labels), "images"),
        (lambda: wilson_interval(5, 4), "correct of total"),
    ]
    held = sum(named(*each) for each in calls)
    assert held == len(calls)
    assert not any(tmp_path.iterdir())
    trial.note("Bad parameters named: library", f"{held} of {len(calls)}", "library_names")


SECTIONS = [
    "",
    "3",
    "[1, 2]",
    "02_training: 3",
    "02_training: [epochs, 3]",
    "02_training:",
    "2_training: {epochs: 3}",
    "02_training: {epoch: 3}",
    "02_training: {Epochs: 3}",
    "02_training: {1: 3}",
    f'02_training: {{"{MARKUP}": 3}}',
    '"../02_training": {epochs: 3}',
    "3: {epochs: 3}",
    "02_training: !!python/object/apply:os.system [id]",
    "02_training: {epochs: 3",
    "? [a, b]\n: 3",
]


def test_profile_names_every_bad_parameter(tmp_path, monkeypatch):
    (tmp_path / "profiles").mkdir()
    (tmp_path / "notebooks").symlink_to(paths.ROOT / "notebooks")
    monkeypatch.setattr(report, "ROOT", tmp_path)
    for content in SECTIONS:
        (tmp_path / "profiles" / "mine.yaml").write_text(content)
        with pytest.raises(report.MistakeError, match=r"profiles/mine\.yaml") as error:
            report.profile("mine")
        assert "\n" not in str(error.value)
    names = ["../profiles/cpu", "tpu", "", "cpu gpu", "cpu;id", "$(id)", MARKUP, "/etc/passwd", "CPU"]
    for name in names:
        with pytest.raises(report.MistakeError, match=r"PROFILE is .*, but has to be one of mine"):
            report.profile(name)
    assert not (tmp_path / "build").exists()
    tried = len(SECTIONS) + len(names)
    trial.note("Bad parameters named: profiles", f"{tried} of {tried}", "profile_names")


# by plain papermill: notebook, name and value, and the words that have to be said
UNKNOWN = [
    ("02_training", "epoch", "3", "parameter is 'epoch', but has to be one of "),
    ("02_training", "Epochs", "3", "parameter is 'Epochs', but has to be one of "),
    ("01_model", "num_head", "4", "parameter is 'num_head', but has to be one of example"),
    ("03_per_class", "import os;x", "4", "parameter is 'import os;x', but has to be one of "),
]
WRONG = [
    ("02_training", "epochs", "-1", "epochs is -1, but has to be a whole number of at least 1."),
    ("02_training", "epochs", "1.5", "epochs is 1.5, but has to be a whole number of at least 1."),
    ("02_training", "epochs", f"{10**30}", f"epochs is {10**30}, but has to be at most 1000000."),
    ("02_training", "batch_size", "many", "batch_size is 'many', but has to be a whole number of at least 1."),
    ("02_training", "train_images", "60000", "train_images + validation_images is 65000, but has to be at most 60000"),
    ("02_training", "lr", "nan", "lr is nan, but has to be a number of at least 0."),
    ("02_training", "lr", "1e999", "lr is inf, but has to be a number of at least 0."),
    ("02_training", "dropout", "1", "dropout is 1, but has to be a number of at least 0 and below 1."),
    ("02_training", "flip", "1", "flip is 1, but has to be True or False."),
    ("02_training", "device", MARKUP, f"device is '{MARKUP}', but has to be one of auto, cpu, cuda."),
    ("02_training", "optimizer", "Muon", "optimizer is 'Muon', but has to be one of "),
    ("02_training", "embed_dim", "", "embed_dim is '', but has to be a whole number of at least 1."),
    ("02_training", "run_name", "../../x", "path is 'runs/../../x', but has to be absolute or stay inside"),
    ("02_training", "run_name", "/tmp/x", "path is 'runs//tmp/x', but has to be absolute or stay inside"),
    ("01_model", "example", "60000", "example is 60000, but has to be 0 to 59999."),
    ("01_model", "num_heads", "3", "embed_dim is 64, but has to be a multiple of num_heads=3."),
    ("03_per_class", "run_name", "nowhere", "run is 'runs/nowhere', but has to be one of runs/report"),
    ("03_per_class", "mistakes", "-1", "mistakes is -1, but has to be 1 to 100."),
    ("what_if", "preset", "ViT", "preset is 'ViT', but has to be one of This homework, "),
]


def test_papermill_names_every_bad_parameter(tmp_path):
    runs_before = sorted((paths.ROOT / "runs").iterdir())

    def assert_named(case):
        notebook, name, value, words = case
        out = Path(tempfile.mkdtemp(dir=tmp_path)) / "out.ipynb"
        command = [trial.PYTHON, "-m", "papermill", f"notebooks/{notebook}.ipynb", str(out), "-p", name, value]
        status, said = trial.call(command)
        last = said.strip().splitlines()[-1]
        assert status != 0, case
        assert words in last, said
        if case in UNKNOWN:
            assert last.startswith("Error: ")
            assert "Traceback" not in said
            assert not out.exists()

    tried = UNKNOWN + WRONG if trial.FULL else UNKNOWN[::3]
    trial.side_by_side(assert_named, tried)
    assert not Path("/tmp/x").exists()
    assert sorted((paths.ROOT / "runs").iterdir()) == runs_before
    trial.note("Bad parameters named: papermill -p", f"{len(tried)} of {len(tried)}", "papermill_names")


COMMANDS = [
    (["make", "report", "PROFILE=tpu"], "PROFILE is 'tpu', but has to be one of cpu, gpu, smoke."),
    (["make", "report", "PROFILE=../profiles/cpu"], "PROFILE is '../profiles/cpu', but has to be one of "),
    (["make", "report", f"PROFILE={MARKUP}"], "but has to be one of "),
    (["make", "publish", "PROFILE=nothing"], "PROFILE is 'nothing', but has to be one of "),
    (["make", "publish", "PROFILE=gpu"], "build/gpu is not a finished rerun"),
    (["tools/report.py"], "action is '', but has to be one of data, check, execute, "),
    (["tools/report.py", "trian"], "action is 'trian', but has to be one of "),
    (["tools/report.py", "check"], "check: missing a required argument: 'name'"),
    (["tools/report.py", "check", "cpu", "gpu"], "check: too many positional arguments"),
    (["tools/report.py", "execute", "cpu", "04"], "notebooks/04.ipynb is missing or damaged"),
    (["tools/report.py", "execute", "cpu", "../README"], "README.ipynb is missing or damaged"),
    (["tools/pdf.py"], "0 arguments are given, but it takes two"),
    (["tools/verify.py", "everything"], "1 arguments are given, but it takes none."),
]


def test_make_and_the_tools_name_every_bad_parameter(tmp_path):
    folder = tmp_path / "project"
    surroundings = trial.clone(folder)
    tried = COMMANDS if trial.FULL else COMMANDS[1:2] + COMMANDS[5:6]
    for command, words in tried:
        command = command if command[0] == "make" else [trial.PYTHON, *command]
        status, said = trial.call(command, folder, **surroundings)
        assert status != 0
        assert words in said, said
        assert "Traceback" not in said
        for place in ("build/gpu", "build/cpu", "out.pdf"):
            assert not (folder / place).exists() or not any((folder / place).iterdir()), command
        shutil.rmtree(folder / "build", ignore_errors=True)
    trial.note("Bad parameters named: make and tools", f"{len(tried)} of {len(tried)}", "make_and_the_tools")
