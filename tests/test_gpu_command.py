"""A GPU's results come back whole, or not at all; the command that makes them ends in time."""

import gzip
import hashlib
import io
import json
import os
import random
import signal
import tarfile
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import adopt
import gpu
import pack
import pytest
import torch
from command import UserError

from tests.conftest import git
from vitlib import TrainConfig, paths
from vitlib.studies import study as studies
from vitlib.studies import tables

COMMIT = "0123456789abcdef" * 2 + "01234567"
ABOUT = pack.About(commit=COMMIT, code={}, device="NVIDIA H200", smoke=False, parts={"tests": "done, 3 passed"})


def files_of(folder, **contents):
    """Write files and return them by the name that a pack gives them."""
    found = {name: folder / name.replace("/", "-") for name in contents}
    for name, content in contents.items():
        found[name].write_bytes(content)
    return found


def group(folder, number, size):
    return files_of(folder, **{f"studies/teachers/networks/{number:x}/0.safetensors": bytes([number]) * size})


@pytest.fixture
def packed(tmp_path):
    """Return a pack's folder with a table and a network."""
    table = files_of(tmp_path, **{"studies/results/path.csv": b"variant,seed,digest\n"})
    network = tmp_path / "network"
    network.write_bytes(random.Random(0).randbytes(2000))
    pack.save(tmp_path / "pack", ABOUT, table, [{"studies/teachers/networks/0/0.safetensors": network}])
    return tmp_path / "pack"


def archive(path, members, about=ABOUT):
    """Write an archive with any members, listed with their right sums."""
    sums = {member.name: pack._sha256(content) for member, content in members}
    head = about.model_copy(update={"files": sums}).model_dump_json().encode()
    with gzip.open(path, "wb") as zipped, tarfile.open(fileobj=zipped, mode="w", encoding="utf-8") as tar:
        for member, content in [(tarfile.TarInfo(pack.ABOUT), head), *members]:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


# ---- packs ---------------------------------------------------------------------------------------------------------


def test_a_pack_gives_back_what_was_packed(packed):
    found = pack.read(pack.archives_of(packed))
    assert sorted(found.files) == ["studies/results/path.csv", "studies/teachers/networks/0/0.safetensors"]
    assert found.files["studies/results/path.csv"] == b"variant,seed,digest\n"
    assert {about.commit for about in found.about} == {COMMIT}


def test_archives_keep_what_they_hold_and_the_most_valuable_that_finds_room(tmp_path, monkeypatch):
    monkeypatch.setattr(pack, "LIMIT", 1000)
    for numbers in ([1], [1, 2, 3], [4, 5, 6, 7, 8]):
        pack.save(tmp_path / "pack", ABOUT, {}, [group(tmp_path, n, 600 if n < 5 else 300) for n in numbers])
    archives = pack.archives_of(tmp_path / "pack")
    held = [{int(name.split("/")[3], 16) for name in pack.read([path]).files} for path in archives]
    assert held == [set(), {1, 5}, {2, 6}, {3, 7}, {4, 8}]


def test_a_kill_while_a_pack_is_written_leaves_the_one_before(packed, tmp_path, monkeypatch):
    before = pack.read(pack.archives_of(packed)).files

    def killed(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        pack.save(packed, ABOUT, files_of(tmp_path, **{"studies/results/best.csv": b"new"}), [])
    assert pack.read(pack.archives_of(packed)).files == before


def test_a_changed_byte_or_a_cut_anywhere_is_refused(packed):
    path, chance = packed / "gpu-1.tar.gz", random.Random(1)
    content = path.read_bytes()
    for _ in range(40):
        place = chance.randrange(10, len(content))  # the first ten bytes hold a time and a system, which nobody reads
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << chance.randrange(8)]) + content[place + 1 :])
        with pytest.raises(UserError, match=r"gpu-1\.tar\.gz (is|holds)"):
            pack.read([path])
        path.write_bytes(content[: chance.randrange(len(content))])
        with pytest.raises(UserError, match=r"gpu-1\.tar\.gz is"):
            pack.read([path])


NO_RESULTS = ["../evil.py", "/etc/passwd", "vitlib/model.py", "runs/report/../../x", "studies/path.yaml", "log/a/b.txt"]


@pytest.mark.parametrize(
    ("name", "kind"), [*((name, tarfile.REGTYPE) for name in NO_RESULTS), ("log/tests.txt", tarfile.SYMTYPE)]
)
def test_a_file_that_is_no_result_and_a_link_are_refused(tmp_path, name, kind):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, "/etc/passwd"
    with pytest.raises(UserError, match="a pack may hold only results"):
        pack.read([archive(tmp_path / "gpu-0.tar.gz", [(member, b"")])])


# ---- adopting ------------------------------------------------------------------------------------------------------


