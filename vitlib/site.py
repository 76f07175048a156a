"""A Sphinx extension that makes the rendered book light, self-contained and accessible.

It writes mathematics as MathML, which browsers draw and screen readers speak without a script, and goes over the pages
when all are written: what the theme leaves inaccessible is put right, what no page uses is removed, what is left of the
style sheets becomes one. Each page then opens from a file, without a network, and is drawn at once. What the theme
calls by names (classes, files) is that of pydata-sphinx-theme 0.16 and sphinx-book-theme 1.2; the tests in a browser
notice when it changes.
"""

import hashlib
import json
import re
import shutil
from base64 import b64encode
from collections.abc import Iterable
from importlib.resources import files
from logging import getLogger
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from bs4 import BeautifulSoup, Tag
from docutils import nodes
from fontTools import subset
from fontTools.ttLib import TTFont
from latex2mathml.converter import convert
from PIL import Image
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number
from sphinx.writers.html5 import HTML5Translator

from vitlib import paths, styles

log = logging.getLogger(__name__)
getLogger("fontTools").setLevel("WARNING")  # else it tells of every table

# scripts and styles of jupyter-book's extensions, and what a page has to hold to need them; the theme's drawings of
# icons (1.5 MB of script) are replaced by the font that its style sheet knows too
NEEDED_BY = {
    "fontawesome.js": None,
    "sphinx-thebe": None,
    "THEBE_JS_URL": None,
    "togglebutton": ".toggle, .dropdown.admonition",
    "toggleHint": ".toggle, .dropdown.admonition",
    "toggleOpenOnPrint": ".toggle, .dropdown.admonition",
    "design-tabs": "[class*=sd-tab]",
    "sphinx-design": "[class*=sd-]",
    "copybutton": "pre",
    "clipboard": "pre",
    "details.js": "[data-detail]",
    "x-thebe-config": None,
    "kernelName": None,
}
POLICY = {  # what a page may load: nothing from another host, whatever is written into it
    "default-src": "'none'",
    "script-src": "'self'",  # and the inline scripts of the page as it is built, by their hashes
    # style attributes cannot be avoided (the calculator's bars, tables of docutils); what they load is held below
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data:",  # the theme's own icons are data in its style sheet
    "font-src": "'self'",
    "connect-src": "'self'",  # the search reads its neighbours
    "form-action": "'self'",
    "base-uri": "'none'",
}
ICONS = range(0xF000, 0xF900)  # where the font has its characters
PERCENT = re.compile(r"(?<=\d) %")  # no line breaks there
THEME = """
(() => {  // before the page is drawn, so that it does not flash
  const mode = localStorage.getItem("mode") || "auto";
  const dark = mode === "dark" || (mode === "auto" && matchMedia("(prefers-color-scheme: dark)").matches);
  Object.assign(document.documentElement.dataset, { mode, theme: dark ? "dark" : "light" });
})();
"""
SNIPPETS = """
const texts = %s;
const ask = window.fetch;  // a page opened from a file may not read its neighbours: their words are here
window.fetch = (address, ...rest) => {
  const text = texts[String(address).split("/").pop().split(/[?#]/)[0]];
  return text ? Promise.resolve(new Response(text)) : ask(address, ...rest);
};
"""


# ---- mathematics ---------------------------------------------------------------------------------------------------


def mathml(latex: str, display: str) -> str:
    """Return LaTeX as MathML, `display` being inline or block; raises ValueError for what it cannot write."""
    made = convert(latex.strip().replace("{aligned}", "{split}"), display=display)
    if "\\" in made or re.search(r">(&|&amp;|&#x00026;)<", made):  # left over from an unknown command or environment
        raise ValueError(f"that cannot be written as MathML: {latex.strip()}")
    return made


def _math(translator: HTML5Translator, node: nodes.Element, display: str) -> str:
    latex = node.astext()
    if display == "block" and r"\\" in latex and r"\begin" not in latex:
        latex = rf"\begin{{split}}{latex}\end{{split}}"
    try:
        return mathml(latex, display)
    except Exception as error:
        log.warning("mathematics %s", error, location=node)
        return translator.encode(latex)


def _inline(translator: HTML5Translator, node: nodes.math) -> None:
    translator.body.append(f'<span class="math notranslate nohighlight">{_math(translator, node, "inline")}</span>')
    raise nodes.SkipNode


def _block(translator: HTML5Translator, node: nodes.math_block) -> None:
    translator.body.append(translator.starttag(node, "div", CLASS="math notranslate nohighlight"))
    translator.body.append(_math(translator, node, "block"))
    if node["number"]:
        translator.body.append(f'<span class="eqno">({get_node_equation_number(translator, node)})')
        translator.add_permalink_ref(node, "Link to this equation")
        translator.body.append("</span>")
    translator.body.append("</div>\n")
    raise nodes.SkipNode


