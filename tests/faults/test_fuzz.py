"""A run's folder or a profile of any content is read, or refused with the error that its reader documents."""

import json
import shutil
import tempfile
from pathlib import Path

import pytest
import report
import safetensors.torch
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import TINY, eagerly
from vitlib import TrainConfig, load_run, paths, runs

pytestmark = pytest.mark.faults
often = settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = TrainConfig(model=TINY, epochs=2, batch_size=64, train_images=128, validation_images=10)
    return eagerly(config, tmp_path_factory.mktemp("fuzz") / "run")


def is_read(run, name, content):
    """Return whether a copy of a run, with another file in it and fitting checksums, is taken for a run."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = shutil.copytree(run.path, Path(scratch) / "run")
        (folder / name).write_bytes(content)
        if name == "model.safetensors":
            manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
            manifest["weights_sha256"] = runs.sha256(folder / name)
            (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
        if name != runs.SUMS:
            runs.write_sums(folder)
        try:
            found = load_run(folder)
            found.model  # noqa: B018
        except ValueError:
            return False
        assert isinstance(found.config, TrainConfig)
        assert len(found.history) == found.config.epochs
        assert len(found.metrics["correct"]) == 10
        return True


@often
@given(name=st.sampled_from(runs.FILES), content=st.binary(max_size=300))
def test_a_run_with_a_file_of_any_bytes_is_refused(run, name, content):
    assert not is_read(run, name, content)


@often
@given(data=st.data(), name=st.sampled_from(["config.json", "metrics.json", "manifest.json"]))
def test_a_run_with_any_value_in_its_json_is_read_or_refused(run, data, name):
    content = place = json.loads((run.path / name).read_text(encoding="utf-8"))
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
    is_read(run, name, json.dumps(content).encode())


@often
@given(column=st.integers(0, 6), value=st.text(max_size=8) | values.map(json.dumps))
def test_a_run_with_any_value_in_its_history_is_read_or_refused(run, column, value):
    rows = (run.path / "history.csv").read_text(encoding="utf-8").splitlines()
    cells = rows[1].split(",")
    cells[column] = value
    rows[1] = ",".join(cells)
    is_read(run, "history.csv", "\n".join(rows).encode(errors="surrogatepass"))


@often
@given(data=st.data())
def test_weights_of_any_shape_and_type_are_read_or_refused(run, data):
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
    is_read(run, "model.safetensors", bytes(content))


@often
@given(
    st.binary(max_size=200)
    | st.text(max_size=200).map(lambda text: text.encode(errors="replace"))
    | values.map(lambda value: yaml.safe_dump(value).encode())
    | st.dictionaries(st.sampled_from(["02_training", "01_model", "x"]), values, max_size=3).map(
        lambda value: yaml.safe_dump(value).encode()
    )
)
def test_a_profile_of_any_content_is_read_or_refused_by_its_name(project, content):
    (project / "profiles" / "mine.yaml").write_bytes(content)
    try:
        sections = report.profile("mine")
    except report.UserError as error:
        assert "profiles/mine.yaml" in str(error)
    else:
        assert set(sections) <= {path.stem for path in (paths.ROOT / "notebooks").glob("*.ipynb")}
