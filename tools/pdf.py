"""Make one PDF of the rendered report, through headless Chromium: python tools/pdf.py HTML_FOLDER PDF.

Each page is printed by itself, so that its style for paper holds; they are put together in the book's order, behind a
cover, with outlines and page numbers. The folder gets a copy, and its first page a link to it.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import yaml
from bs4 import BeautifulSoup
from command import MistakeError, in_sentences
from playwright.sync_api import Page, sync_playwright
from pypdf import PdfReader, PdfWriter
from pypdf.generic import ArrayObject, NameObject

ROOT = Path(__file__).resolve().parent.parent
MARGIN = {"top": "18mm", "bottom": "20mm", "left": "18mm", "right": "18mm"}
COVER = """<!DOCTYPE html><html lang="en"><head><title>{title}</title><style>
body {{ font-family: sans-serif; margin: 44mm 8mm 0; color: #222; }}
h1 {{ font-size: 34pt; font-weight: 400; margin: 8mm 0 4mm; }}
p {{ font-size: 12pt; line-height: 1.5; }}
ol {{ margin-top: 14mm; padding: 0; list-style: none; font-size: 11pt; line-height: 1.6; columns: 1; }}
li {{ display: flex; justify-content: space-between; border-bottom: 0.3pt dotted #888; }}
li.part {{ font-weight: 600; border: 0; margin-top: 3mm; }}
svg {{ width: 22mm; }}
</style></head><body>{picture}<h1>{title}</h1><p>{subtitle}</p><ol>{contents}</ol></body></html>"""
FOOTER = """<div style="width: 100%; font: 8px sans-serif; color: #555; padding: 0 18mm; display: flex;
justify-content: space-between"><span>{title}</span><span>{number}</span></div>"""
# every fold of the code stays closed, every picture is there, and what is wider than the paper gets smaller
PREPARE = """async () => {
  for (const image of document.images) { image.loading = "eager"; await image.decode().catch(() => {}); }
  await document.fonts.ready;
  const width = document.querySelector("article").clientWidth;
  for (const table of document.querySelectorAll("article table")) {
    if (table.scrollWidth > width) table.style.zoom = width / table.scrollWidth;
  }
}"""


def chromium() -> str:
    """Return the path of this machine's Chromium."""
    found = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
    if found is None:
        raise MistakeError("No Chromium on this machine: install it (Debian: apt-get install chromium).")
    return found


def order() -> list[tuple[str | None, str]]:
    """Return the book's pages in order: the part that a page opens, if it opens one, and the page's name."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    pages: list[tuple[str | None, str]] = [(None, toc["root"])]
    for part in toc["parts"]:
        for i, chapter in enumerate(part["chapters"]):
            pages.append((part["caption"] if i == 0 else None, chapter["file"]))
    return pages


def print_page(page: Page, made: Path, footer: str = "") -> PdfReader:
    """Print what `page` shows on A4, with `footer` under it, and open the result."""
    page.pdf(
        path=made,
        format="A4",
        margin=MARGIN,
        print_background=True,
        display_header_footer=bool(footer),
        header_template="<span></span>",
        footer_template=footer or "<span></span>",
        tagged=True,
    )
    return PdfReader(made)


def make(site: Path, target: Path) -> int:
    """Write the report in `site` as one PDF to `target`; return how many pages it has."""
    browser_path = chromium()
    missing = [name for _, name in order() if not (site / f"{name}.html").is_file()]
    if missing:
        raise MistakeError(f"{site} has no page {missing[0]}: make html first.")
    title = yaml.safe_load((ROOT / "_config.yml").read_text())["title"]
    writer, scratch = PdfWriter(), Path(tempfile.mkdtemp())
    try:
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"])
            page = browser.new_context(
                offline=True, color_scheme="light", viewport={"width": 658, "height": 1000}
            ).new_page()
            page.emulate_media(media="print", color_scheme="light")
            chapters, start = [], 2
            for part, name in order():
                page.goto((site / f"{name}.html").as_uri())
                page.evaluate(PREPARE)
                heading = page.evaluate("document.querySelector('h1').firstChild.textContent")
                count = len(print_page(page, scratch / f"{name}.pdf").pages)
                chapters.append((part, name, heading, start))
                start += count
            contents = ""
            for part, _, heading, number in chapters:
                contents += f'<li class="part">{part}</li>' if part else ""
                contents += f"<li><span>{heading}</span><span>{number}</span></li>"
            page.set_content(
                COVER.format(
                    title=title,
                    subtitle="A Vision Transformer on Fashion-MNIST: what it learns, and what it costs",
                    picture=(ROOT / "book" / "_static" / "favicon.svg").read_text(),
                    contents=contents,
                )
            )
            writer.append(print_page(page, scratch / "cover.pdf"), import_outline=False)
            parent = None
            for part, name, heading, number in chapters:
                writer.append(PdfReader(scratch / f"{name}.pdf"), import_outline=False)
                if part:
                    parent = writer.add_outline_item(title=part, page_number=number - 1)
                writer.add_outline_item(title=heading, page_number=number - 1, parent=parent)
            turn_links_inwards(writer, {f"{name}.html": number - 1 for _, name, _, number in chapters})
            stamp(writer, page, scratch, title)
            browser.close()
        writer.add_metadata({"/Title": title})
        writer.page_mode = "/UseOutlines"
        target.parent.mkdir(parents=True, exist_ok=True)
        writer.write(target)
        return len(writer.pages)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def turn_links_inwards(writer: PdfWriter, starts: dict[str, int]) -> None:
    """Let links from one page of the book to another lead to where it starts in the document, others nowhere."""
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


def stamp(writer: PdfWriter, page: Page, scratch: Path, title: str) -> None:
    """Write title and page number under every page but the cover, from empty pages that hold nothing else."""
    blank = '<div style="break-after: page; height: 1px"></div>' * (len(writer.pages) - 1)
    page.set_content(f"<title>{json.dumps(title)[1:-1]}</title>{blank}<div></div>")
    number = '<span class="pageNumber"></span>'
    marks = print_page(page, scratch / "marks.pdf", FOOTER.format(title=title, number=number)).pages
    for under, over in list(zip(writer.pages, marks, strict=False))[1:]:
        under.merge_page(over)


def offer(site: Path, target: Path, count: int) -> None:
    """Put the PDF beside the pages in `site`, and a link to it at the end of the first one."""
    shutil.copyfile(target, site / "report.pdf")
    first = site / "index.html"
    page = BeautifulSoup(first.read_text(), "html.parser")
    link = page.new_tag("a", href="report.pdf")
    link.string = f"one PDF of {count} pages"
    page.select_one(".page-notebook").extend([" The whole report is also ", link, "."])
    first.write_text(str(page))


def main() -> None:
    """Make the PDF that the command line asks for."""
    with in_sentences():
        if len(sys.argv) != 3:
            raise MistakeError(f"{len(sys.argv) - 1} arguments are given, but it takes two: HTML_FOLDER PDF.")
        site, target = map(Path, sys.argv[1:])
        count = make(site.resolve(), target)
        offer(site, target, count)
    print(f"The report on {count} pages: {target}")


if __name__ == "__main__":
    main()
