"""The report as one PDF, as `make pdf` prints it: nothing of the site is missing in it, nothing is blank."""

import os
import re
import sys
import unicodedata
from collections import Counter

import pypdfium2
import pytest
from bs4 import BeautifulSoup
from pypdf import PdfReader

from vitlib import paths

pytestmark = pytest.mark.skipif(
    os.environ.get("BROWSER_TESTS") != "full", reason="the PDF is printed and read in make test-browser"
)
SLANTED = {*range(0x1D434, 0x1D468), 0x210E, *range(0x1D6E2, 0x1D71C)}  # mathematics' letters for variables
SCALE = 1.5  # pixels a point


def squeezed(text):
    return re.sub(r"\s+", "", unicodedata.normalize("NFKC", text))


@pytest.fixture(scope="module")
def tool():
    sys.path.insert(0, str(paths.ROOT / "tools"))
    try:
        import pdf
    finally:
        sys.path.pop(0)
    return pdf


@pytest.fixture(scope="module")
def document(tool, pages, tmp_path_factory):
    """Return the path of the PDF of the built book."""
    made = tmp_path_factory.mktemp("pdf") / "report.pdf"
    tool.make(pages.folder, made)
    return made


@pytest.fixture(scope="module")
def texts(document):
    """Return the text of each page."""
    return [page.extract_text() for page in PdfReader(document).pages]


@pytest.fixture(scope="module")
def chapters(tool, pages, document, texts):
    """Return for each page of the book its article as printed, and the text of its pages in the PDF."""
    reader = PdfReader(document)
    starts = sorted({reader.get_destination_page_number(item) for item in flat(reader.outline)})
    names = [name for _, name in tool.order()]
    assert len(starts) == len(names)
    found = {}
    for name, start, end in zip(names, starts, [*starts[1:], len(texts)], strict=True):
        article = BeautifulSoup((pages.folder / f"{name}.html").read_text(), "html.parser").select_one("article")
        for tag in article.select(".headerlink, details.hide, .numbers, .page-notebook, noscript, script, style"):
            tag.decompose()
        found[name] = article, "\n".join(texts[start:end])
    return found


def flat(outline):
    for item in outline:
        if isinstance(item, list):
            yield from flat(item)
        else:
            yield item


def test_every_page_but_the_cover_has_its_number(texts):
    for number, text in list(enumerate(texts, 1))[1:]:
        assert text.split()[-1] == str(number)


def test_the_contents_name_each_chapter_and_where_it_starts(chapters, texts):
    cover = squeezed(texts[0])
    for article, text in chapters.values():
        title = squeezed(article.h1.get_text())
        number = next(i for i, page in enumerate(texts, 1) if i > 1 and page and text.startswith(page))
        assert f"{title}{number}" in cover


def test_every_heading_and_caption_of_the_site_is_in_it(chapters):
    for article, text in chapters.values():
        printed = squeezed(text)
        for tag in article.select("h1, h2, h3, figcaption"):
            for formula in tag.select("math"):  # their letters change places on paper
                formula.decompose()
            assert squeezed(tag.get_text()) in printed, tag.get_text()


def test_what_a_page_folds_away_is_on_paper_and_its_code_is_not(pages, chapters):
    answers = 0
    for name, (_, text) in chapters.items():
        page = BeautifulSoup((pages.folder / f"{name}.html").read_text(), "html.parser")
        printed = squeezed(text)
        for fold in page.select(".cell:not(.tag_nbval-ignore-output) details.hide"):
            for output in fold.select(".cell_output pre"):
                assert squeezed(output.get_text()) in printed
                answers += 1
            for code in fold.select(".cell_input pre"):
                assert squeezed(code.get_text()) not in printed
    assert answers > 0


def test_no_letter_of_the_mathematics_is_lost(chapters):
    count = 0
    for name, (article, text) in chapters.items():
        variables = [tag.get_text() for tag in article.select("mi:not([mathvariant=normal])")]
        wanted = Counter(letter for letter in variables if re.fullmatch("[A-Za-zΑ-Ωα-ω]", letter))
        printed = Counter(unicodedata.normalize("NFKC", letter) for letter in text if ord(letter) in SLANTED)
        assert printed == wanted, name
        count += wanted.total()
    assert count > 100


def ink(picture):
    """Return the share of an 8-bit grey picture that is not white."""
    return 1 - picture.histogram()[255] / (picture.width * picture.height)


def test_no_page_is_blank_and_over_every_caption_is_a_figure(document, chapters):
    numbers = [tag for article, _ in chapters.values() for tag in article.select("figcaption .caption-number")]
    wanted, found = {f"{tag.get_text().strip()} " for tag in numbers}, set()
    with pypdfium2.PdfDocument(document) as opened:
        for number, page in enumerate(opened, 1):
            picture = page.render(scale=SCALE, grayscale=True).to_pil()
            assert ink(picture.crop((0, 0, picture.width, picture.height - 55 * SCALE))) > 0.002, f"{number} is blank"
            text = page.get_textpage()
            for caption in wanted:
                if place := text.search(caption, match_case=True).get_next():
                    *_, top = text.get_charbox(place[0])
                    above = page.get_height() - top
                    figure = picture.crop((0, (above - 100) * SCALE, picture.width, (above - 5) * SCALE))
                    assert ink(figure) > 0.02, f"{caption} has no figure on page {number}"
                    found.add(caption)
    assert found == wanted
    assert len(wanted) > 8