def code_of_head():
    entries = (line.partition("\t") for line in git(paths.ROOT, "ls-tree", "-r", "HEAD").splitlines())
    return {name: entry.split()[2] for entry, _, name in entries if pack.CODE.fullmatch(name)}


def test_the_code_of_a_pack_is_that_of_its_commit_which_head_contains():
    code, about = code_of_head(), ABOUT.model_copy(update={"commit": git(paths.ROOT, "rev-parse", "HEAD").strip()})
    pack.check_code(about.model_copy(update={"code": code}))
    with pytest.raises(UserError, match=r"vitlib/model\.py is not that of commit"):
        pack.check_code(about.model_copy(update={"code": code | {"vitlib/model.py": "0" * 40}}))
    with pytest.raises(UserError, match=r"vitlib/training/engine\.py is not that of commit"):
        pack.check_code(about.model_copy(update={"code": {k: v for k, v in code.items() if "engine" not in k}}))
    for commit in ("0" * 40, "--all"):
        with pytest.raises(UserError, match="which HEAD does not contain"):
            pack.check_code(ABOUT.model_copy(update={"code": code, "commit": commit}))


def test_the_code_that_is_packed_is_named_as_git_names_it():
    path = paths.ROOT / "vitlib" / "model.py"
    wanted = git(paths.ROOT, "hash-object", str(path)).strip()
    found = gpu.code()
    assert found["vitlib/model.py"] == wanted
    assert {"vitlib/training/engine.py", "vitlib/studies/study.py", "benchmarks/speed.py"} < found.keys()


def result_of(device, kind="cuda"):
    return json.dumps({"environment": {"device": device, "device_kind": kind}}).encode()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("speed-h200-time", result_of("NVIDIA H100 80GB HBM3")),
        ("speed-h100-time", result_of("NVIDIA H200")),
        ("speed-cpu-time", result_of("NVIDIA H200")),
        ("speed-cpu-time", result_of("a CPU", "cpu")),
    ],
)
def test_a_benchmark_of_another_machine_is_refused(name, content):
    adopt.check_machine(pack.Pack([ABOUT], {"benchmarks/results/speed-h200-time.json": result_of("NVIDIA H200")}))
    with pytest.raises(UserError, match=r"was measured on .*, but the pack was made on NVIDIA H200"):
        adopt.check_machine(pack.Pack([ABOUT], {f"benchmarks/results/{name}.json": content}))


def test_results_beside_failed_tests_are_refused():
    with pytest.raises(UserError, match="The tests failed on NVIDIA H200"):
        adopt.check_machine(pack.Pack([ABOUT.model_copy(update={"parts": {"tests": "failed, 1 failed"}})], {}))


STUDY = "{purpose: p, recipe: defaults, test: never, seeds: 0-2, variants: {a: {}}}"


@pytest.fixture
def tried(tmp_path, monkeypatch):
    """Return a study with a row for seed 0, and what writes a staged table with rows of other seeds."""
    project, stage = tmp_path / "project", tmp_path / "stage"
    for folder in (project, stage):
        (folder / "studies" / "results").mkdir(parents=True)
    (project / "studies" / "tried.yaml").write_text(STUDY, encoding="utf-8")
    study = studies.load(str(project / "studies" / "tried.yaml"))
    monkeypatch.setattr(adopt, "paths", SimpleNamespace(ROOT=project, relative=paths.relative))
    monkeypatch.setattr(adopt, "STAGE", stage)

    def write(table, accuracies, **changes):
        rows = []
        for seed, accuracy in accuracies.items():
            known = {"variant": "a", "seed": seed, "digest": study.runs[seed][1].digest, "epochs": 20}
            known |= {"validation_accuracy": accuracy, "validation_loss": 0.5, "seconds": 1.0}
            rows.append(known | {"device": "NVIDIA H200", "device_kind": "cuda"} | changes)
        tables.write(table, study.columns, rows)

    write(study.table, {0: 0.8})
    return study, lambda *row, **changes: write(stage / "studies" / "results" / "tried.csv", *row, **changes)


def test_new_rows_join_ours_in_the_studys_order_and_replace_none(tried):
    study, write = tried
    before = study.table.read_text(encoding="utf-8")
    write({2: 0.7, 1: 0.6, 0: 0.1})
    adopt.merge("tried", pack.Pack([ABOUT], {}))
    merged = tables.read(adopt.STAGE / "studies" / "results" / "tried.csv")
    assert [(row["seed"], row["validation_accuracy"]) for row in merged] == [(0, 0.8), (1, 0.6), (2, 0.7)]
    assert study.table.read_text(encoding="utf-8") == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"digest": "0123456789ab"}, "asks for no run 'a', seed 1, with the settings 0123456789ab"),
        ({"seed": 2}, "asks for no run 'a', seed 2"),
        ({"device": "NVIDIA H100"}, "seed 1 was trained on NVIDIA H100, but the pack was made on NVIDIA H200"),
    ],
)
def test_a_row_that_is_no_run_of_its_study_or_of_the_machine_is_refused(tried, changes, message):
    tried[1]({1: 0.6}, **changes)
    with pytest.raises(UserError, match=message):
        adopt.merge("tried", pack.Pack([ABOUT], {}))


