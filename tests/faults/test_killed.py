"""SIGKILL at random moments, Ctrl-C and a second make: what is finished stays, and the result is the same."""

import json
import multiprocessing
import os
import random
import shutil
import signal
from dataclasses import replace

import pytest
import yaml

from tests.conftest import TINY, eagerly, result
from tests.faults import trial
from vitlib import TrainConfig, load_run, paths
from vitlib.config import differences
from vitlib.runs import read_config
from vitlib.training import checkpoint, loop

pytestmark = pytest.mark.faults
FORKED = multiprocessing.get_context("forkserver")  # its processes start with these imports, in no time
FORKED.set_forkserver_preload(["tests.faults.test_killed"])
CONFIG = TrainConfig(
    model=replace(TINY, dropout=0.1), epochs=24, batch_size=64, train_images=512, validation_images=100, crop_padding=2
)


def train_quietly(folder, config=CONFIG):
    loop.CHECKPOINT_SECONDS = 0  # as if each epoch took minutes
    return eagerly(config, folder)


def assert_whole(run_dir):
    """Assert that what has the name of a finished run or checkpoint is one."""
    if run_dir.exists():
        load_run(run_dir)
    settings = checkpoint.partial_folder(run_dir) / "config.json"
    if settings.is_file():
        _, (state,) = checkpoint.load([run_dir], [read_config(settings)])
        assert len(state.history) == checkpoint.epochs_kept(run_dir)


def test_a_training_that_is_killed_ends_in_the_same_weights_history_and_metrics(tmp_path):
    expected = train_quietly(tmp_path / "undisturbed")
    seconds, moments, killed = sum(row["seconds"] for row in expected.history), random.Random("training"), 0
    while not (tmp_path / "run").exists():
        process = FORKED.Process(target=train_quietly, args=(tmp_path / "run",))
        process.start()
        process.join(moments.uniform(0, 0.3 * seconds) if killed < 10 else None)
        process.kill()
        process.join()
        killed += process.exitcode == -signal.SIGKILL
        assert_whole(tmp_path / "run")
    assert killed > 2
    assert result(load_run(tmp_path / "run")) == result(expected)


# ---- the commands around it ----------------------------------------------------------------------------------------

SMALL = replace(CONFIG, model=TINY, epochs=6, crop_padding=0)
PARAMETERS = differences(SMALL, TrainConfig())
PARAMETERS = {name.removeprefix("model."): value for name, value in PARAMETERS.items()}
PARAMETERS |= {"run_name": "report", "device": "cpu"}


def assert_executed(book):
    """Assert that every page was executed to its end."""
    for page in book.glob("*.ipynb"):
        made = json.loads(page.read_text(encoding="utf-8"))
        assert not made["metadata"]["papermill"].get("exception")
        assert all(cell["execution_count"] for cell in made["cells"] if cell["cell_type"] == "code"), page


def test_a_make_report_that_is_killed_makes_the_same_report(tmp_path):
    log, command = tmp_path / "log", ["make", "report", "PROFILE=smoke"]
    folder, surroundings = trial.clone(tmp_path / "project")
    (folder / "profiles" / "smoke.yaml").write_text(yaml.safe_dump({"02_training": PARAMETERS}), encoding="utf-8")
    book, run = folder / "build" / "smoke" / "book", folder / "build" / "smoke" / "runs" / "report"
    book.mkdir(parents=True)
    for name in ("01_model", "04_encoder_cost", "05_seeds", "08_speed", "counting_tools", "what_if"):
        shutil.copy(folder / "book" / f"{name}.ipynb", book)  # these show nothing of the run, and are done

    def begin():
        return trial.start(command, folder, log, **surroundings)

    def check():
        assert_executed(book)
        assert_whole(run)

    trial.kill_often(3, begin, log, 8, 4, check, lambda: shutil.rmtree(run))
    status, output = trial.call(command, folder, **surroundings)
    assert status == 0, output
    assert "Test accuracy" in output
    check()
    assert result(load_run(run)) == result(train_quietly(tmp_path / "undisturbed", SMALL))
    assert {page.stem for page in book.glob("*.ipynb")} < {page.stem for page in (book.parent / "html").glob("*.html")}


