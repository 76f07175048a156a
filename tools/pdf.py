"""Print the rendered report as one PDF with headless Chromium.

The pages of the book become one document: a cover with the contents, then the chapters, each part on a new page. Links
to another chapter get its page number. The HTML folder gets a copy of the PDF, and its first page a link to it.
"""

import argparse
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from bs4 import BeautifulSoup, Tag
from command import UserError, exit_on_user_error
from playwright.sync_api import Page, PdfMargins, ViewportSize, sync_playwright
from pypdf import PdfReader, PdfWriter

ROOT = Path(__file__).resolve().parent.parent
MARGIN = PdfMargins(top="18mm", bottom="20mm", left="18mm", right="18mm")
STYLE = """
article { padding: 0 !important; }
article + article:not(.part) { margin-top: 14mm; }
article.part { break-before: page; }
.cover { padding: 16mm 8mm 0; color: #222; font-family: sans-serif; }
.cover h1 { font-size: 32pt; font-weight: 400; margin: 8mm 0 4mm; }
.cover ol { margin-top: 10mm; padding: 0; list-style: none; font-size: 10.5pt; line-height: 1.5; }
.cover li { display: flex; justify-content: space-between; border-bottom: 0.3pt dotted #888; }
.cover li.caption { font-weight: 600; border: 0; margin-top: 3mm; }
.cover a { color: inherit; text-decoration: none; }
.cover svg { width: 22mm; }
"""
COVER = """<section class="cover">{picture}<h1>{title}</h1>
<p>A homework report in which every number is computed</p><ol>{contents}</ol></section>"""
FOOTER = """<div style="width: 100%; font: 8px sans-serif; color: #555; padding: 0 18mm; display: flex;
justify-content: space-between"><span>{title}</span><span class="pageNumber"></span></div>"""
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
    chromium = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))), None)
    if chromium is None:
        raise UserError("Chromium is not installed: install it (Debian: apt-get install chromium).")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
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


def make(site: Path, target: Path) -> int:
    """Write the report in `site` as one PDF to `target`; return its number of pages."""
    missing = [name for _, name in order() if not (site / f"{name}.html").is_file()]
    if missing:
        raise UserError(f"{site} has no page {missing[0]}: run make html first.")
    title = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["title"]
    with tempfile.TemporaryDirectory() as folder, open_page(658, 1000) as page:
        page.emulate_media(media="print", color_scheme="light")
        document = join(page, site, title)
        printed = print_numbered(page, document, site, Path(folder) / "report.pdf")
        writer = PdfWriter()
        writer.append(printed, import_outline=False)
        add_outline(writer, document, starts(printed))
        add_footers(writer, page, Path(folder) / "footers.pdf", title)
        writer.add_metadata({"/Title": title})
        target.parent.mkdir(parents=True, exist_ok=True)
        writer.write(target)
    return len(writer.pages)


def join(page: Page, site: Path, title: str) -> BeautifulSoup:
    """Return the cover and the articles of all pages, as scripts left them, as one document."""
    document, articles = BeautifulSoup((site / f"{order()[0][1]}.html").read_text(encoding="utf-8"), "html.parser"), []
    for part, name in order():
        page.goto((site / f"{name}.html").as_uri())
        page.wait_for_load_state()
        parsed = BeautifulSoup(page.evaluate("document.querySelector('article').outerHTML"), "html.parser").article
        assert parsed is not None
        articles.append(parsed)
        rename_anchors(parsed, name)
        if part or not articles[1:]:
            parsed["class"] = f"{' '.join(parsed['class'])} part"
            parsed["data-part"] = part or ""
    for tag in document.select("script, noscript, meta[http-equiv]"):
        tag.decompose()
    box = document.select_one("article")
    assert box is not None and box.parent is not None and document.head is not None
    document.head.append(document.new_tag("style", string=STYLE))
    box.replace_with(*articles)
    articles[0].insert_before(cover(title, articles))
    return document


