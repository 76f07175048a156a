"""The Sphinx extension in book/_ext: mathematics, edits of pages, downloads, fonts, incremental builds."""

import json
import re
from zipfile import ZipFile

import pytest
import report_site
from bs4 import BeautifulSoup
from fontTools.ttLib import TTFont

from tests.book import build
from vitlib import paths


def parse(body, head=""):
    return BeautifulSoup(f"<html><head>{head}</head><body>{body}</body></html>", "html.parser")


@pytest.mark.parametrize(
    ("latex", "element"),
    [
        (r"\frac{a}{b}", "<mfrac>"),
        (r"\sqrt{D / H}", "<msqrt>"),
        (r"Q K^\top", "<msup>"),
    ],
)
def test_latex_becomes_mathml(latex, element):
    mathml = report_site.to_mathml(latex, "block")
    assert mathml.startswith("<math")
    assert element in mathml


def test_unknown_latex_is_an_error():
    with pytest.raises(ValueError, match="cannot be converted to MathML"):
        report_site.to_mathml(r"\nosuchthing{a}", "inline")


def test_an_empty_column_heading_is_a_plain_cell():
    page = parse("<article><table><thead><tr><th><p></p></th><th>MACs</th></tr></thead></table></article>")
    report_site.fix_accessibility(page)
    assert [(tag.name, tag.get("scope")) for tag in page.select("tr > *")] == [("td", None), ("th", "col")]


def test_a_number_and_its_percent_sign_stay_on_one_line():
    page = parse('<article><p data-detail="a 5 % b">95 % of <code>95 %</code></p></article>')
    report_site.fix_percent_signs(page)
    assert page.p.get_text() == "95\u00a0% of 95 %"
    assert page.p["data-detail"] == "a 5\u00a0% b"


def test_a_page_neither_waits_for_scripts_nor_loads_the_icon_script(tmp_path):
    page = parse("<article></article>", '<script src="a.js"></script><script src="scripts/fontawesome.js?x"></script>')
    report_site.speed_up(page, tmp_path)
    assert [tag.attrs for tag in page.select("script")] == [{"src": "a.js", "defer": ""}]


def test_numbers_are_the_same_bytes_in_every_build(tmp_path):
    def cell(csv, **metadata):
        return {"metadata": metadata, "outputs": [{"data": {"text/csv": csv}}]}

    figure = cell(["a,b\n", "1,2\n"], mystnb={"figure": {"name": "fig-x"}})
    notebook = {"cells": [cell("c\n3\n"), {"metadata": {}}, figure]}
    written = report_site.write_numbers(notebook, tmp_path / "numbers", "all.zip")
    assert {name: path.read_text(encoding="utf-8") for name, path in written.items()} == {"fig-x": "a,b\n1,2\n"}
    bundle = tmp_path / "numbers" / "all.zip"
    with ZipFile(bundle) as archive:
        assert sorted(archive.namelist()) == ["fig-x.csv", "table-1.csv"]
        assert archive.read("table-1.csv") == b"c\n3\n"
    before = bundle.read_bytes()
    report_site.write_numbers(notebook, tmp_path / "numbers", "all.zip")
    assert bundle.read_bytes() == before


def test_the_notebook_to_run_has_no_results_and_no_injected_parameters(tmp_path):
    def cell(source, *tags, **more):
        return {"cell_type": "code", "source": source, "metadata": {"tags": [*tags]}} | more

    text = {"cell_type": "markdown", "source": "# Title", "metadata": {}}
    cells = [text, cell("n = 1", "parameters"), cell("n = 2", "injected-parameters"), cell("n", outputs=[2])]
    report_site.write_source(
        {"cells": cells, "metadata": {"papermill": {}, "kernelspec": {}}}, tmp_path / "a" / "b.ipynb"
    )
    empty = {"outputs": [], "execution_count": None}
    assert json.loads((tmp_path / "a" / "b.ipynb").read_text(encoding="utf-8")) == {
        "cells": [text, cell("n = 1", "parameters", **empty), cell("n", **empty)],
        "metadata": {"kernelspec": {}},
    }


