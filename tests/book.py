"""The published book as the tests see it: copied, built, parsed."""

import shutil
import subprocess
import sys
from pathlib import Path

from bs4 import BeautifulSoup

from vitlib import paths


class Site(dict):
    """The parsed pages of a built book by file name, and its folder."""

    def __init__(self, folder):
        pages = {
            path.name: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
            for path in sorted(folder.glob("*.html"))
        }
        super().__init__(pages)
        self.folder = folder


def build(book, out, *, options=("--all", "-n", "--keep-going")):
    command = [Path(sys.executable).parent / "jupyter-book", "build", book, "--path-output", out, "-W", *options]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False)


def copy_of_the_book(folder):
    wanted = shutil.ignore_patterns("_build", ".*")
    return shutil.copytree(paths.ROOT / "book", folder / "book", ignore=wanted)
