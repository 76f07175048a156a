"""What pytest runs by default here, and what nbval keeps a page from doing."""

import sys

from tests.conftest import call


def pytest_output(*arguments, **environment):
    return call([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments], **environment)


def test_tests_of_a_kind_run_on_request_and_the_summary_names_the_command():
    kinds = ["--collect-only", "tests/test_cluster.py", "tests/faults/test_killed.py", "tests/test_config.py"]
    _, output = pytest_output(*kinds)
    assert "test_config.py" in output
    assert "test_killed.py" not in output
    assert "cluster test" in output
    assert "(make test-cluster), " in output
    assert "faults tests (make test-faults)." in output
    _, output = pytest_output(*kinds, "-m", "faults")
    assert "test_killed.py" in output
    assert "test_config.py" not in output
    assert "Left out" not in output


def test_several_workers_share_the_tests_and_name_what_is_left_out():
    tests = ("tests/test_cluster.py", "tests/test_config.py", "book/check.ipynb")  # a page needs all its cells
    status, output = pytest_output("-n", "2", "--nbval", *tests, "-k", "digest or study or check")
    assert status == 0, output
    assert " passed" in output
    assert "(make test-cluster)." in output


def test_a_page_under_check_whose_run_is_missing_fails_with_one_sentence_and_trains_nothing(tmp_path):
    status, output = pytest_output("--nbval", "book/02_training.ipynb", REPORT_HOME=str(tmp_path))
    assert status == 1
    assert "runs/report is missing, and a page under check does not train: run make report." in output
    assert not any(tmp_path.iterdir())
