"""Studies: a readable file becomes jobs, the jobs become a table, and nothing is trained twice or half gathered."""

import csv
import errno
import functools
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys

import pytest
import study as tool

from tests import slurm
from vitlib import data, paths
from vitlib.studies import study
from vitlib.training.loop import train, train_seeds

HEAD = """
purpose: To be tried.
recipe: homework
test: {test}
seeds: 0-2
seeds_a_job: 2
curves: true
settings:
  epochs: 2
  batch_size: 64
  train_images: 256
  validation_images: 100
  model: {{patch_size: 14, embed_dim: 8, depth: 2, num_heads: 2, mlp_ratio: 2}}
rungs:
  homework: {{}}
"""


@pytest.fixture
def lay(tmp_path):
    """Return what writes a study's file and loads it."""

    def write(text=HEAD, test="never"):
        path = tmp_path / "studies" / "tried.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text.format(test=test))
        return study.load(str(path))

    return write


@pytest.fixture(autouse=True)
def trained(monkeypatch):
    """Train without a compiler; the list says what was trained."""
    names, silent = [], {"compiled": False, "progress": lambda _: None, "device": "cpu"}

    def one(config, folder, **options):
        names.append(f"{config.digest}")
        return train(config, folder, **silent, **options)

    def many(config, seeds, folder, **options):
        names.append(f"{config.digest} {seeds}")
        return train_seeds(config, seeds, folder, **silent, **options)

    monkeypatch.setattr(study, "train", one)
    monkeypatch.setattr(study, "train_seeds", many)
    return names


def run_all(asked):
    for job in asked.jobs:
        asked.run(job.name)
    asked.gather()


def rows_of(table):
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_committed_studies_can_be_planned(capsys):
    for path in study.FOLDER.glob("*.yaml"):
        tool.plan(path.stem)
        assert "the test set" in capsys.readouterr().out


def test_a_study_becomes_a_job_a_batch_of_seeds(lay):
    more = "  mirrored: {{flip: true}}\n  both: {{from: mirrored, crop: 2}}\n  dropped: {{model: {{dropout: 0.1}}}}\n"
    asked = lay(HEAD + more)
    assert [job.seeds for job in asked.jobs[:6]] == [(0, 1), (2,)] * 3
    assert [job.seeds for job in asked.jobs[6:]] == [(0,), (1,), (2,)]  # dropout's draws do not come apart by seed
    assert (asked.rungs["both"].flip, asked.rungs["both"].crop, asked.rungs["homework"].flip) == (True, 2, False)
    assert len({job.name for job in asked.jobs}) == 9
    assert asked.rungs["dropped"].model.depth == 2


def test_a_rung_may_start_at_another_recipe(lay):
    asked = lay(HEAD + "  best: {{from: best, epochs: 1}}\n")
    best = asked.rungs["best"]
    assert (best.optimizer, best.crop, best.epochs, best.train_images) == ("muon", 2, 1, 256)


def test_a_rung_knows_which_one_it_changes(lay):
    asked = lay(HEAD + "  Muon: {{optimizer: muon}}\n  both: {{from: Muon, flip: true}}\n  best: {{from: best}}\n")
    assert asked.origins == {"homework": "homework", "Muon": "homework", "both": "Muon", "best": "best"}


def test_dropped_branches_train_one_seed_at_a_time(lay):
    asked = lay(HEAD + "  dropped: {{model: {{drop_path: 0.5}}}}\n")
    assert [job.seeds for job in asked.jobs] == [(0, 1), (2,), (0,), (1,), (2,)]


