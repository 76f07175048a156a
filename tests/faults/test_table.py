"""The figures in docs/faults.md are those that make test-faults counted."""

import json
import re

from tests.faults import trial


def test_the_table_is_what_was_counted():
    results = json.loads(trial.RESULTS.read_text())
    assert trial.table(results) in trial.PAGE.read_text()


def test_nothing_that_was_counted_got_through():
    results = json.loads(trial.RESULTS.read_text())
    counted = {claim: re.fullmatch(r"([\d,]+) of ([\d,]+)", row["result"]) for claim, row in results.items()}
    assert [claim.split()[0] for claim, found in counted.items() if found is None] == ["Memory"]
    tried = {claim: int(found[2].replace(",", "")) for claim, found in counted.items() if found}
    assert all(found[1] == found[2] for found in counted.values() if found)
    kills = [number for claim, number in tried.items() if claim.startswith("Kills survived")]
    assert len(kills) == 4
    assert min(kills) >= 20
    assert sum(number for claim, number in tried.items() if claim.startswith("Bad parameters")) >= 60
    assert any(claim.startswith("Damaged inputs") for claim in tried)
