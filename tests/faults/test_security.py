"""Nothing is let in and nothing gets out: what is read, what a page carries, what is installed."""

import ast
import getpass
import json
import os
import re
import socket
import sys
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from papermill import inspect_notebook
from torchvision.datasets import FashionMNIST

from tests.faults import trial
from tests.faults.test_bad_parameters import MARKUP
from vitlib import paths

SOURCES = [
    path
    for folder in ("vitlib", "tools", "studies", "benchmarks", "tests")
    for path in sorted((paths.ROOT / folder).rglob("*.py"))
]
NOTEBOOKS = [path for folder in ("notebooks", "book") for path in sorted((paths.ROOT / folder).glob("*.ipynb"))]

# ---- what is read --------------------------------------------------------------------------------------------------

UNSAFE_MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "pandas"}
UNSAFE_CALLS = {"torch.load", "torch.save", "np.load", "numpy.load", "yaml.load", "yaml.full_load", "yaml.unsafe_load"}
UNSAFE_CALLS |= {"eval", "exec", "os.system", "os.popen", "torch.hub.load"}
UNSAFE_FILES = {".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".npy", ".npz", ".joblib", ".bin"}


def unsafe(tree):
    """Return what a piece of code imports or calls that runs what it reads."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names} & UNSAFE_MODULES
        elif isinstance(node, ast.ImportFrom):
            found |= {(node.module or "").split(".")[0]} & UNSAFE_MODULES
        elif isinstance(node, ast.Call):
            found |= {ast.unparse(node.func)} & UNSAFE_CALLS
            if any(word.arg == "shell" for word in node.keywords):
                found.add("shell=")
    return found


@pytest.mark.parametrize("code", ["import pickle", "from torch.serialization import x; torch.load(f)", "eval('1')"])
def test_the_search_for_pickles_finds_one(code):
    assert unsafe(ast.parse(code))


def test_no_source_unpickles_or_runs_what_it_reads():
    assert len(SOURCES) > 30
    for path in SOURCES:
        assert unsafe(ast.parse(path.read_text())) == set(), path
    for path in NOTEBOOKS:
        for cell in json.loads(path.read_text())["cells"]:
            if cell["cell_type"] == "code":
                assert unsafe(ast.parse("".join(cell["source"]))) == set(), path


def test_no_file_of_the_project_is_a_pickle():
    for folder in ("runs/report", "studies", "benchmarks", "book", "vitlib", "profiles"):
        for path in (paths.ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert path.suffix not in UNSAFE_FILES, path
                assert not path.read_bytes().startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")), path


READ = """
import sys
from vitlib import data, load_run, paths, train
from vitlib.evaluate import evaluate
import importlib.util
import papermill, yaml
found = []
sys.addaudithook(lambda event, arguments: found.append((event, arguments)) if event == "pickle.find_class" else None)
run = load_run("runs/report")
images, labels = data.load("test")
evaluate(run, images[:50], labels[:50])
train(run.config, run.path)
for path in (paths.ROOT / "profiles").glob("*.yaml"):
    yaml.safe_load(path.read_text())
    papermill.inspect_notebook(str(paths.ROOT / "notebooks" / "02_training.ipynb"))
print(found)
"""


def test_reading_runs_data_and_profiles_unpickles_nothing():
    status, said = trial.call([sys.executable, "-c", READ])
    assert status == 0, said
    assert said.splitlines()[-1] == "[]"


# ---- parameters ----------------------------------------------------------------------------------------------------


@trial.only_full
def test_no_text_parameter_becomes_markup_or_a_path(tmp_path):
    texts = [
        (path, name)
        for path in sorted((paths.ROOT / "notebooks").glob("*.ipynb"))
        for name, parameter in inspect_notebook(str(path)).items()
        if parameter["inferred_type_name"] == "str"
    ]
    assert len(texts) > 6

    def assert_refused(text):
        path, name = text
        out = tmp_path / f"{path.stem}-{name}.ipynb"
        command = [trial.PYTHON, "-m", "papermill", str(path), str(out), "-p", name, f"../../`{MARKUP}"]
        status, said = trial.call(command, REPORT_HOME=str(tmp_path / "home"))
        assert status != 0, text
        assert " but has to be " in said.strip().splitlines()[-1], said

    trial.side_by_side(assert_refused, texts)
    assert not (tmp_path / "home").exists()
    trial.note(
        "Text parameters that take neither markup nor a path", f"{len(texts)} of {len(texts)}", "no_text_parameter"
    )


# ---- what pages carry ----------------------------------------------------------------------------------------------

PRIVATE = re.compile(r"/(?:home|root|Users|tmp|private|var)/|[\w.-]+@[\w-]+\.(?:local|lan)\b|\b10\.\d+\.\d+\.\d+\b")


def secrets():
    """Return what this machine and this user are called, and the values of the environment that say something."""
    known = ("README.md", "Makefile", "_config.yml", "book/references.bib")
    public = "".join((paths.ROOT / name).read_text() for name in known)
    values = {str(paths.ROOT), str(Path.home()), sys.prefix, sys.base_prefix}
    values |= {value for value in os.environ.values() if len(value) >= 8 and not value.isdigit()}
    names = {socket.gethostname(), getpass.getuser()}
    values |= {f"/{name}/" for name in names} | {f"{name}@" for name in names}
    return {value for value in values if value not in public and value not in ("C.UTF-8", "en_US.UTF-8", "truecolor")}


def carried(content):
    """Return what of this machine a text carries."""
    return {value for value in secrets() if value in content} | set(PRIVATE.findall(content))


def test_the_search_for_private_words_finds_them(monkeypatch):
    monkeypatch.setenv("SOME_TOKEN", "a-secret-of-mine")
    for words in (f"in {paths.ROOT}/book", "a-secret-of-mine", "/home/somebody/x", f"{getpass.getuser()}@host"):
        assert carried(words), words


def test_site_and_notebooks_carry_nothing_of_the_machine_that_made_them(pages):
    files = [*NOTEBOOKS, *(path for path in pages.folder.rglob("*") if path.is_file())]
    files += [
        *(paths.ROOT / "runs" / "report").iterdir(),
        *(paths.ROOT / "studies").rglob("*.[cj]s*"),
        *(paths.ROOT / "benchmarks" / "results").glob("*"),
    ]
    assert len(files) > 60
    found = {str(path): carried(path.read_bytes().decode(errors="ignore")) for path in files}
    assert {name: words for name, words in found.items() if words} == {}


def test_pages_note_no_environment():
    for path in (paths.ROOT / "book").glob("*.ipynb"):
        noted = json.loads(path.read_text())["metadata"]["papermill"]
        assert noted["environment_variables"] == {}
        assert (noted["input_path"], noted["output_path"]) == (f"notebooks/{path.name}", f"book/{path.name}")


@trial.only_full
def test_a_page_executed_for_somebody_else_does_not_name_them(tmp_path):
    folder = tmp_path / "somebody-else"
    surroundings = trial.clone(folder)
    names = {"USER": "canary-user", "LOGNAME": "canary-user", "HOSTNAME": "canary-host", "API_TOKEN": "canary-token"}
    command = [trial.PYTHON, "tools/report.py", "execute", "smoke", "03_per_class"]
    (folder / "build" / "smoke").mkdir(parents=True)
    (folder / "build" / "smoke" / "runs").symlink_to(folder / "runs")
    status, said = trial.call(command, folder, **surroundings, **names)
    assert status == 0, said
    content = (folder / "build" / "smoke" / "book" / "03_per_class.ipynb").read_text()
    assert "canary" not in content
    assert "somebody-else" not in content


# ---- the policy ----------------------------------------------------------------------------------------------------


def test_every_page_allows_nothing_from_another_host_and_only_its_own_scripts(pages):
    for path in pages.folder.glob("*.html"):
        page = BeautifulSoup(path.read_text(), "html.parser")
        first = next(tag for tag in page.head.children if tag.name)
        assert first.get("http-equiv") == "Content-Security-Policy", path.name
        policy = dict(part.strip().split(" ", 1) for part in first["content"].split(";"))
        assert policy["default-src"] == policy["base-uri"] == "'none'"
        for name, sources in policy.items():
            allowed = {"'self'", "'none'", "data:" if name == "img-src" else ""}
            allowed |= {"'unsafe-inline'"} if name == "style-src" else set()
            others = set(sources.split()) - allowed
            assert all(name == "script-src" and source.startswith("'sha256-") for source in others), (name, others)
        inline = {str(tag.string) for tag in page.select("script:not([src])")}
        hashes = {f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" for text in inline}
        assert set(policy["script-src"].split()) == {"'self'", *hashes}
        for tag in page.find_all(True):
            assert not [name for name in tag.attrs if name.startswith("on")], tag
            assert not str(tag.get("href", "")).lower().startswith(("javascript:", "data:")), tag


# ---- what is installed ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-audit.txt"])
def test_every_package_is_pinned_with_hashes(name):
    content = (paths.ROOT / name).read_text()
    entries = re.split(r"\n(?=[\w-])", re.sub(r"^#.*\n", "", content, flags=re.MULTILINE))
    assert len(entries) > 40
    for entry in entries:
        assert re.match(r"[\w.-]+==[\w.]+", entry), entry
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry
    assert "://" not in content


def test_installation_asks_for_the_hashes_and_for_nothing_else():
    script = (paths.ROOT / "tools" / "setup.sh").read_text()
    first, second = re.findall(r"-m pip install((?:.*\\\n)*.*)", script)
    assert "--require-hashes" in first
    assert "--only-binary :all:" in first
    assert "--no-deps --no-build-isolation -e ." in second


def test_a_package_with_another_hash_is_not_installed(tmp_path):
    wrong = tmp_path / "requirements.txt"
    entry = re.search(r"^zipp==.*(?:\n    .*)+", (paths.ROOT / "requirements.txt").read_text(), re.MULTILINE)[0]
    wrong.write_text(re.sub(r"sha256:[0-9a-f]{64}", f"sha256:{'0' * 64}", entry))
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "-d", str(tmp_path / "got")]
    status, said = trial.call([*command, "-r", str(wrong)])
    if "HASH" not in said:
        pytest.skip("no package index can be reached: pip's own check of hashes was not tried")
    assert status != 0
    assert not list(tmp_path.glob("got/*"))


def test_the_checksums_of_the_data_are_pinned_beside_torchvisions():
    known = json.loads((paths.ROOT / "vitlib" / "fashion_mnist.json").read_text())
    assert known["classes"] == FashionMNIST.classes
    files = known["files"]
    assert {f"{name}.gz": facts["archive_md5"] for name, facts in files.items()} == dict(FashionMNIST.resources)
    for facts in files.values():
        assert re.fullmatch(r"[0-9a-f]{64}", facts["sha256"])
