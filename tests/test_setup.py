"""What sets up the environment: which Python, whose settings, and what make does before there is one."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import install
import pytest

from vitlib import paths

SCRIPTS = ("Makefile", "tools/setup.sh", "tools/install.py", "requirements.txt", "pyproject.toml", "profiles")


@pytest.fixture
def project(tmp_path):
    """Return a folder with what make reads, and no environment."""
    for name in (*SCRIPTS, "tools/report.py", "tools/command.py", "tools/inputs.py", "tools/pool.py"):
        source, target = paths.ROOT / name, tmp_path / "a folder" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy2)(source, target)
    return tmp_path / "a folder"


def call(*command, cwd, **variables):
    """Run a command; return its status, and its output, stderr last."""
    given = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]} | variables
    done = subprocess.run([*command], cwd=cwd, env=given, capture_output=True, encoding="utf-8", check=False)
    return done.returncode, done.stdout + done.stderr


def program(path, script):
    """Write a shell script that plays a program."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


def environment_for(project, script="echo cpython-312 linux-x86_64"):
    """Write an environment that passes as one that was installed in this folder; `script` is its Python."""
    program(project / ".venv/bin/python", script)
    (project / ".venv/made-for").write_text(call("tools/setup.sh", "identity", cwd=project)[1], encoding="utf-8")
    (project / ".venv/installed").touch()


def test_an_environment_is_stale_once_its_folder_or_its_python_is_another(project):
    assert call("tools/setup.sh", "stale", cwd=project) == (0, "stale\n")
    environment_for(project)
    assert call("tools/setup.sh", "stale", cwd=project) == (0, "")
    copy = shutil.copytree(project, project.with_name("copy"))
    assert call("tools/setup.sh", "stale", cwd=copy) == (0, "stale\n")
    link = project.with_name("link")
    link.symlink_to(project)
    assert call("tools/setup.sh", "stale", cwd=link) == (0, "")
    program(project / ".venv/bin/python", "echo cpython-313 linux-x86_64")
    assert call("tools/setup.sh", "stale", cwd=project) == (0, "stale\n")
    (project / ".venv/bin/python").unlink()
    (project / ".venv/bin/python").symlink_to("/nonexistent/python3")
    assert call("tools/setup.sh", "stale", cwd=project) == (0, "stale\n")


def test_make_installs_again_into_a_copied_folder(project):
    environment_for(project)
    assert "tools/setup.sh" not in call("make", "-n", "lint", cwd=project)[1]
    copy = shutil.copytree(project, project.with_name("copy"))
    assert "tools/setup.sh" in call("make", "-n", "lint", cwd=copy)[1]


def test_set_up_skips_unsupported_pythons_and_names_the_supported(project):
    folder = project / "pythons"
    program(folder / "python3", "echo CPython 3.15.0 for Linux x86_64 glibc 2.41; exit 1")
    only = {"PATH": f"{folder}:/usr/bin:/bin"}
    for number in range(11, 15):
        program(folder / f"python3.{number}", f"echo CPython 3.{number}.0 for Darwin x86_64 13.0; exit 1")
    status, output = call("tools/setup.sh", cwd=project, **only)
    assert status == 1
    assert "CPython 3.11 to 3.14 with venv is needed, on Linux (x86_64 or aarch64, glibc 2.28 or newer)" in output
    assert "But python3 is CPython 3.15.0 for Linux x86_64 glibc 2.41." in output
    program(folder / "python3.12", '[ "$2" = -c ] || { echo "chosen: $*"; exit 3; }')
    assert "chosen: -I -m venv --clear .venv" in call("tools/setup.sh", cwd=project, **only)[1]
    assert "But mine is not found." in call("tools/setup.sh", cwd=project, PYTHON="mine", **only)[1]


