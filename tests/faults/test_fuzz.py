"""Whatever stands in a run's folder or a profile, its reader returns or raises the error that it documents."""

import importlib.util
import json
import shutil
import tempfile
from pathlib import Path

import pytest
import safetensors.torch
import torch
import yaml
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests.conftest import TINY
from tests.faults import trial
from vitlib import TrainConfig, load_run, paths, runs, train

spec = importlib.util.spec_from_file_location("report", paths.ROOT / "tools" / "report.py")
report = importlib.util.module_from_spec(spec)
spec.loader.exec_module(report)

often = settings(
    max_examples=trial.count(60, 2000),
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=8,
)
INPUTS = []
TEXTS = [name for name in runs.CONTENT if name != "model.safetensors"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = TrainConfig(model=TINY, epochs=2, batch_size=64, train_images=128, validation_images=10)
    return train(config, tmp_path_factory.mktemp("fuzz") / "run", device="cpu", compiled=False, progress=lambda _: None)


def counted():
    """Count one more input; the test fails where its reader does anything but return or refuse."""
    INPUTS.append(None)
    trial.note("Fuzzed runs and profiles read or refused", f"{len(INPUTS):,} of {len(INPUTS):,}", "fuzz")


def read(folder):
    """Read all that a run's folder holds; return whether it was taken for a run."""
    counted()
    try:
        run = load_run(folder)
        run.model  # noqa: B018
    except ValueError:
        return False
    assert isinstance(run.config, TrainConfig)
    assert len(run.history) == run.config.epochs
    assert len(run.metrics["correct"]) == 10
    return True


def with_file(run, name, content):
    """Return a copy of a run with another file in it and the checksums that fit."""
    folder = Path(tempfile.mkdtemp()) / "run"
    shutil.copytree(run.path, folder)
    (folder / name).write_bytes(content)
    if name != runs.SUMS:
        runs.write_sums(folder)
    return folder


def tried(run, name, content):
    folder = with_file(run, name, content)
    try:
        return read(folder)
    finally:
        shutil.rmtree(folder.parent)


@seed(trial.SEED)
@often
@given(name=st.sampled_from(runs.FILES), content=st.binary(max_size=300))
def test_a_run_of_any_bytes_is_refused(run, name, content):
    assert not tried(run, name, content)


@seed(trial.SEED)
@often
@given(data=st.data())
def test_a_run_with_any_value_in_its_files_is_read_or_refused(run, data):
    name = data.draw(st.sampled_from(TEXTS))
    if name == "history.csv":
        rows = (run.path / name).read_text().splitlines()
        cells = rows[1].split(",")
        cells[data.draw(st.integers(0, len(cells) - 1))] = data.draw(st.text(max_size=8) | values.map(json.dumps))
        rows[1] = ",".join(cells)
        tried(run, name, "\n".join(rows).encode(errors="surrogatepass"))
        return
    content = json.loads((run.path / name).read_text())
    place = content
    while True:
        key = data.draw(st.sampled_from(sorted(place)) if isinstance(place, dict) else st.integers(0, len(place) - 1))
        if not place[key] or not isinstance(place[key], dict | list) or data.draw(st.booleans()):
            break
        place = place[key]
    change = data.draw(st.sampled_from(["replaced", "removed", "added"]))
    if change == "removed":
        del place[key]
    elif change == "added" and isinstance(place, dict):
        place[data.draw(st.text(max_size=12))] = data.draw(values)
    else:
        place[key] = data.draw(values)
    tried(run, name, json.dumps(content).encode())


@seed(trial.SEED)
@often
@given(data=st.data())
def test_weights_of_any_form_are_read_or_refused(run, data):
    tensors = safetensors.torch.load_file(run.path / "model.safetensors")
    name = data.draw(st.sampled_from(sorted(tensors)))
    shape = data.draw(st.lists(st.integers(0, 3), max_size=4))
    kind = data.draw(st.sampled_from([torch.float32, torch.float64, torch.int8, torch.bool]))
    if data.draw(st.booleans()):
        del tensors[name]
    tensors[data.draw(st.sampled_from([name, "another", ""]))] = torch.zeros(shape, dtype=kind)
    content = bytearray(safetensors.torch.save(tensors))
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, 200))] ^= 1 << data.draw(st.integers(0, 7))
    folder = with_file(run, "model.safetensors", bytes(content))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["weights_sha256"] = (folder / runs.SUMS).read_text().splitlines()[3].split()[0]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    runs.write_sums(folder)
    read(folder)
    shutil.rmtree(folder.parent)


@seed(trial.SEED)
@often
@given(
    content=st.binary(max_size=200)
    | st.text(max_size=200).map(lambda text: text.encode(errors="replace"))
    | values.map(lambda value: yaml.safe_dump(value).encode())
    | st.dictionaries(st.sampled_from(["02_training", "01_model", "x"]), values, max_size=3).map(
        lambda value: yaml.safe_dump(value).encode()
    )
)
def test_a_profile_of_any_content_is_read_or_refused(tmp_path, monkeypatch, content):
    (tmp_path / "profiles").mkdir(exist_ok=True)
    if not (tmp_path / "notebooks").exists():
        (tmp_path / "notebooks").symlink_to(paths.ROOT / "notebooks")
    monkeypatch.setattr(report, "ROOT", tmp_path)
    (tmp_path / "profiles" / "mine.yaml").write_bytes(content)
    counted()
    try:
        sections = report.profile("mine")
    except report.MistakeError as error:
        assert "profiles/mine.yaml" in str(error)
    else:
        assert set(sections) <= {path.stem for path in (paths.ROOT / "notebooks").glob("*.ipynb")}
