"""SIGKILL at random moments: what was complete stays, the next call goes on, and the end is what it would have been."""

import hashlib
import json
import shutil
import signal
from dataclasses import replace

import pytest

from tests.conftest import TINY
from tests.faults import trial
from vitlib import TrainConfig, load_run, paths, train
from vitlib.runs import read_config

CONFIG = TrainConfig(
    model=replace(TINY, dropout=0.1), epochs=24, batch_size=64, train_images=1024, validation_images=100, crop=2
)
TRAIN = """
import json, sys
from vitlib import TrainConfig, train
print("ready", flush=True)
train(TrainConfig.from_dict(json.loads(sys.argv[1])), sys.argv[2], device="cpu", compiled=False)
"""
TRAINING = [trial.PYTHON, "-c", TRAIN, json.dumps(CONFIG.to_dict())]


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


def test_training_killed_at_random_ends_in_the_same_weights_history_and_metrics(tmp_path, undisturbed):
    moments, log = trial.chance("training"), tmp_path / "log"
    seconds = sum(row["seconds"] for row in undisturbed.history)
    survived, finished, wanted = 0, 0, trial.count(1, 20)
    while survived < wanted:
        folder = tmp_path / f"run-{finished}"
        log.write_text("")
        process = trial.start([*TRAINING, str(folder)], paths.ROOT, log)
        trial.wait_for(log, "ready", process)
        killed = trial.kill_after(process, moments.uniform(0, 0.5 * seconds), True)
        assert_whole(folder)
        survived += killed
        if not killed:
            assert process.returncode == 0, log.read_text()
            assert trial.result(load_run(folder)) == trial.result(undisturbed)
            finished += 1
    folder = tmp_path / f"run-{finished}"
    status, said = trial.call([*TRAINING, str(folder)])
    assert status == 0, said
    assert trial.result(load_run(folder)) == trial.result(undisturbed)
    trial.note("Kills survived: training", f"{survived} of {wanted}", "training_killed")


@trial.only_full
def test_an_interrupted_training_says_how_to_go_on(tmp_path):
    log, folder = tmp_path / "log", tmp_path / "run"
    log.touch()
    process = trial.start([*TRAINING, str(folder)], paths.ROOT, log)
    trial.wait_for(log, "epoch  1", process)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) != 0
    assert "stopped; the same call goes on after the last finished epoch." in log.read_text()
    assert list(tmp_path.glob("run.partial/checkpoint-*"))


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


def as_profile():
    return "02_training:\n" + "".join(f"  {name}: {value}\n" for name, value in PARAMETERS.items())


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


@trial.only_full
def test_papermill_killed_at_random_goes_on(tmp_path):
    moments, log = trial.chance("papermill"), tmp_path / "log"
    command = [trial.PYTHON, "-m", "papermill", "--log-output", "notebooks/02_training.ipynb"]
    given = [word for name, value in PARAMETERS.items() for word in ("-p", name, str(value))]
    alone, disturbed = tmp_path / "alone", tmp_path / "disturbed"
    status, said = trial.call([*command, str(tmp_path / "alone.ipynb"), *given], REPORT_HOME=str(alone))
    assert status == 0, said
    alone, disturbed = alone / "runs" / "report", disturbed / "runs" / "report"
    survived, wanted = 0, 20
    while survived < wanted:
        log.write_text("")
        process = trial.start(
            [*command, str(tmp_path / "out.ipynb"), *given], paths.ROOT, log, REPORT_HOME=str(tmp_path / "disturbed")
        )
        trial.wait_for_lines(log, moments.randint(1, 40), process)
        if trial.kill_after(process, moments.uniform(0, 1), moments.random() < 0.5):
            survived += 1
        else:
            assert process.returncode == 0, log.read_text()
            assert trial.result(load_run(disturbed)) == trial.result(load_run(alone))
            shutil.rmtree(disturbed)
        if disturbed.exists():
            load_run(disturbed)
    status, said = trial.call([*command, str(tmp_path / "out.ipynb"), *given], REPORT_HOME=str(tmp_path / "disturbed"))
    assert status == 0, said
    assert trial.result(load_run(disturbed)) == trial.result(load_run(alone))
    trial.note("Kills survived: papermill", f"{survived} of {wanted}", "papermill_killed")


