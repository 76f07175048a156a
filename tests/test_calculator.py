"""The calculator of the page `what_if`: it counts as the library does, in every state, on every screen and on paper."""

import random
from dataclasses import replace
from io import BytesIO

import pytest
from PIL import Image

from tests.browser import luminance, random_settings
from vitlib import ViTConfig, cost
from vitlib.report import calculator

pytestmark = pytest.mark.browser


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
    page.fill("#which-count-number", "")  # its explanations would be searched at each change
    for _ in range(300):
        settings = random_settings(generator)
        if generator.random() < 0.2:
            settings[generator.choice(["image_size", "embed_dim", "depth", "patch_size"])] = generator.randint(-3, 200)
        address = "&".join(f"{name}={str(value).lower()}" for name, value in settings.items())
        sentence, shown = page.evaluate(CALCULATE, address)
        try:
            rows = operations(ViTConfig(**settings))
            assert sentence == ""
        except ValueError as error:
            name, _, said = str(error).partition(" is ")
            assert sentence.startswith(f"{LABELS[name]} is {said.split(',')[0]}, but must be a")
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
    page.fill("#which-count-number", "")  # its explanations would be searched at each change
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
