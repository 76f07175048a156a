"""Follow every published number to where it came from, page to run to weights to data: python tools/verify.py.

Each number of a page is printed by a cell or glued into a sentence by one. The names that the cell uses lead, statement
by statement, back to what the notebook reads: the run, the data, a committed file, a derivation. Every link on the way
is checked; a broken one is named, and the status is 1.
"""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vitlib import data, load_run, paths
from vitlib.evaluate import evaluate
from vitlib.runs import Run

# what a name that is imported from vitlib brings onto a page
ORIGINS = {
    "ViT": "vitlib/model.py",
    "ViTConfig": "vitlib/config.py",
    "TrainConfig": "vitlib/config.py",
    "calculator": "vitlib/calculator.py",
    "cost": "vitlib/cost.py",
    "counters": "vitlib/counters.py",
    "reconcile": "vitlib/reconcile.py",
    "homework": "vitlib/homework.json",
    "recipes": "vitlib/recipes.py",
    "beside_homework": "vitlib/homework.json",
    "TransformerEncoder": "vitlib/model.py",
    "attention": "vitlib/model.py",
    "data": "Fashion-MNIST",
    "load_run": "the run",
    "train": "the run",
}
NUMBER = re.compile(r"(?<![\w.])[-+−]?\d+(?:,\d{3})*(?:\.\d+)?(?!\w)")
GLUED = re.compile(r"\{glue:text\}`(?:([\w.]+)::)?(\w+)(?::[^`]*)?`")
NO_PROSE = re.compile(r"\$\$.*?\$\$|\$[^$]*\$|\{[\w:]+\}`[^`]*`|`[^`]*`", re.DOTALL)  # formulas, references, code
MADE_BY = re.compile(r"^\| `([\w./*-]+)`[^|]*\| `([^`]+)` \|", re.MULTILINE)


# ---- where the numbers of a page come from -------------------------------------------------------------------------


def tags(cell: dict[str, Any]) -> list[str]:
    """Return a cell's tags."""
    return cell["metadata"].get("tags", [])


def text(cell: dict[str, Any]) -> str:
    """Return a cell's source."""
    return "".join(cell["source"])


def files_read(tree: ast.AST) -> set[str]:
    """Return the files that a piece of code opens: ``paths.ROOT / "a.csv"``, ``study.load("a")``, or the other pages.

    A name with a part that is computed stands for all files that it fits, a folder for those in it.
    """
    found = {"papermill's notes in the pages"} if "paths.home()" in ast.unparse(tree) else set()
    spelt = set()
    for node in ast.walk(tree):
        names, part = [], node
        while isinstance(part, ast.BinOp) and isinstance(part.op, ast.Div):
            pieces = part.right.values if isinstance(part.right, ast.JoinedStr) else [part.right]
            names.append("".join(str(piece.value) if isinstance(piece, ast.Constant) else "*" for piece in pieces))
            part = part.left
        if names and ast.unparse(part) == "paths.ROOT":
            spelt.add("/".join(reversed(names)))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "study.load":
            name = ast.literal_eval(node.args[0])
            table = f"studies/results/{name}.csv"
            if (paths.ROOT / table).is_file() or not (paths.ROOT / "studies" / f"{name}.yaml").is_file():
                found.add(table)  # else a study of which nothing is trained yet: it gives no number
    whole = {name for name in spelt if not any(other.startswith(f"{name}/") for other in spelt)}
    return found.union(*map(files_of, whole))


def files_of(name: str) -> set[str]:
    """Return the files of the project that a name with ``*`` fits, those in a folder, or else the name itself."""
    pattern = f"{name}/*" if (paths.ROOT / name).is_dir() else name
    return {paths.show(path) for path in paths.ROOT.glob(pattern)} if "*" in pattern else {name}


