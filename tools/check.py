"""Check a homework, or a folder of them: what is right, right under another convention, or wrong; make runs this.

The status is 0 if nothing is wrong, otherwise 1. docs/check.md says what a homework's file holds.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from command import UserError, exit_on_user_error

from vitlib import homework, paths
from vitlib.checking import report
from vitlib.checking.claims import Claim, Verdict


def files(argument: str) -> list[Path]:
    """Return the files to check; raises UserError if there are none."""
    path = Path(argument).expanduser()
    if argument and path.is_file():
        return [path]
    homeworks = sorted(p for p in path.glob("*") if p.suffix in (".yaml", ".yml") and p.is_file()) if argument else []
    if not homeworks:
        raise UserError(
            f"HOMEWORK is {argument!r}, but must be a homework's YAML file or a folder of them (docs/check.md)."
        )
    return homeworks


Check = tuple[homework.Homework, list[Claim]] | str  # the claims with their verdicts, or why there are none


def checked(path: Path) -> Check:
    """Return a homework and its claims with their verdicts, or a sentence if it is no homework."""
    try:
        submitted = homework.read(path.resolve())
        return submitted, report.check(submitted)
    except ValueError as error:
        return str(error)


def wrong(result: Check) -> bool:
    """Return whether a file cannot be read or makes a wrong claim."""
    return isinstance(result, str) or any(claim.verdict is Verdict.WRONG for claim in result[1])


def table(checks: dict[str, Check]) -> str:
    """Return a line a file: how many claims have each verdict, and the first that is wrong."""
    width = max(map(len, checks))
    lines = [f"{'file':{width}}  wrong  convention  unchecked  right  first wrong claim"]
    for name, result in checks.items():
        if isinstance(result, str):
            lines.append(f"{name:{width}}  {result.removeprefix(name).lstrip(': ')}")
            continue
        _, claims = result
        numbers = [sum(claim.verdict is verdict for claim in claims) for verdict in report.ORDER]
        first = next((f"{c.where}, {c.name}: {c.value}" for c in claims if c.verdict is Verdict.WRONG), "")
        row = "{:5}  {:10}  {:9}  {:5}".format(*numbers)
        lines.append(f"{name:{width}}  {row}  {first}".rstrip())
    return report.printable("\n".join([*lines, "", "For the reasons, check one file."]))


def as_json(checks: dict[str, Check]) -> dict[str, Any]:
    """Return by file its claims, or the error."""
    return {
        name: {"error": result} if isinstance(result, str) else {"claims": [*map(asdict, result[1])]}
        for name, result in checks.items()
    }


def main() -> None:
    """Check what the command line names and print the verdicts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("homework", help="a homework's YAML file, or a folder of them")
    parser.add_argument("--json", action="store_true", help="print JSON, by file")
    arguments = parser.parse_args()
    with exit_on_user_error():
        checks = {paths.relative(path): checked(path) for path in files(arguments.homework)}
        if arguments.json:
            print(json.dumps(as_json(checks), indent=1, ensure_ascii=False))
        elif len(checks) > 1 or Path(arguments.homework).expanduser().is_dir():
            print(table(checks))
        else:
            ((name, result),) = checks.items()
            if isinstance(result, str):
                raise UserError(report.printable(result))
            submitted, claims = result
            lines = (report.network(submitted.network), report.text(claims), f"{name}: {report.summary(claims)}")
            print(report.printable("\n\n".join(lines)))
        sys.exit(any(map(wrong, checks.values())))


if __name__ == "__main__":
    main()
