"""What Chromium does with the published pages, opened from files and without a network unless a test serves them."""

import csv
import gzip
import json
import random
import shutil
import socket
import subprocess
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from urllib.parse import unquote, urlsplit

import matplotlib.pyplot as plt
import pytest
import yaml
from bs4 import BeautifulSoup
from PIL import Image
from playwright.sync_api import sync_playwright

from tests.test_built_pages import downloads
from vitlib import ViTConfig, cost, paths
from vitlib.report import calculator, output

JUDGES = paths.ROOT / "build" / "browser" / "node_modules"  # make test-browser installs them
AXE, LIGHTHOUSE = JUDGES / "axe-core" / "axe.min.js", JUDGES / "lighthouse" / "cli" / "index.js"
TOC = yaml.safe_load((paths.ROOT / "_toc.yml").read_text(encoding="utf-8"))
CHAPTERS = [TOC["root"], *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]
each_page = pytest.mark.parametrize("name", [*CHAPTERS, "search", "genindex"])
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def chromium():
    found = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
    assert found, "Chromium is not installed: install it (Debian: apt-get install chromium)."
    return found


@pytest.fixture(scope="module")
def debugging_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def browser(chromium, debugging_port):
    """Return the one Chromium that all tests use, Lighthouse through its port."""
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    arguments += [f"--remote-debugging-port={debugging_port}"]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=arguments)
        yield browser
        browser.close()


def watch(page, problems):
    """Collect a page's errors and failed requests in `problems`, and what it requests in `page.requested`."""
    page.requested = set()
    page.on("request", lambda request: page.requested.add(request.url))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda line: problems.append(line.text) if line.type in ("error", "warning") else None)
    # a page that is left while it loads aborts its requests
    page.on(
        "requestfailed",
        lambda request: problems.append(request.url) if request.failure != "net::ERR_ABORTED" else None,
    )


@pytest.fixture
def opened(browser, pages):
    """Return a function that opens a page without a network; an error in its console fails the test."""
    contexts, problems, requested = [], [], set()

    def open_page(name, width=1280, folder=pages.folder, **options):
        contexts.append(browser.new_context(offline=True, viewport={"width": width, "height": 800}, **options))
        page = contexts[-1].new_page()
        watch(page, problems)
        page.goto((folder / f"{name}.html").as_uri())
        return page

    yield open_page
    for context in contexts:
        requested |= {urlsplit(url).netloc for page in context.pages for url in getattr(page, "requested", ())}
        context.close()
    assert problems == []
    assert requested <= {""}


class Host(SimpleHTTPRequestHandler):
    """Serves a folder as hosts of static pages do: text is compressed and may be cached."""

    def log_message(self, *_):
        pass

    def send_head(self):
        path = Path(self.translate_path(self.path))
        if path.suffix not in (".html", ".css", ".js", ".svg") or not path.is_file():
            return super().send_head()
        content = gzip.compress(path.read_bytes())
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(str(path)))
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "max-age=31536000")
        self.end_headers()
        return BytesIO(content)


@pytest.fixture
def served():
    """Return a function that serves a folder on this machine and returns its address."""
    servers = []

    def serve(folder):
        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), partial(Host, directory=str(folder))))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


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
def test_a_page_is_complete_without_a_network_and_small(opened, name):
    page = opened(name)
    assert page.evaluate(PICTURES) == []
    formulas = page.evaluate(FORMULAS)
    assert (formulas["empty"], formulas["raw"], formulas["font"]) == (0, 0, True)
    assert (name == "04_encoder_cost") <= (formulas["count"] > 20)
    files = {Path(unquote(urlsplit(url).path)) for url in page.requested if url.startswith("file:")}
    assert sum(path.stat().st_size for path in files) <= 1.5e6


@each_page
def test_a_page_fits_each_width_and_axe_finds_no_violation(opened, name):
    assert AXE.is_file(), "axe-core is not installed: run make test-browser"
    for theme, width in (("light", 1280), ("dark", 1280), ("light", 360)):
        page = opened(name, width, color_scheme=theme)
        page.wait_for_load_state()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.evaluate(AXE.read_text(encoding="utf-8"))
        found = page.evaluate("axe.run({ preload: false, resultTypes: ['violations'] })")["violations"]
        assert not [(rule["id"], node["target"], node["failureSummary"]) for rule in found for node in rule["nodes"]]