def test_a_rung_teaches_another_once_it_is_trained(lay, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(teacher, "FOLDER", tmp_path / "teachers")
    asked = lay(HEAD + "  taught: {{teacher: owl}}\n")
    name, first = str(asked.path), asked.jobs[:2]
    with pytest.raises(tool.MistakeError, match="rung is 'owls', but has to be one of homework, taught"):
        tool.teach(name, "owls", "owl")
    with pytest.raises(tool.MistakeError, match="lacks seed-0, seed-1, seed-2: train that rung here first"):
        tool.teach(name, "homework", "owl")
    with pytest.raises(ValueError, match=r"teacher is .\.\./owl., but has to be the name of a file"):
        tool.teach(name, "homework", "../owl")
    with pytest.raises(ValueError, match="teacher is 'owl', but has to be one of those there are"):
        asked.run(asked.jobs[2].name)
    for job in first:
        asked.run(job.name)
    tool.teach(name, "homework", "owl")
    assert "owl.safetensors: the mean of 3 runs" in capsys.readouterr().out
    for job in asked.jobs[2:]:
        asked.run(job.name)
    asked.gather()
    assert len(asked.rows) == 6


def test_the_table_has_a_row_a_run_and_says_what_the_run_says(lay):
    asked = lay(test="every")
    run_all(asked)
    rows = rows_of(asked.table)
    assert [(row["rung"], row["seed"]) for row in rows] == [("homework", str(seed)) for seed in range(3)]
    assert tuple(rows[0]) == asked.columns
    for row in asked.rows.values():
        run = study.runs.load_run(asked.folder(asked.rungs["homework"]) / f"seed-{row['seed']}")
        assert row["digest"] == run.config.digest
        assert row["validation_accuracy"] == run.history[-1]["validation_accuracy"]
        assert row["test_correct"] == run.metrics["correct"]
        assert row["test_accuracy"] == sum(run.metrics["correct"]) / 10_000
        at_once = 2 if row["seed"] < 2 else 1
        assert row["seconds"] == pytest.approx(run.manifest["training_seconds"] / at_once, abs=0.06)
        epochs = [epoch for epoch in asked.epochs if epoch["seed"] == row["seed"]]
        assert [epoch["validation_loss"] for epoch in epochs] == [epoch["validation_loss"] for epoch in run.history]
        assert [epoch["test_correct"] for epoch in epochs] == [epoch["test_correct"] for epoch in run.history]


def test_a_selection_study_does_not_open_the_test_files(lay, tmp_path, monkeypatch):
    only = tmp_path / "only training" / "FashionMNIST" / "raw"
    only.mkdir(parents=True)
    for path in (data.default_root() / "FashionMNIST" / "raw").glob("train-*"):
        (only / path.name).symlink_to(path)
    monkeypatch.setenv("FASHION_MNIST", str(only.parent.parent))

    def fetch(*_):
        raise AssertionError("the test files were asked for")

    monkeypatch.setattr(data, "_fetch", fetch)
    asked = lay()
    run_all(asked)
    assert not [column for column in rows_of(asked.table)[0] if "test" in column]
    looking = lay(test="last")
    with pytest.raises(AssertionError, match="the test files were asked for"):
        looking.run(looking.jobs[0].name)


def test_what_is_finished_is_not_trained_again_even_in_a_fresh_clone(lay, trained):
    asked = lay()
    run_all(asked)
    made = asked.table.read_bytes(), asked.epochs_table.read_bytes()
    shutil.rmtree(asked.work)  # a clone has the tables alone
    trained.clear()
    again = lay()
    assert not any(again.missing(job) for job in again.jobs)
    run_all(again)
    assert trained == []
    assert (asked.table.read_bytes(), asked.epochs_table.read_bytes()) == made


def test_adding_a_rung_trains_that_rung_and_a_removed_one_leaves_the_table(lay, trained, capsys):
    run_all(lay())
    trained.clear()
    more = lay(HEAD + "  mirrored: {{flip: true}}\n")
    assert [job.rung for job in more.jobs if more.missing(job)] == ["mirrored", "mirrored"]
    assert more.coverage == "3 of 6 runs: partial, the others are not trained yet"
    run_all(more)
    assert len(trained) == 2
    assert [row["rung"] for row in rows_of(more.table)] == ["homework"] * 3 + ["mirrored"] * 3
    assert more.coverage == "6 of 6 runs"
    less = lay(HEAD.replace("homework: {{}}", "mirrored: {{flip: true}}"))
    tool.plan(str(less.path))
    assert f"  3 rows of {less.table} that no rung asks for will leave it\n" in capsys.readouterr().out
    run_all(less)
    assert [row["rung"] for row in rows_of(more.table)] == ["mirrored"] * 3


def test_a_run_that_did_not_see_the_test_set_is_trained_anew_where_the_study_wants_it(lay, trained):
    run_all(lay())
    trained.clear()
    asked = lay(test="last")
    assert all(asked.missing(job) for job in asked.jobs)
    run_all(asked)
    assert len(trained) == 2
    assert rows_of(asked.table)[0]["test_accuracy"]


def test_nothing_half_written_is_gathered(lay):
    asked = lay()
    run_all(asked)
    asked.table.unlink()
    asked.epochs_table.unlink()
    folder = asked.folder(asked.rungs["homework"])
    (folder / "seed-1" / "metrics.json").unlink()
    (folder / "seed-2").rename(folder / "seed-2.partial")
    asked = lay()
    asked.gather()
    assert [row["seed"] for row in rows_of(asked.table)] == ["0"]
    assert asked.coverage.startswith("1 of 3 runs: partial")
    assert not list(asked.table.parent.glob("*.part"))

    asked.table.unlink()
    with (folder / "seed-0" / "model.safetensors").open("ab") as file:
        file.write(b"x")
    asked = lay()
    with pytest.raises(ValueError, match=r"seed-0/model.safetensors has SHA-256 .* but SHA256SUMS beside it says"):
        asked.gather()
    assert not asked.table.exists()


def test_how_far_the_jobs_are_is_seen_from_locks_notes_and_runs(lay):
    asked = lay(HEAD + "  mirrored: {{flip: true}}\n")
    first, second, third, _ = asked.jobs
    asked.run(first.name)
    asked.note(second).write_text("On n1: a fault.\n")
    with asked.lock(third):
        state = asked.state(asked.jobs)
    assert (state.done, state.running, state.failed) == (1, 1, {second: "On n1: a fault."})
    images = 2 * 256  # of a run
    assert state.left == [0, images, 2 * images, images]
    partial = asked.folder(third.config) / "seed-0.partial"
    partial.mkdir(parents=True)
    (partial / "checkpoint-00001-abc.safetensors").touch()
    assert asked.state(asked.jobs).left == [0, images, images, images]  # one of two epochs
    asked.run(second.name)
    assert asked.state(asked.jobs).failed == {}


def test_the_plan_counts_jobs_images_and_hours_from_what_was_measured(lay, capsys):
    text = HEAD.replace("epochs: 2", "epochs: 30").replace("train_images: 256", "train_images: 50_000")
    report = study.runs.load_run(paths.ROOT / "runs" / "report")
    pace = study.images_of(report.config) / report.manifest["training_seconds"]
    images = 3 * 30 * (50_000 // 64) * 64
    lay(text)
    tool.plan(str(lay(text).path))
    said = capsys.readouterr().out
    assert "1 rung x 3 seeds: 3 runs in 2 jobs; the test set is never read" in said
    assert (
        f"{images:,} images, about {tool.hours(images / pace)} one job after the other, at {pace:,.0f} images/s" in said
    )
    assert f"(measured: runs/report, on {report.manifest['starts'][-1]['device']})" in said

    run_all(lay())
    small = lay(HEAD + "  mirrored: {{flip: true}}\n")
    seconds = sum(row["seconds"] for row in small.rows.values())
    pace, source = study.speed(small)
    assert pace == pytest.approx(3 * 2 * 256 / seconds)
    assert source == "the 3 runs of this study that are there"


def test_a_snakemake_that_waits_for_forgotten_jobs_is_ended_when_all_are_finished(lay, monkeypatch, capsys):
    asked = lay()
    run_all(asked)
    asked.table.unlink()
    monkeypatch.setattr(tool, "GRACE", 1)
    waiting = subprocess.Popen(["sleep", "600"], start_new_session=True)
    tool.watch(asked, asked.jobs, waiting)
    assert waiting.returncode == -signal.SIGINT
    assert "2 of 2 jobs done, 0 running, 0 failed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("left", "slots", "images"),
    [([9], 1, 9), ([9, 9, 9], 1, 27), ([9, 9, 9], 2, 18), ([9, 9, 9, 9], 2, 18), ([2, 9, 3], 2, 9), ([1, 9, 9], 2, 10)],
)
def test_the_time_left_counts_that_slots_work_beside_each_other(left, slots, images):
    assert tool.span(left, slots) == images


def test_the_time_left_is_that_of_the_slots_seen(lay, monkeypatch, capsys):
    """Three equal jobs on two slots, in a second each: after the first two, one second is left, not a half."""
    asked = lay(HEAD.replace("seeds_a_job: 2", "seeds_a_job: 1"))
    clock = iter([0.0, *(second for second in (0.1, 1.0, 2.0) for _ in range(3))])
    states = [(0, 0, [9, 9, 9]), (0, 2, [9, 9, 9]), (2, 1, [0, 0, 9]), (3, 0, [0, 0, 0])]
    looks = iter([study.State(done, running, {}, left) for done, running, left in states])
    ended = iter([None, None, 0])

    class Snakemake:
        poll = staticmethod(lambda: next(ended))
        wait = staticmethod(lambda _: None)

    monkeypatch.setattr(study.Study, "state", lambda *_: next(looks))
    monkeypatch.setattr(tool.time, "monotonic", lambda: next(clock))
    tool.watch(asked, asked.jobs, Snakemake())
    assert capsys.readouterr().out.splitlines() == [
        "  0 of 3 jobs done, 2 running, 0 failed",
        "  2 of 3 jobs done, 1 running, 0 failed, about 1 s left",
        "  3 of 3 jobs done, 0 running, 0 failed",
    ]


@pytest.mark.parametrize(("seconds", "words"), [(42, "42 s"), (600, "10 min"), (3600, "1:00 h"), (36_300, "10:05 h")])
def test_durations_read_well(seconds, words):
    assert tool.hours(seconds) == words


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("recipe: homework", "recipe: hamework", "recipe is 'hamework', but has to be one of best, "),
        ("seeds: 0-2", "seeds: [0, 1, 0]", "seeds is [0, 1, 0], but has to be each seed only once (0 is not)."),
        ("seeds: 0-2", "seeds: []", "seeds is [], but has to be a range such as 0-4 or a list of whole numbers such"),
        ("seeds: 0-2", "seeds: 2-0", "seeds is '2-0', but has to be a range such as 0-4"),
        ("seeds: 0-2", "seeds: 5", "seeds is 5, but has to be a range such as 0-4"),
        ("  homework: {{}}", "  {{}}", "rungs is {}, but has to be at least one line, name: {setting: value}."),
        ("  homework: {{}}", "", "has no 'rungs', but has to say purpose, recipe, test, seeds, rungs."),
        ("homework: {{}}", "fast: {{lr: -1}}", "rung 'fast': lr is -1, but has to be a number of at least 0."),
        ("homework: {{}}", "fast: {{rl: 1}}", "rung 'fast': setting is 'rl', but has to be one of batch_size, "),
        ("homework: {{}}", "fast: 3", "rung 'fast' is 3, but has to be name: {setting: value}, or name: {} for no ch"),
        ("homework: {{}}", "a: {{from: b}}", "rung 'a': from is 'b', but has to be a rung above it or a recipe: best"),
        ("homework: {{}}", "a: {{}}\n  b: {{flip: false}}", "rung 'b' has the same settings as 'a': remove one."),
        ("test: {test}", "test: often", "test is 'often', but has to be one of never, last, every."),
        ("seeds_a_job: 2", "seeds_a_job: 0", "seeds_a_job is 0, but has to be a whole number of at least 1."),
        ("curves: true", "curves: 2", "curves is 2, but has to be true or false."),
        ("epochs: 2", "epochs: many", "epochs is 'many', but has to be a whole number of at least 1."),
        ("seeds: 0-2", "seeds: [0, -1]", "seeds is [0, -1], but has to be a range such as 0-4"),
        ("seeds: 0-2", "seeds: [yes]", "seeds is [True], but has to be a range such as 0-4"),
        ("seeds: 0-2", "seeds: 0-99999999999", "the number of seeds is 100000000000, but has to be at most 100,000."),
        ("seeds: 0-2", f"seeds: 0-{'9' * 5000}", "9', but has to be a range such as 0-4"),
        ("seeds: 0-2", f"seeds: [0, {2**63}]", f"seed is {2**63}, but has to be at most {2**63 - 1}."),
        ("homework: {{}}", "a: {{}}\n  b: {{lr: 1}}\n  a: {{lr: 2}}", "is not valid YAML: 'a' is there twice in "),
        ("seeds_a_job: 2", "test: last", "is not valid YAML: 'test' is there twice in "),
        ("homework: {{}}", "1: {{}}", "a rung's name is 1, but has to be a line of text: put what YAML takes for"),
        ("homework: {{}}", '"a\\nb": {{}}', r"a rung's name is 'a\nb', but has to be a line of text"),
        ("homework: {{}}", "a: {{from: [homework]}}", "rung 'a': from is ['homework'], but has to be a rung above it"),
        ("recipe: homework", "recipe: [homework]", "recipe is \"['homework']\", but has to be one of best, "),
        ("purpose: To be tried.", "purpose: 5", "purpose is 5, but has to be a sentence."),
        ("seeds_a_job: 2", "seeds_a_job: true", "seeds_a_job is True, but has to be a whole number of at least 1."),
        ("settings:", "settings: [\n", "is not valid YAML: "),
        ("purpose:", "porpoise:", "has no 'purpose', but has to say purpose, recipe, test, seeds, rungs."),
    ],
)
def test_a_wrong_study_gets_one_sentence_and_leaves_nothing(lay, tmp_path, monkeypatch, old, new, sentence):
    assert old in HEAD
    lay()
    path = tmp_path / "studies" / "tried.yaml"
    path.write_text(HEAD.replace(old, new).format(test="never"))
    monkeypatch.setattr(sys, "argv", ["study.py", "run", str(path)])
    with pytest.raises(SystemExit) as ended:
        tool.main()
    said = str(ended.value).strip()
    assert sentence in said
    assert "tried.yaml" in said
    assert "\n" not in said
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["tried.yaml"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "tried.yaml holds None, but has to hold name: value for purpose, recipe, test, seeds, rungs."),
        (b"- a\n- b\n", "tried.yaml holds ['a', 'b'], but has to hold name: value for purpose, "),
        (b"purpose: \xff\xfe\n", "tried.yaml is not valid YAML: 'utf-8' codec can't decode byte 0xff in position 9"),
        (b"seeds: 2026-13-45\n", "tried.yaml is not valid YAML: month must be in 1..12."),
        (b"[" * 5000, "tried.yaml is not valid YAML: maximum recursion depth exceeded"),
        (b"<<<<<<< HEAD\nseeds: 0-2\n=======\nseeds: 0-3\n>>>>>>> theirs\n", "tried.yaml is not valid YAML: "),
    ],
)
def test_a_file_that_is_no_study_gets_one_sentence(tmp_path, content, sentence):
    path = tmp_path / "tried.yaml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(sentence)) as error:
        study.load(str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (None, "", "line 1 is '', but has to be columns that begin with rung,seed,digest"),
        ("rung,seed", "<<<<<<< HEAD\nrung,seed", "line 1 is '<<<<<<< HEAD', but has to be columns that begin with"),
        ("\nhomework,1,", "\n=======\nhomework,1,", "line 3 is '=======', but has to be 8 values"),
        ("\nhomework,1,", "\nhomework,0,{first},2,0.5,0.5,1,cpu\nhomework,1,", "of a run that is not there already"),
        ("\nhomework,1,", "\nhomework,7,", "seed of a run is 7, but has to be 1, as its digest"),
        (",2,0.", ",3,0.", "epochs of a run is 3, but has to be 2, as its digest"),
        (",2,0.", ",2,O.", "validation_accuracy in line 2 is 'O."),
        (",2,0.", ",2,-Infinity,0.", "line 2 is 'homework,0,"),
        (",2,0.", ",2,true,", "line 2 is 'homework,0,"),
        ("{first}", "DIGEST", "digest in line 2 is 'DIGEST', but has to be 12 hexadecimal digits"),
        ("{end}", "", "the last line is 'homework,2,"),
        ("{end}", '"', "unexpected end of data"),
        ("homework,2", "homework", "line 4 is 'homework,"),
    ],
)
def test_a_damaged_table_gets_one_sentence_and_stays_as_it_is(lay, old, new, sentence):
    asked = lay()
    run_all(asked)
    whole = asked.table.read_text()
    marks = {"{first}": asked.runs[0][1].digest}
    for mark, text in marks.items():
        old, new = old and old.replace(mark, text), new.replace(mark, text)
    if old == "{end}":
        damaged = whole[:-1] + new
    else:
        assert old is None or old in whole
        damaged = new if old is None else whole.replace(old, new, 1)
    asked.table.write_text(damaged)
    for what in (lambda: lay().gather(), lambda: tool.plan(str(asked.path)), lambda: lay().run(asked.jobs[0].name)):
        with pytest.raises(ValueError, match=re.escape(sentence)) as error:
            what()
        assert str(error.value).startswith(f"{asked.table} cannot be read (")
        assert str(error.value).endswith(
            "): restore the file, or remove the rows that are wrong; those runs are trained again."
        )
    assert asked.table.read_text() == damaged


