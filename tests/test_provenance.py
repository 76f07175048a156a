import pytest

from tests.conftest import git
from vitlib import paths
from vitlib.training import provenance

FILES = ("vitlib/model.py", "vitlib/training/engine.py", "vitlib/report/figures.py", "book/_ext/x.py", "README.md")


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """Return a git checkout that plays the project."""
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1\n", encoding="utf-8")
    for arguments in (["init"], ["add", "."], ["commit", "-m", "all"]):
        git(tmp_path, *arguments)
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    return tmp_path


@pytest.mark.parametrize(("name", "clean"), [*zip(FILES, [False, False, True, True, True], strict=True)])
def test_only_a_change_of_training_code_marks_a_run_as_unclean(checkout, name, clean):
    assert provenance.code()["clean"] is True
    (checkout / name).write_text("2\n", encoding="utf-8")
    assert provenance.code()["clean"] is clean


def test_without_git_the_commit_comes_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setenv("VITLIB_COMMIT", "abc")
    assert provenance.code() == {"commit": "abc", "clean": None}
