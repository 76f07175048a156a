"""Print the rendered report as one PDF with headless Chromium.

Each page is printed separately, so that its print style applies. The PDF has a cover, the pages in the book's order,
outlines and page numbers. The HTML folder gets a copy, and its first page a link to it.
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import yaml
from bs4 import BeautifulSoup
from command import UserError, exit_on_user_error
from playwright.sync_api import Page, PdfMargins, ViewportSize, sync_playwright
from pypdf import PdfReader, PdfWriter
from pypdf.generic import ArrayObject, NameObject

ROOT = Path(__file__).resolve().parent.parent
MARGIN = PdfMargins(top="18mm", bottom="20mm", left="18mm", right="18mm")
COVER = """<!DOCTYPE html><html lang="en"><head><title>{title}</title><style>
body {{ font-family: sans-serif; margin: 24mm 8mm 0; color: #222; }}
h1 {{ font-size: 34pt; font-weight: 400; margin: 8mm 0 4mm; }}
p {{ font-size: 12pt; line-height: 1.5; }}
ol {{ margin-top: 14mm; padding: 0; list-style: none; font-size: 11pt; line-height: 1.6; columns: 1; }}
li {{ display: flex; justify-content: space-between; border-bottom: 0.3pt dotted #888; }}
li.part {{ font-weight: 600; border: 0; margin-top: 3mm; }}
svg {{ width: 22mm; }}
</style></head><body>{picture}<h1>{title}</h1>
<p>A homework report in which every number is computed</p>
<ol>{contents}</ol></body></html>"""
FOOTER = """<div style="width: 100%; font: 8px sans-serif; color: #555; padding: 0 18mm; display: flex;
justify-content: space-between"><span>{title}</span><span>{number}</span></div>"""
# load every image, and shrink tables that are wider than the paper
PREPARE = """async () => {
  for (const image of document.images) { image.loading = "eager"; await image.decode().catch(() => {}); }
  await document.fonts.ready;
  const width = document.querySelector("article").clientWidth;
  for (const table of document.querySelectorAll("article table")) {
    if (table.scrollWidth > width) table.style.zoom = width / table.scrollWidth;
  }
}"""


@contextmanager
def open_page(width: int, height: int) -> Iterator[Page]:
    """Open an empty page of a headless Chromium without network; UserError if there is no Chromium."""
    found = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))), None)
    if found is None:
        raise UserError("Chromium is not installed: install it (Debian: apt-get install chromium).")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        viewport = ViewportSize(width=width, height=height)
        yield browser.new_context(offline=True, color_scheme="light", viewport=viewport).new_page()
        browser.close()


