"""What a reader's browser does with the published pages: Chromium, opened from a file, without a network.

`make test` looks at a sample of the pages; `make test-browser` looks at all of them and has axe-core judge each.
"""

import os
import random
import shutil
import threading
from dataclasses import asdict
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup
from PIL import Image
from playwright.sync_api import sync_playwright

from vitlib import ViTConfig, calculator, cost, paths

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
FULL = os.environ.get("BROWSER_TESTS") == "full"
AXE = paths.ROOT / "build" / "axe" / "node_modules" / "axe-core" / "axe.min.js"
TOC = (paths.ROOT / "_toc.yml").read_text()
ALL = ["index", *(line.split("file:")[1].strip() for line in TOC.splitlines() if "file:" in line), "search", "genindex"]
NAMES = ALL if FULL else ["index", "04_encoder_cost"]
each_page = pytest.mark.parametrize("name", NAMES)
each_theme = pytest.mark.parametrize("theme", ["light", "dark"])


@pytest.fixture(scope="module")
def browser():
    executable = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
    if executable is None:
        sentence = "no Chromium on this machine: install it (Debian: apt-get install chromium) to check the pages in it"
        if os.environ.get("CI") or FULL:
            pytest.fail(sentence)
        pytest.skip(sentence)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def site(pages):
    """Return the folder of the built book."""
    return pages.folder


@pytest.fixture
def opened(browser, site):
    """Return a function that opens a page without a network; any error in its console fails the test."""
    contexts, wrong = [], []

    def open_page(name, theme="light", width=1280, query="", **options):
        context = browser.new_context(
            offline=True, color_scheme=theme, viewport={"width": width, "height": 800}, **options
        )
        contexts.append(context)
        page = context.new_page()
        page.asked = set()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
        page.on("requestfailed", lambda request: wrong.append(f"{request.url} failed"))
        page.on("request", lambda request: page.asked.add(request.url))
        page.goto((site / f"{name}.html").as_uri() + query)
        return page

    yield open_page
    hosts = {
        urlsplit(url).netloc for context in contexts for page in context.pages for url in getattr(page, "asked", ())
    } - {""}
    for context in contexts:
        context.close()
    assert wrong == []
    assert hosts == set()


@pytest.fixture
def page(opened):
    """Return the page of the calculator."""
    return opened("what_if")


# ---- every page ----------------------------------------------------------------------------------------------------

PICTURES = """async () => {
  const wrong = [];
  for (const image of document.images) {
    image.loading = "eager";
    await image.decode().catch(() => wrong.push(`${image.src} does not load`));
    const decorates = image.closest("[aria-hidden=true], button, a.btn");
    if (!decorates && image.alt.length < 20) wrong.push(`${image.src}: alt="${image.alt}"`);
  }
  return wrong;
}"""
FORMULAS = r"""async () => {
  await document.fonts.ready;
  const all = [...document.querySelectorAll("article math")];
  const seen = all.filter((formula) => formula.checkVisibility());
  const prose = document.querySelector("article, .bd-search-container").cloneNode(true);
  prose.querySelectorAll("pre, code, script").forEach((element) => element.remove());
  return {
    empty: seen.filter((formula) => formula.getBoundingClientRect().width < 3).length,
    raw: (prose.textContent.match(/\\[(\[a-z]/g) ?? []).length,
    font: !seen.length || [...document.fonts].some((f) => f.family.includes("Mathematics") && f.status === "loaded"),
    count: all.length,
  };
}"""


@each_page
def test_a_page_is_whole_without_a_network_and_light(opened, site, name):
    page = opened(name)
    assert page.evaluate(PICTURES) == []
    formulas = page.evaluate(FORMULAS)
    assert (formulas["empty"], formulas["raw"], formulas["font"]) == (0, 0, True)
    assert (name == "04_encoder_cost") <= (formulas["count"] > 20)
    assert page.get_attribute("meta[name=description]", "content")
    files = {site / unquote(urlsplit(url).path) for url in page.asked}
    assert sum(path.stat().st_size for path in files) <= 1.5e6


def test_the_whole_site_is_light(site):
    assert sum(path.stat().st_size for path in site.rglob("*") if path.is_file()) <= 15e6


@pytest.mark.parametrize("width", [360, 1280])
@each_page
def test_no_page_scrolls_sideways(opened, name, width):
    assert opened(name, width=width).evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.skipif(not FULL, reason="axe-core judges the pages in make test-browser")
@each_theme
@each_page
def test_axe_finds_no_violation(opened, name, theme):
    assert AXE.is_file(), "axe-core is not there: make test-browser fetches it"
    for width in (1280, 360):
        page = opened(name, theme, width)
        page.wait_for_load_state()
        page.evaluate(AXE.read_text())
        found = page.evaluate("axe.run({ preload: false })")["violations"]
        assert not [(rule["id"], node["target"], node["failureSummary"]) for rule in found for node in rule["nodes"]]


def luminance(colour):
    parts = [value / 255 for value in colour[:3]]
    parts = [value / 12.92 if value <= 0.03928 else ((value + 0.055) / 1.055) ** 2.4 for value in parts]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