def test_a_table_by_epoch_that_lacks_some_gets_one_sentence(lay):
    asked = lay()
    run_all(asked)
    lines = asked.epochs_table.read_text().splitlines(keepends=True)
    asked.epochs_table.write_text("".join(lines[:3] + lines[4:]))
    digest = asked.runs[1][1].digest
    with pytest.raises(
        ValueError, match=rf"epochs of {digest} is \[2\], but has to be 1 to 2, or of a run that is not"
    ):
        lay().gather()
    asked.epochs_table.write_text("".join(lines[:3] + lines[5:]))  # all rows of that run are gone: it is trained again
    again = lay()
    assert [again.missing(job) for job in again.jobs] == [[], []]  # from the finished run that is still there
    again.gather()
    assert asked.epochs_table.read_text() == "".join(lines)


def test_a_table_that_does_not_fit_on_the_disk_is_left_as_it_was(lay, monkeypatch):
    run_all(lay())
    more = lay(HEAD + "  mirrored: {{flip: true}}\n")
    for job in more.jobs:
        more.run(job.name)
    before = more.table.read_text(), more.epochs_table.read_text()

    class Full:
        def __init__(self, *_, **__):
            pass

        def writerow(self, *_):
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(study.csv, "writer", Full)
        full.setattr(sys, "argv", ["study.py", "gather", str(more.path)])
        with pytest.raises(SystemExit) as ended:
            tool.main()
    assert str(ended.value) == "\nNo space left on device. Put that right and run the same command again."
    assert (more.table.read_text(), more.epochs_table.read_text()) == before
    assert not list(more.table.parent.glob("*.part"))
    more.gather()
    assert len(rows_of(more.table)) == 6