def assert_scores(url, port, least):
    """Assert that Lighthouse gives a page at least these scores, by category."""
    assert LIGHTHOUSE.is_file(), "Lighthouse is not installed: run make test-browser"
    command = ["node", str(LIGHTHOUSE), url, "--output=json", "--quiet", f"--port={port}"]
    command += [f"--only-categories={','.join(least)}", "--disable-full-page-screenshot"]
    result = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    report = json.loads(result.stdout)
    imperfect = {name: audit.get("displayValue") for name, audit in report["audits"].items() if audit["score"] != 1}
    scores = {name: 100 * report["categories"][name]["score"] for name in least}
    assert all(scores[name] >= least[name] for name in least), (scores, imperfect)


LEAST = {"accessibility": 95, "best-practices": 95, "seo": 95}


@pytest.mark.parametrize("name", ["index", "03_per_class", "what_if", "search"])  # one of each kind
def test_lighthouse_gives_a_page_at_least_95(browser, debugging_port, served, pages, name):
    assert_scores(f"{served(pages.folder)}/{name}.html", debugging_port, LEAST)


@pytest.mark.performance  # depends on what else the machine does
@each_page
def test_lighthouse_gives_every_page_at_least_95_and_its_speed_90(browser, debugging_port, served, pages, name):
    assert_scores(f"{served(pages.folder)}/{name}.html", debugging_port, LEAST | {"performance": 90})


def luminance(colour):
    """Return the relative luminance of an sRGB colour (WCAG 2.2)."""
    parts = [value / 255 for value in colour[:3]]
    parts = [value / 12.92 if value <= 0.03928 else ((value + 0.055) / 1.055) ** 2.4 for value in parts]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", CHAPTERS)
