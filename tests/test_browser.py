"""What a reader's browser does with the published pages: Chromium, opened from a file, without a network.

`make test` looks at a sample of the pages; `make test-browser` looks at all of them and has axe-core and Lighthouse
judge each; `make performance` asks Lighthouse about the speed as well.
"""

import csv
import gzip
import json
import os
import random
import shutil
import subprocess
import threading
from dataclasses import asdict
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from urllib.parse import unquote, urlsplit
from zipfile import ZipFile

import pytest
from bs4 import BeautifulSoup
from PIL import Image
from playwright.sync_api import sync_playwright

from vitlib import ViTConfig, cost, paths
from vitlib.report import calculator, figures

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
ASKED = os.environ.get("BROWSER_TESTS")
FULL = ASKED in ("full", "performance")
JUDGES = paths.ROOT / "build" / "browser" / "node_modules"
AXE, LIGHTHOUSE = JUDGES / "axe-core" / "axe.min.js", JUDGES / "lighthouse" / "cli" / "index.js"
TOC = (paths.ROOT / "_toc.yml").read_text()
ALL = ["index", *(line.split("file:")[1].strip() for line in TOC.splitlines() if "file:" in line), "search", "genindex"]
NAMES = ALL if FULL else ["index", "04_encoder_cost"]
each_page = pytest.mark.parametrize("name", NAMES)
each_theme = pytest.mark.parametrize("theme", ["light", "dark"])


@pytest.fixture(scope="module")
def chromium():
    """Return the path of Chromium; without one the tests are skipped, in CI and in full runs they fail."""
    executable = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
    if executable is None:
        sentence = "no Chromium on this machine: install it (Debian: apt-get install chromium) to check the pages in it"
        if FULL:
            pytest.exit(sentence, returncode=1)
        if os.environ.get("CI"):
            pytest.fail(sentence)
        pytest.skip(sentence)
    return executable


@pytest.fixture(scope="module")
def browser(chromium):
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=ARGUMENTS)
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

    def open_page(name, theme="light", width=1280, query="", folder=site, **options):
        context = browser.new_context(
            offline=True, color_scheme=theme, viewport={"width": width, "height": 800}, **options
        )
        contexts.append(context)

        def lost(request):
            if request.failure != "net::ERR_ABORTED":  # of a page that was left before all of it was there
                wrong.append(f"{request.url} failed: {request.failure}")

        page = context.new_page()
        page.asked = set()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
        page.on("requestfailed", lost)
        page.on("request", lambda request: page.asked.add(request.url))
        page.goto((folder / f"{name}.html").as_uri() + query)
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
    files = {site / unquote(urlsplit(url).path) for url in page.asked if url.startswith("file:")}
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


class Host(SimpleHTTPRequestHandler):
    """Serves a folder as hosts of static pages do: texts compressed, and to be kept."""

    def log_message(self, *_):
        pass

    def send_head(self):
        path = Path(self.translate_path(self.path))
        if path.suffix not in (".html", ".css", ".js", ".svg") or not path.is_file():
            return super().send_head()
        content = gzip.compress(path.read_bytes())
        self.send_response(200)
        for name, value in (
            ("Content-Type", self.guess_type(str(path))),
            ("Content-Encoding", "gzip"),
            ("Content-Length", str(len(content))),
            ("Cache-Control", "max-age=31536000"),
        ):
            self.send_header(name, value)
        self.end_headers()
        return BytesIO(content)


@pytest.fixture(scope="module")
def address(site):
    """Return where the book is served on this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Host, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.skipif(not FULL, reason="Lighthouse judges the pages in make test-browser")
@each_page
def test_lighthouse_gives_at_least_95(chromium, address, name):
    assert LIGHTHOUSE.is_file(), "Lighthouse is not there: make test-browser fetches it"
    wanted = ["accessibility", "best-practices", "seo"] + ["performance"] * (ASKED == "performance")
    command = ["node", str(LIGHTHOUSE), f"{address}/{name}.html", "--output=json", "--quiet"]
    command += [f"--only-categories={','.join(wanted)}", f"--chrome-flags=--headless=new {' '.join(ARGUMENTS)}"]
    result = subprocess.run(
        [*command, "--disable-full-page-screenshot"],
        env=os.environ | {"CHROME_PATH": chromium},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    report = json.loads(result.stdout)
    scores = {kind: 100 * report["categories"][kind]["score"] for kind in wanted}
    lost = {
        audit["id"]: report["audits"][audit["id"]].get("displayValue", "")
        for kind in wanted
        for audit in report["categories"][kind]["auditRefs"]
        if audit["weight"] and (report["audits"][audit["id"]]["score"] or 0) < 1
    }
    assert min(scores.values()) >= 95, (scores, lost)


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


def kept(source):
    """Return the numbers that the published page of a notebook keeps, by the file's name on the site."""
    found, tables = {}, 0
    for cell in json.loads((paths.ROOT / "book" / source.name).read_text())["cells"]:
        for output in cell.get("outputs", ()):
            if numbers := "".join(output.get("data", {}).get("text/csv", "")):
                figure = cell["metadata"].get("mystnb", {}).get("figure")
                tables += figure is None
                found[f"{figure['name'] if figure else f'table-{tables}'}.csv"] = numbers
    return found


