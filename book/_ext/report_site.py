"""Sphinx extension for the report: MathML, pages that load nothing from other hosts, accessibility, downloads.

Sphinx writes the pages. This extension edits them at the end of the build and marks them by a Content-Security-Policy.
It skips a page that has the mark: Sphinx did not write it in this build. Class and file names are those of
pydata-sphinx-theme 0.16 and sphinx-book-theme 1.2; the browser tests fail when they change.
"""

import hashlib
import html
import json
import re
from base64 import b64encode
from collections.abc import Iterable
from copy import copy
from importlib.resources import files
from logging import getLogger
from pathlib import Path
from shutil import rmtree
from typing import Any
from xml.etree import ElementTree
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from bs4 import BeautifulSoup, NavigableString, Tag
from docutils import nodes
from fontTools import subset
from fontTools.ttLib import TTFont
from latex2mathml.converter import convert
from PIL import Image
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number
from sphinx.writers.html5 import HTML5Translator

log = logging.getLogger(__name__)
getLogger("fontTools").setLevel("WARNING")  # its default logs every table of a font

POLICY = {  # no page loads anything from another host
    "default-src": "'none'",
    "script-src": "'self'",  # add_policy adds the hashes of inline scripts
    "style-src": "'self' 'unsafe-inline'",  # docutils and the calculator write style attributes
    "img-src": "'self' data:",  # the theme's style sheet holds icons as data
    "font-src": "'self'",
    "connect-src": "'self'",  # the search fetches other pages
    "form-action": "'self'",
    "base-uri": "'none'",
}
POLICY_TAG = "meta[http-equiv=Content-Security-Policy]"
UNWANTED = (
    'script[src*="fontawesome.js"],'  # 1.5 MB to draw icons that the theme's style sheet has too
    'script:-soup-contains("DOCUMENTATION_OPTIONS.pagename"),'  # only a menu of versions needs it
    "link[rel=preload], #jb-print-docs-body, #searchbox, #ethical-ad-placement"
)
UNUSED_FILES = ("locales", "scripts/fontawesome.js*", "**/*.map", "**/*.ttf")
ICON_CODES = set(range(0xE000, 0xF900))  # in style sheets as escapes or as characters
ICON_RULE = re.compile(r'(?:\.fa-[\w-]+:before,?)+\{content:"[^"]+"\}')
ICON_ESCAPE = re.compile(r'"\\([ef]\w{3})"')
WRONG_ATTRIBUTES = {  # what accessibility checkers report; report.js handles the clicks
    "summary, .search-button-field": "aria-label",
    ".theme-switch": "title",
    "[role=doc-biblioentry], .citation-list": "role",
    "[onclick]": "onclick",
}
NO_SEARCH_TEXT = ".headerlink, script, style, .page-notebook, .numbers, details"
BLOCKS = ("p", "dt", "dd", "td", "th", "li", "pre", "div", "h1", "h2", "h3")
SPACED_PERCENT = re.compile(r"(?<=\d) %")
THEME_SCRIPT = """
(() => {  // runs before the first paint, so that the page does not flash
  const mode = localStorage.getItem("mode") || "auto";
  const dark = mode === "dark" || (mode === "auto" && matchMedia("(prefers-color-scheme: dark)").matches);
  Object.assign(document.documentElement.dataset, { mode, theme: dark ? "dark" : "light" });
})();
"""
SEARCH_SCRIPT = """
const texts = %s;
const originalFetch = window.fetch;  // browsers do not let a page opened from a file fetch other files
window.fetch = (address, ...rest) => {
  const text = texts[String(address).split("/").pop().split(/[?#]/)[0]];
  return text ? Promise.resolve(new Response(text)) : originalFetch(address, ...rest);
};
"""
MATH_CHARACTERS = {  # in the font even where no formula has them: <msqrt> draws a root, <mi>x</mi> a slanted letter
    *map(ord, "√′−ℎ"),
    *range(0x20, 0x7F),
    *range(0x1D434, 0x1D468),  # slanted Latin letters
    *range(0x1D6FC, 0x1D71C),  # slanted Greek letters
}


# ---- mathematics ---------------------------------------------------------------------------------------------------


def to_mathml(latex: str, display: str) -> str:
    """Convert LaTeX to MathML; `display` is "inline" or "block".

    Raises:
        ValueError: The converter does not know a command or an environment.
    """
    converted = convert(latex.strip(), display=display)
    # the converter copies what it does not know
    if "\\" in converted or re.search(r">(&|&amp;|&#x00026;)<", converted):
        raise ValueError(f"cannot be converted to MathML: {latex.strip()}")
    return converted