def test_a_figure_has_the_background_of_its_page_and_enough_contrast(opened, name, theme):
    page = opened(name, color_scheme=theme)
    for figure in page.locator("article figure img:not(.photo)").all():
        figure.scroll_into_view_if_needed()
        figure.evaluate("image => image.decode()")
        picture = Image.open(BytesIO(figure.screenshot())).convert("RGB")
        background = luminance(picture.getpixel((2, 2)))
        lights = [luminance(colour) for _, colour in picture.getcolors(1 << 24)]
        low, high = sorted((background, max(lights) if theme == "dark" else min(lights)))
        assert (background < 0.05) == (theme == "dark")
        assert (high + 0.05) / (low + 0.05) > 7


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", ["index", "01_model", "03_per_class"])
def test_garments_are_light_on_dark_in_both_themes(opened, name, theme):
    garment = opened(name, color_scheme=theme).locator("article figure .photo").first
    garment.scroll_into_view_if_needed()
    picture = Image.open(BytesIO(garment.screenshot())).convert("L")
    width, height = picture.size
    assert picture.getpixel((5, 5)) < 20
    assert picture.crop((width // 4, height // 4, 3 * width // 4, 3 * height // 4)).getextrema()[1] > 60


TABBABLE = """() => {
  const all = document.querySelectorAll("a[href], button, input, select, summary, [tabindex='0']");
  const open = (element) => element.checkVisibility({ visibilityProperty: true }) && !element.disabled;
  const seen = [...all].filter((element) => open(element) && element.tabIndex >= 0);
  seen.forEach((element, i) => (element.dataset.stop = i));
  return seen.map((element) => element.outerHTML.slice(0, 120));
}"""


@each_page
def test_the_keyboard_reaches_everything(opened, name):
    page = opened(name, width=800 if name == "counting_tools" else 1280)
    page.wait_for_load_state()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to main content"
    unreached = {str(stop): html for stop, html in enumerate(page.evaluate(TABBABLE))}
    assert len(unreached) > 10
    for _ in range(2 * len(unreached) + 20):
        unreached.pop(page.evaluate("document.activeElement.dataset.stop ?? ''"), None)
        if not unreached:
            break
        page.keyboard.press("Tab")
    assert not unreached


def test_a_table_is_a_stop_of_the_keyboard_only_where_it_scrolls(opened):
    for width, stops in ((360, True), (1280, False)):
        page = opened("counting_tools", width)
        page.wait_for_load_state()
        boxes = page.locator(".pst-scrollable-table-container")
        assert boxes.and_(page.locator("[tabindex='0']")).count() > 0 or not stops
        for box in boxes.all():
            scrolls, index = box.evaluate("b => [b.scrollWidth > b.clientWidth + 1, b.getAttribute('tabindex')]")
            assert scrolls == (index == "0")


# ---- search and theme ----------------------------------------------------------------------------------------------


def test_the_search_finds_a_word_and_shows_its_sentence(opened):
    page = opened("index")
    page.keyboard.press("Control+k")
    page.keyboard.type("softmax")
    page.keyboard.press("Enter")
    page.wait_for_selector("#search-results li .context, #search-results li p")
    found = page.locator("#search-results li a").evaluate_all("all => all.map((a) => a.href)")
    assert "04_encoder_cost" in " ".join(found)
    assert "softmax" in page.inner_text("#search-results ul").lower()


def test_the_search_works_over_http(browser, served, pages):
    problems, page = [], browser.new_page()
    watch(page, problems)
    page.goto(f"{served(pages.folder)}/search.html?q=softmax")
    page.wait_for_selector("#search-results li .context, #search-results li p")
    page.close()
    assert problems == []


def test_the_theme_is_the_readers_and_stays(opened):
    page = opened("index", color_scheme="dark")
    assert page.get_attribute("html", "data-theme") == "dark"
    for _ in range(3):
        page.click(".theme-switch-button")
        if page.get_attribute("html", "data-mode") == "light":
            break
    page.reload()
    assert page.get_attribute("html", "data-theme") == "light"


def test_the_buttons_of_the_theme_work_under_the_policy(opened):
    page = opened("index")
    page.evaluate("window.print = () => { document.title = 'printed'; }")
    page.evaluate("document.querySelector('.btn-download-pdf-button').click()")
    assert page.title() == "printed"
    page.click(".btn-fullscreen-button")
    page.wait_for_function("document.fullscreenElement !== null")


# ---- figures with details ------------------------------------------------------------------------------------------


def test_a_square_of_the_confusion_matrix_says_what_it_counts(opened):
    page = opened("03_per_class", width=360, has_touch=True)
    rows = list(csv.reader(downloads("03_per_class")["fig-confusion.csv"].splitlines()))
    classes, counts = rows[0][1:], [[int(n) for n in row[1:]] for row in rows[1:]]
    squares, line = page.locator(".confusion td[data-detail]"), page.locator(".confusion + .detail")
    assert [int(text.replace("·", "0")) for text in squares.all_inner_texts()] == [n for row in counts for n in row]

    def detail(i, j):
        answer = "recognised" if i == j else f"taken for {classes[j]}"
        count, total = counts[i][j], sum(counts[i])
        return f"{classes[i]} {answer}: {count} of {total:,} ({100 * count / total:.1f}\u00a0% of the row)"

    squares.nth(6).hover()
    assert line.inner_text() == detail(0, 6)
    squares.nth(62).tap()
    assert line.inner_text() == detail(6, 2)
    squares.nth(62).focus()
    moves = {
        "ArrowRight": (6, 3),
        "ArrowDown": (7, 3),
        "ArrowLeft": (7, 2),
        "ArrowUp": (6, 2),
        "Home": (0, 0),
        "End": (9, 9),
    }
    for key, place in moves.items():
        page.keyboard.press(key)
        assert line.inner_text() == detail(*place)
    assert page.locator(".confusion [tabindex='0']").count() == 1


def test_a_mistake_says_what_the_network_answered(opened):
    page = opened("03_per_class", width=360, has_touch=True)
    rows = list(csv.DictReader(downloads("03_per_class")["fig-mistakes.csv"].splitlines()))
    pictures, line = page.locator(".gallery [data-detail]"), page.locator(".gallery + .detail")
    assert pictures.count() == len(rows) > 10
    for i, row in enumerate(rows):
        pictures.nth(i).tap()
        probability = float(row[row["answer"]])
        percent = "above 99.9" if probability >= 0.9995 else f"{100 * probability:.1f}"
        for part in (f"Test image {int(row['test image']):,}", row["label"], f"{row['answer']} {percent}\u00a0%"):
            assert part in line.inner_text()
    pictures.first.focus()
    page.keyboard.press("ArrowDown")
    below = page.evaluate("document.activeElement.getBoundingClientRect().left")
    assert below == pictures.first.bounding_box()["x"]


SEEDS = {"plain": [20.0, 35.0, 27.0, 30.0], "other": [60.0, 75.0, 67.0, 92.0]}  # two of them nearly touch


@pytest.mark.parametrize("width", [360, 1280])
def test_a_point_of_a_scatter_plot_says_what_it_is(opened, pages, tmp_path, width):
    """A plot of seeds replaces a figure of a page: each spot lies on its point and shows its own detail."""
    ax = plt.subplots(figsize=(output.WIDTH, 2))[1]
    for row, shares in enumerate(SEEDS.values()):
        ax.plot(shares, [1 - row] * len(shares), "o", color=output.BLUE, markersize=7)
    output.attach_csv(ax.figure, ["share"], [])
    dots = [
        (share, 1 - row, f"{name}, seed {seed}: {share} %")
        for row, (name, shares) in enumerate(SEEDS.items())
        for seed, share in enumerate(shares)
    ]
    shown = output.interactive_scatter(ax, dots, "Two rows of four dots, one dot a seed")
    folder = shutil.copytree(pages.folder, tmp_path / "site")
    document = BeautifulSoup((folder / "03_per_class.html").read_text(encoding="utf-8"), "html.parser")
    document.select_one(".gallery").replace_with(BeautifulSoup(shown.forms["text/html"], "html.parser"))
    (folder / "points.html").write_text(str(document), encoding="utf-8")
    page = opened("points", width, folder, has_touch=True)
    spots, line = page.locator(".points [data-detail]"), page.locator(".points + .detail")
    picture = Image.open(BytesIO(page.locator(".points").screenshot())).convert("RGB")
    outer = page.locator(".points").bounding_box()
    spots.first.focus()
    for i, (_, _, detail) in enumerate(dots):
        spot = spots.nth(i).bounding_box()
        middle = [spot[side] + spot[size] / 2 - outer[side] for side, size in (("x", "width"), ("y", "height"))]
        red, _, blue = picture.getpixel(tuple(map(int, middle)))
        assert blue - red > 50, f"no dot is under {detail}"
        page.touchscreen.tap(outer["x"] + middle[0], outer["y"] + middle[1])
        assert line.inner_text() == spots.nth(i).get_attribute("aria-label") == detail
    for key, i in (("Home", 0), ("ArrowRight", 1), ("ArrowDown", 4), ("ArrowUp", 1), ("End", 7)):
        page.keyboard.press(key)
        assert line.inner_text() == dots[i][2], key
    assert page.locator(".points [tabindex='0']").count() == 1


def test_without_scripts_the_figures_are_complete(opened):
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


CALCULATE = """address => {
  location.hash = address;
  window.dispatchEvent(new HashChangeEvent("hashchange"));
  const cells = (row) => [row.cells[0], row.cells[3], row.cells[4]].map((cell) => cell.textContent);
  const status = document.querySelector("#calculator [role=status]");
  const rows = [...document.querySelectorAll(".operations tbody tr, .operations tfoot tr")].map(cells);
  return [status.classList.contains("wrong") ? status.textContent : "", rows];
}"""
LABELS = {name: label for name, label, *_ in calculator.DIALS}


def operations(config):
    """Return the rows that the calculator has to show."""
    network = cost.model(config)
    counted = [row for row in network.rows if row.macs or row.parameters or row.name == "Norm 2"]
    rows = [[row.name, f"{row.macs:,}", f"{row.parameters:,}"] for row in counted]
    return [*rows, ["The network", f"{network.macs:,}", f"{network.parameters:,}"]]


def test_the_calculator_computes_what_the_library_computes(opened):
    """Settings that the library refuses get a sentence, in the page's words, and leave the last result as it is."""
    page, generator, refused, rows = opened("what_if"), random.Random(20), 0, operations(ViTConfig())
    for _ in range(300):
        settings = random_settings(generator)
        address = "&".join(f"{name}={str(value).lower()}" for name, value in settings.items())
        sentence, shown = page.evaluate(CALCULATE, address)
        try:
            rows = operations(ViTConfig(**settings))
            assert sentence == ""
        except ValueError as error:
            name, _, said = str(error).partition(" is ")
            assert sentence.startswith(f"{LABELS[name]} is {said.split(',')[0]}, but has to be a")
            assert "_" not in sentence
            refused += 1
        assert shown == rows, settings
    assert 10 < refused < 150


def test_each_preset_shows_its_published_parameters_and_the_first_is_the_homework(opened):
    page = opened("what_if")
    assert next(iter(calculator.PRESETS.values()))[0] == ViTConfig()
    for name, (config, published) in calculator.PRESETS.items():
        page.select_option("#what-if-preset", label=name)
        assert page.text_content("[data-total=parameters]") == f"{cost.model(config).parameters:,}"
        shown = page.locator("[data-total=published]").all_text_contents()
        assert shown == ([] if published is None else [f"{cost.model(config).parameters:,}"])


def test_the_address_keeps_the_state_of_the_calculator(opened):
    page = opened("what_if")
    page.select_option("#what-if-preset", label="DeiT-Ti")
    page.focus("#what-if-depth")
    page.keyboard.press("ArrowRight")
    known = calculator.PRESETS["DeiT-Ti"][0]
    macs = f"{cost.model(replace(known, depth=13)).macs:,}"
    assert page.text_content("[data-total=macs]") == macs
    again = page.context.new_page()
    again.goto(page.url)
    assert again.text_content("[data-total=macs]") == macs
    assert again.input_value("[type=number][data-name=depth]") == "13"
    before = [again.locator(".totals tr").nth(row).locator("td").first.inner_text() for row in (2, 3)]
    assert before == [f"{cost.model(known).macs:,}", f"{cost.model(known).parameters:,}"]


SLIDE = """slider => Array.from({ length: Number(slider.max) + 1 }, (_, stop) => {
  slider.value = stop;
  slider.dispatchEvent(new Event("input"));
  const shown = (selector) => document.querySelector(selector)?.textContent;
  return [Number(slider.ariaValueText), shown("[data-total=macs]"), shown("#calculator .wrong") ?? ""];
})"""


def test_every_stop_of_a_slider_is_a_network_that_can_be_built(opened):
    page = opened("what_if")
    for preset in ("This homework", "ViT-H/14"):
        config = calculator.PRESETS[preset][0]
        limits = {"patch_size": config.image_size, "num_heads": config.embed_dim}
        for name in LABELS:
            page.select_option("#what-if-preset", label=preset)
            shown = page.locator(f"#what-if-{name}").evaluate(SLIDE)
            networks = {value: cost.model(replace(config, **{name: value})) for value, *_ in shown}
            assert shown == [[value, f"{network.macs:,}", ""] for value, network in networks.items()]
            if name in limits:
                assert [*networks] == [n for n in range(1, 65) if limits[name] % n == 0]


def test_the_bars_of_the_chart_are_as_long_as_the_counts(opened):
    page = opened("what_if", reduced_motion="reduce")
    page.fill("[type=number][data-name=patch_size]", "2")
    before, now = cost.model(ViTConfig()), cost.model(ViTConfig(patch_size=2))

    def length(bar):
        return page.locator(f"[data-bar={bar}] span").evaluate_all(
            "all => all.reduce((sum, part) => sum + part.getBoundingClientRect().width, 0)"
        )

    assert length("macs-before") / length("macs-now") == pytest.approx(before.macs / now.macs, rel=0.02)
    ratio = before.parameters / now.parameters
    assert length("parameters-before") / length("parameters-now") == pytest.approx(ratio, rel=0.02)
    attention = page.locator("[data-bar=macs-now] .part-2").bounding_box()["width"]
    share = (now["Scores"].macs + now["Weighted sum"].macs) / now.macs
    assert attention / length("macs-now") == pytest.approx(share, rel=0.02)


@pytest.mark.parametrize("width", [360, 1280])
def test_the_results_stay_in_view_beside_every_slider_and_nothing_is_clipped(opened, width):
    page = opened("what_if", width, reduced_motion="reduce")  # no smooth scrolling
    page.select_option("#what-if-preset", label="ViT-H/14")
    for selector in (".results", ".totals", ".what-if .scroll", "html"):
        assert page.locator(selector).evaluate("box => box.scrollWidth <= box.clientWidth")
    for name in LABELS:
        slider = page.locator(f"#what-if-{name}")
        slider.evaluate("slider => slider.closest('.dial').scrollIntoView({ block: 'nearest' })")
        macs, place = page.locator("[data-total=macs]").bounding_box(), slider.bounding_box()
        assert 0 <= macs["y"] < 800
        on_top = "p => document.elementFromPoint(p.x + p.width / 2, p.y + p.height / 2).id"
        assert page.evaluate(on_top, place) == f"what-if-{name}"


def test_a_slider_is_visible_in_the_dark(opened):
    page = opened("what_if", color_scheme="dark")
    picture = Image.open(BytesIO(page.locator("#what-if-depth").screenshot())).convert("RGB")
    lights = [luminance(colour) for _, colour in picture.getcolors(1 << 24)]
    assert (max(lights) + 0.05) / (luminance(picture.getpixel((1, 1))) + 0.05) > 3


def test_on_paper_a_slider_is_its_number(opened):
    page = opened("what_if")
    page.emulate_media(media="print")
    assert not any(slider.is_visible() for slider in page.locator("#calculator [type=range]").all())
    numbers = page.locator("#calculator [type=number]")
    assert numbers.evaluate_all("all => all.map((n) => [n.dataset.name, Number(n.value)])") == [
        [name, getattr(ViTConfig(), name)] for name in LABELS
    ]
    assert all(number.is_visible() for number in numbers.all())


# ---- the policy ----------------------------------------------------------------------------------------------------

INJECTED = """
<script>document.documentElement.dataset.inline = "ran"</script>
<img src="_static/favicon.svg" onload="document.documentElement.dataset.handler = 'ran'" alt="">
<script src="https://example.org/script.js"></script>
<img src="https://example.org/picture.png" alt="">
<style>.bd-header { background: url("https://example.org/ground.png") }</style>
<iframe src="https://example.org/frame.html"></iframe>
"""


@pytest.mark.parametrize("policy", [True, False], ids=["with", "without"])
@pytest.mark.parametrize("over", ["file", "http"])
def test_the_policy_stops_what_is_injected_into_a_page(browser, pages, served, tmp_path, over, policy):
    folder = shutil.copytree(pages.folder, tmp_path / "site")
    document = BeautifulSoup((folder / "index.html").read_text(encoding="utf-8"), "html.parser")
    document.select_one("article").append(BeautifulSoup(INJECTED, "html.parser"))
    if not policy:
        document.select_one("meta[http-equiv]").decompose()
    (folder / "index.html").write_text(str(document), encoding="utf-8")
    context, requested = browser.new_context(), []
    context.route("https://example.org/**", lambda route: requested.append(route.request.url) or route.abort())
    page = context.new_page()
    page.goto((folder / "index.html").as_uri() if over == "file" else f"{served(folder)}/index.html")
    page.wait_for_load_state()
    ran = page.evaluate("[document.documentElement.dataset.inline, document.documentElement.dataset.handler]")
    context.close()
    assert ran == ([None, None] if policy else ["ran", "ran"])
    assert (requested == []) == policy
