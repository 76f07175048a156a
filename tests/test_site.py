"""The pages' mathematics as MathML, and how a page is put right."""

import json
from zipfile import ZipFile

import pytest
from bs4 import BeautifulSoup
from fontTools.ttLib import TTFont

from vitlib import site, styles


@pytest.mark.parametrize(
    ("latex", "kept"),
    [
        (r"\frac{a}{b}", "<mfrac>"),
        (r"\sqrt{D / H}", "<msqrt>"),
        (r"\begin{aligned} a &= b \\ c &= d \end{aligned}", "<mtable"),
        (r"Q K^\top", "<msup>"),
    ],
)
def test_mathematics_is_written_as_mathml(latex, kept):
    made = site.mathml(latex, "block")
    assert made.startswith("<math")
    assert kept in made


@pytest.mark.parametrize("latex", [r"\nosuchthing{a}", r"\begin{gathered} a &= b \\ c &= d \end{gathered}"])
def test_what_cannot_be_written_is_named(latex):
    with pytest.raises(ValueError, match="cannot be written as MathML"):
        site.mathml(latex, "inline")


def test_a_script_stays_once_and_only_where_it_is_needed():
    scripts = '<script src="a.js"></script>' * 2 + '<script src="design-tabs.js"></script><link href="a.js">'
    page = BeautifulSoup(f"<html><head>{scripts}</head><body><article></article></body></html>", "html.parser")
    site.drop_unneeded(page)
    assert [tag["src"] for tag in page.select("script")] == ["a.js"]


def test_an_empty_head_of_a_column_is_no_head():
    table = "<table><thead><tr><th><p></p></th><th>MACs</th></tr></thead></table>"
    page = BeautifulSoup(f"<html><head></head><body><article>{table}</article></body></html>", "html.parser")
    site.put_right(page)
    assert [(tag.name, tag.get("scope")) for tag in page.select("tr > *")] == [("td", None), ("th", "col")]


def test_no_line_breaks_between_a_number_and_its_percent_sign():
    body = '<article><p data-detail="a 5 % b">95 % of <code>95 %</code></p></article>'
    page = BeautifulSoup(f"<html><head></head><body>{body}</body></html>", "html.parser")
    site.put_right(page)
    assert page.p.get_text() == "95\u00a0% of 95 %"
    assert page.p["data-detail"] == "a 5\u00a0% b"


def test_numbers_are_written_beside_the_page_in_the_same_bytes_every_time(tmp_path):
    def cell(csv, **metadata):
        return {"metadata": metadata, "outputs": [{"data": {"text/csv": csv}}]}

    figure = cell(["a,b\n", "1,2\n"], mystnb={"figure": {"name": "fig-x"}})
    notebook = tmp_path / "page.ipynb"
    notebook.write_text(json.dumps({"cells": [cell("c\n3\n"), {"metadata": {}}, figure]}))
    figures, bundle = site.write_numbers(notebook, tmp_path / "numbers")
    assert {name: path.read_text() for name, path in figures.items()} == {"fig-x": "a,b\n1,2\n"}
    with ZipFile(bundle) as archive:
        assert sorted(archive.namelist()) == ["fig-x.csv", "table-1.csv"]
        assert archive.read("table-1.csv") == b"c\n3\n"
    before = bundle.read_bytes()
    assert site.write_numbers(notebook, tmp_path / "numbers")[1].read_bytes() == before


def test_the_font_of_mathematics_has_what_the_pages_draw(pages):
    with TTFont(pages.folder / "_static" / "mathematics.woff") as font:
        drawn = {"√", *"xDHN", "𝐷", "𝑁", "×", "ℓ", "′"}
        for path in pages.folder.glob("*.html"):
            for formula in BeautifulSoup(path.read_text(), "html.parser").select("math"):
                drawn |= {letter for letter in formula.get_text() if not letter.isspace()}
        missing = {letter for letter in drawn if ord(letter) not in font.getBestCmap()}
        assert not missing
        assert font["MATH"].table.MathVariants.VertGlyphCount > 0  # brackets and roots grow


SHEET = """@charset "utf-8";
/* gone */ .seen, .absent > p, p.absent:hover { color: red }
#seen:not(.absent)::before { content: "\\f00d" }
@media print { .absent { color: blue } .seen { color: black } }
@media (width > 3px) { .absent { color: blue } }
.bs-tooltip-top[data-x], a { background: url("../pictures/a.svg") }
@font-face { font-family: F; src: url(none.woff) }"""


def test_of_style_sheets_what_some_page_can_use_becomes_one(tmp_path):
    for path, text in {"pictures/a.svg": "<svg/>", "css/base.css": "b { color: green }", "css/x.css": SHEET}.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    (tmp_path / "css" / "y.css").write_text('@import "base.css";.seen { color: pink }')
    known = styles.words('<p class="seen" id="seen">')
    made = styles.bundle([tmp_path / "css" / "y.css", tmp_path / "css" / "x.css"], known, tmp_path)
    assert made.split("\n") == [
        "b{color: green}",
        ".seen{color: pink}",
        ".seen{color: red}",
        '#seen:not(.absent)::before{content: "\uf00d"}',
        "@media print {",
        ".seen{color: black}",
        "}",
        ".bs-tooltip-top[data-x],a{background: url(pictures/a.svg)}",
        "@font-face { font-family: F; src: url(none.woff) }",
        "",
    ]


def test_the_site_has_one_style_sheet_and_says_how_large_its_pictures_are(pages):
    for path in pages.folder.glob("*.html"):
        page = BeautifulSoup(path.read_text(), "html.parser")
        (sheet,) = page.select("link[rel=stylesheet]")
        assert sheet["href"].startswith("_static/pages.css?")
        assert all(int(tag["width"]) > 20 and int(tag["height"]) > 20 for tag in page.select("article img"))
    sheets = list(pages.folder.rglob("*.css"))
    assert [path.name for path in sheets] == ["pages.css"]
    assert sheets[0].stat().st_size < 160_000
