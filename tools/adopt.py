"""Put the results of a pack in their place.

    python tools/adopt.py FILE

FILE is what tools/gpu.py packed: its folder, or one of its archives. Nothing changes unless all of it is right: every
checksum, the code of its commit, which HEAD must contain, the machine, and the settings of every run. Then tables and
benchmark results go to studies/ and benchmarks/, the studies' runs to build/studies/, the report's run to
build/full/runs/, and the pages that read what changed are executed into build/full/book/.
"""

import argparse
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pack
import report
from command import UserError, exit_on_user_error

from vitlib import paths, runs
from vitlib.data import DataError
from vitlib.studies import study as studies
from vitlib.studies import tables
from vitlib.training import provenance

STAGE = paths.ROOT / "build" / "adopting"  # while it is checked
READY = paths.ROOT / "build" / "adopted"  # once all of it is right: files that only have to be moved to their place
SMOKE = "build/smoke"  # takes the place of the project's root for a pack of small sizes


# ---- checks --------------------------------------------------------------------------------------------------------


def check_machine(packed: pack.Pack) -> None:
    """Check that everything was made on one machine, which the benchmarks' names say, and that no test failed."""
    first = packed.about[0]
    if any((about.device, about.smoke) != (first.device, first.smoke) for about in packed.about):
        raise UserError("The archives were made on different machines: adopt one pack at a time.")
    if first.parts.get("tests", "").startswith("failed"):
        raise UserError(f"The tests failed on {first.device}, so its results do not count: {first.parts['tests']}.")
    for name, content in packed.files.items():
        if name.startswith("benchmarks/"):
            machine = Path(name).stem.removeprefix("speed-").rpartition("-")[0]
            with runs.reading(Path(name), "measure again."):
                environment = json.loads(content)["environment"]
                wanted = "cpu" if environment["device_kind"] == "cpu" else provenance.short_name(first.device)
            if (environment["device"], machine) != (first.device, wanted):
                raise UserError(
                    f"{name} was measured on {environment['device']}, but the pack was made on {first.device}."
                )


def check_runs(packed: pack.Pack) -> None:
    """Check that each staged run is intact, lies where it belongs, and was made by this code on this machine."""
    made_at = {(about.commit, about.device) for about in packed.about}
    for folder in sorted({(STAGE / name).parent for name in packed.files if name.endswith(f"/{runs.SUMS}")}):
        run, name = runs.load_run(folder), folder.relative_to(STAGE).as_posix()
        start = run.manifest["starts"][-1]
        if (start["code"]["commit"], start["device"]) not in made_at:
            raise UserError(
                f"{name} was made on {start['device']} at commit {start['code']['commit']}, unlike its pack."
            )
        place = f"{replace(run.config, seed=0).digest}/seed-{run.config.seed}"
        if name != "runs/report" and not name.endswith(place):
            raise UserError(f"{name} holds another run, {place}.")


# ---- studies -------------------------------------------------------------------------------------------------------


def merge(name: str, packed: pack.Pack) -> None:
    """Replace the staged tables of a study by the union with ours; UserError if a row is no run of the study."""
    about = packed.about[0]
    source = paths.ROOT / ("tools/studies" if about.smoke else "studies") / f"{name}.yaml"
    if not source.is_file():
        raise UserError(f"The pack holds results of the study {name!r}, which studies/ does not have.")
    shutil.copyfile(source, STAGE / "studies" / source.name)
    theirs, ours = studies.load(str(STAGE / "studies" / source.name)), studies.load(str(source))
    asked = {config.digest: (variant, config.seed) for variant, config in theirs.runs}
    our_digests = {row["digest"] for row in tables.read(ours.table)}
    for row in tables.read(theirs.table):
        which = f"{row['variant']!r}, seed {row['seed']}"
        if asked.get(row["digest"]) != (row["variant"], row["seed"]):
            raise UserError(f"The study {name} asks for no run {which}, with the settings {row['digest']} of the pack.")
        if row["digest"] not in our_digests and row["device"] != about.device:
            raise UserError(f"{name}: {which} was trained on {row['device']}, but the pack was made on {about.device}.")
    for table, mine, columns in (
        (theirs.table, ours.table, ours.columns),
        (theirs.epochs_table, ours.epochs_table, ours.epoch_columns),
    ):
        if table.is_file() and mine.is_file():
            rows = [*tables.read(mine), *(row for row in tables.read(table) if row["digest"] not in our_digests)]
            tables.write(table, columns, rows)
    theirs.gather()
    (STAGE / "studies" / source.name).unlink()


@contextmanager
def teachers_known(packed: pack.Pack) -> Iterator[None]:
    """Put the records of the pack's teachers where studies look for them; take them away again if a check fails."""
    place = "studies/teachers"
    records = {paths.ROOT / name: content for name, content in packed.files.items() if str(Path(name).parent) == place}
    new = {path: content for path, content in records.items() if not path.exists()}
    for path, content in new.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    try:
        yield
    except BaseException:
        for path in new:
            path.unlink()
        raise