def test_an_unknown_study_gets_the_names_of_those_there_are():
    with pytest.raises(ValueError, match=r"study is 'ladders', but has to be a file that ends in \.yaml or one of: "):
        study.load("ladders")


def test_a_full_disk_gets_one_sentence_that_names_the_node(lay, monkeypatch):
    asked = lay()
    train_module = sys.modules["vitlib.train"]

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "/scratch/checkpoint.part")

    monkeypatch.setattr(train_module, "_save_checkpoint", full)
    monkeypatch.setenv("SLURMD_NODENAME", "n7")
    job = asked.jobs[0]
    sentence = "The disk is full on n7 (/scratch/checkpoint.part): make room there, then run the same command again."
    with pytest.raises(tool.MistakeError) as error:
        tool.job(str(asked.path), job.name)
    assert str(error.value) == sentence
    assert asked.state(asked.jobs).failed == {job: sentence}
    asked.gather()
    assert not asked.table.exists()
    assert tool.full(RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"))


def test_a_fault_of_a_job_is_noted_with_the_node_and_shown_in_full(lay, monkeypatch):
    asked = lay()

    def broken(*_, **__):
        raise RuntimeError("CUDA error: unspecified\nlaunch failure")

    monkeypatch.setattr(study, "train_seeds", broken)
    monkeypatch.setenv("SLURMD_NODENAME", "n7")
    with pytest.raises(RuntimeError, match="CUDA error"):
        tool.job(str(asked.path), asked.jobs[0].name)
    assert asked.note(asked.jobs[0]).read_text() == "On n7: CUDA error: unspecified launch failure\n"


def test_a_job_waits_for_another_process_that_trains_it(lay):
    asked = lay()
    command = [sys.executable, tool.__file__, "job", str(asked.path), asked.jobs[1].name]
    (asked.work / "locks").mkdir(parents=True)
    with asked.lock(asked.jobs[1]):
        process = subprocess.Popen(command, env=os.environ | {"TORCHDYNAMO_DISABLE": "1"}, stdout=subprocess.PIPE)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(15)
        assert asked.missing(asked.jobs[1])
    assert process.wait(300) == 0
    assert not asked.missing(asked.jobs[1])


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ([], None),
        (["--executor", "slurm"], "slurm"),
        (["--executor=slurm", "--jobs", "3"], "slurm"),
        (["-e", "kubernetes"], "kubernetes"),
        (["--profile", "studies/slurm"], "slurm"),
        (["--cores", "2"], None),
    ],
)
def test_the_scheduler_is_known_from_snakemakes_options(monkeypatch, options, found):
    monkeypatch.chdir(paths.ROOT)
    assert tool.executor(options) == found


