"""The tables of a study's results, CSV: a row per run, or per run and epoch."""

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from vitlib import runs
from vitlib.config import require

RUN = ("variant", "seed", "digest")  # the first columns of a table
TEXTS = ("variant", "digest", "device", "device_kind")  # columns that are not JSON
MACHINE = ("seconds", "device", "device_kind")  # columns that differ when the same runs are trained again
REMEDY = "restore the file, or remove the rows that are wrong; those runs are trained again."


def read(table: Path) -> list[dict[str, Any]]:
    """Return the rows of a table with their values as numbers and lists; an empty cell is None.

    Raises:
        ValueError: the table was cut off, has merge conflict markers, or a row is malformed or repeated.
    """
    if not table.is_file():
        return []
    rows: dict[tuple[str, int | None], dict[str, Any]] = {}
    with runs.reading(table, REMEDY):
        text = table.read_text(encoding="utf-8")
        lines = csv.reader(io.StringIO(text), strict=True)
        names = next(lines, [])
        require(names[: len(RUN)] == [*RUN], "line 1", ",".join(names), f"columns that begin with {','.join(RUN)}")
        for row in lines:
            where = f"line {lines.line_num}"
            require(len(row) == len(names), where, ",".join(row), f"{len(names)} values")
            values = {name: _value(name, value, where) for name, value in zip(names, row, strict=True)}
            run = values["digest"], values.get("epoch")
            require(bool(re.fullmatch("[0-9a-f]{12}", run[0])), f"digest in {where}", run[0], "12 hexadecimal digits")
            require(run not in rows, where, ",".join(row), "a row of another run")
            rows[run] = values
        require(text.endswith("\n"), "the last line", text.splitlines()[-1], "complete and end with a newline")
    return [*rows.values()]


def _value(name: str, text: str, where: str) -> Any:  # noqa: ANN401
    """Return what a cell of a table holds."""
    if name in TEXTS:
        return text
    try:
        value = json.loads(text or "null")
    except ValueError:
        value = text
    finite = type(value) in (int, float) and math.isfinite(value)
    require(value is None or finite or isinstance(value, list), f"{name} in {where}", text, "a number")
    return value


def by_digest(rows: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of each run."""
    grouped: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        grouped.setdefault(row["digest"], []).append(row)
    return grouped


def results_of(run: runs.Run) -> dict[str, Any]:
    """Return the columns of a finished run's row."""
    last, start = run.history[-1], run.manifest["starts"][-1]
    results = {
        "epochs": run.config.epochs,
        "validation_accuracy": last["validation_accuracy"],
        "validation_loss": last["validation_loss"],
        "seconds": round(run.manifest["training_seconds"] / start.get("seeds_at_once", 1), 2),  # its share
        "device": start["device"],
        "device_kind": start["device_kind"],
    }
    if "loss" in run.metrics:
        correct = run.metrics["correct"]
        results["test_accuracy"] = round(sum(correct) / sum(run.metrics["total"]), 6)
        results["test_loss"] = round(run.metrics["loss"], 6)
        results["test_correct"] = correct
    return results


def write(table: Path, columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> None:
    """Write a table completely or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(name, row.get(name)) for name in columns] for row in rows)
    table.parent.mkdir(parents=True, exist_ok=True)
    runs.write_bytes(table, text.getvalue().encode())


def _cell(name: str, value: Any) -> str:  # noqa: ANN401
    return "" if value is None else value if name in TEXTS else json.dumps(value)
