"""What a reader's browser does with the published pages: Chromium, opened from a file, without a network."""

import os
import random
import shutil
from dataclasses import asdict

import pytest
from playwright.sync_api import sync_playwright

from vitlib import ViTConfig, calculator, cost

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


@pytest.fixture(scope="module")
def browser():
    executable = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
    if executable is None:
        sentence = "no Chromium on this machine: install it (Debian: apt-get install chromium) to check the pages in it"
        if os.environ.get("CI"):
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
def page(browser):
    """Return a fresh page without a network, on which any error in the console fails the test."""
    context = browser.new_context(offline=True)
    page = context.new_page()
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: errors.append(request.url) if request.url.startswith("http") else None)
    yield page
    assert errors == []
    context.close()


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
  const status = document.querySelector("#what-if [role=status]");
  if (status.classList.contains("wrong")) return status.textContent;
  return [...document.querySelectorAll("#what-if tbody tr, #what-if tfoot tr")].map(cells);
}"""


def expected(settings):
    """Return the rows that the calculator has to show, or the sentence."""
    try:
        network = cost.model(ViTConfig(**settings))
    except ValueError as error:
        return str(error)
    rows = [[row.name, f"{row.macs:,}", f"{row.parameters:,}"] for row in network.rows]
    return [*rows, ["The network", f"{network.macs:,}", f"{network.parameters:,}"]]


def test_the_calculator_computes_what_the_library_computes(page, site):
    page.goto((site / "what_if.html").as_uri())
    generator = random.Random(20)
    sentences = 0
    for _ in range(300):
        settings = random_settings(generator)
        address = "&".join(f"{name}={str(value).lower()}" for name, value in settings.items())
        wanted = expected(settings)
        assert page.evaluate(SHOWN, address) == wanted, settings
        sentences += isinstance(wanted, str)
    assert 10 < sentences < 150


def test_each_preset_shows_its_published_parameters(page, site):
    page.goto((site / "what_if.html").as_uri())
    for name, (config, published) in calculator.PRESETS.items():
        page.select_option("#what-if-preset", label=name)
        assert page.text_content("[data-total=parameters]") == f"{cost.model(config).parameters:,}"
        assert ("the same." in page.text_content("#what-if [role=status]")) == (published is not None)


def test_the_address_keeps_the_state(page, site, browser):
    page.goto((site / "what_if.html").as_uri())
    page.focus("#what-if-depth")
    page.keyboard.press("ArrowRight")
    wanted = f"{cost.model(ViTConfig(depth=5)).macs:,}"
    assert page.text_content("[data-total=macs]") == wanted
    assert "depth=5" in page.url
    again = page.context.new_page()
    again.goto(page.url)
    assert again.text_content("[data-total=macs]") == wanted
    assert again.input_value("#what-if-depth") == "5"


@pytest.mark.parametrize("width", [360, 1280])
def test_no_page_scrolls_sideways(browser, site, width):
    page = browser.new_context(offline=True, viewport={"width": width, "height": 800}).new_page()
    for path in sorted(site.glob("*.html")):
        page.goto(path.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path.name


def test_math_is_rendered_and_images_load(page, site):
    for path in sorted(site.glob("*.html")):
        page.goto(path.as_uri())
        page.wait_for_load_state("networkidle")
        broken = page.evaluate("[...document.images].filter((i) => i.complete && !i.naturalWidth).map((i) => i.src)")
        assert not broken, path.name
        if path.name == "04_encoder_cost.html":
            page.wait_for_selector("mjx-container")
            assert page.locator("mjx-merror").count() == 0


def test_settings_of_the_homework_are_the_first_preset():
    first = next(iter(calculator.PRESETS.values()))[0]
    assert asdict(first) == asdict(ViTConfig())
