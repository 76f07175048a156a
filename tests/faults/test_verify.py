"""Each link from a published number to its data is checked: one that is broken is found."""

import importlib.util
import json
import shutil
import subprocess

import pytest
import safetensors.torch

from tests.faults import trial
from vitlib import data, load_run, paths, runs

spec = importlib.util.spec_from_file_location("verify", paths.ROOT / "tools" / "verify.py")
verify = importlib.util.module_from_spec(spec)
spec.loader.exec_module(verify)

# what the published pages say of their run, whichever it is
RUN = load_run(paths.ROOT / "runs" / "report")
EPOCHS = RUN.config.epochs
ACCURACY = round(100 * sum(RUN.metrics["correct"]) / sum(RUN.metrics["total"]), 2)
VALIDATION = round(100 * RUN.history[-1]["validation_accuracy"], 2)
COMMIT = RUN.manifest["starts"][-1]["code"]["commit"][:12]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Return a copy of what is published, without git, so that this working tree may be as it is."""
    for folder in ("book", "notebooks", "runs/report", "studies", "benchmarks", "vitlib"):
        shutil.copytree(paths.ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("_*", "*.pyc"))
    monkeypatch.setenv("FASHION_MNIST", str(data.default_root()))
    monkeypatch.setenv("REPORT_HOME", "")
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    return tmp_path


def rewrite(path, old, new):
    content = path.read_text()
    assert old in content, (path, old)
    path.write_text(content.replace(old, new))


def renew(project):
    """Give the run the checksums of its files, as somebody would who alters it and does not want it seen."""
    manifest = project / "runs" / "report" / "manifest.json"
    known = json.loads(manifest.read_text())
    known["weights_sha256"] = runs.sha256(project / "runs" / "report" / "model.safetensors")
    manifest.write_text(json.dumps(known))
    runs.write_sums(project / "runs" / "report")


def other_metrics(project):
    path = project / "runs" / "report" / "metrics.json"
    metrics = json.loads(path.read_text())
    metrics["correct"][0] += 1
    path.write_text(json.dumps(metrics))
    renew(project)


def other_weights(project):
    path = project / "runs" / "report" / "model.safetensors"
    tensors = {name: 1.01 * tensor for name, tensor in safetensors.torch.load_file(path).items()}
    safetensors.torch.save_file(tensors, path)
    renew(project)


def other_weights_well_hidden(project):
    before = load_run("runs/report").manifest["weights_sha256"][:16]
    other_weights(project)
    after = load_run("runs/report").manifest["weights_sha256"][:16]
    rewrite(project / "book" / "provenance.ipynb", before, after)


def other_data(project):
    path = project / "runs" / "report" / "manifest.json"
    rewrite(path, data.SHA256["t10k-labels-idx1-ubyte"], "0" * 64)
    renew(project)


def dirty_code(project):
    rewrite(project / "runs" / "report" / "manifest.json", '"clean": true', '"clean": false')
    renew(project)


def off(value):
    """Return something like a number or a name, in another last digit."""
    return round(value + 0.01, 2) if isinstance(value, float) else value[:-1] + ("0" if value[-1] != "0" else "1")


def change(name, old, new):
    return lambda project: rewrite(project / name, old, new)


def remove(name):
    return lambda project: (project / name).unlink()


BREAKS = {
    "another word in a page's source": (
        change("book/growth.ipynb", "## One formula", "## A formula"),
        "is not what notebo",
    ),
    "another word in a source": (
        change("notebooks/growth.ipynb", "## One formula", "## A formula"),
        "is not what notebo",
    ),
    "a page with an exception": (change("book/growth.ipynb", '"exception": null', '"exception": true'), "to its end"),
    "a page that is cut off": (lambda p: (p / "book/growth.ipynb").write_text('{"cells": ['), "in book/ is damaged"),
    "other parameters noted": (
        change("book/02_training.ipynb", f'"epochs": {EPOCHS},', f'"epochs": {EPOCHS + 1},'),
        f"was executed with {EPOCHS + 1}",
    ),
    "a number from nowhere": (None, "comes from nothing that is known"),
    "a glued number less": (change("book/01_model.ipynb", '"name": "ink"', '"name": "inc"'), "which nothing glues"),
    "a quote of nothing": (
        change("book/reproduce.md", "# Make it again", "# {glue:text}`index.ipynb::x` "),
        "nothing glues",
    ),
    "a digit of the accuracy": (
        change("book/03_per_class.ipynb", f'"{ACCURACY}"', f'"{off(ACCURACY)}"'),
        f"says accuracy = {off(ACCURACY)}",
    ),
    "a digit of the history": (
        change("book/02_training.ipynb", f'"{VALIDATION}"', f'"{off(VALIDATION)}"'),
        f"says validation_accuracy = {off(VALIDATION)}",
    ),
    "another digest": (
        change("book/provenance.ipynb", f"`{RUN.config.digest}`", f"`{off(RUN.config.digest)}`"),
        "does not name the settings",
    ),
    "another commit": (change("book/provenance.ipynb", f"`{COMMIT}`", f"`{off(COMMIT)}`"), "does not name the code"),
    "a study's data gone": (remove("studies/results/recipe.csv"), "prints numbers that come from nothing"),
    "a study's data cut": (lambda p: (p / "studies/counting.json").write_text("{"), "counting.json is damaged"),
    "a study without a maker": (change("book/reproduce.md", "`make study STUDY=recipe`", "nobody"), "has no maker"),
    "settings altered": (
        change("runs/report/config.json", f'"epochs": {EPOCHS}', f'"epochs": {EPOCHS - 1}'),
        "config.json has SHA-256",
    ),
    "history altered": (
        change("runs/report/history.csv", f"\n{EPOCHS},", f"\n{EPOCHS + 1},"),
        "history.csv has SHA-256",
    ),
    "metrics gone": (remove("runs/report/metrics.json"), "runs/report has no metrics.json"),
    "metrics altered, checksums renewed": (other_metrics, f"says accuracy = {ACCURACY}"),
    "weights altered, checksums renewed": (other_weights, "does not name the weights"),
    "code that is in no commit": (dirty_code, "was made by code that is in no commit"),
    "other data": (other_data, "was made from other data"),
}


def number_from_nowhere(project):
    """Type a number into a cell that glues, in the source and in the page."""
    for folder in ("notebooks", "book"):
        path = project / folder / "growth.ipynb"
        page = json.loads(path.read_text())
        for cell in page["cells"]:
            cell["source"] = [line.replace('glue("batch", B,', 'glue("batch", 128,') for line in cell["source"]]
        path.write_text(json.dumps(page))


def test_every_broken_link_is_found(project, capsys, monkeypatch):
    monkeypatch.setattr(verify, "check_weights", lambda run: [])  # tried below
    assert verify.verify() == []
    said = capsys.readouterr().out
    assert "03_per_class" in said
    assert f"accuracy = {ACCURACY}  <- Fashion-MNIST, runs/report" in said
    found = 0
    whole = project / "whole"
    shutil.copytree(project, whole, ignore=shutil.ignore_patterns("whole"))
    for name, (break_it, words) in BREAKS.items():
        (break_it or number_from_nowhere)(project)
        wrong = verify.verify()
        assert any(words in sentence for sentence in wrong), (name, wrong)
        found += 1
        for folder in ("book", "notebooks", "runs", "studies"):
            shutil.rmtree(project / folder)
            shutil.copytree(whole / folder, project / folder)
    assert verify.verify() == []
    trial.note("Broken links of provenance found", f"{found} of {len(BREAKS)}", "every_broken_link")


def test_a_file_that_is_not_as_committed_and_a_commit_that_is_not_there_are_found(project):
    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", "-C", str(project), *identity, *arguments], check=True, capture_output=True)

    git("init")
    git("add", ".")
    git("commit", "-m", "all")
    (wrong,) = list(verify.check_run(load_run("runs/report")))
    assert "which is not in this repository" in wrong
    assert list(verify.check_file("studies/results/recipe.csv", {"studies/results/recipe.csv": "x"})) == []
    with (project / "studies" / "results" / "recipe.csv").open("a") as file:
        file.write("\n")
    (wrong,) = list(verify.check_file("studies/results/recipe.csv", {"studies/results/recipe.csv": "x"}))
    assert "is not as committed" in wrong


@trial.only_full
def test_weights_that_do_not_give_the_results_are_found(project):
    assert list(verify.check_weights(load_run("runs/report"))) == []
    other_weights_well_hidden(project)
    assert any("its weights give loss" in sentence for sentence in verify.verify())
