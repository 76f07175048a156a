"""The published book as the tests see it: copied, built, parsed."""

import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

from vitlib import paths


class Text(HTMLParser):
    """Collects the words of a page, and the hosts that it would ask for anything."""

    def __init__(self):
        super().__init__()
        self.words, self.loads, self.images, self.links = [], [], [], []

    def handle_data(self, data):
        self.words.append(data)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag in ("script", "img", "iframe") and attributes.get("src"):
            self.loads.append(attributes["src"])
        if tag == "link" and attributes.get("rel") != "canonical":
            self.loads.append(attributes.get("href", ""))
        if tag == "a" and attributes.get("href"):
            self.links.append(attributes["href"])
        if tag == "img":
            self.images.append(attributes)


class Site(dict):
    """The parsed pages of a built book by file name, and its folder."""


def build(book, out):
    command = ["jupyter-book", "build", str(book), "--path-output", str(out), "--all", "-W", "-n", "--keep-going"]
    command[0] = str(Path(sys.executable).parent / "jupyter-book")
    return subprocess.run(command, capture_output=True, text=True, check=False)


def copy_of_the_book(folder):
    wanted = shutil.ignore_patterns("_build", ".*")
    return shutil.copytree(paths.ROOT / "book", folder / "book", ignore=wanted)
