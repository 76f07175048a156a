"""SIGKILL at random moments: what was complete stays, the next call goes on, and the end is what it would have been."""

import hashlib
import json
import os
import shutil
import signal
from dataclasses import replace

import pytest
import yaml

from tests.conftest import TINY
from tests.faults import trial
from vitlib import TrainConfig, load_run, paths, train
from vitlib.runs import read_config

CONFIG = TrainConfig(
    model=replace(TINY, dropout=0.1), epochs=24, batch_size=64, train_images=512, validation_images=100, crop_padding=2
)
TRAIN = """
import json, sys
from vitlib import TrainConfig, train
print("ready", flush=True)
train(TrainConfig.from_dict(json.loads(sys.argv[1])), sys.argv[2], device="cpu", compiled=False)
"""
TRAINING = [trial.PYTHON, "-c", TRAIN, json.dumps(CONFIG.to_dict())]
LONG_TRAINING = [*TRAINING[:-1], json.dumps(CONFIG.to_dict() | {"epochs": 5000})]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Return the result of a run that nothing disturbs, and a second in which it was made."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    return train(CONFIG, folder, device="cpu", compiled=False, progress=lambda _: None)


def assert_whole(folder):
    """Whatever has the name of something finished is finished."""
    if folder.exists():
        load_run(folder)
    partial = folder.with_name(f"{folder.name}.partial")
    for checkpoint in partial.glob("checkpoint-*.safetensors"):
        content = read_config(partial / "config.json").digest.encode() + checkpoint.read_bytes()
        assert hashlib.sha256(content).hexdigest() == checkpoint.stem.split("-")[-1]


def train_here(folder):
    train(CONFIG, folder, device="cpu", compiled=False, progress=lambda _: None)


def test_training_killed_at_random_ends_in_the_same_weights_history_and_metrics(tmp_path, undisturbed):
    moments, wanted = trial.chance("training"), trial.count(1, 20)
    seconds = sum(row["seconds"] for row in undisturbed.history)
    survived, finished = 0, 0
    while finished == 0 or survived < wanted:
        folder = tmp_path / f"run-{finished}"
        process = trial.FORKED.Process(target=train_here, args=(folder,))
        process.start()
        process.join(moments.uniform(0, 0.5 * seconds) if survived < wanted else None)
        process.kill()
        process.join()
        assert_whole(folder)
        if process.exitcode == -signal.SIGKILL:
            survived += 1
        else:
            assert process.exitcode == 0
            assert trial.result(load_run(folder)) == trial.result(undisturbed)
            finished += 1
    trial.note("Kills survived: training", f"{survived} of {wanted}", "training_killed")


# ---- the tools around it -------------------------------------------------------------------------------------------

PARAMETERS = {
    "run_name": "report",
    "epochs": 6,
    "batch_size": 64,
    "train_images": 512,
    "validation_images": 100,
    "patch_size": 14,
    "embed_dim": 8,
    "depth": 2,
    "num_heads": 2,
    "mlp_ratio": 2,
    "device": "cpu",
}


def outputs(page):
    """Return what the cells of a page printed and drew."""
    return [cell.get("outputs") for cell in json.loads(page.read_text())["cells"]]


def assert_pages_are_whole(book):
    for page in book.glob("*.ipynb"):
        made = json.loads(page.read_text())
        assert not made["metadata"]["papermill"].get("exception")
        assert all(cell["execution_count"] for cell in made["cells"] if cell["cell_type"] == "code"), page


def pages_of(site):
    return {path.name: path.read_text() for path in site.glob("*.html")}


PAPERMILL = [trial.PYTHON, "-m", "papermill", "--log-output", "notebooks/02_training.ipynb"]
GIVEN = [word for name, value in PARAMETERS.items() for word in ("-p", name, str(value))]


@trial.only_full
def test_papermill_killed_at_random_goes_on(tmp_path):
    def run_of(name):
        return tmp_path / name / "runs" / "report"

    def to_its_end(name):
        status, said = trial.call(
            [*PAPERMILL, str(tmp_path / f"{name}.ipynb"), *GIVEN], REPORT_HOME=str(tmp_path / name)
        )
        assert status == 0, said
        return trial.result(load_run(run_of(name)))

    def killed(name):
        log, command = tmp_path / f"{name}.log", [*PAPERMILL, str(tmp_path / f"{name}.ipynb"), *GIVEN]

        def begin():
            return trial.start(command, paths.ROOT, log, REPORT_HOME=str(tmp_path / name))

        def ended():
            assert trial.result(load_run(run_of(name))) == expected
            shutil.rmtree(run_of(name))

        number = trial.kill_often(10, name, begin, log, 40, 1, lambda: assert_whole(run_of(name)), ended)
        assert to_its_end(name) == expected
        return number

    expected = to_its_end("alone")
    survived = sum(trial.side_by_side(killed, ["papermill", "papermill again"]))
    trial.note("Kills survived: papermill", f"{survived} of 20", "papermill_killed")