# ---- pages ---------------------------------------------------------------------------------------------------------


def drop_unneeded(page: BeautifulSoup) -> None:
    """Remove the scripts and styles that nothing on the page needs, and those that stand there twice."""
    seen = set()
    for tag in page.select("head script, head link, body script"):
        address = tag.get("src") or tag.get("href") or ""
        words = address + (tag.string or "")[:200] + tag.get("type", "")
        for mark, need in NEEDED_BY.items():
            if mark in words and not (need and page.select_one(f"article :is({need})")):
                tag.decompose()
                break
        else:
            if tag.name == "script":
                if words in seen:
                    tag.decompose()
                seen.add(words)
    waste = "meta[name^=docsearch], link[rel=preload], #ethical-ad-placement"
    for tag in page.select("meta[name=viewport]")[1:] + page.select(waste):
        tag.decompose()


def put_right(page: BeautifulSoup) -> None:
    """Put right what the theme and docutils leave inaccessible, or flashing, or empty."""
    for tag in page.select("head script:not([src])"):
        if "dataset.theme" in (tag.string or ""):
            tag.string = THEME
    page.html.attrs.pop("data-theme", None)  # without scripts the light theme
    for tag in page.select("[aria-label]:is(summary, .search-button-field)"):
        del tag["aria-label"]  # its own words are its name
    for tag in page.select(".theme-switch[title]"):
        del tag["title"]
    for tag in page.select(':is(i, span)[class*="fa-"]'):
        tag["aria-hidden"] = "true"
    for tag in page.select("button[title]:not([aria-label])"):
        if not tag.get_text(strip=True):
            tag["aria-label"] = tag["title"]
    for tag in page.select("[role=doc-biblioentry], [role=list].citation-list"):
        del tag["role"]
    for tag in page.select("th"):
        if not tag.get_text(strip=True):
            tag.name = "td"
        elif tag.find_parent("thead"):
            tag["scope"] = "col"
    sidebar = page.select_one("#pst-primary-sidebar")
    if sidebar:
        sidebar["role"], sidebar["aria-label"] = "complementary", "The report"
    for tag in page.select("a.image-reference"):  # a picture that links to itself: nothing that the page does not show
        tag.unwrap()
    for tag in page.select("#jb-print-docs-body, #searchbox"):
        tag.decompose()
    for tag in page.select("article img"):
        tag["loading"], tag["decoding"] = "lazy", "async"
    for tag in page.select("head script[src]"):  # in their order, once the page is read
        tag["defer"] = ""
    for text in page.select_one("article, body").find_all(string=PERCENT):
        if not text.find_parent(["pre", "code", "script", "style"]):
            text.replace_with(PERCENT.sub("\u00a0%", text))
    for tag in page.select("[data-detail]"):
        tag["data-detail"] = PERCENT.sub("\u00a0%", tag["data-detail"])


def draw_at_once(page: BeautifulSoup, folder: Path) -> None:
    """Spare the page what it would wait for, or what would move it: the options' file, pictures of unknown size."""
    for tag in page.select('script[src*="documentation_options"]'):  # shorter than asking for it
        tag.string = (folder / tag["src"].split("?")[0]).read_text()
        del tag["src"], tag["defer"]
    for tag in page.select("article img:not([width])"):
        path = folder / tag["src"]
        if path.suffix == ".svg":  # in points, as matplotlib writes them
            root = ElementTree.parse(path).getroot()
            for side in ("width", "height"):
                tag[side] = round(float(root.get(side).removesuffix("pt")) * 96 / 72)
        else:
            with Image.open(path) as picture:
                tag["width"], tag["height"] = picture.size


def describe(page: BeautifulSoup, name: str, title: str) -> None:
    """Give the page a description, its first paragraph, and a title that says nothing twice."""
    first = page.select_one("article section > p")
    words = " ".join(first.get_text().split()) if first else f"{title}: {name}"
    if len(words) > 160:
        words = words[:157].rsplit(" ", 1)[0] + " …"
    page.head.append(page.new_tag("meta", attrs={"name": "description", "content": words}))
    if page.title:
        parts = list(dict.fromkeys(part.strip() for part in page.title.get_text().split("—")))
        page.title.string = " — ".join(parts)