def test_the_pythons_that_set_up_accepts_are_those_of_the_project():
    (bounds,) = re.findall(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', read("pyproject.toml"))
    low, high = int(bounds[0]), int(bounds[1]) - 1
    assert f"(3, {low}) <= sys.version_info[:2] <= (3, {high})" in read("tools/setup.sh")
    assert f"CPython 3.{low} to 3.{high} with venv" in read("tools/setup.sh")
    assert f"Python 3.{low} to 3.{high}" in read("README.md")


def read(name):
    return (paths.ROOT / name).read_text(encoding="utf-8")


def test_an_exported_cdpath_does_not_lead_set_up_elsewhere(project, tmp_path):
    (tmp_path / "elsewhere/tools").mkdir(parents=True)
    _, output = call("bash", "tools/setup.sh", "identity", cwd=project, CDPATH=str(tmp_path / "elsewhere"))
    assert output.startswith(f"{project.resolve()}\n")


def test_only_pips_settings_for_reaching_packages_apply():
    listing = """:env:.user='1'
:env:.timeout='7'
global.index-url='https://mirror/simple'
global.constraint='/etc/constraints.txt'
global.timeout='5'
install.extra-index-url='\\nhttps://a/simple\\nhttps://b/simple'
download.index-url='https://other/simple'
"""
    given = install.settings(listing)
    assert given == {
        "index-url": "https://mirror/simple",
        "timeout": "7",
        "extra-index-url": "https://a/simple https://b/simple",
    }
    variables = {"PIP_USER": "1", "PIP_TARGET": "/x", "UV_PYTHON": "3.9", "PYTHONHOME": "/y", "UV_LINK_MODE": "copy"}
    for_pip, for_uv = install.environments(given, variables | {"PATH": "/bin"}, Path("/cache"))
    assert not {"PIP_USER", "PIP_TARGET", "PYTHONHOME", "UV_PYTHON"} & {*for_pip, *for_uv}
    assert for_pip["PIP_CONFIG_FILE"] == os.devnull
    assert for_pip["PIP_INDEX_URL"] == for_uv["UV_DEFAULT_INDEX"] == "https://mirror/simple"
    assert for_uv["UV_INDEX"] == "https://a/simple https://b/simple"
    assert (for_uv["UV_LINK_MODE"], for_uv["UV_CACHE_DIR"], for_uv["UV_HTTP_TIMEOUT"]) == ("copy", "/cache", "7")


def test_proxy_certificates_and_an_index_known_to_uv_alone_hold_for_both(tmp_path):
    given = {"proxy": "http://proxy:3128", "cert": str(tmp_path)}
    for_pip, for_uv = install.environments(given, {"UV_DEFAULT_INDEX": "mine=https://mirror/simple"}, Path("/cache"))
    assert for_pip["PIP_INDEX_URL"] == for_uv["UV_DEFAULT_INDEX"] == "https://mirror/simple"
    assert for_uv["HTTPS_PROXY"] == for_pip["PIP_PROXY"] == "http://proxy:3128"
    assert for_uv["SSL_CERT_DIR"] == for_pip["PIP_CERT"] == str(tmp_path)
    assert install.environments({}, {"REQUESTS_CA_BUNDLE": "/ca.pem"}, Path("/c"))[1]["SSL_CERT_FILE"] == "/ca.pem"


@pytest.mark.parametrize(
    ("log", "sentence"),
    [
        ("OSError: [Errno 28] No space left on device", "The disk is full"),
        ("error: Hash mismatch for `zipp==4.1.2`", "A downloaded package does not match its hash in requirements.txt"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES", "A downloaded package does not match its hash"),
        ("dns error: failed to lookup address", "is there a network?"),
        ("ERROR: Could not find a version that satisfies torch", "pip could not install the packages: ERROR: Could"),
    ],
)
def test_each_reason_for_a_failed_installation_gets_its_sentence(monkeypatch, tmp_path, log, sentence):
    monkeypatch.setattr(install, "LOG", tmp_path / "install.log")
    monkeypatch.setattr(install, "ROOT", tmp_path)
    (tmp_path / "install.log").write_text(f"Collecting zipp\n{log}\n", encoding="utf-8")
    assert sentence in install.final_reason()


def test_make_n_prints_what_make_report_does_in_a_fresh_clone(project):
    status, output = call("make", "-n", "report", cwd=project)
    assert status == 0, output
    assert "tools/setup.sh" in output
    assert not (project / ".venv").exists()


def test_a_recipe_stops_at_a_failed_check_in_a_make_without_shellflags(project):
    """As make 3.81 does, which ignores .SHELLFLAGS."""
    environment_for(project, 'echo "$*"; [ "$2" != check ]')
    for target in ("report", "publish"):
        status, output = call("make", ".SHELLFLAGS=-c", target, "PROFILE=nope", cwd=project)
        assert status != 0
        assert "check nope" in output
        assert "locked" not in output


def test_the_readers_settings_of_python_and_its_libraries_do_not_reach_what_make_starts(project):
    unwanted = ("PYTHONPATH", "PYTHONSTARTUP", "PYTHONOPTIMIZE", "JUPYTER_PATH", "IPYTHONDIR", "MPLBACKEND", "CDPATH")
    (project / "show.mk").write_text("include Makefile\nshow:\n\t@env\n", encoding="utf-8")
    _, output = call("make", "-f", "show.mk", "show", cwd=project, **dict.fromkeys(unwanted, "/nowhere"))
    assert not {line.partition("=")[0] for line in output.splitlines()} & {*unwanted}
    assert "\nPYTHONUTF8=1\n" in output


@pytest.mark.parametrize("name", ["out.ipynb", "runs/vit-c9b933b45301/config.json"])
def test_git_ignores_what_the_readme_makes(name):
    assert subprocess.run(["git", "check-ignore", "-q", name], cwd=paths.ROOT, check=False).returncode == 0


FAKE = """# says what it was asked, and writes the pages
echo "$*"
[ "$2" = execute ] || exit 0
shift 3
for page; do touch build/smoke/book/$page.ipynb; done
"""


def test_make_executes_the_pages_that_are_out_of_date_training_first(project):
    environment_for(project, FAKE)
    for page in ("01_model", "02_training", "03_per_class", "index", "what_if"):
        (project / "notebooks").mkdir(exist_ok=True)
        (project / f"notebooks/{page}.ipynb").touch()
    (project / "build/smoke/book").mkdir(parents=True)
    program(project / ".venv/bin/jupyter-book", "exit 1")
    target = ["make", "PROFILE=smoke", "-o", ".venv/installed", "build/smoke/html/index.html"]
    for name in ("_config.yml", "_toc.yml"):
        (project / name).touch()

    def executed():
        _, output = call(*target, cwd=project)
        return [line.partition("smoke ")[2] for line in output.splitlines() if " execute " in line]

    assert executed() == ["02_training", "01_model 03_per_class index what_if"]
    (project / "build/smoke/html").mkdir()
    (project / "build/smoke/html/index.html").touch()
    assert executed() == []
    os.utime(project / "notebooks/what_if.ipynb")
    os.utime(project / "build/smoke/html/index.html", (0, 0))
    assert executed() == ["what_if"]
    os.utime(project / "notebooks/02_training.ipynb")
    assert executed() == ["02_training", "03_per_class"]
