"""Studies: a readable file becomes jobs, the jobs become a table, and nothing is trained twice or half gathered."""

import csv
import errno
import os
import re
import shutil
import signal
import subprocess
import sys
from functools import partial
from itertools import pairwise
from threading import Thread

import pytest
import study as tool

from tests.conftest import SILENT, call, environment, wait_until
from vitlib import data, paths, runs
from vitlib.config import differences
from vitlib.studies import study, tables
from vitlib.training import checkpoint, views
from vitlib.training.loop import train_seeds

HEAD = """
purpose: A test.
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
  model: {patch_size: 14, embed_dim: 8, depth: 2, num_heads: 2, mlp_ratio: 2}
variants:
  homework: {}
"""
FLIPPED = HEAD + "  flipped: {flip: true}\n"


@pytest.fixture
def make_study(tmp_path):
    """Return a function that writes a study's file and loads it."""

    def write(text=HEAD, test="never"):
        path = tmp_path / "studies" / "tried.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text.replace("{test}", test), encoding="utf-8")
        return study.load(str(path))

    return write


@pytest.fixture(autouse=True)
def trained(monkeypatch):
    """Train without a compiler, and return the list of the digests that were trained."""
    digests = []

    def observed(config, *arguments, **options):
        digests.append(config.digest)
        return train_seeds(config, *arguments, **SILENT, **options)

    monkeypatch.setattr(study, "train_seeds", observed)
    return digests