def write_numbers(executed: Path, made: Path) -> tuple[dict[str, Path], Path]:
    """Write the numbers that an executed notebook keeps into the folder `made`, a CSV for each figure and table.

    Returns:
        The file of each figure by the figure's name, and a ZIP with all files.
    """
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    figures, tables = {}, []
    for cell in json.loads(executed.read_text())["cells"]:
        for output in cell.get("outputs", ()):
            if "text/csv" not in output.get("data", {}):
                continue
            if name := cell["metadata"].get("mystnb", {}).get("figure", {}).get("name"):
                path = figures[name] = made / f"{name}.csv"
            else:
                path = made / f"table-{len(tables) + 1}.csv"
                tables.append(path)
            path.write_text("".join(output["data"]["text/csv"]))
    bundle = made / f"{executed.stem}-numbers.zip"
    with ZipFile(bundle, "w") as archive:
        for path in [*figures.values(), *tables]:
            archive.writestr(ZipInfo(path.name), path.read_text(), ZIP_DEFLATED)  # without the time of day
    return figures, bundle


def link_sources(page: BeautifulSoup, name: str, theme: dict[str, Any], folder: Path) -> None:
    """Link a notebook's page to its notebook, executed, bare and in the repository, and to its numbers."""
    executed, source = Path("_sources") / f"{name}.ipynb", paths.ROOT / "notebooks" / f"{name}.ipynb"
    article = page.select_one("article.bd-article")
    if article is None or not (folder / executed).is_file() or not source.is_file():
        return
    copy = Path("_sources") / "notebooks" / source.name
    (folder / copy).parent.mkdir(exist_ok=True)
    shutil.copyfile(source, folder / copy)

    def link(words: str, address: Path | str, **attributes: str) -> Tag:
        made = page.new_tag("a", attrs={"href": str(address), **attributes})
        made.string = words
        return made

    numbers, bundle = write_numbers(folder / executed, folder / "_numbers" / name)
    for key, path in numbers.items():
        caption = page.find(id=key).figcaption
        words = f"Its numbers: {caption.select_one('.caption-number').get_text(strip=True)}, as CSV"
        aside = page.new_tag("span", attrs={"class": "numbers"})
        aside.append(link("Its numbers", path.relative_to(folder), download="", **{"aria-label": words}))
        caption.select_one(".caption-text").extend([" ", aside])
    line = page.new_tag("p", attrs={"class": "page-notebook"})
    line.append("This page is a notebook. Download it ")
    line.extend([link("with its results", executed, download=""), ", "])
    line.extend([link("without them, to run it", copy, download=""), ", or "])
    line.append(link("the numbers of its figures and tables", bundle.relative_to(folder), download=""))
    if theme.get("repository_url"):
        branch = theme.get("repository_branch") or "main"
        address = f"{theme['repository_url']}/blob/{branch}/notebooks/{source.name}"
        line.extend(["; read ", link("its source in the repository", address)])
    line.append(".")
    article.append(line)


def words_of(page: BeautifulSoup) -> str:
    """Return what the search shows of a page: the text of its article in the frame that the search looks for."""
    article = BeautifulSoup(str(page.select_one("article") or ""), "html.parser")
    for tag in article.select(".headerlink, script, style, .page-notebook, .numbers, details"):
        tag.decompose()
    for tag in article.find_all(True):
        if tag.get("id"):
            tag.attrs = {"id": tag["id"]}
        else:
            if tag.name in ("p", "dt", "dd", "td", "th", "li", "pre", "div", "h1", "h2", "h3"):
                tag.append(" ")
            tag.unwrap()
    return '<div role="main">' + re.sub(r"\s+", " ", str(article)) + "</div>"


def protect(page: BeautifulSoup) -> None:
    """Give the page a Content-Security-Policy, its inline scripts allowed by their hashes; call this last."""
    for tag in page.select("[onclick]"):  # report.js does what these do
        del tag["onclick"]
    scripts = {str(tag.string) for tag in page.select("script:not([src])")}
    hashes = sorted(f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in scripts)
    sources = POLICY | {"script-src": " ".join([POLICY["script-src"], *hashes])}
    policy = "; ".join(f"{name} {value}" for name, value in sources.items())
    page.head.insert(0, page.new_tag("meta", attrs={"http-equiv": "Content-Security-Policy", "content": policy}))


# ---- files ---------------------------------------------------------------------------------------------------------


def shrink_font(font: Path, made: Path, characters: set[int]) -> None:
    """Write the given characters of a font as WOFF, with what is needed to lay them out."""
    options = subset.Options(layout_features=["*"], name_IDs=["*"], flavor="woff", notdef_outline=True)
    cutter = subset.Subsetter(options)
    cutter.populate(unicodes=characters)
    with TTFont(font, recalcTimestamp=False) as opened:
        cutter.subset(opened)
        opened.flavor = "woff"
        opened.save(made)


def style_sheets(pages: Iterable[BeautifulSoup]) -> list[str]:
    """Return the addresses of the style sheets of all pages, in an order that is each page's own; unlink them there."""
    order: list[str] = []
    for page in pages:
        place = 0
        for tag in page.select("link[rel=stylesheet]"):
            address = tag.extract()["href"].split("?")[0]
            if address not in order:
                order.insert(place, address)
            place = order.index(address) + 1
    return order


