"""Two at once: the second waits or says so, and pages executed side by side do not disturb each other."""

import json
import time

from tests.faults import trial
from tests.faults.test_killed import LONG_TRAINING, assert_whole, outputs
from vitlib import paths


@trial.only_full
def test_of_two_trainings_of_one_run_the_second_says_so(tmp_path):
    log, folder = tmp_path / "log", tmp_path / "run"
    log.touch()
    command = [*LONG_TRAINING, str(folder)]
    first = trial.start(command, paths.ROOT, log)
    try:
        trial.wait_for(log, "epoch    1", first)
        status, said = trial.call(command)
        assert status != 0
        assert said.strip().endswith("run is being trained by another process; wait for it.")
    finally:
        assert trial.kill_after(first, 0, True)
    assert_whole(folder)


def test_of_two_makes_of_one_report_the_second_says_so(tmp_path):
    folder, log = tmp_path / "project", tmp_path / "log"
    surroundings = trial.clone(folder)
    log.touch()
    command = [trial.PYTHON, "tools/report.py", "alone", "build/smoke", "bash", "-c", "echo at work; sleep 600"]
    first = trial.start(command, folder, log, **surroundings)
    trial.wait_for(log, "at work", first)
    try:
        status, said = trial.call(["make", "report", "PROFILE=smoke"], folder, **surroundings)
        assert status != 0
        assert "Another make is at work in build/smoke: wait for it." in said
        assert not (folder / "build" / "smoke").exists()
    finally:
        assert trial.kill_after(first, 0, True)
    assert trial.call([*command[:-1], "echo again"], folder, **surroundings)[1].strip() == "again"


@trial.only_full
def test_pages_executed_side_by_side_are_the_published_ones(tmp_path):
    names = ["01_model", "04_encoder_cost", "growth", "reconciliation", "what_if"]
    folder = tmp_path / "project"
    surroundings = trial.clone(folder)
    command = [trial.PYTHON, "tools/report.py", "execute", "gpu"]
    logs = {name: tmp_path / name for name in names}
    started = {name: trial.start([*command, name], folder, log, **surroundings) for name, log in logs.items()}
    begun = time.monotonic()
    for name, process in started.items():
        assert process.wait() == 0, logs[name].read_text()
    for name in names:
        page = folder / "build" / "gpu" / "book" / f"{name}.ipynb"
        assert outputs(page) == outputs(paths.ROOT / "book" / page.name), name
        assert json.loads(page.read_text())["metadata"]["papermill"]["duration"] < time.monotonic() - begun
    assert not list((folder / "build" / "gpu" / "executing").iterdir())
