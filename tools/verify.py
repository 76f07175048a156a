"""Check that the published pages, the run and the tables of results belong together."""

import argparse
import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import report
from command import exit_on_user_error

from vitlib import data, load_run, paths, runs
from vitlib.evaluate import evaluate
from vitlib.studies import study, tables

NOT_PROVEN = """
Not proven here: that the code on the pages prints these numbers (make test executes it again), and that the training,
the studies and the benchmarks took place as their files say (only repeating them can show that)."""

Pages = dict[str, dict[str, Any]]
Fail = Callable[[str], None]  # takes the sentence of one failure


def check_pages(pages: Pages, fail: Fail) -> str:
    """Check that each page equals its source, cell for cell, and was executed to its end."""
    for name in (f"{stem}.ipynb" for stem in pages):
        for failure in report.page_failures(paths.ROOT / "book" / name, paths.ROOT / "notebooks" / name):
            fail(failure)
    return f"{len(pages)} pages equal their sources and were executed to their end"


def check_inputs(pages: Pages, fail: Fail) -> str:
    """Check that the data files are those that the pages were executed on, and committed."""
    recorded = {name: page["metadata"].get("vitlib", {}).get("inputs", {}) for name, page in pages.items()}
    data_files = {path: paths.ROOT / path for path in sorted({path for files in recorded.values() for path in files})}
    digests = {path: runs.sha256(file) for path, file in data_files.items() if file.is_file()}
    for name, files in recorded.items():
        for path, digest in files.items():
            if digests.get(path) != digest:
                fail(f"book/{name}.ipynb was executed on another {path}: restore the file or run make report.")
    executed = f"{len(data_files)} data files are those that the pages were executed on"
    if git("rev-parse", "--show-toplevel") != [str(paths.ROOT)]:
        return f"{executed} (whether they are committed is not known without git)"
    committed = {*git("ls-tree", "-r", "--name-only", "HEAD")} - {*git("diff", "--name-only", "HEAD")}
    for path in data_files:
        if path not in committed:
            fail(f"{path} is not as committed: restore or commit it.")
    return f"{executed}, and committed"


def git(*arguments: str) -> list[str]:
    """Return the lines that git prints about the project, none if it fails."""
    try:
        done = subprocess.run(["git", "-C", paths.ROOT, *arguments], capture_output=True, encoding="utf-8", check=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    return done.stdout.splitlines()


def check_run(pages: Pages, fail: Fail) -> str:
    """Check that the run's checksums hold and that its weights give its metrics."""
    run = load_run(report.RUN)
    result = evaluate(run, *data.load("test"))
    for name in ("loss", "correct", "total"):
        ours, stored = getattr(result, name), run.metrics[name]
        if ours != stored and not (name == "loss" and math.isclose(ours, stored, abs_tol=1e-9)):
            fail(f"The weights of {report.RUN} give {name} {ours}, but its metrics.json has {stored}.")
    return f"the checksums of {report.RUN} hold, and its weights give its test loss and counts"


def check_studies(pages: Pages, fail: Fail) -> str:
    """Check that each row of the studies' results is a run that the study's file asks for."""
    files, rows = sorted((paths.ROOT / "studies" / "results").glob("*.csv")), 0
    for table in files:
        asked = study.load(f"studies/{table.stem.removesuffix('-epochs')}.yaml").runs
        by_digest = {config.digest: (variant, config.seed) for variant, config in asked}
        for row in tables.read(table):
            rows += 1
            if by_digest.get(row["digest"]) != (row["variant"], row["seed"]):
                which = f"{row['variant']!r}, seed {row['seed']}, digest {row['digest']}"
                fail(f"{paths.relative(table)} has a row that is no run of its study: {which}.")
    return f"{rows} rows of {len(files)} tables are runs that their study files ask for"


def check_data(pages: Pages, fail: Fail) -> str:
    """Check the checksums of Fashion-MNIST."""
    for split in ("train", "test"):
        data.load(split)
    return f"{len(data.SHA256)} files of Fashion-MNIST have their checksums"


def verify() -> list[str]:
    """Print a line for each check; return a sentence for each failure."""
    pages = {path.stem: report.read_page(path) for path in sorted((paths.ROOT / "book").glob("*.ipynb"))}
    failures: list[str] = []
    for check in (check_pages, check_inputs, check_run, check_studies, check_data):
        before, checked = len(failures), ""
        try:
            checked = check(pages, failures.append)
        except (ValueError, data.DataError) as error:
            failures.append(str(error))
        failed = len(failures) - before
        print(f"{check.__name__.removeprefix('check_'):9}{f'{failed} failed' if failed else checked}", flush=True)
    return failures


def main() -> None:
    """Verify, and exit with the failures."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    with exit_on_user_error():
        failures = verify()
    print(NOT_PROVEN)
    if failures:
        sys.exit("\n" + "\n".join(failures))


if __name__ == "__main__":
    main()
