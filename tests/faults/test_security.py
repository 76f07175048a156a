"""What is read runs no code, what is published names no machine, and what is installed is pinned."""

import getpass
import json
import os
import re
import socket
import sys
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

import install
import pytest
from torchvision.datasets import FashionMNIST

from tests.faults import trial
from vitlib import data, paths
from vitlib.config import CLASSES

NOTEBOOKS = [path for folder in ("notebooks", "book") for path in (paths.ROOT / folder).glob("*.ipynb")]

# ---- what is read --------------------------------------------------------------------------------------------------

READ = """
import sys
import report
from vitlib import data, load_run, train
from vitlib.evaluate import evaluate
found = []
sys.addaudithook(lambda event, arguments: found.append((event, arguments)) if event == "pickle.find_class" else None)
run = load_run("runs/report")
images, labels = data.load("test")
evaluate(run, images[:50], labels[:50])
train(run.config, run.path)
report.profile("smoke")
print(found)
"""


@pytest.mark.faults
def test_reading_runs_data_and_profiles_unpickles_nothing():
    status, output = trial.call([trial.PYTHON, "-c", READ], PYTHONPATH=str(paths.ROOT / "tools"))
    assert status == 0, output
    assert output.splitlines()[-1] == "[]"


# ---- what is published ---------------------------------------------------------------------------------------------

PRIVATE = re.compile(r"/(?:home|root|Users|tmp|private|var)/|[\w.-]+@[\w-]+\.(?:local|lan)\b|\b10\.\d+\.\d+\.\d+\b")


def carried(content):
    """Return what a text says of this machine: its names, its folders, the values of its environment."""
    known = ("README.md", "Makefile", "_config.yml", "book/references.bib")
    public = "C.UTF-8 en_US.UTF-8 truecolor"
    public += "".join((paths.ROOT / name).read_text(encoding="utf-8") for name in known)
    values = {str(paths.ROOT), str(Path.home()), sys.prefix, sys.base_prefix}
    values |= {value for value in os.environ.values() if len(value) >= 8 and not value.isdigit()}
    values |= {form for name in (socket.gethostname(), getpass.getuser()) for form in (f"/{name}/", f"{name}@")}
    return {value for value in values if value in content and value not in public} | set(PRIVATE.findall(content))


def test_what_is_published_names_nothing_of_the_machine_that_made_it(pages, monkeypatch):
    files = [*NOTEBOOKS, *(path for path in pages.folder.rglob("*") if path.is_file())]
    for pattern in ("runs/report/*", "studies/**/*.[cj]s*", "benchmarks/results/*"):
        files += paths.ROOT.glob(pattern)
    assert len(files) > 60
    found = {str(path): carried(path.read_bytes().decode(errors="ignore")) for path in files}
    assert {name: words for name, words in found.items() if words} == {}
    monkeypatch.setenv("SOME_TOKEN", "a-secret-of-mine")  # the search finds what it should
    for words in (f"in {paths.ROOT}/book", "a-secret-of-mine", "/home/somebody/x", f"{getpass.getuser()}@host"):
        assert carried(words), words


def test_pages_record_no_environment():
    for path in (paths.ROOT / "book").glob("*.ipynb"):
        record = json.loads(path.read_text(encoding="utf-8"))["metadata"]["papermill"]
        assert record["environment_variables"] == {}
        assert (record["input_path"], record["output_path"]) == (f"notebooks/{path.name}", f"book/{path.name}")


@pytest.mark.faults
def test_a_page_that_somebody_else_executes_does_not_name_them(tmp_path):
    folder, surroundings = trial.clone(tmp_path / "somebody-else")
    names = {"USER": "canary-user", "LOGNAME": "canary-user", "HOSTNAME": "canary-host", "API_TOKEN": "canary-token"}
    command = [trial.PYTHON, "tools/report.py", "execute", "smoke", "01_model"]
    status, output = trial.call(command, folder, **surroundings, **names)
    assert status == 0, output
    content = (folder / "build" / "smoke" / "book" / "01_model.ipynb").read_text(encoding="utf-8")
    assert "canary" not in content
    assert "somebody-else" not in content


def test_every_page_allows_only_its_own_scripts_and_nothing_from_another_host(pages):
    for name, page in pages.items():
        first = next(tag for tag in page.head.children if tag.name)
        assert first.get("http-equiv") == "Content-Security-Policy", name
        policy = dict(part.strip().split(" ", 1) for part in first["content"].split(";"))
        assert policy["default-src"] == policy["base-uri"] == "'none'"
        inline = {str(tag.string).encode() for tag in page.select("script:not([src])")}
        hashes = {f"'sha256-{b64encode(sha256(script).digest()).decode()}'" for script in inline}
        assert set(policy["script-src"].split()) == {"'self'", *hashes}
        more = {"script-src": hashes, "style-src": {"'unsafe-inline'"}, "img-src": {"data:"}}
        for directive, sources in policy.items():
            assert set(sources.split()) <= {"'self'", "'none'"} | more.get(directive, set()), directive
        for tag in page.find_all(True):
            assert not [attribute for attribute in tag.attrs if attribute.startswith("on")], tag
            address = str(tag.get("href", "")).lower()
            assert not address.startswith("javascript:"), tag
            assert tag.name == "image" or not address.startswith("data:"), tag  # a picture in a drawing


# ---- what is installed ---------------------------------------------------------------------------------------------


def test_every_package_is_pinned_with_hashes():
    content = (paths.ROOT / "requirements.txt").read_text(encoding="utf-8")
    entries = re.split(r"\n(?=[\w-])", re.sub(r"^#.*\n", "", content, flags=re.MULTILINE))
    assert len(entries) > 40
    for entry in entries:
        assert re.match(r"[\w.-]+==[\w.]+", entry), entry
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry
    assert "://" not in content


def test_the_installation_requires_the_hashes_and_downloads_nothing_else(tmp_path, monkeypatch):
    commands, pinned = [], str(install.PINNED)
    monkeypatch.setattr(install, "run", lambda command, *_: commands.append(command) or command[-1] != pinned)
    monkeypatch.setattr(install, "reason", lambda: None)
    monkeypatch.setattr(install, "LOG", tmp_path / "install.log")
    install.install_report(["pip", "install"], {}, {})
    assert [command[0].rpartition("/")[2] for command in commands] == ["pip", "uv", "pip"]
    for command in commands:
        assert "--require-hashes --only-binary :all:" in " ".join(command)
    monkeypatch.setattr(install, "run", lambda command, *_: commands.append(command) or True)
    install.install_report(["pip", "install"], {}, {})
    assert "--no-deps --no-build-isolation --no-index -e" in " ".join(commands[-1])


def test_the_files_and_classes_of_the_data_are_torchvisions():
    assert list(CLASSES) == FashionMNIST.classes
    assert {f"{name}.gz" for name in data.SHA256} == {name for name, _ in FashionMNIST.resources}