def test_an_unreachable_scheduler_gets_one_sentence(lay, tmp_path, monkeypatch):
    asked = lay()
    tools = tmp_path / "bin"
    tools.mkdir()
    monkeypatch.setattr(tool, "SNAKEMAKE", paths.ROOT / "Makefile")  # any file: it is not started
    monkeypatch.setenv("PATH", str(tools))
    with pytest.raises(tool.MistakeError, match=r"Slurm cannot be reached: its commands \(sbatch, sinfo\) are not on"):
        tool.run(str(asked.path), "--executor", "slurm")
    (tools / "sinfo").write_text("#!/bin/sh\necho 'Unable to contact slurm controller (connect failure)' >&2\nexit 1\n")
    (tools / "sinfo").chmod(0o755)
    with pytest.raises(tool.MistakeError) as error:
        tool.run(str(asked.path), "--executor", "slurm")
    wanted = "Slurm cannot be reached (Unable to contact slurm controller (connect failure)): nothing was submitted."
    assert str(error.value) == wanted
    assert not asked.work.exists()


def test_a_profile_that_is_not_there_gets_one_sentence(lay):
    with pytest.raises(tool.MistakeError, match=r"--profile is 'nowhere', but has to be a folder that holds"):
        tool.executor(["--profile", "nowhere"])


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("executor: [", "config.yaml is not valid YAML: "),
        ("- slurm\n", "config.yaml holds ['slurm'], but has to hold options of Snakemake, name: value."),
        ("", "config.yaml holds None, but has to hold options of Snakemake, name: value."),
    ],
)
def test_a_profile_that_cannot_be_read_gets_one_sentence(tmp_path, content, sentence):
    (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(tool.MistakeError, match=re.escape(sentence)) as error:
        tool.executor(["--profile", str(tmp_path)])
    assert "\n" not in str(error.value)


@pytest.mark.skipif(not tool.SNAKEMAKE.is_file(), reason="make study installs Snakemake, and make test-cluster too")
def test_snakemake_runs_the_jobs_and_says_which_failed(lay):
    asked = lay()
    environment = os.environ | {"TORCHDYNAMO_DISABLE": "1", "OMP_NUM_THREADS": "1"}
    run = functools.partial(
        subprocess.run, cwd=paths.ROOT, env=environment, capture_output=True, text=True, check=False
    )
    command = [sys.executable, str(paths.ROOT / "tools" / "study.py"), "run", str(asked.path)]
    folder = asked.folder(asked.rungs["homework"]) / "seed-2"
    folder.mkdir(parents=True)  # in the way of the second job
    failing = run([*command, "--cores", "1"])
    assert failing.returncode == 1
    assert "1 of 2 jobs done, 0 running, 1 failed" in failing.stdout
    assert f"Results: {asked.table} (2 of 3 runs: partial, the others are not trained yet)" in failing.stdout
    assert "  homework, seed 2: On " in failing.stderr
    assert "seed-2', which holds something else; name another or remove it." in failing.stderr
    assert "1 job of 2 did not finish; the same command tries them again (" in failing.stderr
    folder.rmdir()
    whole = run([*command, "--cores", "1"])
    assert whole.returncode == 0, whole.stderr
    assert "there: 2 runs; to train: 1 run in 1 job" in whole.stdout
    assert f"Results: {asked.table} (3 of 3 runs)" in whole.stdout


@pytest.mark.skipif(not tool.SNAKEMAKE.is_file(), reason="make study installs Snakemake, and make test-cluster too")
def test_options_that_snakemake_does_not_know_get_one_sentence(lay):
    asked = lay()
    command = [sys.executable, tool.__file__, "run", str(asked.path), "--cores", "1", "--nonsense"]
    refused = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    said = "Snakemake does not know these options (snakemake: error: unrecognized arguments: --nonsense): nothing was"
    assert refused.stderr.strip() == f"{said} started."
    assert not asked.table.exists()


@pytest.mark.skipif(not tool.SNAKEMAKE.is_file(), reason="make study installs Snakemake, and make test-cluster too")
def test_an_interrupted_study_ends_its_jobs_and_goes_on(lay):
    asked = lay(HEAD.replace("epochs: 2", "epochs: 200"))
    environment = os.environ | {"TORCHDYNAMO_DISABLE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, tool.__file__, "run", str(asked.path), "--cores", "1"]
    options = {
        "cwd": paths.ROOT,
        "env": environment,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
    }
    running = subprocess.Popen(command, **options)
    folder = asked.folder(asked.rungs["homework"])
    slurm.wait_for(lambda: any(folder.glob("*.partial/checkpoint-*")), "a job trains", 300)
    second = subprocess.run(command, **options, check=False)
    assert "tried is being run by another process: wait for it or end it." in second.stderr
    running.send_signal(signal.SIGINT)
    said, error = running.communicate(timeout=300)
    assert running.returncode == 1
    assert error.strip() == "Stopped. The same command goes on from here."
    assert "Results: none yet (0 of 3 runs: partial, the others are not trained yet)" in said
    assert asked.state(asked.jobs).running == 0


def test_a_slurm_of_its_own_says_what_it_needs(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert slurm.missing() == "A Slurm of its own needs root: run this as root, or leave it to continuous integration."
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", str(tmp_path))
    wanted = "slurmctld, slurmd, sinfo, sbatch, srun, munged not found: apt-get install slurm-wlm munge."
    assert slurm.missing() == wanted


def test_the_page_on_studies_says_what_was_measured():
    sys.path.insert(0, str(paths.ROOT / "benchmarks"))
    try:
        import studies
    finally:
        sys.path.pop(0)
    result = json.loads(studies.RESULT.read_text())
    assert studies.BEGIN + studies.document(result) + studies.END in studies.PAGE.read_text()
    lines = studies.document(result).splitlines()
    share = next(line.split("|")[5] for line in lines if line.startswith("| this machine | 2 |"))
    found = sorted((done[-1] - done[1]) / ((len(done) - 2) / 2) for done in result["local"]["idle, 2"])
    assert [float(n) for n in re.findall(r"\d+\.\d+", share)] == pytest.approx(
        [statistics.median(found), found[0], found[-1]], abs=0.006
    )
    assert studies.share([1.0, 2.0, 4.0, 5.0, 7.0, 8.0], 2) == 3  # two slots, a job of three seconds in each