@trial.only_full
def test_make_report_killed_at_random_makes_the_same_report(tmp_path):
    moments, log, quiet = trial.chance("report"), tmp_path / "log", tmp_path / "quiet"
    alone, disturbed = tmp_path / "alone", tmp_path / "disturbed"
    surroundings = {folder: trial.clone(folder) for folder in (alone, disturbed)}
    for folder in surroundings:
        (folder / "profiles" / "smoke.yaml").write_text(as_profile())
    command = ["make", "report", "PROFILE=smoke"]
    reference = trial.start(command, alone, quiet, **surroundings[alone])
    home, survived, wanted = disturbed / "build" / "smoke", 0, 20
    while survived < wanted:
        log.write_text("")
        process = trial.start(command, disturbed, log, **surroundings[disturbed])
        trial.wait_for_lines(log, moments.randint(1, 6), process)  # a page says two lines
        if trial.kill_after(process, moments.uniform(0, 4), moments.random() < 0.5):
            survived += 1
        else:
            assert process.returncode == 0, log.read_text()
            shutil.rmtree(home / "html")
        assert_pages_are_whole(home / "book")
        assert_whole(home / "runs" / "report")
    status, said = trial.call(command, disturbed, **surroundings[disturbed])
    assert status == 0, said
    assert reference.wait() == 0, quiet.read_text()
    assert "Test accuracy" in said
    first, second = (folder / "build" / "smoke" for folder in surroundings)
    assert trial.result(load_run(first / "runs" / "report")) == trial.result(load_run(second / "runs" / "report"))
    for page in (first / "book").glob("*.ipynb"):
        if page.stem not in ("02_training", "provenance"):  # these two show when and how fast it was made
            assert outputs(page) == outputs(second / "book" / page.name), page.name
    assert pages_of(first / "html").keys() == pages_of(second / "html").keys() != set()
    trial.note("Kills survived: make report", f"{survived} of {wanted}", "make_report_killed")


@trial.only_full
def test_a_build_killed_at_random_leaves_a_whole_site_or_none(tmp_path, pages):
    moments, log, folder = trial.chance("build"), tmp_path / "log", tmp_path / "project"
    surroundings = trial.clone(folder)
    site, survived, wanted = folder / "book" / "_build" / "html", 0, 20
    expected = pages_of(pages.folder)
    words = folder / "build" / "published" / "render.log"
    while survived < wanted:
        words.unlink(missing_ok=True)
        process = trial.start(["make", "html"], folder, log, **surroundings)
        trial.wait_for_lines(words, moments.randint(1, 100), process)  # a whole build says 110
        if trial.kill_after(process, moments.uniform(0, 1), moments.random() < 0.5):
            survived += 1
        else:
            assert process.returncode == 0, log.read_text()
        if site.exists():
            assert pages_of(site) == expected
    status, said = trial.call(["make", "html"], folder, **surroundings)
    assert status == 0, said
    assert pages_of(site) == expected
    trial.note("Kills survived: build of the book", f"{survived} of {wanted}", "build_killed")


@trial.only_full
def test_an_interrupted_make_says_how_to_go_on(tmp_path):
    folder, log = tmp_path / "project", tmp_path / "log"
    surroundings = trial.clone(folder)
    log.touch()
    command = [trial.PYTHON, "tools/report.py", "execute", "smoke", "01_model"]
    process = trial.start(command, folder, log, **surroundings)
    trial.wait_for(log, "01_model", process)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) != 0
    assert "Stopped. The same command goes on from here." in log.read_text()
    assert "Traceback" not in log.read_text()