def write_styles(pages: dict[Path, BeautifulSoup], folder: Path) -> None:
    """Give all pages one style sheet: what they can use of those that they have, with the icons that they show."""
    static, sheets = folder / "_static", [folder / address for address in style_sheets(pages.values())]
    scripts = {tag["src"].split("?")[0] for page in pages.values() for tag in page.select("script[src]")}
    known = set().union(*(styles.words(str(page)) for page in pages.values()))
    known = known.union(*(styles.words((folder / script).read_text()) for script in scripts))
    css = styles.bundle(sheets, known, static)
    css = re.sub(r"@font-face\s*\{[^}]*fa-(?:regular|brands)[^}]*\}", "", css)
    css = re.sub(r"src:\s*url\([^)]*fa-solid-900\.woff2\)[^;}]*", 'src:url(icons.woff) format("woff")', css)
    icons = static / "vendor" / "fontawesome" / "webfonts" / "fa-solid-900.ttf"
    shrink_font(icons, static / "icons.woff", set(map(ord, css)) & set(ICONS))
    (static / "pages.css").write_text(css)
    digest = hashlib.sha256(css.encode()).hexdigest()[:8]
    for page in pages.values():
        page.title.insert_after(page.new_tag("link", rel="stylesheet", href=f"_static/pages.css?v={digest}"))


def remove_unused(folder: Path, wanted: set[str]) -> None:
    """Remove the files in _static that no page loads, nor a style sheet or script that a page loads."""
    static = folder / "_static"
    kept = {path for path in static.rglob("*") if path.is_file() and path.name in wanted}
    queue = list(kept)
    while queue:
        path = queue.pop()
        if path.suffix not in (".css", ".js"):
            continue
        names = set(re.findall(r"[\w.-]+\.(?:css|js|svg|png|woff2?|ttf)\b", path.read_text(errors="ignore")))
        found = {p for p in static.rglob("*") if p.is_file() and p.name in names and p.suffix not in (".map",)} - kept
        kept |= found
        queue += found
    for path in sorted(static.rglob("*"), reverse=True):
        if path.is_file() and path not in kept:
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def finish(folder: Path, title: str, theme: dict[str, Any]) -> None:
    """Go over the pages of a rendered book in `folder` and leave the files that they use."""
    static = folder / "_static"
    wanted, math, texts = {"favicon.svg", "search-texts.js"}, set(), {}
    pages = {path: BeautifulSoup(path.read_text(), "html.parser") for path in sorted(folder.glob("*.html"))}
    for path, page in pages.items():
        drop_unneeded(page)
        put_right(page)
        draw_at_once(page, folder)
        describe(page, path.stem, title)
        if path.stem not in ("search", "genindex"):
            texts[path.name] = words_of(page)
        link_sources(page, path.stem, theme, folder)
        for tag in page.select("math"):
            math |= set(map(ord, tag.get_text()))
        if path.stem == "search":
            before = page.select_one('script[src*="searchtools"]')
            before.insert_before(page.new_tag("script", src="_static/search-texts.js"))
    (static / "search-texts.js").write_text(SNIPPETS % json.dumps(texts, ensure_ascii=False))
    # letters and digits too, the slanted ones that stand for variables, and the root, which <msqrt> does not spell
    math |= {0x221A, *range(0x20, 0x7F), *range(0x1D434, 0x1D468), 0x210E, *range(0x1D6FC, 0x1D71C), 0x2032, 0x2212}
    shrink_font(Path(str(files("ziamath") / "fonts" / "STIXTwoMath-Regular.ttf")), static / "mathematics.woff", math)
    write_styles(pages, folder)
    for path, page in pages.items():
        for tag in page.select("[src], link[href]"):
            wanted.add((tag.get("src") or tag.get("href")).split("?")[0].rsplit("/", 1)[-1])
        protect(page)
        path.write_text(str(page))
    remove_unused(folder, wanted)


# ---- Sphinx --------------------------------------------------------------------------------------------------------


def _no_repository_no_buttons(app: Sphinx) -> None:
    """Drop the launch buttons and the default address where _config.yml names no repository."""
    theme = app.config.html_theme_options
    if "executablebooks/jupyter-book" in theme.get("repository_url", ""):  # jupyter-book's own default
        theme["repository_url"] = ""
    if not theme.get("repository_url"):
        theme["launch_buttons"] = {}


def _finish(app: Sphinx, exception: Exception | None) -> None:
    if exception is None and app.builder.name == "html":
        finish(Path(app.outdir), app.config.html_title, app.config.html_theme_options)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    app.connect("builder-inited", _no_repository_no_buttons, priority=100)
    app.connect("build-finished", _finish, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