def test_a_build_that_is_killed_leaves_a_whole_site_or_none(tmp_path):
    def pages_of(site):
        return {path.name: path.read_text(encoding="utf-8") for path in site.glob("*.html")}

    def complete(folder, surroundings):
        status, output = trial.call(["make", "html"], folder, **surroundings)
        assert status == 0, output
        return pages_of(folder / "book" / "_build" / "html")

    whole, surroundings = trial.clone(tmp_path / "undisturbed")
    expected = complete(whole, surroundings)
    lines = len((whole / "build" / "published" / "render.log").read_text(encoding="utf-8").splitlines())
    folder, surroundings = trial.clone(tmp_path / "killed")
    site, log = folder / "book" / "_build" / "html", folder / "build" / "published" / "render.log"

    def begin():
        return trial.start(["make", "html"], folder, tmp_path / "log", **surroundings)

    def check():
        assert not site.exists() or pages_of(site) == expected

    trial.kill_often(3, begin, log, lines, 1, check, lambda: shutil.rmtree(site))
    assert complete(folder, surroundings) == expected


# ---- Ctrl-C, and two at once ---------------------------------------------------------------------------------------

TRAIN = """
import json, sys
from vitlib import TrainConfig, train
train(TrainConfig.from_dict(json.loads(sys.argv[1])), sys.argv[2], device="cpu", compiled=False)
"""
TRAINING = [trial.PYTHON, "-c", TRAIN, json.dumps(CONFIG.to_dict())]


def interrupt(command, cwd, log, words, watched, **surroundings):
    """Return the output of a command that gets Ctrl-C, as in a terminal, once `words` are in the file `watched`."""
    process = trial.start(command, cwd, log, **surroundings)
    trial.wait_for(words, watched, process)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(120) != 0
    return log.read_text(encoding="utf-8")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Return a copy of the project, and what a process needs to use it; Ctrl-C reaches what the test starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background a shell has it ignored
    yield trial.clone(tmp_path / "project")
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_in_a_training_says_how_to_continue(tmp_path, project):
    command = [*TRAINING[:-1], json.dumps(CONFIG.to_dict() | {"epochs": 5000}), str(tmp_path / "run")]
    output = interrupt(command, paths.ROOT, tmp_path / "log", "epoch    1", tmp_path / "log")
    assert "stopped; the same call continues after the last checkpoint." in output
    assert list(tmp_path.glob("run.partial/checkpoint-*"))


def test_ctrl_c_in_papermill_says_how_to_continue(tmp_path, project):
    command = [trial.PYTHON, "-m", "papermill", "--log-output"]
    command += ["notebooks/02_training.ipynb", str(tmp_path / "out.ipynb")]
    command += [word for name, value in (PARAMETERS | {"epochs": 1000}).items() for word in ("-p", name, str(value))]
    home = str(tmp_path / "home")
    output = interrupt(command, paths.ROOT, tmp_path / "log", "epoch    1", tmp_path / "log", REPORT_HOME=home)
    assert output.strip().splitlines()[-1].startswith("Error: Stopped.")  # whatever the kernel wrote before
    assert list(tmp_path.glob("home/runs/report.partial/checkpoint-*"))


@pytest.mark.parametrize(
    ("command", "words", "watched"),
    [
        (["make", "report", "PROFILE=smoke"], "02_training", "../log"),
        (["make", "html"], "Sphinx", "build/published/render.log"),
    ],
)
def test_ctrl_c_in_make_says_how_to_continue(tmp_path, project, command, words, watched):
    folder, surroundings = project
    output = interrupt(command, folder, tmp_path / "log", words, folder / watched, **surroundings)
    assert "Stopped. " in output
    assert "Traceback" not in output
    assert not list(folder.glob("build/smoke/book/*.ipynb"))
    assert not (folder / "book" / "_build" / "html").exists()


def test_a_second_make_of_one_report_says_that_another_is_running(tmp_path, project):
    folder, surroundings = project
    command = [trial.PYTHON, "tools/report.py", "locked", "build/smoke", "bash", "-c"]
    first = trial.start([*command, "echo running; sleep 600"], folder, tmp_path / "log", **surroundings)
    trial.wait_for("running", tmp_path / "log", first)
    status, output = trial.call(["make", "report", "PROFILE=smoke"], folder, **surroundings)
    assert status != 0
    assert "Another make is running in build/smoke: wait for it." in output
    assert not (folder / "build" / "smoke").exists()
    assert trial.kill_after(first, 0, everything=True)
    assert trial.call([*command, "echo again"], folder, **surroundings)[1].strip() == "again"
