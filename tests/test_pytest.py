"""How pytest shares pages among workers, and what nbval keeps a page from doing."""

import sys

from tests.conftest import call


def pytest_output(*arguments, **environment):
    return call([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments], **environment)


def test_several_workers_keep_the_cells_of_a_page_together():
    tests = ("tests/test_config.py", "book/check.ipynb")  # a page needs all its cells
    status, output = pytest_output("-n", "2", "--nbval", *tests, "-k", "digest or check")
    assert status == 0, output
    assert " passed" in output


def test_a_page_under_check_whose_run_is_missing_fails_with_one_sentence_and_trains_nothing(tmp_path):
    status, output = pytest_output("--nbval", "book/02_training.ipynb", REPORT_HOME=str(tmp_path))
    assert status == 1
    assert "runs/report is missing, and a page under check does not train: run make report." in output
    assert not any(tmp_path.iterdir())
