"""Execute the report's notebooks with a profile, publish a finished rerun, print its result; make runs this.

A profile is a file in profiles/ with a section for each notebook whose parameters it changes. `recipe: NAME` in a
section stands for the settings of that recipe. Pages and runs of a rerun are written to build/PROFILE/.
"""

import argparse
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import inputs
import pool
from command import UserError, exit_on_user_error

ROOT = Path(__file__).resolve().parent.parent
RUN = Path("runs") / "report"  # the run that the report is about


# ---- profiles ------------------------------------------------------------------------------------------------------


def profile(name: str) -> dict[str, dict[str, Any]]:
    """Return the parameters that a profile gives each notebook, recipes expanded; UserError if it is wrong."""
    import yaml

    profiles = {path.stem: path for path in sorted((ROOT / "profiles").glob("*.yaml"))}
    if name not in profiles:
        raise UserError(f"PROFILE is {name!r}, but must be one of {', '.join(profiles)}.")
    try:
        sections = yaml.safe_load(profiles[name].read_text(encoding="utf-8"))
        if not isinstance(sections, dict):
            raise ValueError(f"it is {sections!r}, but must hold notebooks with their parameters.")
        return {notebook: parameters(notebook, section) for notebook, section in sections.items()}
    except yaml.YAMLError as error:
        raise UserError(f"profiles/{name}.yaml is not valid YAML: {' '.join(str(error).split())}.") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"profiles/{name}.yaml: {error}") from error


def parameters(notebook: str, section: object) -> dict[str, Any]:
    """Return the parameters that a section of a profile gives a notebook; ValueError if it has no such parameter."""
    from papermill import inspect_notebook

    notebooks = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
    if notebook not in notebooks:
        raise ValueError(f"{notebook!r} must be one of the notebooks {', '.join(notebooks)}.")
    if not isinstance(section, dict):
        raise ValueError(f"{notebook} is {section!r}, but must hold parameters, name: value.")
    values = dict(section)
    if "recipe" in values:
        values = recipe(values.pop("recipe")) | values
    try:
        known = sorted(inspect_notebook(str(ROOT / "notebooks" / f"{notebook}.ipynb")))
    except Exception as error:  # nbformat, jsonschema and papermill have no common error
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"notebooks/{notebook}.ipynb is damaged ({reason}): restore it.") from error
    for name in values:
        if name not in known:
            raise ValueError(f"{notebook} has no parameter {name!r}; it has {', '.join(known)}.")
    return values


def recipe(name: str) -> dict[str, Any]:
    """Return what a recipe changes of the default settings, those of the network by their own names too."""
    from vitlib import TrainConfig  # slow to import, and most profiles name no recipe
    from vitlib.config import differences
    from vitlib.studies import recipes

    changed = differences(recipes.load(name), TrainConfig())
    return {setting.removeprefix("model."): value for setting, value in changed.items()}


# ---- pages ---------------------------------------------------------------------------------------------------------


def execute(name: str, notebooks: list[str]) -> None:
    """Execute notebooks into build/PROFILE/book/, two at a time; a page is complete or not written."""
    import_module("papermill")  # once for all pages
    at_once = min(2, len(notebooks))
    if at_once > 1:  # the kernels share the cores
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // at_once)))
    pool.run(lambda notebook, send: execute_one(name, notebook, send), notebooks, at_once)