def test_an_adoption_that_was_killed_is_finished_by_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr(adopt, "paths", SimpleNamespace(ROOT=tmp_path, relative=lambda path: path.name))
    monkeypatch.setattr(adopt, "READY", tmp_path / "ready")
    for name in ("a", "b/c"):
        path = tmp_path / "ready" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("new", encoding="utf-8")
    (tmp_path / "a").write_text("old", encoding="utf-8")
    assert adopt.move() == ["a", "c"]
    assert [(tmp_path / name).read_text(encoding="utf-8") for name in ("a", "b/c")] == ["new", "new"]
    assert not (tmp_path / "ready").exists()


def test_the_pages_that_were_executed_on_other_files_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    for name in ("same.csv", "other.csv", "build/full/runs/new.csv", "runs/new.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name, encoding="utf-8")
    for page in ("same", "other", "runs/new", "missing"):
        file = f"{page}.csv"
        digest = "0" * 64 if page == "other" else hashlib.sha256(file.encode()).hexdigest()
        path = tmp_path / "book" / f"{Path(page).name}.ipynb"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"cells": [], "metadata": {"vitlib": {"inputs": {file: digest}}}}), encoding="utf-8")
    assert adopt.outdated_pages() == ["missing", "new", "other"]


# ---- the time ------------------------------------------------------------------------------------------------------


@pytest.fixture
def session():
    return SimpleNamespace(pace={128: 100_000.0, 4096: 500_000.0}, start_up=20.0)


def test_the_time_of_a_job_follows_from_the_speed_at_the_most_similar_step(session):
    study = SimpleNamespace(missing=lambda job: job.seeds)
    config = TrainConfig(epochs=10, batch_size=128, train_images=50_000)
    images = studies.images_of(config)
    one, ten = (SimpleNamespace(config=config, seeds=range(n)) for n in (1, 10))
    assert gpu.seconds_of(session, study, one) == pytest.approx(20 + gpu.MARGIN * images / 100_000)
    assert gpu.seconds_of(session, study, ten) == pytest.approx(20 + gpu.MARGIN * 10 * images / 500_000)
    taught = SimpleNamespace(config=replace(config, teacher="owl"), seeds=[0])
    assert gpu.seconds_of(session, study, taught) == pytest.approx(gpu.seconds_of(session, study, one) + gpu.TEACHER)


def test_a_job_that_does_not_fit_is_not_started_and_a_shorter_one_is(session, monkeypatch):
    jobs = [SimpleNamespace(config=TrainConfig(epochs=epochs), seeds=[0]) for epochs in (100, 5, 70)]
    study = SimpleNamespace(jobs=jobs, missing=lambda job: job.seeds, coverage="1 of 3 runs")
    started, said = [], []
    session.left, session.say = 60.0, lambda *line: said.append(line)
    monkeypatch.setattr(gpu, "copied", lambda *_: study)
    monkeypatch.setattr(gpu, "train", lambda _, __, job: started.append(job))
    gpu.study_parts(session, "path")
    assert started == jobs[1:2]
    shortest = gpu.seconds_of(session, study, jobs[2])
    assert shortest > 60
    assert said == [("path", f"1 of 3 runs; 2 jobs do not fit, the shortest takes {shortest:.0f} s")]


def test_a_process_that_takes_too_long_is_ended_with_what_it_started(tmp_path):
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    process = gpu.Process(SimpleNamespace(work=tmp_path, smoke=True), "slow", ["-c", code])
    began = time.monotonic()
    assert process.wait(1)[0] == "stopped"
    assert time.monotonic() - began < 9


def test_a_process_is_interrupted_before_it_is_killed(tmp_path):
    code = "import time\ntry:\n    time.sleep(60)\nfinally:\n    print('kept')"
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell has it for what runs in the background
    process = gpu.Process(SimpleNamespace(work=tmp_path, smoke=True), "slow", ["-c", code])
    signal.signal(signal.SIGINT, before)
    assert process.wait(3)[0] == "stopped"
    assert "kept" in process.log.read_text(encoding="utf-8")


def test_without_a_gpu_only_small_sizes_run(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="PyTorch finds no CUDA GPU on this machine: --smoke tries"):
        gpu.Session(tmp_path, 60, smoke=False)


def test_all_files_with_tests_for_a_gpu_are_run():
    sources = {f"tests/{path.name}": path.read_text(encoding="utf-8") for path in (paths.ROOT / "tests").glob("*.py")}
    assert [*gpu.GPU_TESTS] == sorted(name for name, source in sources.items() if "import " + "NEEDS_GPU" in source)
