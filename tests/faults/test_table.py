"""The figures in docs/faults.md are those that make test-faults counted."""

import json
import re

from tests.faults import trial


def test_the_table_is_what_was_counted():
    results = json.loads(trial.RESULTS.read_text())
    assert trial.table(results) in trial.PAGE.read_text()


def test_nothing_that_was_counted_got_through():
    for claim, row in json.loads(trial.RESULTS.read_text()).items():
        found = re.fullmatch(r"([\d,]+) of ([\d,]+)", row["result"])
        if found is None:
            assert claim.startswith("Memory"), claim
        else:
            assert found[1] == found[2], claim
            assert not claim.startswith("Kills survived") or int(found[2]) >= 20