def test_the_math_font_has_every_character_of_the_formulas(pages):
    formulas = "".join(tag.get_text() for page in pages.values() for tag in page.select("math"))
    needed = {letter for letter in "√xDHN𝐷𝑁×ℓ′" + formulas if not letter.isspace()}
    with TTFont(pages.folder / "_static" / "mathematics.woff") as font:
        assert not {letter for letter in needed if ord(letter) not in font.getBestCmap()}
        assert font["MATH"].table.MathVariants.VertGlyphCount > 0  # brackets and roots grow


def test_the_icon_font_has_every_icon_of_the_pages(pages):
    css = (pages.folder / "_static" / "styles" / "pydata-sphinx-theme.css").read_text(encoding="utf-8")
    codes = {}
    for names, code in re.findall(r'([^{}]*)\{content:"\\(f\w+)"\}', css):
        codes |= dict.fromkeys(re.findall(r"fa-[\w-]+", names), int(code, 16))
    used = {name for page in pages.values() for tag in page.select("[class*=fa-]") for name in tag["class"]} & set(
        codes
    )
    assert {"fa-bars", "fa-magnifying-glass"} <= used
    with TTFont(pages.folder / "_static" / "icons.woff") as font:
        assert {codes[name] for name in used} <= set(font.getBestCmap())


def test_images_state_their_size_and_the_site_has_no_unused_files(pages):
    images = [tag for page in pages.values() for tag in page.select("article img")]
    assert all(int(tag["width"]) > 20 and int(tag["height"]) > 20 for tag in images)
    names = {path.name for path in pages.folder.rglob("*")}
    assert not names & {"fontawesome.js", "bootstrap.js.map", "locales", "_ext", "report_site.py"}


CONFIG = """
title: Two pages
only_build_toc_files: true
execute: {{execute_notebooks: "off"}}
sphinx:
  local_extensions: {{report_site: {extension}}}
  config: {{html_math_renderer: mathml}}
"""


def build_again(book, out):
    """Build a book without --all; return the text of each page, script and style sheet."""
    result = build(book, out, options=())
    assert result.returncode == 0, result.stdout + result.stderr
    html = out / "_build" / "html"
    return {
        path.name: path.read_text(encoding="utf-8")
        for path in html.rglob("*")
        if path.suffix in (".html", ".css", ".js")
    }


@pytest.fixture
def two_pages(tmp_path):
    """Return a small book."""
    book = tmp_path / "book"
    book.mkdir()
    (book / "_config.yml").write_text(CONFIG.format(extension=paths.ROOT / "book" / "_ext"), encoding="utf-8")
    (book / "_toc.yml").write_text("format: jb-book\nroot: index\nchapters: [file: other]\n", encoding="utf-8")
    (book / "index.md").write_text("# First\n\nNothing yet.\n", encoding="utf-8")
    (book / "other.md").write_text("# Second\n\nThe sum $a ± b$ is 5 %.\n", encoding="utf-8")
    return book


def test_an_incremental_build_edits_only_the_pages_that_sphinx_wrote(two_pages, tmp_path):
    book = two_pages
    first = build_again(book, tmp_path)
    (book / "index.md").write_text("# First\n\nThe ratio $a ÷ b$.\n", encoding="utf-8")
    changed = build_again(book, tmp_path)
    assert changed["other.html"] == first["other.html"]
    for name in ("index.html", "other.html", "search.html"):
        page = BeautifulSoup(changed[name], "html.parser")
        assert len(page.select("meta[http-equiv=Content-Security-Policy]")) == 1
        assert len(page.select("meta[name=description]")) == 1
    assert "The ratio" in changed["search-texts.js"]
    assert "5 %" in changed["search-texts.js"]
    with TTFont(tmp_path / "_build" / "html" / "_static" / "mathematics.woff") as font:
        assert {ord("±"), ord("÷")} <= set(font.getBestCmap())
