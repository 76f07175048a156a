"""The published pages are complete and equal to their sources, and one wrong digit is found."""

import ast
import csv
import os
import re
import shutil
import sys
from dataclasses import asdict

import pytest
import report
from papermill import inspect_notebook
from report import cell_tags as tags
from report import read_page as read
from report import source_of as text

from tests.conftest import call
from vitlib import TrainConfig, load_run, paths
from vitlib.config import IMAGES, differences
from vitlib.studies import study

SOURCES = sorted((paths.ROOT / "notebooks").glob("*.ipynb"))
each_page = pytest.mark.parametrize("name", [source.name for source in SOURCES])


def glued(page):
    """Return the glued values of a page by key, as they are stored."""
    values = {}
    for cell in page["cells"]:
        for output in cell.get("outputs", []):
            name = output.get("metadata", {}).get("scrapbook", {}).get("name")
            if name:
                stored = next(value for kind, value in output["data"].items() if kind.endswith("text/plain"))
                values[name] = "".join(stored).strip("'")
    return values


def code_cells(page):
    return [cell for cell in page["cells"] if cell["cell_type"] == "code"]


def test_every_source_and_nothing_else_is_published():
    published = {path.name for path in (paths.ROOT / "book").glob("*.ipynb")}
    assert published == {source.name for source in SOURCES}


@each_page
def test_a_page_is_its_source_executed_to_its_end(name):
    page = paths.ROOT / "book" / name
    assert [*report.page_failures(page, paths.ROOT / "notebooks" / name)] == []
    assert " at 0x" not in page.read_text(encoding="utf-8")  # an address in memory


@each_page
def test_a_source_has_no_outputs_and_one_parameters_cell(name):
    cells = code_cells(read(paths.ROOT / "notebooks" / name))
    assert not any(cell["outputs"] or cell["execution_count"] for cell in cells)
    assert sum("parameters" in tags(cell) for cell in cells) == 1


def test_the_training_page_has_every_setting_as_a_parameter_with_its_default():
    defaults = asdict(TrainConfig())
    defaults |= {name: value for name, value in defaults.pop("model").items() if name not in IMAGES}
    offered = inspect_notebook(str(paths.ROOT / "notebooks" / "02_training.ipynb"))
    found = {name: ast.literal_eval(about["default"]) for name, about in offered.items()}
    assert found == defaults | {"run_name": "", "device": "auto"}
    cells = code_cells(read(paths.ROOT / "notebooks" / "02_training.ipynb"))
    call = next(ast.parse(text(cell)).body[0].value for cell in cells if text(cell).startswith("config = TrainConfig("))
    calls = [node for node in ast.walk(call) if isinstance(node, ast.Call)]
    used = {keyword.arg: ast.unparse(keyword.value) for each in calls for keyword in each.keywords}
    assert used.pop("model").startswith("ViTConfig(")
    assert used == {name: name for name in defaults}


@each_page
def test_every_figure_and_table_keeps_its_numbers_where_nbval_compares_them(name):
    for cell in code_cells(read(paths.ROOT / "book" / name)):
        figure = cell["metadata"].get("mystnb", {}).get("figure")
        bundles = [output["data"] for output in cell["outputs"] if "data" in output]
        tables = [data for data in bundles if "".join(data.get("text/markdown", "")).startswith("|")]
        for data in bundles if figure else tables:
            rows = list(csv.reader("".join(data["text/csv"]).splitlines()))
            assert len(rows) > 1, text(cell)
            assert len({len(row) for row in rows}) == 1, text(cell)
            digits = [re.fullmatch(r"-?\d+(\.\d+)?(e-\d+)?", value) for row in rows[1:] for value in row]
            assert any(digits) or not figure, text(cell)
        assert bundles or not figure


def test_nbval_compares_the_outputs_of_all_cells_but_the_one_that_trains():
    cells = [(source.name, cell) for source in SOURCES for cell in code_cells(read(paths.ROOT / "book" / source.name))]
    ((page, cell),) = ((page, cell) for page, cell in cells if any(tag.startswith("nbval") for tag in tags(cell)))
    assert page == "02_training.ipynb"
    assert "train(config, " in text(cell)


def check(folder, name, **environment):
    """Run nbval on one page; return its exit status and output."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval", "--nbval-current-env"]
    return call([*command, "--rootdir", str(folder), "-c", os.devnull, str(folder / name)], **environment)


def altered(folder, name, old, new):
    """Copy a page into `folder` with the first `old` replaced by `new`."""
    content = (paths.ROOT / "book" / name).read_text(encoding="utf-8")
    assert old in content
    (folder / name).write_text(content.replace(old, new, 1), encoding="utf-8")


def test_an_unchanged_page_passes_and_one_wrong_digit_fails(tmp_path):
    shutil.copy(paths.ROOT / "book" / "04_encoder_cost.ipynb", tmp_path)
    status, said = check(tmp_path, "04_encoder_cost.ipynb")
    assert status == 0, said
    altered(tmp_path, "04_encoder_cost.ipynb", "**One layer** |  | 2,777,600", "**One layer** |  | 2,777,601")
    status, said = check(tmp_path, "04_encoder_cost.ipynb")
    assert status == 1
    assert "2,777,601" in said


def test_the_published_run_names_a_commit_and_a_clean_tree():
    for start in load_run(paths.ROOT / "runs" / "report").manifest["starts"]:
        assert re.fullmatch(r"[0-9a-f]{40}", start["code"]["commit"])
        assert start["code"]["clean"] is True


def test_the_recipe_was_chosen_by_runs_of_known_settings():
    chosen = study.load("recipe")
    assert chosen.test == "never"
    assert {row["variant"] for row in chosen.rows.values()} == set(chosen.variants)
    for variant, config in chosen.variants.items():
        assert variant == ", ".join(f"{name}={value}" for name, value in differences(config, TrainConfig()).items())
    run = load_run(paths.ROOT / "runs" / "report")
    listed = chosen.rows[run.config.digest]
    assert listed["validation_accuracy"] == run.history[-1]["validation_accuracy"]


def test_the_readmes_results_are_those_of_the_pages():
    readme = (paths.ROOT / "README.md").read_text(encoding="utf-8")
    rows = [line.split("|") for line in readme.splitlines() if " – " in line]
    found = [re.findall(r"\d+(?:\.\d+)?", " ".join(row[1:]).replace("95 %", "")) for row in rows]
    pages = ("03_per_class", "05_seeds", "06_recipe")
    trained, seeds, recipe = (glued(read(paths.ROOT / "book" / f"{page}.ipynb")) for page in pages)
    reported = [trained[f"reported_{name}"] for name in ("accuracy", "low", "high", "loss")]
    replicated = [seeds[name] for name in ("n", "likeliest", "mean", "low", "high", "loss_mean")]
    best = [recipe[f"best_{name}"] for name in ("n", "mean", "low", "high", "loss")]
    published = [trained[name] for name in ("accuracy", "accuracy_low", "accuracy_high", "loss")]
    longest = [recipe[f"longest_{name}"] for name in ("epochs", "test", "low", "high", "loss")]
    assert [[float(number) for number in row] for row in found] == [
        [float(number) for number in row] for row in (reported, replicated, best, published, longest)
    ]
