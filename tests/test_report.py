"""The commands around the notebooks: profiles, execution, publication and the book."""

import json
import os
import re
import subprocess
import sys

import nbformat
import papermill
import pytest
import report

from tests.book import Text, build, copy_of_the_book
from vitlib import data, load_run, paths


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Return an empty project with the real notebooks, into which profiles can be written."""
    (tmp_path / "profiles").mkdir()
    (tmp_path / "notebooks").symlink_to(paths.ROOT / "notebooks")
    monkeypatch.setattr(report, "ROOT", tmp_path)
    for name in [name for name in os.environ if name.startswith("PYTEST")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("REPORT_HOME", "")
    return tmp_path


@pytest.mark.parametrize("name", [path.stem for path in (paths.ROOT / "profiles").glob("*.yaml")])
def test_every_key_of_a_profile_is_a_parameter_of_its_notebook(name):
    assert report.profile(name)["02_training"]["run_name"] == "report"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("02_training:\n  epoch: 3\n", r"02_training has no parameter 'epoch'; it has batch_size, crop, "),
        ("2_training:\n  epochs: 3\n", r"'2_training' has to be one of the notebooks 01_model, 02_training, "),
        ("02_training: 3\n", r"02_training is 3, but has to hold parameters, name: value\."),
        ("02_training: [\n", r"mine\.yaml is not valid YAML: "),
    ],
)
def test_a_wrong_profile_gets_one_sentence(project, content, sentence):
    (project / "profiles" / "mine.yaml").write_text(content)
    with pytest.raises(report.MistakeError, match=sentence):
        report.profile("mine")


def test_an_unknown_profile_names_the_known_ones():
    with pytest.raises(report.MistakeError, match="PROFILE is 'tpu', but has to be one of cpu, gpu, smoke"):
        report.profile("tpu")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("02_training:\n  epochs: -1\n", "epochs is -1, but has to be a whole number of at least 1."),
        ("02_training:\n  embed_dim: 63\n", "embed_dim is 63, but has to be a multiple of num_heads=4."),
        ("02_training:\n  device: tpu\n", "device is 'tpu', but has to be one of auto, cpu, cuda."),
        ("03_per_class:\n  run_name: nowhere\n", "run is '.*runs/nowhere', but has to be a finished run"),
    ],
)
def test_a_wrong_parameter_ends_the_page_with_one_sentence(project, content, sentence):
    (project / "profiles" / "mine.yaml").write_text(content)
    (notebook,) = report.profile("mine")
    with pytest.raises(report.MistakeError, match=sentence):
        report.execute("mine", notebook)
    assert not list((project / "build" / "mine" / "book").iterdir())


def test_an_unfinished_rerun_is_not_published(project):
    with pytest.raises(report.MistakeError, match="build/mine is not a finished rerun"):
        report.publish("mine")


def test_a_rerun_older_than_its_sources_is_not_published(project):
    book = project / "build" / "mine" / "book"
    book.mkdir(parents=True)
    for source in (project / "notebooks").glob("*.ipynb"):
        page = json.loads(source.read_text())
        page["metadata"]["papermill"] = {}
        page["cells"][0]["source"] = ["# Another title"]
        (book / source.name).write_text(json.dumps(page))
    with pytest.raises(report.MistakeError, match=r"build/mine/book/01_model\.ipynb is older than notebooks/01_model"):
        report.publish("mine")
    assert not (project / "book").exists()


def test_without_any_source_of_data_one_sentence_says_what_to_do(monkeypatch, tmp_path, capsys):
    def unreachable(scratch):
        raise OSError("no route to host")

    monkeypatch.setattr(data, "_from_torchvision", unreachable)
    monkeypatch.setattr(data, "_from_debian", unreachable)
    monkeypatch.setenv("FASHION_MNIST", str(tmp_path))
    with pytest.raises(
        report.MistakeError, match=r"no route to host.*set FASHION_MNIST to a folder with its four files"
    ):
        report.fetch()


def test_the_training_page_runs_by_hand(tmp_path):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    environment = clean | {"REPORT_HOME": str(tmp_path), "TORCH_COMPILE_DISABLE": "1"}
    settings = {"epochs": 2, "train_images": 256, "validation_images": 100, "patch_size": 14, "depth": 1}
    command = [sys.executable, "-m", "papermill", "notebooks/02_training.ipynb", str(tmp_path / "out.ipynb")]
    for name, value in settings.items():
        command += ["-p", name, str(value)]
    subprocess.run(command, cwd=paths.ROOT, env=environment, check=True, capture_output=True)
    (run,) = (tmp_path / "runs").glob("vit-*")
    assert len(load_run(run).history) == 2


def test_what_a_cell_prints_is_one_output_however_it_arrives(tmp_path):
    lines = "import time\nprint('now, ', end='', flush=True)\ntime.sleep(1)\nprint('and later')"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(lines)]), tmp_path / "in.ipynb")
    made = papermill.execute_notebook(
        tmp_path / "in.ipynb", tmp_path / "out.ipynb", kernel_name="python3", progress_bar=False
    )
    (output,) = made.cells[0].outputs
    assert output.text == "now, and later\n"


def test_the_homeworks_numbers_stand_on_the_pages(pages):
    words = {name: " ".join(page.words) for name, page in pages.items()}
    for number in ("9,983,872", "201,290", "201,802", "204,554", "2,777,600", "49,984", "11,161,216"):
        assert number in words["04_encoder_cost.html"], number
    assert "MACs: 9983872.0, Params: 201290.0." in words["01_model.html"]
    assert "85.17" in words["index.html"]
    assert "0.437977" in words["index.html"]
    assert re.search(r"Test Accuracy \(Overall\): \d\d\.\d\d% \(\d{4}/10000\)", words["03_per_class.html"])


def test_pages_load_nothing_from_another_host(pages):
    foreign = {load for page in pages.values() for load in page.loads if re.match(r"(https?:)?//", load)}
    assert not foreign


def test_every_figure_says_what_it_shows(pages):
    for name, page in pages.items():
        for image in page.images:
            if "_images/" in image.get("src", ""):
                assert len(image.get("alt", "")) > 20, f"{name}: {image['src']}"


def test_a_missing_number_stops_the_build(tmp_path):
    book = copy_of_the_book(tmp_path)
    page = book / "03_per_class.ipynb"
    page.write_text(page.read_text().replace('"application/papermill.record/text/plain"', '"dropped/text"'))
    result = build(book, tmp_path)
    assert result.returncode != 0
    assert "No text/plain found in 'accuracy" in result.stdout + result.stderr


def test_launch_buttons_stand_where_a_repository_is_named_and_nowhere_else(tmp_path, pages):
    assert not any("mybinder" in link or "github.com" in link for page in pages.values() for link in page.links)
    book = copy_of_the_book(tmp_path)
    settings = (book / "_config.yml").read_text()
    (book / "_config.yml").unlink()
    (book / "_config.yml").write_text(settings.replace('url: ""', "url: https://github.com/owner/name"))
    assert build(book, tmp_path).returncode == 0
    page = Text()
    page.feed((tmp_path / "_build" / "html" / "01_model.html").read_text())
    assert any(link.startswith("https://mybinder.org/v2/gh/owner/name/main?urlpath=lab") for link in page.links)
    assert "https://github.com/owner/name/blob/main/notebooks/01_model.ipynb" in page.links
