"""What make verify checks, and that it finds each kind of break."""

import json
import shutil

import nbformat
import pytest
import report
import safetensors.torch
import verify

from tests.conftest import TINY, eagerly, git
from vitlib import TrainConfig, data, paths, runs

TABLE = "studies/results/recipe.csv"
CODE = f"""\
import json, os
from pathlib import Path
Path("notebooks/written.json").write_text(Path({TABLE!r}).read_text() + Path(".hidden.json").read_text())
metrics = json.loads(Path(os.environ["REPORT_HOME"], "runs/report/metrics.json").read_text())
glued = {{"application/papermill.record/text/plain": repr(metrics["loss"])}}
display(glued, metadata={{"scrapbook": {{"name": "loss"}}}}, raw=True)"""


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Return a project of one page, one study and a small run, made by the project's own tools."""
    root = tmp_path_factory.mktemp("project")
    for folder in ("profiles", "notebooks", "book", "studies/results"):
        (root / folder).mkdir(parents=True)
    for file in ("studies/recipe.yaml", TABLE):
        shutil.copy(paths.ROOT / file, root / file)
    (root / "profiles/mine.yaml").write_text("page: {n: 2}\n", encoding="utf-8")
    (root / ".hidden.json").write_text("1", encoding="utf-8")
    cell, tagged = nbformat.v4.new_code_cell, {"tags": ["parameters"]}
    notebook = nbformat.v4.new_notebook(cells=[cell("n: int = 1", metadata=tagged), cell(CODE)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, root / "notebooks/page.ipynb")
    config = TrainConfig(model=TINY, epochs=1, train_images=512, validation_images=100)
    with pytest.MonkeyPatch.context() as patch:
        use(root, patch)
        eagerly(config, root / "build/mine/runs/report")
        report.execute("mine", ["page"])
        report.publish("mine")
    return root


def use(root, patch):
    patch.setenv("FASHION_MNIST", str(data.default_root()))
    patch.setenv("REPORT_HOME", "")
    for module in (paths, report):
        patch.setattr(module, "ROOT", root)


@pytest.fixture
def project(published, tmp_path, monkeypatch):
    use(shutil.copytree(published, tmp_path / "project"), monkeypatch)
    return tmp_path / "project"


def test_what_the_tools_publish_passes_and_its_pages_record_just_the_data_files_that_they_read(project, capsys):
    assert verify.verify() == []
    assert "2 data files are those that the pages were executed on (whether they are" in capsys.readouterr().out
    recorded = report.read_page(project / "book/page.ipynb")["metadata"]["vitlib"]["inputs"]
    assert recorded == {name: runs.sha256(project / name) for name in ("runs/report/metrics.json", TABLE)}


@pytest.mark.parametrize(
    ("file", "old", "new", "sentence"),
    [
        ("notebooks/page.ipynb", "n: int = 1", "n: int = 3", "book/page.ipynb differs from notebooks/page.ipynb"),
        ("book/page.ipynb", "n = 2", "n = 3", "book/page.ipynb has other parameters than it was executed with"),
        ("book/page.ipynb", '"exception": null', '"exception": true', "was not executed to its end"),
        ("book/page.ipynb", '"execution_count": 1', '"execution_count": null', "was not executed to its end"),
        ("book/page.ipynb", '"output_type": "display_data"', '"output_type": "error"', "shows an error or a warning"),
        ("book/page.ipynb", '"inputs": {', '"outputs": {', "has no record of the data files"),
        ("book/page.ipynb", 'metrics.json": "', 'metrics.json": "0', "was executed on another runs/report/metrics"),
        (TABLE, "0.8786", "0.8787", f"book/page.ipynb was executed on another {TABLE}"),
        (TABLE, "543da7abb83f", "543da7abb83e", "'epochs=3', seed 0, digest 543da7abb83e"),
        (TABLE, ",0,543da7abb83f", ",1,543da7abb83f", "'epochs=3', seed 1, digest 543da7abb83f"),
        (TABLE, "epochs=3,0", "epochs=2,0", "'epochs=2', seed 0, digest 543da7abb83f"),
        ("runs/report/config.json", '"epochs": 1', '"epochs": 2', "runs/report/config.json has SHA-256"),
    ],
)
def test_a_change_is_found(project, file, old, new, sentence):
    content = (project / file).read_text(encoding="utf-8")
    assert old in content
    (project / file).write_text(content.replace(old, new, 1), encoding="utf-8")
    failures = verify.verify()
    assert any(sentence in failure for failure in failures), failures


def test_a_changed_weight_with_new_checksums_is_found(project):
    run = project / "runs/report"
    tensors = safetensors.torch.load_file(run / "model.safetensors")
    next(iter(tensors.values())).view(-1)[0] += 1
    (run / "model.safetensors").write_bytes(safetensors.torch.save(tensors))
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    runs.write_json(run / "manifest.json", manifest | {"weights_sha256": runs.sha256(run / "model.safetensors")})
    runs.write_sums(run)
    assert any("The weights of runs/report give loss" in failure for failure in verify.verify())


def test_a_data_file_that_is_not_committed_is_found(project):
    for arguments in (["init"], ["add", "studies"], ["commit", "-m", "without the run"]):
        git(project, *arguments)
    assert verify.verify() == ["runs/report/metrics.json is not as committed: restore or commit it."]


def test_in_a_shallow_clone_and_without_git_the_checks_that_are_possible_hold(project, tmp_path, monkeypatch, capsys):
    for arguments in (["init"], ["add", "."], ["commit", "-m", "1"], ["commit", "--allow-empty", "-m", "2"]):
        git(project, *arguments)
    clone = tmp_path / "shallow"
    git(tmp_path, "clone", "--depth", "1", f"file://{project}", clone)
    use(clone, monkeypatch)
    assert verify.verify() == []
    assert "2 data files are those that the pages were executed on, and committed" in capsys.readouterr().out
    monkeypatch.setenv("PATH", "/nonexistent")
    assert verify.verify() == []
    assert "whether they are committed is not known without git" in capsys.readouterr().out