def origins(page: dict[str, Any]) -> tuple[dict[int, set[str]], dict[str, set[str]]]:
    """Return what the numbers of a page come from: of each cell by its place, and of each glued key."""
    known: dict[str, set[str]] = {}
    of_cell, of_key = {}, {}

    def of(tree: ast.AST) -> set[str]:
        nodes = [*ast.walk(tree)]
        inner = [node.target for node in nodes if isinstance(node, ast.comprehension)]
        own = {node.id for target in inner for node in ast.walk(target) if isinstance(node, ast.Name)}
        names = {node.id for node in nodes if isinstance(node, ast.Name)} - own
        return files_read(tree).union(*(known.get(name, set()) for name in names))

    for place, cell in enumerate(page["cells"]):
        if cell["cell_type"] != "code":
            continue
        of_cell[place] = set()
        for statement in ast.parse(text(cell)).body:
            if isinstance(statement, ast.ImportFrom) and (statement.module or "").startswith("vitlib"):
                for name in statement.names:
                    known[name.asname or name.name] = {ORIGINS[name.name]} if name.name in ORIGINS else set()
                continue
            found = of(statement)
            if "parameters" in tags(cell):
                found = {"the page's parameters"}
            of_cell[place] |= found
            for node in ast.walk(statement):
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                    known[node.id] = found
                elif isinstance(node, ast.FunctionDef):
                    known[node.name] = found
                elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "append":
                    name = ast.unparse(node.func.value)  # rows.append(...)
                    known[name] = known.get(name, set()) | found
                elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "glue":
                    of_key[ast.literal_eval(node.args[0])] = of(node.args[1])
    return of_cell, of_key


def printed(cell: dict[str, Any]) -> list[str]:
    """Return the numbers that a cell prints or tabulates."""
    words = []
    for output in cell["outputs"]:
        if not output.get("metadata", {}).get("scrapbook"):
            shown = output.get("data", {})
            words += [*output.get("text", []), *shown.get("text/markdown", [])]
    return NUMBER.findall("".join(words))


def typed(page: dict[str, Any]) -> list[str]:
    """Return the numbers that the sentences of a page spell themselves: sizes, names, settings, no results."""
    prose = "\n".join(text(cell) for cell in page["cells"] if cell["cell_type"] == "markdown")
    return NUMBER.findall(NO_PROSE.sub("", prose))


def glued(page: dict[str, Any]) -> dict[str, str]:
    """Return the glued values of a page by key, as they are stored."""
    values = {}
    for cell in page["cells"]:
        for output in cell.get("outputs", []):
            name = output.get("metadata", {}).get("scrapbook", {}).get("name")
            if name:
                shown = next(value for kind, value in output["data"].items() if kind.endswith("text/plain"))
                values[name] = "".join(shown).strip("'")
    return values


def quoted(content: str, own: str) -> set[tuple[str, str]]:
    """Return the glued numbers that a text quotes: the page each is of, and its key."""
    return {(page.removesuffix(".ipynb") or own, key) for page, key in GLUED.findall(content)}


# ---- links ---------------------------------------------------------------------------------------------------------


def parameters_of(page: dict[str, Any]) -> dict[str, Any]:
    """Return a page's parameters: the defaults, and over them what was injected."""
    found = {}
    for cell in page["cells"]:
        if {"parameters", "injected-parameters"} & set(tags(cell)):
            for statement in ast.parse(text(cell)).body:
                target = statement.target if isinstance(statement, ast.AnnAssign) else statement.targets[0]
                found[target.id] = ast.literal_eval(statement.value)
    return found


def check_page(name: str, page: dict[str, Any]) -> Iterator[str]:
    """Say what is wrong between a page and its source."""
    source = json.loads((paths.ROOT / "notebooks" / f"{name}.ipynb").read_text())
    kept = [text(cell) for cell in page["cells"] if "injected-parameters" not in tags(cell)]
    if kept != [text(cell) for cell in source["cells"]]:
        yield f"book/{name}.ipynb is not what notebooks/{name}.ipynb says: make report, then make publish"
    noted = page["metadata"].get("papermill", {"exception": True})
    if noted.get("exception"):
        yield f"book/{name}.ipynb was not executed to its end"
    given = parameters_of(page)
    for key, value in noted.get("parameters", {}).items():
        if given.get(key) != value:
            yield f"book/{name}.ipynb has {key}={given.get(key)!r}, but was executed with {value!r}"
    of_cell, of_key = origins(page)
    for place, found in of_cell.items():
        if not found and printed(page["cells"][place]):
            yield f"book/{name}.ipynb, cell {place}: prints numbers that come from nothing that is known"
    for key, found in of_key.items():
        if not found and NUMBER.search(glued(page).get(key, "")):
            yield f"book/{name}.ipynb: {key} comes from nothing that is known"


