"""The commands around the notebooks: profiles, execution, publication and the book."""

import json
import re
import sys

import nbformat
import papermill
import pytest
import report
from command import UserError

from tests.conftest import call
from vitlib import TrainConfig, ViTConfig, load_run, paths
from vitlib.studies import recipes


@pytest.mark.parametrize("name", ["quick", "full", "smoke"])
def test_each_profile_is_valid_and_trains_the_report(name):
    assert report.profile(name)["02_training"]["run_name"] == "report"


def test_the_full_profile_has_the_published_runs_settings():
    settings = report.profile("full")["02_training"]
    del settings["run_name"]
    assert TrainConfig(**settings) == load_run(paths.ROOT / "runs" / "report").config


def test_a_recipes_network_settings_are_parameters_and_a_profile_may_change_them(project, monkeypatch):
    config = TrainConfig(model=ViTConfig(num_heads=8), epochs=4, flip=False)
    monkeypatch.setattr(recipes, "load", {"mine": config}.get)
    (project / "profiles" / "mine.yaml").write_text("02_training: {epochs: 5, recipe: mine}\n", encoding="utf-8")
    assert report.profile("mine")["02_training"] == {"num_heads": 8, "epochs": 5, "flip": False}


def test_a_wrong_parameter_ends_the_page_with_one_sentence(project):
    (project / "profiles" / "mine.yaml").write_text("03_per_class:\n  run_name: nowhere\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"run is '.*runs/nowhere', but must be a finished run"):
        report.execute("mine", ["03_per_class"])
    assert not list((project / "build" / "mine" / "book").iterdir())


def test_every_file_of_the_library_makes_the_pages_out_of_date():
    _, rules = call(["make", "-pn", "help"])
    known = set(re.search(r"^library := (.*)$", rules, re.MULTILINE)[1].split())
    library = {paths.relative(path) for path in (paths.ROOT / "vitlib").rglob("*.*") if path.suffix != ".pyc"}
    assert library == known


def test_an_unfinished_rerun_is_not_published(project):
    with pytest.raises(UserError, match="build/mine is not a finished rerun"):
        report.publish("mine")


def test_without_any_source_of_data_one_sentence_says_what_to_do(no_source, monkeypatch, tmp_path):
    monkeypatch.setenv("FASHION_MNIST", str(tmp_path))
    with pytest.raises(UserError, match=r"no route to host.*set FASHION_MNIST to a folder with its four files"):
        report.fetch()


def test_the_training_page_runs_by_hand(tmp_path):
    settings = {"epochs": 2, "train_images": 256, "validation_images": 100, "patch_size": 14, "depth": 1}
    command = [sys.executable, "-m", "papermill", "notebooks/02_training.ipynb", str(tmp_path / "out.ipynb")]
    for name, value in settings.items():
        command += ["-p", name, str(value)]
    status, output = call(command, REPORT_HOME=str(tmp_path))
    assert status == 0, output
    (run,) = (tmp_path / "runs").glob("vit-*")
    assert len(load_run(run).history) == 2


def outputs_of(source, folder):
    """Return the outputs of a notebook with one cell, executed in a folder."""
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)]), folder / "in.ipynb")
    options = {"kernel_name": "python3", "progress_bar": False}
    return papermill.execute_notebook(folder / "in.ipynb", folder / "out.ipynb", **options).cells[0].outputs


def test_what_a_cell_prints_is_one_output(tmp_path):
    lines = "import time\nprint('now, ', end='', flush=True)\ntime.sleep(1)\nprint('and later')"
    (output,) = outputs_of(lines, tmp_path)
    assert output.text == "now, and later\n"


FIGURE = """
import sys
import matplotlib.pyplot as plt
from vitlib.report import output
output.style()
print(sys.executable)
plt.subplots(figsize=(2, 2))[1].set_title("a_b")
None"""
ANOTHER_LOOK = "backend: Agg\nfont.family: monospace\naxes.facecolor: black\ntext.usetex: True\nsvg.fonttype: none\n"


def test_neither_the_readers_matplotlib_nor_their_kernels_change_a_page(tmp_path, monkeypatch):
    expected = outputs_of(FIGURE, tmp_path)
    assert expected[0].text.strip() == sys.executable
    assert expected[1].data["image/svg+xml"]
    (tmp_path / "kernels/python3").mkdir(parents=True)
    other = {"argv": ["false"], "display_name": "Another", "language": "python"}
    (tmp_path / "kernels/python3/kernel.json").write_text(json.dumps(other), encoding="utf-8")
    (tmp_path / "matplotlibrc").write_text(ANOTHER_LOOK, encoding="utf-8")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setenv("MATPLOTLIBRC", str(tmp_path))
    assert outputs_of(FIGURE, tmp_path) == expected


def test_a_page_without_one_of_its_figures_is_refused(tmp_path):
    page = json.loads((paths.ROOT / "book" / "02_training.ipynb").read_text(encoding="utf-8"))
    assert list(report.missing_figures(page)) == []
    cell = next(cell for cell in page["cells"] if "figure" in cell["metadata"].get("mystnb", {}))
    cell["outputs"] = [{"output_type": "execute_result", "data": {"text/plain": "<Axes: >"}, "metadata": {}}]
    assert list(report.missing_figures(page)) == [cell["metadata"]["mystnb"]["figure"]["name"]]


def test_what_a_cell_writes_to_stderr_is_printed_and_not_kept():
    warning = {"output_type": "stream", "name": "stderr", "text": ["/home/me is not writable\n"]}
    printed = {"output_type": "stream", "name": "stdout", "text": ["1\n"]}
    page, sent = {"cells": [{"metadata": {}, "outputs": [warning, printed]}, {"metadata": {}}]}, []
    report.drop_stderr(page, "page", lambda *message: sent.append(message))
    assert page["cells"][0]["outputs"] == [printed]
    assert sent == [("line", "page, stderr: /home/me is not writable")]


@pytest.mark.parametrize("more", [[], ["--prepare-only"]])
def test_papermill_refuses_an_unknown_parameter_and_writes_nothing(tmp_path, more):
    command = [sys.executable, "-m", "papermill", "notebooks/01_model.ipynb", str(tmp_path / "out.ipynb")]
    status, output = call([*command, "-p", "x", "1", *more])
    assert status == 1
    assert "parameter is 'x', but must be one of example" in output
    assert not any(tmp_path.iterdir())
