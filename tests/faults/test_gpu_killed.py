"""The command for a GPU is killed and called again: its pack is valid after every kill, and whole in the end."""

import random
import shutil

import pack
import pytest

from tests.conftest import git, result
from tests.faults import trial
from vitlib import load_run, train_seeds
from vitlib.studies import study as studies
from vitlib.studies import tables

pytestmark = pytest.mark.faults


@pytest.fixture
def project(tmp_path):
    """Return a copy of the project with a git history of its own, and what a process needs to use it."""
    folder, surroundings = trial.clone(tmp_path / "project")
    (folder / ".gitignore").write_text("/build/\n/.venv\n__pycache__/\n", encoding="utf-8")
    for command in (["init"], ["add", "-A"], ["commit", "-m", "copy"]):
        git(folder, *command)
    return folder, surroundings


def contents(folder):
    """Return the files of a pack, or none if there is no pack yet."""
    return pack.read(sorted(folder.glob("gpu-*.tar.gz"))).files


def test_a_killed_command_continues_and_its_pack_is_adopted_or_refused_as_a_whole(project, tmp_path):
    folder, surroundings = project
    out, log, chance = tmp_path / "pack", tmp_path / "log", random.Random("gpu")
    command = [trial.PYTHON, "tools/gpu.py", "--smoke", "--seconds", "900", "--out", str(out)]
    packed = {}
    for words in ("tests: ", "smoke, baseline, seeds 0, 1: done"):  # each kill comes some time after this line
        process = trial.start(command, folder, log, **surroundings)
        trial.wait_for(words, log, process)
        assert trial.kill_after(process, chance.uniform(0, 3), everything=False)
        now = contents(out)
        assert packed.keys() <= now.keys()
        packed = now
    status, output = trial.call(command, folder, **surroundings)
    assert status == 0, output
    assert "smoke, baseline, seeds 0, 1" not in output  # it was finished
    assert "smoke: 8 of 8 runs" in output

    status, output = trial.call([trial.PYTHON, "tools/adopt.py", "--smoke", str(out)], folder, **surroundings)
    assert status == 0, output
    load_run(folder / "build" / "smoke" / "runs" / "report")
    study = studies.load(str(shutil.copy(folder / "tools" / "studies" / "smoke.yaml", folder / "studies")))
    rows = tables.read(folder / "build" / "smoke" / "studies" / "results" / "smoke.csv")
    assert [(row["variant"], row["seed"]) for row in rows] == [(variant, config.seed) for variant, config in study.runs]
    job = study.jobs[1]
    undisturbed = train_seeds(job.config, job.seeds, tmp_path / "undisturbed", compiled=False, test="never")
    adopted = [load_run(study.folder(job.config) / f"seed-{seed}") for seed in job.seeds]
    assert [*map(result, adopted)] == [*map(result, undisturbed)]

    first = out / "gpu-0.tar.gz"
    first.write_bytes(first.read_bytes()[:-100])
    shutil.rmtree(folder / "build")
    status, output = trial.call([trial.PYTHON, "tools/adopt.py", "--smoke", str(out)], folder, **surroundings)
    assert status != 0
    assert "gpu-0.tar.gz is damaged or cut off" in output
    assert not (folder / "build").exists()


def test_the_command_ends_within_its_time_and_packs_what_it_finished(project, tmp_path):
    folder, surroundings = project
    command = [trial.PYTHON, "tools/gpu.py", "--smoke", "--seconds", "45", "--out", str(tmp_path / "pack")]
    status, output = trial.call(command, folder, timeout=50, **surroundings)
    assert status == 0, output
    assert "log/test_gpu.txt" in contents(tmp_path / "pack")