def convert_node(translator: HTML5Translator, node: nodes.Element, display: str) -> str:
    """Return the MathML of a node; log a warning and return its LaTeX when the conversion fails."""
    latex = node.astext()
    try:
        return to_mathml(latex, display)
    except Exception as error:
        log.warning("mathematics: %s", error, location=node)
        return translator.encode(latex)


def visit_math(translator: HTML5Translator, node: nodes.math) -> None:
    """Write an inline formula."""
    mathml = convert_node(translator, node, "inline")
    translator.body.append(f'<span class="math notranslate nohighlight">{mathml}</span>')
    raise nodes.SkipNode


def visit_math_block(translator: HTML5Translator, node: nodes.math_block) -> None:
    """Write a displayed equation and its number."""
    translator.body.append(translator.starttag(node, "div", CLASS="math notranslate nohighlight"))
    translator.body.append(convert_node(translator, node, "block"))
    if node["number"]:
        translator.body.append(f'<span class="eqno">({get_node_equation_number(translator, node)})')
        translator.add_permalink_ref(node, "Link to this equation")
        translator.body.append("</span>")
    translator.body.append("</div>\n")
    raise nodes.SkipNode


# ---- edits of a page -----------------------------------------------------------------------------------------------


def find(tag: Tag, selector: str) -> Tag:
    """Return the first tag that a selector matches; raise LookupError if none does."""
    match = tag.select_one(selector)
    if match is None:
        raise LookupError(f"no {selector} in <{tag.name}>")
    return match


def append_html(tag: Tag, markup: str) -> None:
    """Append HTML to a tag."""
    tag.extend(list(BeautifulSoup(markup, "html.parser").contents))


def fix_accessibility(page: BeautifulSoup) -> None:
    """Fix the markup of the theme and of docutils that accessibility checkers report."""
    for selector, attribute in WRONG_ATTRIBUTES.items():
        for tag in page.select(selector):
            del tag[attribute]
    for tag in page.select(':is(i, span)[class*="fa-"]'):
        tag["aria-hidden"] = "true"
    for tag in page.select("button[title]:not([aria-label])"):
        if not tag.get_text(strip=True):
            tag["aria-label"] = tag["title"]
    for tag in page.select("th"):
        if not tag.get_text(strip=True):
            tag.name = "td"
        elif tag.find_parent("thead"):
            tag["scope"] = "col"
    for tag in page.select("#pst-primary-sidebar"):
        tag["role"], tag["aria-label"] = "complementary", "The report"
    for tag in page.select("a.image-reference"):  # links a figure to its own file
        tag.unwrap()


def fix_percent_signs(page: BeautifulSoup) -> None:
    """Put a no-break space between a number and its percent sign."""
    for text in find(page, "article, body").find_all(string=SPACED_PERCENT):
        if not text.find_parent(["pre", "code", "script", "style"]):
            text.replace_with(SPACED_PERCENT.sub("\u00a0%", text))
    for number in page.select("span.pasted-text"):
        text = number.next_sibling
        if isinstance(text, NavigableString) and text.lstrip().startswith("%"):
            text.replace_with(f"\u00a0{text.lstrip()}")
    for tag in page.select("[data-detail]"):
        tag["data-detail"] = SPACED_PERCENT.sub("\u00a0%", str(tag["data-detail"]))


def speed_up(page: BeautifulSoup, folder: Path) -> None:
    """Defer scripts and images, state the size of images, and set the colour theme before the first paint."""
    for tag in page.select(UNWANTED):
        tag.decompose()
    for tag in page.select('script:-soup-contains("dataset.theme")'):
        tag.string = THEME_SCRIPT
    del find(page, "html")["data-theme"]  # without scripts, the theme is light
    for tag in page.select("script[src]"):
        tag["defer"] = ""
    for tag in page.select("article img"):
        tag["loading"], tag["decoding"] = "lazy", "async"
        if not tag.get("width"):
            width, height = image_size(folder / str(tag["src"]))
            tag["width"], tag["height"] = str(width), str(height)


def image_size(path: Path) -> tuple[int, int]:
    """Return the width and height of an image in CSS pixels."""
    if path.suffix != ".svg":
        with Image.open(path) as image:
            return image.size
    root = ElementTree.parse(path).getroot()  # matplotlib writes points: 72 points are 96 pixels
    width, height = (round(float(root.attrib[side].removesuffix("pt")) * 96 / 72) for side in ("width", "height"))
    return width, height