def git(*arguments: str) -> str | None:
    """Return what git says of the project, None where it fails."""
    done = subprocess.run(["git", "-C", str(paths.ROOT), *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def has_git() -> bool:
    """Return whether the project is a git checkout of its own."""
    top = git("rev-parse", "--show-toplevel")
    return top is not None and Path(top) == paths.ROOT


def has_history() -> bool:
    """Return whether the checkout has all commits."""
    return has_git() and git("rev-parse", "--is-shallow-repository") == "false"


def check_file(name: str, makers: dict[str, str]) -> Iterator[str]:
    """Say what is wrong with a committed file that pages read."""
    path = paths.ROOT / name
    if not path.is_file():
        yield f"{name} is not there"
        return
    try:
        content = path.read_text()
        if path.suffix == ".json":
            json.loads(content)
    except ValueError as error:
        yield f"{name} is damaged ({error})"
    if path.parts[-2] != "vitlib" and name not in makers:
        yield f"{name} has no maker: book/reproduce.md names none"
    if has_git():
        if git("ls-files", "--error-unmatch", name) is None:
            yield f"{name} is not committed"
        elif git("status", "--porcelain", "--", name):
            yield f"{name} is not as committed: restore or commit it"


def check_run(run: Run) -> Iterator[str]:
    """Say what is wrong between a run, the code that made it and the data."""
    name = paths.show(run.path)
    for start in run.manifest["starts"]:
        commit = start["code"]["commit"]
        if start["code"]["clean"] is not True:
            yield f"{name} was made by code that is in no commit"
        elif has_history() and git("cat-file", "-e", f"{commit}^{{commit}}") is None:
            yield f"{name} was made by commit {commit[:12]}, which is not in this repository"
        if start["data_sha256"] != data.SHA256:
            yield f"{name} was made from other data than vitlib/fashion_mnist.json pins"


def check_quotes(pages: dict[str, dict[str, Any]], run: Run) -> Iterator[str]:
    """Say where pages and the run say different things."""
    correct, total, last = run.metrics["correct"], run.metrics["total"], run.history[-1]
    of_run = {
        ("03_per_class", "accuracy"): round(100 * sum(correct) / sum(total), 2),
        ("03_per_class", "loss"): round(run.metrics["loss"], 6),
        ("03_per_class", "total"): sum(total),
        ("02_training", "epochs"): run.config.epochs,
        ("02_training", "train_images"): run.config.train_images,
        ("02_training", "validation_accuracy"): round(100 * last["validation_accuracy"], 2),
        ("02_training", "validation_loss"): round(last["validation_loss"], 4),
        ("02_training", "train_loss"): round(last["train_loss"], 4),
    }
    for (page, key), value in of_run.items():
        shown = glued(pages[page]).get(key)
        if shown != repr(value):
            yield f"book/{page}.ipynb says {key} = {shown}, {paths.show(run.path)} says {value!r}"
    listed = json.dumps(pages["provenance"]["cells"])
    start = run.manifest["starts"][-1]
    for what, value in (
        ("settings", run.config.digest),
        ("weights", run.manifest["weights_sha256"][:16]),
        ("code", start["code"]["commit"][:12]),
    ):
        if f"`{value}" not in listed:
            yield f"book/provenance.ipynb does not name the {what} of {paths.show(run.path)}, {value}"


def check_weights(run: Run) -> Iterator[str]:
    """Say where the weights, applied to the data, do not give the run's results."""
    images, labels = data.load("test")
    found = evaluate(run, images, labels)
    for what, ours, stored in (
        ("loss", found.loss, run.metrics["loss"]),
        ("correct", found.correct, run.metrics["correct"]),
        ("total", found.total, run.metrics["total"]),
    ):
        if ours != stored and not (what == "loss" and abs(ours - stored) < 1e-9):
            yield f"{paths.show(run.path)}: its weights give {what} {ours}, its metrics.json says {stored}"


# ---- all of it -----------------------------------------------------------------------------------------------------


def verify() -> list[str]:
    """Print where every published number came from; return what is wrong, a sentence a broken link."""
    wrong, files, names = [], set(), set()
    book = paths.ROOT / "book"
    try:
        pages = {path.stem: json.loads(path.read_text()) for path in sorted(book.glob("*.ipynb"))}
        values = {name: glued(page) for name, page in pages.items()}
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        return [f"a page in book/ is damaged ({error}): restore it"]
    made = MADE_BY.findall((book / "reproduce.md").read_text())  # a name may hold *
    makers = {name: command for pattern, command in made for name in files_of(pattern)}
    for name, page in pages.items():
        wrong += check_page(name, page)
        of_cell, of_key = origins(page)
        run_name = parameters_of(page).get("run_name")
        if run_name:
            names.add(run_name)
        print(f"\nbook/{name}.ipynb")
        for place, found in of_cell.items():
            cell = page["cells"][place]
            count = len(printed(cell))
            drawn = any("image" in kind for output in cell["outputs"] for kind in output.get("data", {}))
            files |= {origin for origin in found if "/" in origin}
            if count or drawn:
                what = f"{count:4d} numbers" if count else "    a figure"
                print(f"  cell {place:2d}: {what}  <- {told(found, run_name)}")
        for key, found in of_key.items():
            if NUMBER.search(values[name].get(key, "")):
                print(f"  {key} = {values[name][key]}  <- {told(found, run_name)}")
        print(f"  in its sentences, as sizes, names or settings: {', '.join(typed(page)) or 'none'}")
    for path in (*sorted(book.glob("*.md")), *sorted(book.glob("*.ipynb"))):
        content = path.read_text()
        for page, key in sorted(quoted(content, path.stem)):
            if key not in values.get(page, {}):
                wrong.append(f"{paths.show(path)} quotes {key} of {page}, which nothing glues")
    print("\nWhat they come from")
    for name in sorted(files):
        wrong += check_file(name, makers)
        changed = git("log", "-1", "--format=commit %h", "--", name) if has_git() else ""
        print(f"  {name}  {changed or ''}  {makers.get(name, '')}".rstrip())
    for name in sorted(names):
        try:
            run = load_run(f"runs/{name}")
        except ValueError as error:
            wrong.append(str(error))
            continue
        wrong += check_run(run)
        wrong += check_quotes(pages, run)
        commits = ", ".join(start["code"]["commit"][:12] for start in run.manifest["starts"])
        weights = run.manifest["weights_sha256"][:16]
        print(f"  runs/{name}  settings {run.config.digest}  weights {weights}  code {commits}")
        if not wrong:
            wrong += check_weights(run)
            print(f"  runs/{name}: its weights, applied to the test images again, give the stored loss and counts")
    for file, digest in data.SHA256.items():
        print(f"  Fashion-MNIST {file}  SHA-256 {digest[:16]}…")
    return wrong


def told(found: set[str], run_name: str | None) -> str:
    """Return origins in words."""
    return ", ".join(sorted(origin.replace("the run", f"runs/{run_name}") for origin in found))


def main() -> None:
    """Verify, and end with the broken links."""
    if len(sys.argv) > 1:
        sys.exit(f"\n{len(sys.argv) - 1} arguments are given, but it takes none.")
    try:
        wrong = verify()
    except (data.DataError, OSError) as error:
        sys.exit(f"\n{error}")
    if wrong:
        sys.exit("\nBroken:\n" + "\n".join(f"  {sentence}" for sentence in wrong))
    print("\nEvery link holds, from the pages to the run, its weights and the data.")


if __name__ == "__main__":
    main()
