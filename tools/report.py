"""What make runs: execute a notebook by its profile, publish a finished rerun, say what came out.

    python tools/report.py data
    python tools/report.py check PROFILE
    python tools/report.py execute PROFILE NOTEBOOK
    python tools/report.py summary PROFILE
    python tools/report.py publish PROFILE
    python tools/report.py alone FOLDER COMMAND...

A profile is a file in profiles/ with a section per notebook: the parameters that differ from the notebook's own. Pages
and runs of a rerun go to build/PROFILE/. A caller's mistake ends with one sentence and status 1.
"""

import fcntl
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from command import MistakeError, act

ROOT = Path(__file__).resolve().parent.parent
RUN = Path("runs") / "report"  # the run that the report is about


def profile(name: str) -> dict[str, dict[str, Any]]:
    """Return the sections of a profile, each known to be a notebook and each key a parameter of it."""
    import yaml
    from papermill import inspect_notebook

    profiles = {p.stem: p for p in sorted((ROOT / "profiles").glob("*.yaml"))}
    if name not in profiles:
        raise MistakeError(f"PROFILE is {name!r}, but has to be one of {', '.join(profiles)}.")
    try:
        sections = yaml.safe_load(profiles[name].read_text())
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise MistakeError(f"profiles/{name}.yaml is not valid YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(sections, dict):
        raise MistakeError(
            f"profiles/{name}.yaml is {sections!r}, but has to hold notebooks, each with its parameters."
        )
    notebooks = sorted(p.stem for p in (ROOT / "notebooks").glob("*.ipynb"))
    for section, values in sections.items():
        if section not in notebooks:
            raise MistakeError(
                f"profiles/{name}.yaml: {section!r} has to be one of the notebooks {', '.join(notebooks)}."
            )
        if not isinstance(values, dict):
            raise MistakeError(
                f"profiles/{name}.yaml: {section} is {values!r}, but has to hold parameters, name: value."
            )
        try:
            known = sorted(inspect_notebook(str(ROOT / "notebooks" / f"{section}.ipynb")))
        except Exception as error:  # nbformat, jsonschema and papermill have no error in common
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise MistakeError(f"notebooks/{section}.ipynb is damaged ({reason}): restore it.") from error
        for key in values:
            if key not in known:
                raise MistakeError(
                    f"profiles/{name}.yaml: {section} has no parameter {key!r}; it has {', '.join(known)}."
                )
    return sections


def fetch() -> None:
    """Make sure that Fashion-MNIST is there and whole, and say where it came from."""
    from vitlib import data

    try:
        for split in ("train", "test"):
            data.load(split)
    except data.DataError as error:
        raise MistakeError(str(error)) from error
    print(f"Fashion-MNIST: all four files are in {data.origin()}, checksums verified.")


class Lines:
    """A text stream that hands each line a cell prints to the progress bar's own printer."""

    def write(self, text: str) -> None:
        """Print the lines of `text` above the bar."""
        from tqdm import tqdm

        for line in text.splitlines():
            if line.strip():
                tqdm.write(f"    {line}", file=sys.stdout)

    def flush(self) -> None:
        """Pass on what is held back."""
        sys.stdout.flush()


def execute(name: str, notebook: str) -> None:
    """Execute a notebook with papermill into build/NAME/book/, whole or not at all."""
    import papermill
    from click import ClickException
    from nbclient.exceptions import DeadKernelError

    home = ROOT / "build" / name
    source, page = ROOT / "notebooks" / f"{notebook}.ipynb", home / "book" / f"{notebook}.ipynb"
    read_page(source)
    parameters = profile(name).get(notebook, {})
    scratch = home / "executing" / page.name
    for folder in (scratch.parent, page.parent):
        folder.mkdir(parents=True, exist_ok=True)
    os.environ["REPORT_HOME"] = str(home)
    given = ", ".join(f"{key}={value!r}" for key, value in parameters.items())
    print(f"{notebook}  {given}", flush=True)
    bar = {"bar_format": "  cell {n_fmt} of {total_fmt}  {elapsed}", "leave": False}
    trains = "device" in papermill.inspect_notebook(str(source))  # its lines are news; other pages print results
    try:
        papermill.execute_notebook(
            str(source),
            str(scratch),
            parameters=parameters,
            kernel_name="python3",
            cwd=str(ROOT),
            stdout_file=Lines() if trains else None,
            progress_bar=bar if sys.stderr.isatty() else False,
            extra_arguments=["--IPKernelApp.log_level=CRITICAL"],  # not that it was interrupted in the end
        )
    except papermill.PapermillExecutionError as error:
        raise MistakeError(
            f"{notebook}, cell {error.exec_count}: {error.evalue}\n(The unfinished page is {show(scratch)}.)"
        ) from error
    except ClickException as error:  # what strict_papermill.py refuses or stops
        raise MistakeError(error.message) from error
    except DeadKernelError as error:
        raise MistakeError(
            f"{notebook}: its Python was ended from outside, as happens where the memory is full: make room, or lower "
            f"the batch_size in profiles/{name}.yaml. The same command goes on from here."
        ) from error
    pages = read_page(scratch)
    noted = pages["metadata"]["papermill"]
    noted["input_path"], noted["output_path"] = f"notebooks/{page.name}", f"book/{page.name}"
    for cell in pages["cells"]:
        if "nbval-ignore-output" in cell["metadata"].get("tags", []):  # compilers write to stderr, with paths
            cell["outputs"] = [o for o in cell["outputs"] if o.get("name") != "stderr"]
    scratch.write_text(json.dumps(pages, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
    scratch.replace(page)
    print(f"  done in {noted['duration']:.0f} s", flush=True)


def read_page(path: Path) -> dict[str, Any]:
    """Return a notebook, known to have metadata and cells; MistakeError where it is damaged or missing."""
    try:
        page = json.loads(path.read_text())
        for cell in page["cells"]:
            "".join(cell["source"])
            cell["metadata"].get("tags", [])
        page["metadata"].get("papermill")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        remedy = "remove it and make report again" if "build" in path.parts else "restore it"
        raise MistakeError(f"{show(path)} is missing or damaged: {remedy}.") from error
    return page


def summary(name: str) -> None:
    """Say what came out, where it is and how to open it."""
    os.environ["REPORT_HOME"] = str(ROOT / "build" / name)
    from vitlib import homework, load_run

    metrics = load_run(RUN).metrics
    ours = 100 * sum(metrics["correct"]) / sum(metrics["total"])
    theirs = 100 * sum(homework.CORRECT) / sum(homework.TOTAL)
    page = ROOT / "build" / name / "html" / "index.html"
    print(f"\nTest accuracy {ours:.2f} %, test loss {metrics['loss']:.6f}", end="")
    print(f"   (homework: {theirs:.2f} %, {homework.TEST_LOSS:.6f})")
    print(f"The report:   {show(page)}")
    print(f"To read it:   python3 -m http.server -d {show(page.parent)} 8000, then open http://localhost:8000")
    print(f"To keep it:   make publish PROFILE={name}      To check the published one: make test")


def publish(name: str) -> None:
    """Put the pages and the run of a finished rerun in the place of the published ones."""
    home = ROOT / "build" / name
    os.environ["REPORT_HOME"] = str(home)
    from vitlib import load_run

    wanted = [p.name for p in sorted((ROOT / "notebooks").glob("*.ipynb"))]
    missing = [page for page in wanted if not (home / "book" / page).is_file()]
    if missing:
        raise MistakeError(f"build/{name} is not a finished rerun ({', '.join(missing)} missing): make report first.")
    for page in wanted:
        made = read_page(home / "book" / page)
        if made["metadata"].get("papermill", {"exception": True}).get("exception"):
            raise MistakeError(f"build/{name}/book/{page} ended in an exception: remove it and make report again.")
        kept = [c for c in made["cells"] if "injected-parameters" not in c["metadata"].get("tags", [])]
        source = read_page(ROOT / "notebooks" / page)
        if ["".join(c["source"]) for c in kept] != ["".join(c["source"]) for c in source["cells"]]:
            raise MistakeError(f"build/{name}/book/{page} is older than notebooks/{page}: make report first.")
    try:
        load_run(RUN)
    except ValueError as error:
        raise MistakeError(str(error)) from error
    new, old = ROOT / f"{RUN}.new", ROOT / f"{RUN}.old"
    for folder in (new, old):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(home / RUN, new)
    if (ROOT / RUN).exists():
        (ROOT / RUN).rename(old)
    new.rename(ROOT / RUN)
    shutil.rmtree(old, ignore_errors=True)
    for page in wanted:
        scratch = ROOT / "book" / f".{page}.part"
        shutil.copyfile(home / "book" / page, scratch)
        scratch.replace(ROOT / "book" / page)
    print(f"Published: {len(wanted)} pages in book/ and {RUN}. Look at them with make html, check them with make test.")


def alone(folder: str, *command: str) -> None:
    """Become the given command, and hold a lock on a folder until it and all that it starts have ended."""
    path = ROOT / f"{folder}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock, end = os.open(path, os.O_RDWR | os.O_CREAT), time.monotonic() + 5
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError as error:  # what a kill left may need a moment to end
            if time.monotonic() > end:
                raise MistakeError(f"Another make is at work in {folder}: wait for it.") from error
            time.sleep(0.1)
    os.set_inheritable(lock, True)
    os.execvp(command[0], command)


def show(path: Path) -> str:
    """Return a path as seen from the project's root."""
    return path.relative_to(ROOT).as_posix()


def main() -> None:
    """Run one of the actions."""
    actions = {
        "data": fetch,
        "check": profile,
        "execute": execute,
        "summary": summary,
        "publish": publish,
        "alone": alone,
    }
    act(actions, __doc__.splitlines()[0])


if __name__ == "__main__":
    main()