@pytest.fixture
def command(monkeypatch):
    """Return a function that runs the tool in this process and returns the message that it ends with."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["study.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            tool.main()
        return str(ended.value).strip()

    return call


def process(made):
    """Return the command that runs a study as a process of its own, on one core."""
    return [sys.executable, tool.__file__, "run", str(made.path), "--cores", "1"]


def run_all(made):
    for job in made.jobs:
        made.run(job)
    made.gather()


def rows_of(table):
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_committed_studies_can_be_planned_and_every_row_belongs_to_a_run_of_its_study():
    for path in study.FOLDER.glob("*.yaml"):
        made, _ = tool.plan(path.stem)
        assert [*made.rows] == [row["digest"] for row in tables.read(made.table)]


def test_the_path_trains_on_at_most_300_million_images_and_its_two_results_come_first():
    path = study.load("path")
    images = sum(study.images_of(config) for _, config in path.runs)
    assert images <= 300e6
    assert f"In all {images / 1e6:.0f} million training images." in path.path.read_text(encoding="utf-8")
    assert [job.variant for job in path.jobs[:2]] == ["teacher", "200 epochs"]
    assert [len(path.seeds[variant]) for variant in path.variants] == [5] * 8 + [6, 10, 5]


def test_each_step_of_the_path_changes_one_thing_of_the_step_before():
    path = study.load("path")
    changed = [differences(after, before) for before, after in pairwise(path.variants.values())]
    assert [sorted(names) for names in changed] == [
        ["epochs"],
        ["batch_size", "lr", "schedule", "warmup"],
        ["muon_lr", "optimizer", "weight_decay"],
        ["flip"],
        ["crop_padding"],
        ["erase"],
        ["mixup"],
        ["epochs"],
        ["teacher", "teacher_weight", "temperature"],
        ["train_images", "validation_images"],
    ]


def test_a_study_becomes_a_job_per_batch_of_seeds(make_study):
    made = make_study(
        FLIPPED
        + "  both: {from: flipped, crop_padding: 2}\n"
        + "  best: {from: best, epochs: 1}\n"
        + "  dropout: {model: {dropout: 0.1}}\n"
    )
    alone = [(0,), (1,), (2,)]  # random masks of a network cannot be batched over seeds
    assert [job.seeds for job in made.jobs] == [(0, 1), (2,)] * 4 + alone
    assert len({job.name for job in made.jobs}) == 11
    both, best, dropout = made.variants["both"], made.variants["best"], made.variants["dropout"]
    assert (both.flip, both.crop_padding, made.variants["homework"].flip) == (True, 2, False)
    assert (best.optimizer, best.crop_padding, best.epochs, best.train_images) == ("muon", 2, 1, 256)
    assert (dropout.model.dropout, dropout.model.depth) == (0.1, 2)


def test_variants_may_have_seeds_of_their_own_and_jobs_an_order(make_study):
    made = make_study(HEAD + "  long: {epochs: 3, seeds: 0-4}\nfirst: [long]\n")
    assert [(job.variant, job.seeds) for job in made.jobs] == [
        ("long", (0, 1)), ("long", (2, 3)), ("long", (4,)), ("homework", (0, 1)), ("homework", (2,)),
    ]  # fmt: skip
    assert [(variant, config.seed) for variant, config in made.runs] == [
        *(("homework", seed) for seed in range(3)),
        *(("long", seed) for seed in range(5)),
    ]


TAUGHT = (
    "  taught: {teacher: owl, teacher_weight: 1, temperature: 2}\n"
    "teachers: {owl: {networks: 1, depth: 10, width: 1, epochs: 1, views: 2}}\n"
)


def test_the_first_job_with_a_teacher_makes_it_and_its_content_identifies_the_runs(
    make_study, tmp_path, monkeypatch, trained, capsys
):
    monkeypatch.setattr(views, "FOLDER", tmp_path / "teachers")
    made = make_study(HEAD + TAUGHT)
    *_, first, second = made.jobs
    names = [job.name for job in made.jobs]
    made.run(first)
    assert re.search(r"teacher owl-[0-9a-f]{12}: answered 2 views", capsys.readouterr().out)
    assert [made.missing(job) for job in (first, second)] == [[], [2]]  # a study that was loaded before knows it, too
    again = make_study(HEAD + TAUGHT)
    assert [job.name for job in again.jobs] == names  # as Snakemake knows them
    run_all(again)
    assert "teacher" not in capsys.readouterr().out
    taught = [config for variant, config in again.runs if variant == "taught"]
    assert {config.teacher for config in taught} == {next(views.FOLDER.glob("owl-*.json")).stem}
    assert [*again.rows][3:] == [config.digest for config in taught]
    trained.clear()
    for path in (again.work, next(views.FOLDER.glob("*.safetensors"))):  # a clone has tables and records alone
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    run_all(make_study(HEAD + TAUGHT))
    assert trained == []


def test_runs_without_validation_images_have_rows_too(make_study, trained):
    text = HEAD.replace("validation_images: 100", "validation_images: 0")
    made = make_study(text, test="every")
    run_all(made)
    assert {row["validation_accuracy"] for row in (*rows_of(made.table), *rows_of(made.epochs_table))} == {""}
    assert all(len(row["test_correct"]) == 10 for row in made.rows.values())
    trained.clear()
    shutil.rmtree(made.work)
    run_all(make_study(text, test="every"))
    assert trained == []


def test_the_table_has_a_row_per_run_that_equals_the_run(make_study):
    made = make_study(test="every")
    run_all(made)
    rows = rows_of(made.table)
    assert [(row["variant"], row["seed"]) for row in rows] == [("homework", str(seed)) for seed in range(3)]
    assert tuple(rows[0]) == made.columns
    for row in made.rows.values():
        run = runs.load_run(made.folder(made.variants["homework"]) / f"seed-{row['seed']}")
        assert row["digest"] == run.config.digest
        assert row["validation_accuracy"] == run.history[-1]["validation_accuracy"]
        assert row["test_correct"] == run.metrics["correct"]
        assert row["test_accuracy"] == sum(run.metrics["correct"]) / 10_000
        assert (row["device"], row["device_kind"]) == (run.manifest["starts"][-1]["device"], "cpu")
        at_once = 2 if row["seed"] < 2 else 1
        assert row["seconds"] == pytest.approx(run.manifest["training_seconds"] / at_once, abs=0.06)
        epochs = [epoch for epoch in made.epochs if epoch["seed"] == row["seed"]]
        for column in ("validation_loss", "test_correct"):
            assert [epoch[column] for epoch in epochs] == [epoch[column] for epoch in run.history]


def test_a_selection_study_does_not_open_the_test_files(make_study, tmp_path, monkeypatch):
    only_training = tmp_path / "only training" / "FashionMNIST" / "raw"
    only_training.mkdir(parents=True)
    for path in (data.default_root() / "FashionMNIST" / "raw").glob("train-*"):
        (only_training / path.name).symlink_to(path)
    monkeypatch.setenv("FASHION_MNIST", str(only_training.parent.parent))
    made = make_study()
    run_all(made)
    assert not [column for column in rows_of(made.table)[0] if "test" in column]
    assert not list(tmp_path.rglob("t10k*"))  # they were not fetched either


def test_a_finished_run_is_not_trained_again_even_in_a_fresh_clone(make_study, trained):
    made = make_study()
    run_all(made)
    tables = made.table.read_bytes(), made.epochs_table.read_bytes()
    shutil.rmtree(made.work)  # a clone has the tables alone
    trained.clear()
    again = make_study()
    assert not any(again.missing(job) for job in again.jobs)
    run_all(again)
    assert trained == []
    assert (made.table.read_bytes(), made.epochs_table.read_bytes()) == tables


def test_a_changed_study_trains_what_is_new_and_drops_the_rows_of_what_is_gone(make_study, trained, capsys):
    run_all(make_study())
    trained.clear()
    more = make_study(FLIPPED)
    assert [job.variant for job in more.jobs if more.missing(job)] == ["flipped", "flipped"]
    assert more.coverage == "3 of 6 runs"
    run_all(more)
    assert len(trained) == 2
    assert [row["variant"] for row in rows_of(more.table)] == ["homework"] * 3 + ["flipped"] * 3
    less = make_study(HEAD.replace("homework: {}", "flipped: {flip: true}"))
    tool.plan(str(less.path))
    assert f"  3 rows of {less.table} that no variant asks for will be removed\n" in capsys.readouterr().out
    run_all(less)
    assert [row["variant"] for row in rows_of(more.table)] == ["flipped"] * 3
    assert len(trained) == 2
    looking = make_study(HEAD.replace("homework: {}", "flipped: {flip: true}"), test="last")
    run_all(looking)  # the rows lack what the study now asks for
    assert len(trained) == 4
    assert rows_of(looking.table)[0]["test_accuracy"]


def test_nothing_unfinished_or_altered_is_gathered(make_study):
    made = make_study()
    run_all(made)
    made.table.unlink()
    made.epochs_table.unlink()
    folder = made.folder(made.variants["homework"])
    (folder / "seed-1" / "metrics.json").unlink()
    (folder / "seed-2").rename(folder / "seed-2.partial")
    make_study().gather()
    assert [row["seed"] for row in rows_of(made.table)] == ["0"]
    assert not list(made.table.parent.glob("*.part"))

    made.table.unlink()
    with (folder / "seed-0" / "model.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ValueError, match=r"seed-0/model.safetensors has SHA-256 .* but SHA256SUMS beside it says"):
        make_study().gather()
    assert not made.table.exists()


def test_the_progress_of_jobs_is_read_from_locks_notes_and_runs(make_study):
    made = make_study(FLIPPED)
    first, second, third, _ = made.jobs
    made.run(first)
    made.note(second).write_text("On n1: an error.\n", encoding="utf-8")
    with made.lock(third):
        state = made.state(made.jobs)
    assert (state.done, state.running, state.failed) == (1, 1, {second: "On n1: an error."})
    images = 2 * 256  # of a run
    assert state.left == [0, images, 2 * images, images]
    partial = made.folder(third.config) / "seed-0.partial"
    partial.mkdir(parents=True)
    (partial / "checkpoint-00001-abc.safetensors").touch()
    assert made.state(made.jobs).left == [0, images, images, images]  # one of two epochs
    made.run(second)
    assert made.state(made.jobs).failed == {}


def test_the_plan_estimates_the_cost_from_measured_speed(make_study, capsys):
    text = HEAD.replace("epochs: 2", "epochs: 30").replace("train_images: 256", "train_images: 50_000")
    report = runs.load_run(paths.ROOT / "runs" / "report")
    pace = study.images_of(report.config) / report.manifest["training_seconds"]
    images = 3 * 30 * (50_000 // 64) * 64
    tool.plan(str(make_study(text).path))
    said = capsys.readouterr().out
    assert "1 variant, 3 runs in 2 jobs; the test set is never read" in said
    assert f"{images:,} images, about {tool.duration(images / pace)} if one job runs at a time, at {pace:,.0f}" in said
    assert f"(measured: runs/report, on {report.manifest['starts'][-1]['device']})" in said

    run_all(make_study())
    small = make_study(FLIPPED)
    pace, source = study.speed(small)
    assert pace == pytest.approx(3 * 2 * 256 / sum(row["seconds"] for row in small.rows.values()))
    assert source == "3 runs of this study"
    assert [tool.duration(s) for s in (42, 600, 3600, 36_300)] == ["42 s", "10 min", "1:00 h", "10:05 h"]


def test_a_snakemake_that_waits_for_forgotten_jobs_is_ended_when_all_are_finished(make_study, monkeypatch, capsys):
    made = make_study()
    run_all(made)
    monkeypatch.setattr(tool, "GRACE", 1)
    waiting = subprocess.Popen(["sleep", "600"], start_new_session=True)
    tool.watch(made, made.jobs, waiting)
    assert waiting.returncode == -signal.SIGTERM
    assert "2 of 2 jobs done, 0 running, 0 failed" in capsys.readouterr().out


def test_the_remaining_time_counts_the_jobs_that_run_in_parallel(make_study, monkeypatch, capsys):
    """Three equal jobs on two slots take a second each: after the first two, one second is left, not a half."""
    assert [tool.makespan([9, 9, 9], slots) for slots in (1, 2, 3)] == [27, 18, 9]
    assert (tool.makespan([2, 9, 3], 2), tool.makespan([1, 9, 9], 2)) == (9, 10)
    made = make_study(HEAD.replace("seeds_a_job: 2", "seeds_a_job: 1"))
    clock = iter([0.0, *(second for second in (0.1, 1.0, 2.0) for _ in range(3))])
    states = [(0, 0, [9, 9, 9]), (0, 2, [9, 9, 9]), (2, 1, [0, 0, 9]), (3, 0, [0, 0, 0])]
    looks = iter([study.State(done, running, {}, left) for done, running, left in states])
    ended = iter([None, None, 0])

    class Snakemake:
        poll = staticmethod(lambda: next(ended))
        wait = staticmethod(lambda _: None)

    monkeypatch.setattr(study.Study, "state", lambda *_: next(looks))
    monkeypatch.setattr(tool.time, "monotonic", lambda: next(clock))
    tool.watch(made, made.jobs, Snakemake())
    assert capsys.readouterr().out.splitlines() == [
        "  0 of 3 jobs done, 2 running, 0 failed",
        "  2 of 3 jobs done, 1 running, 0 failed, about 1 s left",
        "  3 of 3 jobs done, 0 running, 0 failed",
    ]


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("recipe: homework", "recipe: hamework", "recipe is 'hamework', but must be one of best, "),
        ("purpose:", "porpoise:", "purpose is missing."),
        ("seeds: 0-2", "seeds: [0, 1, 0]", "seeds is [0, 1, 0], but must be a range such as 0-4 or a list of diff"),
        ("seeds: 0-2", "seeds: []", "seeds is [], but must be a range such as 0-4 or a list of different whole "),
        ("seeds: 0-2", "seeds: 2-0", "seeds is '2-0', but must be a range such as 0-4"),
        ("seeds: 0-2", "seeds: 5", "seeds is 5, but must be a range such as 0-4"),
        ("seeds: 0-2", "seeds: [0, -1]", "seeds.1 is -1, but must be greater than or equal to 0."),
        ("seeds: 0-2", "seeds: 0-99999999999", "the number of seeds is 100000000000, but must be at most 100,000."),
        ("epochs: 2", "epochs: many", "epochs is 'many', but must be a valid integer."),
        ("homework: {}", "fast: {lr: -1}", "variant 'fast': lr is -1, but must be greater than or equal to 0."),
        ("homework: {}", "fast: {rl: 1}", "variant 'fast': setting is 'rl', but must be one of batch_size, "),
        ("homework: {}", "a: {from: b}", "variant 'a': from is 'b', but must be a variant above it or a recipe"),
        ("homework: {}", "a: {from: [homework]}", "variant 'a': from is ['homework'], but must be a variant ab"),
        ("homework: {}", "a: {}\n  b: {flip: false}", "variant 'b' has the same settings as 'a': remove one."),
        ("homework: {}", "a: {}\n  b: {lr: 1}\n  a: {lr: 2}", "is not valid YAML: 'a' is given twice in "),
        ("homework: {}", "a: {seeds: 3}", "variant 'a': seeds is 3, but must be a range such as 0-4 or a list"),
        ("homework: {}", "a: {seeds: [-1]}", "variant 'a': seed is -1, but must be greater than or equal to 0."),
        ("curves: true", "first: [long]", "first is 'long', but must be one of the variants: homework."),
        ("curves: true", "teachers: {owl: {depth: 9}}", "teacher 'owl': depth is 9, but must be 6 n + 4, such"),
        ("curves: true", "teachers: {owl: {size: 9}}", "teacher 'owl': setting is 'size', but must be one of b"),
        ("curves: true", "teachers: {Owl: {}}", "teacher 'Owl': teacher is 'Owl', but must match pattern"),
        ("homework: {}", "1: {}", "the name of a variant is 1, but must be a line of text: quote what YAML"),
        ("homework: {}", '"a\\nb": {}', r"the name of a variant is 'a\nb', but must be a line of text"),
    ],
)
def test_a_wrong_study_gets_one_sentence_and_leaves_nothing(tmp_path, command, old, new, sentence):
    assert old in HEAD
    path = tmp_path / "studies" / "tried.yaml"
    path.parent.mkdir()
    path.write_text(HEAD.replace(old, new).replace("{test}", "never"), encoding="utf-8")
    said = command("run", path)
    assert sentence in said
    assert "\n" not in said
    assert "tried.yaml" in said or "recipe is 'hamework'" in said
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["tried.yaml"]


def test_a_study_lies_in_a_folder_named_studies(tmp_path, command):
    path = tmp_path / "mine.yaml"
    path.write_text(HEAD, encoding="utf-8")
    assert "but must be a file in a folder named studies, which gets the results" in command("plan", path)


def test_an_unknown_study_gets_the_names_of_the_known_ones(command):
    said = command("plan", "paths")
    assert said.startswith("study is 'paths', but must be a file that ends in .yaml or one of best, ")


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (None, "", "line 1 is '', but must be columns that begin with variant,seed,digest"),
        ("\nhomework,1,", "\n=======\nhomework,1,", "line 3 is '=======', but must be 9 values"),
        ("\nhomework,1,", "\nhomework,0,{first},2,0.5,0.7,1,x,cpu\nhomework,1,", "but must be a row of another run"),
        ("\nhomework,1,", "\nhomework,7,", "seed of a run is 7, but must be 1, as its digest"),
        (",2,0.", ",3,0.", "epochs of a run is 3, but must be 2, as its digest"),
        (",2,0.", ",2,O.", "validation_accuracy in line 2 is 'O."),
        (",2,0.", ",true,0.", "epochs in line 2 is 'true', but must be a number"),
        (",2,0.", ",Infinity,0.", "epochs in line 2 is 'Infinity', but must be a number"),
        ("{first}", "DIGEST", "digest in line 2 is 'DIGEST', but must be 12 hexadecimal digits"),
        ("{end}", "", "the last line is 'homework,2,"),
        ("{end}", ',"', "unexpected end of data"),
    ],
)
def test_a_damaged_table_gets_one_sentence_and_stays_as_it_is(make_study, old, new, sentence):
    made = make_study()
    lines = [",".join(made.columns)]
    lines += [f"homework,{c.seed},{c.digest},2,0.5,0.7,1.5,a CPU,cpu" for _, c in made.runs]
    whole, first = "\n".join(lines) + "\n", made.runs[0][1].digest
    damaged = new
    if old == "{end}":
        damaged = whole[:-1] + new
    elif old:
        old, new = old.replace("{first}", first), new.replace("{first}", first)
        assert old in whole
        damaged = whole.replace(old, new, 1)
    made.table.parent.mkdir()
    made.table.write_text(damaged, encoding="utf-8")
    made = make_study(HEAD.replace("curves: true", "curves: false"))
    for action in (made.gather, partial(tool.plan, str(made.path)), partial(made.run, made.jobs[0])):
        with pytest.raises(ValueError, match=re.escape(sentence)) as error:
            action()
        assert str(error.value).startswith(f"{made.table} cannot be read (")
        assert str(error.value).endswith(f"): {tables.REMEDY}")
    assert made.table.read_text(encoding="utf-8") == damaged


def test_a_table_by_epoch_that_lacks_epochs_gets_one_sentence(make_study):
    made = make_study()
    run_all(made)
    lines = made.epochs_table.read_text(encoding="utf-8").splitlines(keepends=True)
    made.epochs_table.write_text("".join(lines[:3] + lines[4:]), encoding="utf-8")
    sentence = rf"epochs of {made.runs[1][1].digest} is \[2\], but must be 1 to 2, or no row of that run"
    with pytest.raises(ValueError, match=sentence):
        make_study().gather()
    made.epochs_table.write_text("".join(lines[:3] + lines[5:]), encoding="utf-8")  # none of that run's rows are left
    again = make_study()
    assert [again.missing(job) for job in again.jobs] == [[], []]  # its finished run is still there
    again.gather()
    assert made.epochs_table.read_text(encoding="utf-8") == "".join(lines)


def test_a_table_that_does_not_fit_on_the_disk_is_left_as_it_was(make_study, monkeypatch, command):
    run_all(make_study())
    more = make_study(FLIPPED)
    for job in more.jobs:
        more.run(job)
    before = more.table.read_text(encoding="utf-8"), more.epochs_table.read_text(encoding="utf-8")

    def fill(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(os, "fsync", fill)
        assert command("gather", more.path).startswith("No space left on device. ")
    assert (more.table.read_text(encoding="utf-8"), more.epochs_table.read_text(encoding="utf-8")) == before
    assert not list(more.table.parent.glob("*.part"))
    more.gather()
    assert len(rows_of(more.table)) == 6


def test_a_full_disk_gets_one_sentence_that_names_the_node(make_study, monkeypatch, command):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", "/scratch/checkpoint.part")

    made = make_study()
    job = made.jobs[0]
    monkeypatch.setattr(checkpoint, "save", full)
    monkeypatch.setenv("SLURMD_NODENAME", "n7")
    sentence = "The disk is full on n7 (/scratch/checkpoint.part): make room there, then run the same command again."
    assert command("job", made.path, job.name) == sentence
    assert made.state(made.jobs).failed == {job: sentence}
    made.gather()
    assert not made.table.exists()
    assert tool.is_disk_full(RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"))


def test_an_unexpected_error_of_a_job_is_noted_with_the_node_and_shown_in_full(make_study, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("CUDA error: unspecified\nlaunch failure")

    made = make_study()
    monkeypatch.setattr(study, "train_seeds", broken)
    monkeypatch.setenv("SLURMD_NODENAME", "n7")
    with pytest.raises(RuntimeError, match="CUDA error"):
        tool.job(str(made.path), made.jobs[0].name)
    assert made.note(made.jobs[0]).read_text(encoding="utf-8") == "On n7: CUDA error: unspecified launch failure\n"


def test_an_unknown_job_gets_one_sentence(make_study, command):
    assert command("job", make_study().path, "x-0") == "job is 'x-0', but tried has no job of that name."


def test_a_job_waits_for_another_process_that_trains_it(make_study):
    made = make_study()
    (made.work / "locks").mkdir(parents=True)
    waiting = Thread(target=made.run, args=made.jobs[1:2])
    with made.lock(made.jobs[1]):
        waiting.start()
        waiting.join(1)
        assert waiting.is_alive()
        assert made.missing(made.jobs[1])
    waiting.join()
    assert not made.missing(made.jobs[1])


def test_the_scheduler_is_read_from_snakemakes_options_and_profile(tmp_path, monkeypatch):
    monkeypatch.chdir(paths.ROOT)
    assert tool.executor([]) is tool.executor(["--cores", "2"]) is None
    assert tool.executor(["--executor", "slurm"]) == tool.executor(["--executor=slurm", "--jobs", "3"]) == "slurm"
    assert tool.executor(["--profile", "studies/slurm"]) == "slurm"
    with pytest.raises(tool.UserError, match=r"--profile is 'nowhere', but must be a folder that holds config.yaml"):
        tool.executor(["--profile", "nowhere"])
    (tmp_path / "config.yaml").write_text("- slurm\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"config.yaml holds \['slurm'\], but must hold executor\."):
        tool.executor(["--profile", str(tmp_path)])


def test_an_unreachable_scheduler_gets_one_sentence(make_study, tmp_path, monkeypatch, command):
    made = make_study()
    tools = tmp_path / "bin"
    tools.mkdir()
    monkeypatch.setattr(tool, "SNAKEMAKE", paths.ROOT / "Makefile")  # any file: it is not started
    monkeypatch.setenv("PATH", str(tools))
    said = command("run", made.path, "--executor", "slurm")
    assert said == "Slurm cannot be reached: its commands (sbatch, sinfo) are not on this machine."
    reason = "Unable to contact slurm controller (connect failure)"
    (tools / "sinfo").write_text(f"#!/bin/sh\necho '{reason}' >&2\nexit 1\n", encoding="utf-8")
    (tools / "sinfo").chmod(0o755)
    said = command("run", made.path, "--executor", "slurm")
    assert said == f"Slurm cannot be reached ({reason}): nothing was submitted."
    assert not made.work.exists()


@pytest.mark.cluster
def test_snakemake_runs_the_jobs_and_failed_ones_are_named(make_study):
    made = make_study()
    folder = made.folder(made.variants["homework"]) / "seed-2"
    folder.mkdir(parents=True)  # in the way of the second job
    status, said = call(process(made))
    assert status == 1
    assert "1 of 2 jobs done, 0 running, 1 failed" in said
    assert f"Results: {made.table} (2 of 3 runs)" in said
    assert "  homework, seed 2: On " in said
    assert "seed-2" in said
    assert "1 job of 2 did not finish; the same command tries them again (" in said
    folder.rmdir()
    status, said = call(process(made))
    assert status == 0, said
    assert "finished: 2 runs; to train: 1 run in 1 job" in said
    assert f"Results: {made.table} (3 of 3 runs)" in said


@pytest.mark.cluster
def test_options_that_snakemake_does_not_know_get_one_sentence(make_study):
    made = make_study()
    status, said = call([*process(made), "--nonsense"])
    message = "snakemake: error: unrecognized arguments: --nonsense"
    assert status == 1
    assert said.splitlines()[-1] == f"Snakemake does not know these options ({message}): nothing was started."
    assert not made.table.exists()


@pytest.mark.cluster
def test_an_interrupted_study_ends_its_jobs_and_can_go_on(make_study):
    made = make_study(HEAD.replace("epochs: 2", "epochs: 20000"))
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell has it for what runs in the background
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    running = subprocess.Popen(process(made), cwd=paths.ROOT, env=environment(), **pipes)
    signal.signal(signal.SIGINT, before)
    folder = made.folder(made.variants["homework"])
    wait_until(lambda: any(folder.glob("*.partial/checkpoint-*")), "a job trains", 300)
    assert "tried is being run by another process: wait for it or end it." in call(process(made))[1]
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=300)
    assert (running.returncode, err.strip()) == (1, "Stopped. Run the same command again to continue.")
    assert "Results: none yet (0 of 3 runs)" in out
    assert made.state(made.jobs).running == 0
