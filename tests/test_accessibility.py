"""Lighthouse finds the pages good, and tables are stops of the keyboard only where they scroll."""

import json
import subprocess

import pytest

from tests.browser import JUDGES, each_page

LIGHTHOUSE = JUDGES / "lighthouse" / "cli" / "index.js"
pytestmark = pytest.mark.browser


def assert_scores(url, port, least):
    """Assert that Lighthouse gives a page at least these scores, by category."""
    assert LIGHTHOUSE.is_file(), "Lighthouse is not installed: run make test-browser"
    command = ["node", str(LIGHTHOUSE), url, "--output=json", "--quiet", f"--port={port}"]
    command += [f"--only-categories={','.join(least)}", "--disable-full-page-screenshot"]
    result = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    report = json.loads(result.stdout)
    imperfect = {name: audit.get("displayValue") for name, audit in report["audits"].items() if audit["score"] != 1}
    scores = {name: 100 * report["categories"][name]["score"] for name in least}
    assert all(scores[name] >= least[name] for name in least), (scores, imperfect)


LEAST = {"accessibility": 95, "best-practices": 95, "seo": 95}


@pytest.mark.parametrize("name", ["index", "03_per_class", "what_if", "search"])  # one of each kind
def test_lighthouse_gives_a_page_at_least_95(browser, debugging_port, served, pages, name):
    assert_scores(f"{served(pages.folder)}/{name}.html", debugging_port, LEAST)


@pytest.mark.performance  # depends on what else the machine does
@each_page
def test_lighthouse_gives_every_page_at_least_95_and_its_speed_90(browser, debugging_port, served, pages, name):
    assert_scores(f"{served(pages.folder)}/{name}.html", debugging_port, LEAST | {"performance": 90})


def test_a_table_is_a_stop_of_the_keyboard_only_where_it_scrolls(opened):
    for width, stops in ((360, True), (1280, False)):
        page = opened("counting_tools", width)
        page.wait_for_load_state()
        boxes = page.locator(".pst-scrollable-table-container")
        assert boxes.and_(page.locator("[tabindex='0']")).count() > 0 or not stops
        for box in boxes.all():
            scrolls, index = box.evaluate("b => [b.scrollWidth > b.clientWidth + 1, b.getAttribute('tabindex')]")
            assert scrolls == (index == "0")