def add_description(page: BeautifulSoup, default: str) -> None:
    """Describe the page by its first paragraph, and write each part of its title once."""
    first = page.select_one("article section > p")
    text = " ".join(first.get_text().split()) if first else default
    if len(text) > 160:
        text = text[:157].rsplit(" ", 1)[0] + " …"
    find(page, "head").append(page.new_tag("meta", attrs={"name": "description", "content": text}))
    title = find(page, "title")
    title.string = " — ".join(dict.fromkeys(part.strip() for part in title.get_text().split("—")))


def add_policy(page: BeautifulSoup) -> None:
    """Add the Content-Security-Policy, with the hashes of the inline scripts; no edit may follow."""
    scripts = {str(tag.string) for tag in page.select("script:not([src])")}
    hashes = sorted(f"'sha256-{b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in scripts)
    sources = POLICY | {"script-src": " ".join([POLICY["script-src"], *hashes])}
    policy = "; ".join(f"{name} {value}" for name, value in sources.items())
    tag = page.new_tag("meta", attrs={"http-equiv": "Content-Security-Policy", "content": policy})
    find(page, "head").insert(0, tag)


# ---- downloads -----------------------------------------------------------------------------------------------------


def write_numbers(notebook: dict[str, Any], folder: Path, bundle: str) -> dict[str, Path]:
    """Write the numbers of a notebook's figures and tables as CSV files, and all of them as a ZIP file.

    Returns:
        The file of each figure, by the name of the figure.
    """
    rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    figures: dict[str, Path] = {}
    tables: list[Path] = []
    for cell in notebook["cells"]:
        for output in cell.get("outputs", ()):
            if "text/csv" not in output.get("data", {}):
                continue
            if name := cell["metadata"].get("mystnb", {}).get("figure", {}).get("name"):
                path = figures[name] = folder / f"{name}.csv"
            else:
                path = folder / f"table-{len(tables) + 1}.csv"
                tables.append(path)
            path.write_text("".join(output["data"]["text/csv"]), encoding="utf-8")
    with ZipFile(folder / bundle, "w") as archive:
        for path in [*figures.values(), *tables]:  # ZipInfo without a time: the same bytes in every build
            archive.writestr(ZipInfo(path.name), path.read_text(encoding="utf-8"), ZIP_DEFLATED)
    return figures


def write_source(notebook: dict[str, Any], path: Path) -> None:
    """Write an executed notebook without its results and without the parameters that papermill injected."""
    empty = {"outputs": [], "execution_count": None}
    cells = [
        cell | (empty if cell["cell_type"] == "code" else {})
        for cell in notebook["cells"]
        if "injected-parameters" not in cell["metadata"].get("tags", ())
    ]
    metadata = {key: value for key, value in notebook["metadata"].items() if key != "papermill"}
    path.parent.mkdir(exist_ok=True)
    source = notebook | {"cells": cells, "metadata": metadata}
    path.write_text(json.dumps(source, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")


def add_downloads(page: BeautifulSoup, name: str, folder: Path) -> None:
    """Link the page of a notebook to the notebook and to its numbers."""
    executed, source = f"_sources/{name}.ipynb", f"_sources/notebooks/{name}.ipynb"
    numbers, bundle = f"_numbers/{name}", f"{name}-numbers.zip"
    if not (folder / executed).is_file():
        return
    notebook = json.loads((folder / executed).read_text(encoding="utf-8"))
    write_source(notebook, folder / source)
    for figure in write_numbers(notebook, folder / numbers, bundle):
        caption = find(page, f"[id='{figure}'] figcaption")
        label = f"Data of {find(caption, '.caption-number').get_text(strip=True)}, as CSV"
        link = f'<a href="{numbers}/{figure}.csv" download aria-label="{html.escape(label)}">Data</a>'
        append_html(find(caption, ".caption-text"), f' <span class="numbers">{link}</span>')
    append_html(
        find(page, "article.bd-article"),
        f'<p class="page-notebook">This page is a notebook. Download it <a href="{executed}" download>with its '
        f'results</a>, <a href="{source}" download>without them, to run it</a>, or <a href="{numbers}/{bundle}" '
        "download>the numbers of its figures and tables</a>.</p>",
    )


# ---- files of the site ---------------------------------------------------------------------------------------------


def search_text(page: BeautifulSoup) -> str:
    """Return the text of a page and the ids in it, as Sphinx's search reads them."""
    article = copy(find(page, "article"))
    for tag in article.select(NO_SEARCH_TEXT):
        tag.decompose()
    for tag in article.find_all(True):
        if tag.get("id"):
            tag.attrs = {"id": tag["id"]}
        else:
            if tag.name in BLOCKS:
                tag.append(" ")
            tag.unwrap()
    return '<div role="main">' + re.sub(r"\s+", " ", article.decode_contents()) + "</div>"


def write_search_texts(pages: dict[str, BeautifulSoup], path: Path) -> None:
    """Write a script with the texts of all pages, so that the search works on pages opened from files."""
    texts = {name: search_text(page) for name, page in pages.items() if page.select_one("article")}
    path.write_text(SEARCH_SCRIPT % json.dumps(texts, ensure_ascii=False), encoding="utf-8")


def write_font(path: Path, source: Path, characters: set[int]) -> None:
    """Write the part of a font that draws the given characters, as WOFF."""
    subsetter = subset.Subsetter(subset.Options(layout_features=["*"], name_IDs=["*"], notdef_outline=True))
    subsetter.populate(unicodes=characters)
    with TTFont(source, recalcTimestamp=False) as font:
        subsetter.subset(font)
        font.flavor = "woff"
        font.save(path)


def write_math_font(pages: Iterable[BeautifulSoup], path: Path) -> None:
    """Write the part of STIX Two Math that the formulas of the pages need."""
    formulas = "".join(tag.get_text() for page in pages for tag in page.select("math"))
    source = Path(str(files("ziamath"))) / "fonts" / "STIXTwoMath-Regular.ttf"
    write_font(path, source, MATH_CHARACTERS | set(map(ord, formulas)))


def write_icon_font(pages: Iterable[BeautifulSoup], static: Path) -> None:
    """Keep what the pages and their scripts need of Font Awesome: its part of the style sheets, and of the font."""
    scripts = "".join(path.read_text(encoding="utf-8") for path in static.glob("scripts/*.js"))
    used = set(re.findall(r"fa-[\w-]+", "".join(map(str, pages)) + scripts))
    css = ""
    for path in static.rglob("*.css"):
        old = path.read_text(encoding="utf-8")
        new = ICON_RULE.sub(lambda rule: rule[0] if used & set(re.findall(r"fa-[\w-]+", rule[0])) else "", old)
        if new != old:
            path.write_text(new, encoding="utf-8")
        css += new
    theme = Path(str(files("pydata_sphinx_theme"))) / "theme" / "pydata_sphinx_theme" / "static"
    source = theme / "vendor" / "fontawesome" / "webfonts" / "fa-solid-900.ttf"
    css = ICON_ESCAPE.sub(lambda escape: chr(int(escape[1], 16)), css)
    write_font(static / "icons.woff", source, set(map(ord, css)) & ICON_CODES)


def remove_unused_files(static: Path) -> None:
    """Remove large files of the themes that no page loads."""
    for pattern in UNUSED_FILES:
        for path in list(static.glob(pattern)):
            rmtree(path) if path.is_dir() else path.unlink()


# ---- Sphinx --------------------------------------------------------------------------------------------------------


def edit_pages(app: Sphinx, exception: Exception | None) -> None:
    """Edit the pages that Sphinx wrote in this build, and write the files that depend on all pages."""
    if exception or app.builder.name != "html":
        return
    folder = Path(app.outdir)
    static = folder / "_static"
    pages = {
        path.name: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        for path in sorted(folder.glob("*.html"))
    }
    new = {name: page for name, page in pages.items() if not page.select_one(POLICY_TAG)}
    if not new:
        return
    for name, page in new.items():
        stem = name.removesuffix(".html")
        for tag in page.select('script[src*="searchtools"]'):
            tag.insert_before(page.new_tag("script", src="_static/search-texts.js"))
        fix_accessibility(page)
        fix_percent_signs(page)
        speed_up(page, folder)
        add_description(page, f"{app.config.html_title}: {stem}")
        add_downloads(page, stem, folder)
    write_search_texts(pages, static / "search-texts.js")
    remove_unused_files(static)
    write_math_font(pages.values(), static / "mathematics.woff")
    write_icon_font(pages.values(), static)
    for name, page in new.items():
        add_policy(page)
        (folder / name).write_text(str(page), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
    app.connect("build-finished", edit_pages, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
