"""Chromium and a server for the tests of pages (tests/conftest.py has the fixtures), and what several files check."""

import gzip
import shutil
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import pytest
import yaml

from vitlib import paths

JUDGES = paths.ROOT / "build" / "browser" / "node_modules"  # make test-browser installs them
AXE = JUDGES / "axe-core" / "axe.min.js"
TOC = yaml.safe_load((paths.ROOT / "_toc.yml").read_text(encoding="utf-8"))
CHAPTERS = [TOC["root"], *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]
each_page = pytest.mark.parametrize("name", [*CHAPTERS, "search", "genindex"])


def launch(driver, debugging_port):
    """Return Chromium; Lighthouse reaches it through the port."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
    assert chromium, "Chromium is not installed: install it (Debian: apt-get install chromium)."
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    arguments += [f"--remote-debugging-port={debugging_port}"]
    return driver.chromium.launch(executable_path=chromium, args=arguments)


def watch(page, problems):
    """Collect a page's errors and failed requests in `problems`, and what it requests in `page.requested`."""
    page.requested = set()
    page.on("request", lambda request: page.requested.add(request.url))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda line: problems.append(line.text) if line.type in ("error", "warning") else None)
    # a page that is left while it loads aborts its requests
    page.on(
        "requestfailed",
        lambda request: problems.append(request.url) if request.failure != "net::ERR_ABORTED" else None,
    )


class Host(SimpleHTTPRequestHandler):
    """Serves a folder as hosts of static pages do: text is compressed and may be cached."""

    def log_message(self, *_):
        pass

    def send_head(self):
        path = Path(self.translate_path(self.path))
        if path.suffix not in (".html", ".css", ".js", ".svg") or not path.is_file():
            return super().send_head()
        content = gzip.compress(path.read_bytes())
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(str(path)))
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "max-age=31536000")
        self.end_headers()
        return BytesIO(content)


@contextmanager
def serving(folder):
    """Serve a folder on this machine; the value is its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Host, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def assert_axe_finds_nothing(page):
    """Assert that axe-core finds no violation on a page, whose document may not be wider than the window."""
    assert AXE.is_file(), "axe-core is not installed: run make test-browser"
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE.read_text(encoding="utf-8"))
    rules = page.evaluate("axe.run({ preload: false, resultTypes: ['violations'] })")["violations"]
    found = [(rule["id"], node["target"], node["failureSummary"]) for rule in rules for node in rule["nodes"]]
    assert not found, found


def random_settings(generator):
    """Return settings within the calculator's sliders, of a small network or one whose counts exceed 2^53."""
    heads = generator.choice([1, 2, 3, 4, 8, 16])
    patch = generator.choice([1, 2, 4, 7, 14, 16, 32])
    return {
        "image_size": patch * generator.randint(1, generator.choice([4, 16, 512 // patch])),
        "patch_size": patch,
        "channels": generator.randint(1, 4),
        "embed_dim": heads * generator.randint(1, 96),
        "depth": generator.choice([1, 2, 4, 12, 24, 48]),
        "num_heads": heads,
        "mlp_ratio": generator.randint(1, 8),
        "num_classes": generator.choice([2, 10, 100, 1000]),
        "share_norm": generator.random() < 0.5,
    }


def luminance(colour):
    """Return the relative luminance of an sRGB colour (WCAG 2.2)."""
    parts = [value / 255 for value in colour[:3]]
    parts = [value / 12.92 if value <= 0.03928 else ((value + 0.055) / 1.055) ** 2.4 for value in parts]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]
