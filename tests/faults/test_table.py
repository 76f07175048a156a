"""The figures in docs/faults.md are those that make test-faults counted."""

import json
import re

from tests.faults import trial


def test_the_table_is_what_was_counted():
    results = json.loads(trial.RESULTS.read_text())
    assert trial.table(results) in trial.PAGE.read_text()


def test_nothing_that_was_tried_got_through():
    results = json.loads(trial.RESULTS.read_text())
    counted = {claim: re.fullmatch(r"(\d+) of (\d+)", row["result"]) for claim, row in results.items()}
    held = {claim: found.groups() for claim, found in counted.items() if found}
    assert all(number == tried for number, tried in held.values())
    kills = [int(tried) for claim, (_, tried) in held.items() if claim.startswith("Kills survived")]
    assert len(kills) == 4
    assert min(kills) >= 20
    assert sum(int(tried) for claim, (_, tried) in held.items() if claim.startswith("Bad parameters")) >= 60