def execute_one(name: str, notebook: str, send: pool.Send) -> None:
    """Execute a notebook into build/PROFILE/book/."""
    output_root = ROOT / "build" / name
    source, page = ROOT / "notebooks" / f"{notebook}.ipynb", output_root / "book" / f"{notebook}.ipynb"
    read_page(source)
    values = profile(name).get(notebook, {})
    scratch = output_root / "executing" / page.name
    for folder in (scratch.parent, page.parent):
        folder.mkdir(parents=True, exist_ok=True)
    os.environ["REPORT_HOME"] = str(output_root)
    send("line", f"{notebook}  {', '.join(f'{key}={value!r}' for key, value in values.items())}".rstrip())
    log = scratch.with_suffix(".inputs")
    run_papermill(source, scratch, values, inputs.kernel_option(log), send)
    executed = read_page(scratch)
    metadata = executed["metadata"]["papermill"]
    metadata["input_path"], metadata["output_path"] = f"notebooks/{page.name}", f"book/{page.name}"
    executed["metadata"]["vitlib"] = {"inputs": inputs.hashes(log, ROOT, output_root)}
    drop_stderr(executed, notebook, send)
    seconds = drop_times(executed)
    scratch.write_text(json.dumps(executed, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
    scratch.replace(page)
    log.unlink()
    send("line", f"{notebook}  done in {seconds:.0f} s")


def drop_times(page: dict[str, Any]) -> float:
    """Remove when the cells ran, so that a page that is executed again differs in its results alone; return seconds."""
    for cell in page["cells"]:
        for name in ("execution", "papermill"):
            cell["metadata"].pop(name, None)
    times = {name: page["metadata"]["papermill"].pop(name) for name in ("start_time", "end_time", "duration")}
    return times["duration"]


def drop_stderr(page: dict[str, Any], notebook: str, send: pool.Send) -> None:
    """Remove what cells wrote to stderr, which names folders of this machine, and print the warnings among it."""
    for cell in page["cells"]:
        outputs = cell.get("outputs", [])
        errors = [output for output in outputs if output.get("name") == "stderr"]
        if errors:
            cell["outputs"] = [output for output in outputs if output not in errors]
            if "nbval-ignore-output" not in cell_tags(cell):  # compilers write there
                send("line", f"{notebook}, stderr: {''.join(''.join(output['text']) for output in errors).strip()}")


def run_papermill(source: Path, target: Path, values: dict[str, Any], option: str, send: pool.Send) -> None:
    """Execute a notebook with papermill and an option for its kernel; UserError if a cell fails or it is stopped."""
    import papermill
    from click import ClickException
    from nbclient.exceptions import DeadKernelError

    trains = "device" in papermill.inspect_notebook(str(source))  # print its progress; other pages print results
    states = SimpleNamespace(write=lambda text: send("state", text.strip()), flush=lambda: None)
    lines = SimpleNamespace(write=lambda text: send_lines(text, send), flush=lambda: None)
    try:
        papermill.execute_notebook(
            str(source),
            str(target),
            parameters=values,
            kernel_name="python3",
            cwd=str(ROOT),
            stdout_file=lines if trains else None,
            progress_bar={"bar_format": "cell {n_fmt} of {total_fmt}", "leave": False, "file": states},
            extra_arguments=["--IPKernelApp.log_level=CRITICAL", option],  # no message when the kernel is interrupted
        )
    except papermill.PapermillExecutionError as error:
        where = f"The unfinished page is {relative(target)}."
        raise UserError(f"{source.stem}, cell {error.exec_count}: {error.evalue}\n({where})") from error
    except ClickException as error:  # raised by strict_papermill.py
        raise UserError(error.message) from error
    except DeadKernelError as error:
        raise UserError(
            f"{source.stem}: its kernel was killed, probably because the memory is full: free some, or lower the "
            "profile's batch_size. Run the same command again to continue."
        ) from error


def send_lines(text: str, send: pool.Send) -> None:
    """Send each line of `text` that is not empty."""
    for line in text.splitlines():
        if line.strip():
            send("line", f"    {line}")


def read_page(path: Path) -> dict[str, Any]:
    """Return a notebook that has metadata and cells; UserError if it is damaged or missing."""
    try:
        page = json.loads(path.read_text(encoding="utf-8"))
        for cell in page["cells"]:
            "".join(cell["source"])
            cell_tags(cell)
        page["metadata"].get("papermill")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        remedy = "remove it and run make report again" if "build" in path.parts else "restore it"
        raise UserError(f"{relative(path)} is missing or damaged: {remedy}.") from error
    return page


def cell_tags(cell: dict[str, Any]) -> list[str]:
    """Return a cell's tags."""
    return cell["metadata"].get("tags", [])


def source_of(cell: dict[str, Any]) -> str:
    """Return a cell's source."""
    return "".join(cell["source"])


def page_failures(page: Path, source: Path) -> Iterator[str]:
    """Yield what is wrong with an executed page: it is not its source, not executed to its end, or lacks its inputs."""
    from papermill.translators import translate_parameters

    executed, remedy = read_page(page), "run make report"
    metadata = executed["metadata"].get("papermill", {})
    injected = [cell for cell in executed["cells"] if "injected-parameters" in cell_tags(cell)]
    kept = [cell for cell in executed["cells"] if cell not in injected]
    if [*map(identity, kept)] != [*map(identity, read_page(source)["cells"])]:
        yield f"{relative(page)} differs from {relative(source)}: {remedy}."
    for cell in injected:
        wanted = translate_parameters("python3", "python", metadata.get("parameters", {}), "Parameters")
        if sorted(source_of(cell).splitlines()) != sorted(wanted.splitlines()):  # the page's JSON is sorted by name
            yield f"{relative(page)} has other parameters than it was executed with: {remedy}."
    code = [cell for cell in executed["cells"] if cell["cell_type"] == "code"]
    if metadata.get("exception", True) or any(cell.get("execution_count") is None for cell in code):
        yield f"{relative(page)} was not executed to its end: {remedy}."
    outputs = [output for cell in code for output in cell.get("outputs", [])]
    if any(output.get("output_type") == "error" or output.get("name") == "stderr" for output in outputs):
        yield f"{relative(page)} shows an error or a warning: correct its cause and {remedy}."
    for name in missing_figures(executed):
        yield f"{relative(page)} lacks its figure {name}: {remedy}."
    if not isinstance(executed["metadata"].get("vitlib", {}).get("inputs"), dict):
        yield f"{relative(page)} has no record of the data files that it was executed on: {remedy}."


def identity(cell: dict[str, Any]) -> tuple[str, str, list[str]]:
    """Return what a cell of a page and its source have in common: type, source and tags."""
    return cell["cell_type"], source_of(cell), cell_tags(cell)


def missing_figures(page: dict[str, Any]) -> Iterator[str]:
    """Yield the name of each figure whose cell shows no picture."""
    for cell in page["cells"]:
        figure = cell["metadata"].get("mystnb", {}).get("figure")
        shown = {kind for output in cell.get("outputs", []) for kind in output.get("data", {})}
        if figure and not shown & {"image/svg+xml", "image/png", "text/html"}:
            yield figure.get("name", "without a name")


# ---- around the pages ----------------------------------------------------------------------------------------------


def fetch() -> None:
    """Fetch Fashion-MNIST if it is missing, verify it, and print where it is."""
    from vitlib import data, paths

    try:
        for split in ("train", "test"):
            data.load(split)
    except data.DataError as error:
        raise UserError(str(error)) from error
    print(f"Fashion-MNIST: all four files are in {paths.relative(data.default_root())}, checksums verified.")


def summarise(name: str) -> None:
    """Print the result of a rerun, where its pages are and how to open them."""
    from vitlib import homework, load_run

    metrics = load_run(ROOT / "build" / name / RUN).metrics
    ours = 100 * sum(metrics["correct"]) / sum(metrics["total"])
    theirs = 100 * sum(homework.CORRECT) / sum(homework.TOTAL)
    page = ROOT / "build" / name / "html" / "index.html"
    print(f"\nTest accuracy {ours:.2f} %, test loss {metrics['loss']:.6f}", end="")
    print(f"   (homework: {theirs:.2f} %, {homework.TEST_LOSS:.6f})")
    print(f"The report:   {relative(page)}")
    print(f"To read it:   python3 -m http.server -d {relative(page.parent)} 8000, then open http://localhost:8000")
    print(f"To keep it:   make publish PROFILE={name}      To check the published one: make test")


def publish(name: str) -> None:
    """Replace the published pages and run by those of a finished rerun."""
    output_root = ROOT / "build" / name
    from vitlib import load_run

    pages = [path.name for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
    missing = [page for page in pages if not (output_root / "book" / page).is_file()]
    if missing:
        raise UserError(f"build/{name} is not a finished rerun ({', '.join(missing)} missing): run make report.")
    for page in pages:
        for failure in page_failures(output_root / "book" / page, ROOT / "notebooks" / page):
            raise UserError(failure)
    try:
        load_run(output_root / RUN)
    except ValueError as error:
        raise UserError(str(error)) from error
    new, old = ROOT / f"{RUN}.new", ROOT / f"{RUN}.old"
    for folder in (new, old):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(output_root / RUN, new)
    if (ROOT / RUN).exists():
        (ROOT / RUN).rename(old)
    new.rename(ROOT / RUN)
    shutil.rmtree(old, ignore_errors=True)
    for page in pages:
        scratch = ROOT / "book" / f".{page}.part"
        shutil.copyfile(output_root / "book" / page, scratch)
        scratch.replace(ROOT / "book" / page)
    print(f"Published {len(pages)} pages in book/, and {RUN}. To read them: make html. To check them: make test.")


def locked(folder: str, command: list[str]) -> None:
    """Replace this process by a command that holds a lock on a folder until it and its children have ended."""
    path = ROOT / f"{folder}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock, end = os.open(path, os.O_RDWR | os.O_CREAT), time.monotonic() + 5
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError as error:  # the children of a killed make may need a moment to end
            if time.monotonic() > end:
                raise UserError(f"Another make is running in {folder}: wait for it.") from error
            time.sleep(0.1)
    os.set_inheritable(lock, True)
    os.execvp(command[0], command)


def relative(path: Path) -> str:
    """Return a path as it is printed: relative to the project's root."""
    return path.relative_to(ROOT).as_posix()


def main() -> None:
    """Run the command that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, run, help_text, *arguments in (
        ("data", fetch, "fetch and verify Fashion-MNIST"),
        ("check", profile, "check a profile", "name"),
        ("execute", execute, "execute notebooks with a profile", "name", "notebooks"),
        ("summary", summarise, "print the result of a rerun", "name"),
        ("publish", publish, "replace the published pages and run by a rerun's", "name"),
        ("locked", locked, "run a command that holds a lock on a folder", "folder"),
    ):
        command = commands.add_parser(name, help=help_text)
        for argument in arguments:
            command.add_argument(argument, nargs="+" if argument == "notebooks" else None)
        command.set_defaults(run=run)
    command.add_argument("command", nargs=argparse.REMAINDER)
    options = vars(parser.parse_args())
    with exit_on_user_error():
        options.pop("run")(**options)


if __name__ == "__main__":
    main()
