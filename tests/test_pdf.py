"""The report as one PDF, as `make pdf` prints it: complete, in order, and no page is blank."""

import copy
import re
import unicodedata
from collections import Counter

import pdf
import pypdfium2
import pytest
from bs4 import BeautifulSoup
from command import UserError
from pypdf import PdfReader

pytestmark = pytest.mark.browser
ITALIC = {*range(0x1D434, 0x1D468), 0x210E, *range(0x1D6E2, 0x1D71C)}  # Unicode's letters for variables
SCALE = 1.5  # pixels a point


def squeezed(text):
    """Return a text without white space, in the letters of a keyboard."""
    return re.sub(r"\s+", "", unicodedata.normalize("NFKC", text))


@pytest.fixture(scope="module")
def document(pages, tmp_path_factory):
    """Return the path of the PDF of the built book."""
    target = tmp_path_factory.mktemp("pdf") / "report.pdf"
    pdf.make(pages.folder, target)
    return target


@pytest.fixture(scope="module")
def texts(document):
    """Return the text of each page of the PDF."""
    return [page.extract_text() for page in PdfReader(document).pages]


@pytest.fixture(scope="module")
def chapters(pages, document, texts):
    """Return for each page of the book what of its article is printed, and the text of its pages in the PDF."""
    numbers = starts(PdfReader(document))
    found = {}
    for (_, name), start, end in zip(pdf.order(), numbers, [*numbers[1:], len(texts)], strict=True):
        article = BeautifulSoup((pages.folder / f"{name}.html").read_text(encoding="utf-8"), "html.parser").select_one(
            "article"
        )
        unseen = ".headerlink, details.hide, .numbers, .page-notebook, .tag_screen-only, noscript, script, style"
        for tag in article.select(unseen):
            tag.decompose()
        found[name] = article, "\n".join(texts[start - 1 : end])
    return found


def starts(reader):
    """Return the number of the page on which each chapter starts, in the book's order."""
    titles = {part for part, _ in pdf.order()}
    chapters = [item for item in flat(reader.outline) if item.title not in titles]
    return [reader.get_destination_page_number(item) + 1 for item in chapters]


def flat(outline):
    for item in outline:
        yield from flat(item) if isinstance(item, list) else [item]


def test_every_page_but_the_cover_has_its_number(texts):
    assert [text.split()[-1] for text in texts[1:]] == [str(number) for number in range(2, len(texts) + 1)]


def test_the_contents_name_each_chapter_and_where_it_starts(chapters, document, texts):
    for (article, text), number in zip(chapters.values(), starts(PdfReader(document)), strict=True):
        title = squeezed(next(article.h1.stripped_strings))
        assert title in squeezed(text)
        assert f"{title}{number}" in squeezed(texts[0])


def test_a_link_to_another_chapter_has_the_page_number_of_its_target(pages, document, texts):
    numbers = pdf.starts(PdfReader(document))
    printed, count = squeezed(" ".join(texts)), 0
    names = {f"{name}.html": name for _, name in pdf.order()}
    for name in names:
        for link in pages[name].select("article p > a.reference.internal"):
            page, _, anchor = link["href"].partition("#")
            if page in names and names[page] != "bibliography":
                number = numbers[f"{names[page]}--{anchor}" if anchor else names[page]]
                assert re.search(rf"{re.escape(squeezed(link.get_text()))}(\(page{number}\)|,page{number})", printed), (
                    link
                )
                count += 1
    assert count > 10


def test_every_heading_and_caption_of_the_site_is_printed(chapters):
    for article, text in chapters.values():
        printed = squeezed(text)
        for tag in map(copy.copy, article.select("h1, h2, h3, figcaption")):
            for formula in tag.select("math"):  # its letters change places on paper
                formula.decompose()
            assert squeezed(tag.get_text()) in printed, tag.get_text()


def test_folded_outputs_are_printed_and_folded_code_is_not(pages, chapters):
    outputs = 0
    for name, (_, text) in chapters.items():
        printed = squeezed(text)
        for fold in pages[f"{name}.html"].select(".cell:not(.tag_nbval-ignore-output) details.hide"):
            for output in fold.select(".cell_output pre"):
                assert squeezed(output.get_text()) in printed
                outputs += 1
            assert not any(squeezed(code.get_text()) in printed for code in fold.select(".cell_input pre"))
    assert outputs > 0


def test_no_letter_of_the_mathematics_is_lost(chapters, texts):
    formulas = [tag for article, _ in chapters.values() for tag in article.select("mi:not([mathvariant=normal])")]
    wanted = Counter(tag.get_text() for tag in formulas if re.fullmatch("[A-Za-zΑ-Ωα-ω]", tag.get_text()))
    printed = Counter(
        unicodedata.normalize("NFKC", letter) for text in texts for letter in text if ord(letter) in ITALIC
    )
    assert wanted == printed
    assert wanted.total() > 100


def ink(picture):
    """Return the share of an 8-bit grey picture that is not white."""
    return 1 - picture.histogram()[255] / (picture.width * picture.height)


def test_every_page_but_the_last_of_a_part_is_filled_to_three_fifths(pages, document):
    reader = PdfReader(document)
    opening = [number for (part, _), number in zip(pdf.order(), starts(reader), strict=True) if part]
    last = {number - 1 for number in opening} | {len(reader.pages)}
    top, bottom = (float(pdf.MARGIN[side].removesuffix("mm")) / 297 for side in ("top", "bottom"))
    shares = {}
    with pypdfium2.PdfDocument(document) as opened:
        for number, page in enumerate(opened, 1):
            picture = page.render(scale=1, grayscale=True).to_pil()
            body = picture.crop((0, int(top * picture.height), picture.width, int((1 - bottom) * picture.height)))
            *_, lowest = body.point(lambda grey: 255 * (grey < 250)).getbbox()
            shares[number] = lowest / body.height
    assert not {number: share for number, share in shares.items() if share < 0.6 and number not in last}


def test_no_page_is_blank_and_every_caption_has_its_figure(document, chapters):
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


def test_without_a_browser_one_sentence_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="Chromium is not installed: install it"), pdf.open_page(100, 100):
        pass