@each_theme
@pytest.mark.parametrize("name", [name for name in NAMES if name[0].isdigit() or name in ("index", "growth")])
def test_a_figure_stands_on_the_ground_of_its_page_and_is_readable(opened, name, theme):
    page = opened(name, theme)
    for figure in page.locator("article figure img").all():
        figure.scroll_into_view_if_needed()
        figure.evaluate("image => image.decode()")
        picture = Image.open(BytesIO(figure.screenshot())).convert("RGB")
        ground, *_ = picture.getpixel((2, 2)), None
        lights = [luminance(colour) for _, colour in picture.getcolors(1 << 24)]
        other = max(lights) if theme == "dark" else min(lights)
        low, high = sorted((luminance(ground), other))
        assert (luminance(ground) < 0.05) == (theme == "dark")
        assert (high + 0.05) / (low + 0.05) > 7


TABBABLE = """() => {
  const all = document.querySelectorAll("a[href], button, input, select, summary, [tabindex='0']");
  const open = (element) => element.checkVisibility({ visibilityProperty: true }) && !element.disabled;
  const seen = [...all].filter((element) => open(element) && element.tabIndex >= 0);
  seen.forEach((element, i) => (element.dataset.stop = i));
  return seen.map((element) => element.outerHTML.slice(0, 120));
}"""


@each_page
def test_the_keyboard_reaches_everything(opened, name):
    page = opened(name, width=800 if name == "reconciliation" else 1280)
    page.wait_for_load_state()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to main content"
    wanted = dict(enumerate(page.evaluate(TABBABLE)))
    assert len(wanted) > 10
    reached = set()
    for _ in range(2 * len(wanted) + 20):
        reached.add(page.evaluate("document.activeElement.dataset.stop ?? ''"))
        page.keyboard.press("Tab")
    assert not [html for stop, html in wanted.items() if str(stop) not in reached]


def test_what_scrolls_is_a_stop_of_the_keyboard_and_what_fits_is_none(opened):
    for width, stops in ((360, True), (1280, False)):
        page = opened("reconciliation", width=width)
        page.wait_for_load_state()
        boxes = page.locator(".pst-scrollable-table-container[tabindex='0']")
        assert boxes.count() > 0 or not stops
        for box in page.locator(".pst-scrollable-table-container").all():
            scrolls, index = box.evaluate("b => [b.scrollWidth > b.clientWidth + 1, b.getAttribute('tabindex')]")
            assert scrolls == (index == "0")


# ---- finding one's way ---------------------------------------------------------------------------------------------


def test_the_search_finds_a_word_and_shows_where_it_stands(opened):
    page = opened("index")
    page.keyboard.press("Control+k")
    page.keyboard.type("softmax")
    page.keyboard.press("Enter")
    page.wait_for_selector("#search-results li .context, #search-results li p")
    assert "growth" in " ".join(page.locator("#search-results li a").evaluate_all("all => all.map((a) => a.href)"))
    assert "softmax" in page.inner_text("#search-results ul").lower()


def test_the_theme_is_the_readers_and_stays(opened):
    page = opened("index", "dark")
    assert page.get_attribute("html", "data-theme") == "dark"
    for _ in range(3):
        page.click(".theme-switch-button")
        if page.get_attribute("html", "data-mode") == "light":
            break
    page.reload()
    assert page.get_attribute("html", "data-theme") == "light"


def test_every_link_inside_the_report_leads_somewhere(site):
    parsed = {path.name: BeautifulSoup(path.read_text(), "html.parser") for path in site.glob("*.html")}
    anchors = {name: {tag["id"] for tag in page.select("[id]")} for name, page in parsed.items()}
    broken = []
    for name, page in parsed.items():
        for link in page.select("a[href], link[href], [src]"):
            address = urlsplit(link.get("href") or link.get("src"))
            if address.scheme or address.netloc:
                continue
            target = unquote(address.path) or name
            if not (site / target).is_file() or (
                address.fragment and target.endswith(".html") and unquote(address.fragment) not in anchors[target]
            ):
                broken.append((name, address.geturl()))
    assert broken == []


def test_a_notebooks_page_links_to_its_notebook(site):
    for source in (paths.ROOT / "notebooks").glob("*.ipynb"):
        page = BeautifulSoup((site / f"{source.stem}.html").read_text(), "html.parser")
        links = {link["href"] for link in page.select(".page-notebook a[download]")}
        assert links == {f"_sources/{source.name}", f"_sources/notebooks/{source.name}"}


# ---- the calculator ------------------------------------------------------------------------------------------------


def random_settings(generator):
    heads, patch = generator.randint(1, 16), generator.randint(1, 16)
    settings = {
        "image_size": patch * generator.randint(1, 24),
        "patch_size": patch,
        "channels": generator.randint(1, 4),
        "embed_dim": heads * generator.randint(1, 96),
        "depth": generator.randint(1, 48),
        "num_heads": heads,
        "mlp_ratio": generator.randint(1, 8),
        "num_classes": generator.randint(1, 1000),
        "share_norm": generator.random() < 0.5,
    }
    if generator.random() < 0.2:
        settings[generator.choice(["image_size", "embed_dim", "depth", "patch_size"])] = generator.randint(-3, 200)
    return settings