@trial.only_full
def test_make_report_killed_at_random_makes_the_same_report(tmp_path):
    command = ["make", "report", "PROFILE=smoke"]
    folders = {name: tmp_path / name for name in ("alone", "report", "report-again")}
    surroundings = {name: trial.clone(folder) for name, folder in folders.items()}
    for folder in folders.values():
        profile = folder / "profiles" / "smoke.yaml"
        profile.write_text(yaml.safe_dump(yaml.safe_load(profile.read_text()) | {"02_training": PARAMETERS}))

    def to_its_end(name):
        status, said = trial.call(command, folders[name], timeout=1800, **surroundings[name])
        assert status == 0, said
        assert "Test accuracy" in said
        home = folders[name] / "build" / "smoke"
        # two pages show when and how fast the run was made, and in how many starts
        pages = {page.name: outputs(page) for page in (home / "book").glob("*.ipynb")}
        shown = {page: shown for page, shown in pages.items() if page not in ("02_training.ipynb", "provenance.ipynb")}
        return trial.result(load_run(home / "runs" / "report")), shown, pages_of(home / "html").keys()

    def killed(name):
        log, home = tmp_path / f"{name}.log", folders[name] / "build" / "smoke"

        def begin():
            return trial.start(command, folders[name], log, **surroundings[name])

        def whole():
            assert_pages_are_whole(home / "book")
            assert_whole(home / "runs" / "report")

        number = trial.kill_often(10, name, begin, log, 8, 3, whole, lambda: shutil.rmtree(home))  # a page says 2 lines
        return number, to_its_end(name)

    (_, expected), *made = trial.side_by_side(
        lambda name: killed(name) if name != "alone" else (0, to_its_end(name)), folders
    )
    assert expected[1]
    assert expected[2]
    assert all(result == expected for _, result in made)
    trial.note("Kills survived: make report", f"{sum(number for number, _ in made)} of 20", "make_report_killed")


@trial.only_full
def test_a_build_killed_at_random_leaves_a_whole_site_or_none(tmp_path):
    def project(name):
        folder = tmp_path / name
        surroundings = trial.clone(folder)
        return folder, surroundings, folder / "book" / "_build" / "html", folder / "build" / "published" / "render.log"

    def to_its_end(folder, surroundings, site, _):
        status, said = trial.call(["make", "html"], folder, **surroundings)
        assert status == 0, said
        return pages_of(site)

    def killed(name):
        folder, surroundings, site, log = mine = project(name)

        def begin():
            return trial.start(["make", "html"], folder, tmp_path / f"{name}.log", **surroundings)

        def whole():
            assert not site.exists() or pages_of(site) == expected

        number = trial.kill_often(10, name, begin, log, lines, 1, whole, lambda: shutil.rmtree(site))
        assert to_its_end(*mine) == expected
        return number

    alone = project("alone")
    expected = to_its_end(*alone)
    lines = len(alone[-1].read_text().splitlines())
    survived = sum(trial.side_by_side(killed, ["build", "build-again"]))
    trial.note("Kills survived: build of the book", f"{survived} of 20", "build_killed")


# ---- Ctrl-C ---------------------------------------------------------------------------------------------------------


def interrupted(command, cwd, log, words, watched=None, **surroundings):
    """Return what a command says that Ctrl-C stops, as a terminal does it: its whole group, once it said `words`.

    It said them in the file `watched`, where that is not its output.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it, and all it starts
    log.touch()
    process = trial.start(command, cwd, log, **surroundings)
    trial.wait_for(watched or log, words, process, 900)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(120) != 0
    return log.read_text()


@trial.only_full
def test_an_interrupted_training_says_how_to_go_on(tmp_path):
    said = interrupted([*LONG_TRAINING, str(tmp_path / "run")], paths.ROOT, tmp_path / "log", "epoch    1")
    assert "stopped; the same call goes on after the last finished epoch." in said
    assert list(tmp_path.glob("run.partial/checkpoint-*"))


@trial.only_full
def test_an_interrupted_papermill_says_how_to_go_on(tmp_path):
    command, home = [*PAPERMILL, str(tmp_path / "out.ipynb"), *GIVEN, "-p", "epochs", "1000"], str(tmp_path / "home")
    said = interrupted(command, paths.ROOT, tmp_path / "log", "epoch    1", REPORT_HOME=home)
    assert said.strip().splitlines()[-1] == (
        "Error: Stopped. The same command goes on: a training after its last epoch."
    )  # whatever the kernel said while it was ended
    assert list(tmp_path.glob("home/runs/report.partial/checkpoint-*"))


@trial.only_full
@pytest.mark.parametrize(
    ("command", "words", "watched", "sentence"),
    [
        (["make", "report", "PROFILE=smoke"], "01_model", "../log", "Stopped. The same command goes on"),
        (["make", "html"], "Sphinx", "build/published/render.log", "Stopped. The same command builds the book anew."),
    ],
)
def test_an_interrupted_make_says_how_to_go_on(tmp_path, command, words, watched, sentence):
    folder = tmp_path / "project"
    surroundings = trial.clone(folder)
    said = interrupted(command, folder, tmp_path / "log", words, folder / watched, **surroundings)
    assert sentence in said
    assert "Traceback" not in said
    assert not list(folder.glob("build/smoke/book/*.ipynb"))
    assert not (folder / "book" / "_build" / "html").exists()