def rename_anchors(article: Tag, name: str) -> None:
    """Give an article's anchors names that are unique in the book, and its links the new names of their targets."""
    pages = {f"{other}.html": other for _, other in order()}
    for tag in article.select(".headerlink, .page-notebook, .numbers"):
        tag.decompose()
    for tag in article.select("[id]"):
        tag["id"] = f"{name}--{tag['id']}"
    article["id"] = name
    for link in article.select("a[href]"):
        path, _, anchor = str(link["href"]).partition("#")
        if path in pages or not path:
            chapter = pages.get(path, name)
            link["href"] = f"#{chapter}--{anchor}" if anchor else f"#{chapter}"
            if chapter not in (name, "bibliography"):
                refer(link)
        elif not path.startswith("http"):
            link.unwrap()  # a file, which is not in the PDF


def refer(link: Tag) -> None:
    """Add the place for a page number to a link, in brackets unless it already stands in some."""
    before = "".join(tag.get_text() for tag in link.previous_siblings)
    first, last = (", page ", "") if before.count("(") > before.count(")") else (" (page ", ")")
    number = BeautifulSoup(f'<span data-page-of="{str(link["href"])[1:]}">00</span>', "html.parser")
    link.insert_after(first, number, last)


def cover(title: str, articles: list[Tag]) -> BeautifulSoup:
    """Return the cover: title and contents, with places for the page numbers."""
    contents = ""
    for article in articles:
        name, heading = article["id"], next(article.select("h1")[0].stripped_strings)
        if article.get("data-part"):
            contents += f'<li class="caption">{article["data-part"]}</li>'
        contents += f'<li><a href="#{name}">{heading}</a><span data-page-of="{name}">00</span></li>'
    picture = (ROOT / "book" / "_static" / "favicon.svg").read_text(encoding="utf-8")
    return BeautifulSoup(COVER.format(title=title, picture=picture, contents=contents), "html.parser")


def print_numbered(page: Page, document: BeautifulSoup, site: Path, target: Path) -> PdfReader:
    """Print the document, and again with the page numbers found, until the numbers are right."""
    places, numbers = document.select("[data-page-of]"), dict[str, int]()
    for _ in range(5):
        # in the site's folder, where the document finds its images and style sheets
        with tempfile.NamedTemporaryFile("w", dir=site, suffix=".html", encoding="utf-8") as file:
            file.write(str(document))
            file.flush()
            page.goto(Path(file.name).as_uri())
            page.evaluate(PREPARE)
            printed = print_page(page, target)
        actual = starts(printed)
        if actual == numbers:
            return printed
        numbers = actual
        for place in places:
            place.string = str(numbers[str(place["data-page-of"])])
    raise RuntimeError("the page numbers do not settle")


def starts(printed: PdfReader) -> dict[str, int]:
    """Return the page number of each anchor that a link of the PDF points to."""
    numbers = {}
    for name, place in printed.named_destinations.items():
        number = printed.get_destination_page_number(place)
        assert number is not None
        numbers[name.removeprefix("/")] = number + 1
    return numbers


def add_outline(writer: PdfWriter, document: BeautifulSoup, numbers: dict[str, int]) -> None:
    """Add the parts and their chapters as bookmarks, which a reader shows beside the pages."""
    parent = None
    for article in document.select("article"):
        heading, number = next(article.select("h1")[0].stripped_strings), numbers[str(article["id"])] - 1
        if article.get("data-part"):
            parent = writer.add_outline_item(title=str(article["data-part"]), page_number=number)
        writer.add_outline_item(title=heading, page_number=number, parent=parent)
    writer.page_mode = "/UseOutlines"


def add_footers(writer: PdfWriter, page: Page, scratch: Path, title: str) -> None:
    """Merge title and page number, printed on blank pages, into every page but the cover."""
    page.set_content('<div style="break-after: page; height: 1px"></div>' * (len(writer.pages) - 1) + "<div></div>")
    footers = print_page(page, scratch, FOOTER.format(title=title)).pages
    for under, over in list(zip(writer.pages, footers, strict=True))[1:]:
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
    arguments = parser.parse_args()
    with exit_on_user_error():
        count = make(arguments.site.resolve(), arguments.target)
        link(arguments.site, arguments.target, count)
    print(f"The report, {count} pages: {arguments.target}")


if __name__ == "__main__":
    main()
