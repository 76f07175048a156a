"""What the last page says about the measurements."""

import json

from vitlib import paths
from vitlib.report import origins


def test_every_result_is_listed_with_its_command_and_its_machine():
    rows = [*origins.measured_once()]
    assert all(all(row) for row in rows)
    tables = {path.stem for path in (paths.ROOT / "studies" / "results").glob("*.csv")}
    assert {f"make study STUDY={name}" for name in tables if not name.endswith("-epochs")} < {row[1] for row in rows}
    answers = {path.name for path in (paths.ROOT / "studies" / "results").glob("*.safetensors")}
    assert answers <= {row[0] for row in rows}
    listed = {path.name for file, *_ in rows for path in (paths.ROOT / "benchmarks").rglob(file)}
    measured = (paths.ROOT / "benchmarks" / "results").glob("*.json")
    assert {path.name for path in measured if "environment" in json.loads(path.read_text(encoding="utf-8"))} <= listed