def test_a_notebooks_page_links_to_its_notebook_and_to_the_numbers_that_it_shows(site):
    for source in (paths.ROOT / "notebooks").glob("*.ipynb"):
        page = BeautifulSoup((site / f"{source.stem}.html").read_text(), "html.parser")
        links = {link["href"] for link in page.select(".page-notebook a[download]")}
        bundle = f"_numbers/{source.stem}/{source.stem}-numbers.zip"
        assert links == {f"_sources/{source.name}", f"_sources/notebooks/{source.name}", bundle}
        with ZipFile(site / bundle) as archive:
            assert {name: archive.read(name).decode() for name in archive.namelist()} == kept(source)
        for figure in page.select("figure"):
            (link,) = figure.select("figcaption a[download]")
            assert (site / link["href"]).read_text() == kept(source)[f"{figure['id']}.csv"]


# ---- a closer look -------------------------------------------------------------------------------------------------


@each_theme
@pytest.mark.parametrize("width", [360, 1280])
def test_a_square_of_the_confusion_matrix_says_what_it_counts(opened, theme, width):
    page = opened("03_per_class", theme, width, has_touch=True)
    rows = list(csv.reader(kept(Path("03_per_class.ipynb"))["fig-confusion.csv"].splitlines()))
    classes, counts = rows[0][1:], [[int(n) for n in row[1:]] for row in rows[1:]]
    squares, line = page.locator(".confusion td[data-detail]"), page.locator(".confusion + .detail")
    assert [int(text.replace("·", "0")) for text in squares.all_inner_texts()] == [n for row in counts for n in row]

    def said(i, j):
        answer = "recognised" if i == j else f"taken for {classes[j]}"
        count, total = counts[i][j], sum(counts[i])
        return f"{classes[i]} {answer}: {count} of {total:,} ({100 * count / total:.1f}\u00a0% of the row)"

    squares.nth(6).hover()
    assert line.inner_text() == said(0, 6)
    squares.nth(62).tap()
    assert line.inner_text() == said(6, 2)
    squares.nth(62).focus()
    for key, place in (("ArrowRight", (6, 3)), ("ArrowDown", (7, 3)), ("ArrowLeft", (7, 2)), ("ArrowUp", (6, 2))):
        page.keyboard.press(key)
        assert line.inner_text() == said(*place)
    assert page.locator(".confusion [tabindex='0']").count() == 1
    for key, place in (("Home", (0, 0)), ("End", (9, 9))):
        page.keyboard.press(key)
        assert line.inner_text() == said(*place)


def test_a_mistake_says_what_the_network_thought(opened):
    page = opened("03_per_class", width=360, has_touch=True)
    rows = list(csv.DictReader(kept(Path("03_per_class.ipynb"))["fig-mistakes.csv"].splitlines()))
    pictures, line = page.locator(".gallery [data-detail]"), page.locator(".gallery + .detail")
    assert pictures.count() == len(rows) > 10
    for i, row in enumerate(rows):
        pictures.nth(i).tap()
        for part in (f"Test image {int(row['test image']):,}", row["label"], row["answer"]):
            assert part in line.inner_text()
        assert f"{row['answer']} {100 * float(row[row['answer']]):.2f}\u00a0%" in line.inner_text()
    pictures.first.focus()
    page.keyboard.press("ArrowDown")
    below = page.evaluate("document.activeElement.getBoundingClientRect().left")
    assert below == pictures.first.bounding_box()["x"]


SEEDS = {"plain": [20.0, 35.0, 27.0, 30.0], "other": [60.0, 75.0, 67.0, 92.0]}  # two of them nearly touch


def test_a_point_of_a_figure_says_what_it_is(opened, site, tmp_path):
    """A figure of seeds, put where a page has one already: the spots lie on the points, and each says its own."""
    ax = figures.plot_races(SEEDS)
    dots = [
        (share, 1 - row, f"{name}, seed {seed}: {share} %")
        for row, (name, shares) in enumerate(SEEDS.items())
        for seed, share in enumerate(shares)
    ]
    shown = figures.points(ax, dots, "Two rows of four dots, one dot a seed")
    folder = shutil.copytree(site, tmp_path / "site")
    document = BeautifulSoup((folder / "03_per_class.html").read_text(), "html.parser")
    document.select_one(".gallery").replace_with(BeautifulSoup(shown.forms["text/html"], "html.parser"))
    (folder / "points.html").write_text(str(document))
    for width in (360, 1280):
        page = opened("points", "light", width, folder=folder, has_touch=True)
        spots, line = page.locator(".points [data-detail]"), page.locator(".points + .detail")
        picture = Image.open(BytesIO(page.locator(".points").screenshot())).convert("RGB")
        outer = page.locator(".points").bounding_box()
        spots.first.focus()
        for i, (_, _, said) in enumerate(dots):
            spot = spots.nth(i).bounding_box()
            middle = [spot[side] + spot[size] / 2 - outer[side] for side, size in (("x", "width"), ("y", "height"))]
            red, _, blue = picture.getpixel(tuple(map(int, middle)))
            assert blue - red > 50 or max(red, blue) < 60, f"no dot, and no median over one, under {said}"
            page.touchscreen.tap(outer["x"] + middle[0], outer["y"] + middle[1])
            assert line.inner_text() == said
            assert spots.nth(i).get_attribute("aria-label") == said
        for key, i in (("Home", 0), ("ArrowRight", 1), ("ArrowDown", 4), ("ArrowUp", 1), ("End", 7)):
            page.keyboard.press(key)
            assert line.inner_text() == dots[i][2], key
        assert page.locator(".points [tabindex='0']").count() == 1


def test_without_scripts_nothing_of_the_figures_is_missing(opened):
    page = opened("03_per_class", java_script_enabled=False)
    assert page.locator(".confusion td[data-detail]").first.inner_text().isdigit()
    assert "→" in page.locator(".gallery li").first.inner_text()
    assert page.locator(".detail").count() == 0


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