SHOWN = """address => {
  location.hash = address;
  window.dispatchEvent(new HashChangeEvent("hashchange"));
  const cells = (row) => [row.cells[0], row.cells[3], row.cells[4]].map((cell) => cell.textContent);
  const status = document.querySelector("#calculator [role=status]");
  if (status.classList.contains("wrong")) return status.textContent;
  return [...document.querySelectorAll("#calculator tbody tr, #calculator tfoot tr")].map(cells);
}"""


def expected(settings):
    """Return the rows that the calculator has to show, or the sentence."""
    try:
        network = cost.model(ViTConfig(**settings))
    except ValueError as error:
        return str(error)
    rows = [[row.name, f"{row.macs:,}", f"{row.parameters:,}"] for row in network.rows]
    return [*rows, ["The network", f"{network.macs:,}", f"{network.parameters:,}"]]


def test_the_calculator_computes_what_the_library_computes(page):
    generator = random.Random(20)
    sentences = 0
    for _ in range(300):
        settings = random_settings(generator)
        address = "&".join(f"{name}={str(value).lower()}" for name, value in settings.items())
        wanted = expected(settings)
        assert page.evaluate(SHOWN, address) == wanted, settings
        sentences += isinstance(wanted, str)
    assert 10 < sentences < 150


def test_each_preset_shows_its_published_parameters(page):
    for name, (config, published) in calculator.PRESETS.items():
        page.select_option("#what-if-preset", label=name)
        assert page.text_content("[data-total=parameters]") == f"{cost.model(config).parameters:,}"
        assert ("the same." in page.text_content("#calculator [role=status]")) == (published is not None)


def test_the_address_keeps_the_state(page):
    page.focus("#what-if-depth")
    page.keyboard.press("ArrowRight")
    wanted = f"{cost.model(ViTConfig(depth=5)).macs:,}"
    assert page.text_content("[data-total=macs]") == wanted
    assert "depth=5" in page.url
    again = page.context.new_page()
    again.goto(page.url)
    assert again.text_content("[data-total=macs]") == wanted
    assert again.input_value("#what-if-depth") == "5"


def test_settings_of_the_homework_are_the_first_preset():
    first = next(iter(calculator.PRESETS.values()))[0]
    assert asdict(first) == asdict(ViTConfig())


# ---- the policy ----------------------------------------------------------------------------------------------------


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *words):
        """Say nothing."""


@pytest.fixture
def served():
    """Return a function that serves a folder on this machine and returns its address."""
    servers = []

    def serve(folder):
        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


WRITTEN = """
<script>document.documentElement.dataset.inline = "ran"</script>
<img src="_static/favicon.svg" onload="document.documentElement.dataset.handler = 'ran'" alt="">
<script src="https://example.org/script.js"></script>
<img src="https://example.org/picture.png" alt="">
<style>.bd-header { background: url("https://example.org/ground.png") }</style>
<iframe src="https://example.org/frame.html"></iframe>
"""


@pytest.mark.parametrize("policy", [True, False], ids=["with", "without"])
@pytest.mark.parametrize("over", ["file", "http"])
def test_the_policy_stops_what_is_written_into_a_page(browser, site, served, tmp_path, over, policy):
    folder = shutil.copytree(site, tmp_path / "site")
    page = BeautifulSoup((folder / "index.html").read_text(), "html.parser")
    page.select_one("article").append(BeautifulSoup(WRITTEN, "html.parser"))
    if not policy:
        page.select_one("meta[http-equiv]").decompose()
    (folder / "index.html").write_text(str(page))
    context, asked = browser.new_context(), []

    def answer(route):
        asked.append(route.request.url)
        route.abort()

    context.route("https://example.org/**", answer)
    opened = context.new_page()
    opened.goto((folder / "index.html").as_uri() if over == "file" else f"{served(folder)}/index.html")
    opened.wait_for_load_state()
    ran = opened.evaluate("[document.documentElement.dataset.inline, document.documentElement.dataset.handler]")
    context.close()
    assert ran == ([None, None] if policy else ["ran", "ran"])
    assert (asked == []) == policy


def test_the_site_works_where_it_is_served(browser, site, served):
    wrong, address = [], served(site)
    page = browser.new_page()
    page.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(f"{address}/search.html?q=softmax")
    page.wait_for_selector("#search-results li .context, #search-results li p")
    for name in NAMES:
        page.goto(f"{address}/{name}.html")
        page.wait_for_load_state()
    page.close()
    assert wrong == []


def test_the_buttons_of_the_theme_work_under_the_policy(opened):
    page = opened("index")
    page.evaluate("window.print = () => { document.title = 'printed'; }")
    page.evaluate("document.querySelector('.btn-download-pdf-button').click()")
    assert page.title() == "printed"
    page.click(".btn-fullscreen-button")
    page.wait_for_function("document.fullscreenElement !== null")
