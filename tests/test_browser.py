"""The published pages in Chromium, opened from files and without a network unless a test serves them."""

import shutil
from io import BytesIO
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup
from PIL import Image

from tests.browser import assert_axe_finds_nothing, each_page, luminance, watch

pytestmark = pytest.mark.browser

# ---- every page ----------------------------------------------------------------------------------------------------

PLOTS = "article figure img:not(.photo)"
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


TABBABLE = """() => {
  const all = document.querySelectorAll("a[href], button, input, select, summary, [tabindex='0']");
  const open = (element) => element.checkVisibility({ visibilityProperty: true }) && !element.disabled;
  const seen = [...all].filter((element) => open(element) && element.tabIndex >= 0);
  seen.forEach((element, i) => (element.dataset.stop = i));
  return seen.map((element) => element.outerHTML.slice(0, 120));
}"""


@each_page
def test_a_page_is_complete_and_accessible(opened, name):
    page = opened(name, reduced_motion="reduce")  # colours change at once with the theme
    assert_complete_and_small(page, name)
    assert_axe_finds_nothing(page)
    assert_figures_fit_their_page(page, "light")
    assert_the_keyboard_reaches_everything(page)
    page.emulate_media(color_scheme="dark")
    page.wait_for_selector("html[data-theme=dark]")
    assert_axe_finds_nothing(page)
    assert_figures_fit_their_page(page, "dark")
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 360, "height": 800})
    assert_axe_finds_nothing(page)


def assert_complete_and_small(page, name):
    """Assert that pictures, formulas and their font are there without a network, and that the page's files are few."""
    assert page.evaluate(PICTURES) == []
    formulas = page.evaluate(FORMULAS)
    assert (formulas["empty"], formulas["raw"], formulas["font"]) == (0, 0, True)
    assert (name == "04_encoder_cost") <= (formulas["count"] > 20)
    files = {Path(unquote(urlsplit(url).path)) for url in page.requested if url.startswith("file:")}
    assert sum(path.stat().st_size for path in files) <= (1.2e6 if name == "try_it" else 1.5e6)


def assert_figures_fit_their_page(page, theme):
    """Assert that each figure has the background of its page, and enough contrast."""
    for figure in page.locator(PLOTS).all():
        figure.scroll_into_view_if_needed()
        figure.evaluate("image => image.decode()")
        picture = Image.open(BytesIO(figure.screenshot())).convert("RGB")
        background = luminance(picture.getpixel((2, 2)))
        lights = [luminance(colour) for _, colour in picture.getcolors(1 << 24)]
        low, high = sorted((background, max(lights) if theme == "dark" else min(lights)))
        assert (background < 0.05) == (theme == "dark")
        assert (high + 0.05) / (low + 0.05) > 7


def assert_the_keyboard_reaches_everything(page):
    """Assert that the tab key, pressed from the top of a page, stops at all that can be used."""
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


def test_pages_have_plots(pages):
    assert sum(bool(document.select(PLOTS)) for _, document in pages.items()) >= 7


@pytest.mark.parametrize("name", ["index", "01_model", "03_per_class"])
def test_garments_are_light_on_dark_in_both_themes(opened, name):
    page = opened(name)
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        page.wait_for_selector(f"html[data-theme={theme}]")
        garment = page.locator("article figure .photo").first
        garment.scroll_into_view_if_needed()
        picture = Image.open(BytesIO(garment.screenshot())).convert("L")
        width, height = picture.size
        assert picture.getpixel((5, 5)) < 20
        assert picture.crop((width // 4, height // 4, 3 * width // 4, 3 * height // 4)).getextrema()[1] > 60


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


def test_the_theme_is_the_readers_and_stays(browser, served, pages):
    # over http: a page opened as a file does not always find what it stored before it was loaded again
    page = browser.new_page(color_scheme="dark")
    page.goto(f"{served(pages.folder)}/index.html")
    assert page.get_attribute("html", "data-theme") == "dark"
    page.click(".theme-switch-button")
    page.wait_for_selector("html[data-mode=light]")
    page.reload()
    assert page.get_attribute("html", "data-theme") == "light"
    page.close()


def test_the_buttons_of_the_theme_work_under_the_policy(opened):
    page = opened("index")
    page.evaluate("window.print = () => { document.title = 'printed'; }")
    page.evaluate("document.querySelector('.btn-download-pdf-button').click()")
    assert page.title() == "printed"
    page.click(".btn-fullscreen-button")
    page.wait_for_function("document.fullscreenElement !== null")


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