# ---- to their place ------------------------------------------------------------------------------------------------


def stage(packed: pack.Pack) -> None:
    """Write what will be moved to the project into `STAGE`, laid out like the project, after checking it."""
    for name, content in packed.files.items():
        if not name.startswith("log/"):
            (STAGE / name).parent.mkdir(parents=True, exist_ok=True)
            (STAGE / name).write_bytes(content)
    check_runs(packed)
    names = {Path(name).stem.removesuffix("-epochs") for name in packed.files if name.startswith("studies/results/")}
    for name in sorted(names):
        merge(name, packed)
    smoke = packed.about[0].smoke
    if (STAGE / "runs").is_dir():
        target = STAGE / "build" / ("smoke" if smoke else "full") / "runs"
        target.parent.mkdir(parents=True, exist_ok=True)
        (STAGE / "runs").rename(target)
    if smoke:
        for folder in ("studies", "benchmarks"):
            if (STAGE / folder).is_dir():
                shutil.move(STAGE / folder, STAGE / SMOKE / folder)


def move() -> list[str]:
    """Move all that is ready to its place, and return the paths of the files that changed."""
    changed = []
    for path in sorted(path for path in READY.rglob("*") if path.is_file()):
        target = paths.ROOT / path.relative_to(READY)
        if not target.is_file() or target.read_bytes() != path.read_bytes():
            changed.append(paths.relative(target))
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)
    shutil.rmtree(READY, ignore_errors=True)
    return changed


def adopt(packed: pack.Pack) -> list[str]:
    """Check a pack and move all of it to its place, or change nothing; return the paths of the files that changed."""
    for about in packed.about:
        pack.check_code(about)
    check_machine(packed)
    shutil.rmtree(STAGE, ignore_errors=True)
    try:
        with teachers_known(packed):
            stage(packed)
    except BaseException:
        shutil.rmtree(STAGE, ignore_errors=True)
        raise
    STAGE.rename(READY)  # from here on a call that was killed is finished by the next one
    return move()


# ---- pages ---------------------------------------------------------------------------------------------------------


def outdated_pages() -> list[str]:
    """Return the published pages that were executed on other files than those of build/full/, or else the project's."""
    outdated = []
    for page in sorted((paths.ROOT / "book").glob("*.ipynb")):
        for name, digest in report.read_page(page)["metadata"].get("vitlib", {}).get("inputs", {}).items():
            adopted, published = paths.ROOT / "build" / "full" / name, paths.ROOT / name
            path = adopted if adopted.is_file() else published
            if not path.is_file() or runs.sha256(path) != digest:
                outdated.append(page.stem)
                break
    return outdated


def execute(pages: list[str]) -> dict[str, str]:
    """Execute pages into build/full/, beside the published ones; return why those that do not execute fail."""
    root = paths.ROOT / "build" / "full"
    (root / "book").mkdir(parents=True, exist_ok=True)
    for path in (paths.ROOT / "book").glob("*.ipynb"):
        if not (root / "book" / path.name).exists():
            shutil.copyfile(path, root / "book" / path.name)
    if not (root / report.RUN).exists():
        shutil.copytree(paths.ROOT / report.RUN, root / report.RUN)
    failed = {}
    for page in pages:
        try:
            report.execute("full", [page])
        except UserError as error:
            failed[page] = str(error).splitlines()[0]
    return failed


def main() -> None:
    """Adopt a pack, execute the pages that read it, and say what changed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, metavar="FILE", help="a pack's folder, or one of its archives")
    parser.add_argument("--smoke", action="store_true", help=f"take a pack of small sizes, into {SMOKE}/")
    options = parser.parse_args()
    with exit_on_user_error(ValueError, DataError):
        if READY.is_dir():
            print("An earlier call was killed: its files are moved to their place first.")
            move()
        packed = pack.read(pack.archives_of(options.file))
        about = packed.about[0]
        if about.smoke != options.smoke:
            kind = "small sizes, which only --smoke takes" if about.smoke else "real sizes: leave out --smoke"
            raise UserError(f"{options.file} is a pack of {kind}.")
        changed = adopt(packed)
        shown = dict.fromkeys(name.rpartition("/")[0] if "/runs/" in name else name for name in changed)
        print(f"Made on {about.device} at commit {about.commit[:12]}:")
        for part, result in about.parts.items():
            print(f"  {part}: {result}")
        print("\n".join(["Changed:", *(f"  {name}" for name in shown)] if changed else ["Nothing is new."]))
        pages = [] if options.smoke else outdated_pages()
        if pages:
            failed = execute(pages)
            for page, reason in failed.items():
                print(f"  {page} does not execute on the new results: {reason}")
            print("Look at the pages in build/full/book/, correct what failed, and publish: make report PROFILE=full,")
            print("make publish PROFILE=full, make verify. Then commit.")


if __name__ == "__main__":
    main()
