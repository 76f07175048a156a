"""What was tried is said at the end, and kept where all of it was tried."""

import pytest

from tests.faults import trial


def pytest_terminal_summary(terminalreporter):
    if trial.TALLY:
        kind = "full counts" if trial.FULL else "a sample; make test-faults tries all"
        terminalreporter.write_line(f"faults, FAULT_SEED={trial.SEED} ({kind}):")
        for claim, row in trial.TALLY.items():
            terminalreporter.write_line(f"  {claim}: {row['result']}")


def pytest_sessionfinish(exitstatus):
    if trial.FULL and trial.TALLY and exitstatus == pytest.ExitCode.OK:
        trial.write_results()