def order() -> list[tuple[str | None, str]]:
    """Return the book's pages in order: the title of the part that a page starts, or None, and the page's name."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    pages: list[tuple[str | None, str]] = [(None, toc["root"])]
    for part in toc["parts"]:
        for i, chapter in enumerate(part["chapters"]):
            pages.append((part["caption"] if i == 0 else None, chapter["file"]))
    return pages


def print_page(page: Page, target: Path, footer: str = "") -> PdfReader:
    """Print a page on A4 to a PDF file, with a footer, and open the file."""
    page.pdf(
        path=target,
        format="A4",
        margin=MARGIN,
        print_background=True,
        display_header_footer=bool(footer),
        header_template="<span></span>",
        footer_template=footer or "<span></span>",
        tagged=True,
    )
    return PdfReader(target)


@dataclass(frozen=True)
class Chapter:
    """A page of the book: the part that it starts, or None, its name, title and first page number in the PDF."""

    part: str | None
    name: str
    title: str
    number: int


def make(site: Path, target: Path) -> int:
    """Write the report in `site` as one PDF to `target`; return its number of pages."""
    missing = [name for _, name in order() if not (site / f"{name}.html").is_file()]
    if missing:
        raise UserError(f"{site} has no page {missing[0]}: run make html first.")
    title = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["title"]
    writer = PdfWriter()
    with tempfile.TemporaryDirectory() as folder, open_page(658, 1000) as page:
        scratch = Path(folder)
        page.emulate_media(media="print", color_scheme="light")
        chapters = print_chapters(page, site, scratch)
        page.set_content(cover(title, chapters))
        writer.append(print_page(page, scratch / "cover.pdf"), import_outline=False)
        parent = None
        for chapter in chapters:
            writer.append(PdfReader(scratch / f"{chapter.name}.pdf"), import_outline=False)
            if chapter.part:
                parent = writer.add_outline_item(title=chapter.part, page_number=chapter.number - 1)
            writer.add_outline_item(title=chapter.title, page_number=chapter.number - 1, parent=parent)
        redirect_links(writer, {f"{chapter.name}.html": chapter.number - 1 for chapter in chapters})
        number_pages(writer, page, scratch, title)
    writer.add_metadata({"/Title": title})
    writer.page_mode = "/UseOutlines"
    target.parent.mkdir(parents=True, exist_ok=True)
    writer.write(target)
    return len(writer.pages)


def print_chapters(page: Page, site: Path, scratch: Path) -> list[Chapter]:
    """Print each page of the book to a PDF in `scratch`."""
    chapters, number = [], 2
    for part, name in order():
        page.goto((site / f"{name}.html").as_uri())
        page.evaluate(PREPARE)
        title = page.evaluate("document.querySelector('h1').firstChild.textContent")
        chapters.append(Chapter(part, name, title, number))
        number += len(print_page(page, scratch / f"{name}.pdf").pages)
    return chapters


def cover(title: str, chapters: list[Chapter]) -> str:
    """Return the cover as HTML: title and contents."""
    contents = ""
    for chapter in chapters:
        contents += f'<li class="part">{chapter.part}</li>' if chapter.part else ""
        contents += f"<li><span>{chapter.title}</span><span>{chapter.number}</span></li>"
    picture = (ROOT / "book" / "_static" / "favicon.svg").read_text(encoding="utf-8")
    return COVER.format(title=title, picture=picture, contents=contents)


def redirect_links(writer: PdfWriter, starts: dict[str, int]) -> None:
    """Point links between pages of the book to their start in the PDF, and drop links to other files."""
    for page in writer.pages:
        kept = ArrayObject()
        for link in page.get("/Annots", ()):
            action = link.get_object().get("/A", {})
            address = urlsplit(str(action.get("/URI", "")))
            if address.scheme == "file":
                name = address.path.rsplit("/", 1)[-1]
                if name not in starts:
                    continue
                target = writer.pages[starts[name]].indirect_reference
                del link.get_object()["/A"]
                link.get_object()[NameObject("/Dest")] = ArrayObject([target, NameObject("/Fit")])
            kept.append(link)
        if "/Annots" in page:
            page[NameObject("/Annots")] = kept


def number_pages(writer: PdfWriter, page: Page, scratch: Path, title: str) -> None:
    """Merge title and page number, printed on blank pages, into every page but the cover."""
    blank = '<div style="break-after: page; height: 1px"></div>' * (len(writer.pages) - 1)
    page.set_content(f"<title>{json.dumps(title)[1:-1]}</title>{blank}<div></div>")
    number = '<span class="pageNumber"></span>'
    marks = print_page(page, scratch / "marks.pdf", FOOTER.format(title=title, number=number)).pages
    for under, over in list(zip(writer.pages, marks, strict=False))[1:]:
        under.merge_page(over)


def link(site: Path, target: Path, count: int) -> None:
    """Copy the PDF into `site`, and append a link to it to the first page."""
    shutil.copyfile(target, site / "report.pdf")
    first = site / "index.html"
    page = BeautifulSoup(first.read_text(encoding="utf-8"), "html.parser")
    anchor = page.new_tag("a", href="report.pdf")
    anchor.string = f"one PDF of {count} pages"
    page.select(".page-notebook")[0].extend([" The whole report is also ", anchor, "."])
    first.write_text(str(page), encoding="utf-8")


def main() -> None:
    """Print the report that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("site", type=Path, help="folder of the rendered report")
    parser.add_argument("target", type=Path, help="the PDF")
    given = parser.parse_args()
    with exit_on_user_error():
        count = make(given.site.resolve(), given.target)
        link(given.site, given.target, count)
    print(f"The report, {count} pages: {given.target}")


if __name__ == "__main__":
    main()
