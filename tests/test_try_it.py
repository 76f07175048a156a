"""The page `try_it`: the network in the browser is the network in Python, and every way in works."""

import json
import re
from base64 import b64encode
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from playwright.sync_api import expect
from torch import nn

from tests.browser import assert_axe_finds_nothing
from vitlib import ViTConfig, cost, data, load_run, paths
from vitlib.evaluate import Evaluation, evaluate
from vitlib.model import ViT, patchify
from vitlib.report import attention_maps, try_it


@pytest.fixture(scope="module")
def run():
    return load_run(paths.ROOT / "runs" / "report")


@pytest.fixture(scope="module")
def result(run, test_set):
    return evaluate(run, *test_set)


# ---- Python --------------------------------------------------------------------------------------------------------


def test_samples_are_chosen_by_rule_and_a_class_without_such_answers_has_fewer():
    labels = torch.tensor([0, 0, 0, 0, 0, 1, 1, 2])
    answers, sure = torch.tensor([0, 0, 0, 0, 0, 3, 3, 2]), torch.tensor([4.0, 1, 3, 5, 2, 1, 2, 1])
    samples = try_it.choose(Evaluation((nn.functional.one_hot(answers, 10) * sure[:, None]).double(), labels))
    wanted = [("typical", 4), ("typical", 2), ("hard", 1), ("hard", 7), ("misclassified", 6)]
    assert [(sample.kind, sample.index) for sample in samples] == wanted


def test_rounded_weights_are_closer_than_float16_and_zeros_stay_zeros(run):
    for original, near in zip(run.model.parameters(), try_it.rounded(run.model).parameters(), strict=True):
        half = (original.half().double() - original).square().mean()
        assert (near - original).square().mean() <= half
    assert torch.equal(try_it.integers(torch.zeros(3))[0], torch.zeros(3, dtype=torch.int16))


@pytest.mark.parametrize("config", [ViTConfig(), ViTConfig(depth=1, embed_dim=96, num_heads=3, share_norm=False)])
def test_the_stages_together_have_the_macs_of_the_cost_page(config):
    stages, network = try_it.stages(config), cost.model(config)
    assert sum(stage["macs"] * stage["times"] for stage in stages) == network.macs
    named = [row for _, _, rows, *_ in try_it.STAGES for row in rows]
    assert named == [row.name for row in network.rows]


# ---- the same network ----------------------------------------------------------------------------------------------

CLASSIFY = """pixels => {
  const bytes = Uint8Array.from(atob(pixels), (c) => c.charCodeAt(0)), found = { probabilities: [], times: [] };
  for (let i = 0; i < bytes.length; i += 784) {
    const start = performance.now();
    found.probabilities.push([...document.getElementById("try-it").network(bytes.subarray(i, i + 784)).probabilities]);
    found.times.push(performance.now() - start);
  }
  return found;
}"""


def classify(page, images):
    """Return the probabilities (N, 10) that the page computes, and its milliseconds for each image."""
    probabilities, times = [], []
    for batch in images.split(500):
        found = page.evaluate(CLASSIFY, b64encode(batch.numpy().tobytes()).decode())
        probabilities += found["probabilities"]
        times += found["times"]
    return torch.tensor(probabilities, dtype=torch.float64), torch.tensor(times)


@pytest.mark.browser
def test_the_browser_gives_all_test_images_the_answers_of_python(opened, test_set, result):
    probabilities, _ = classify(opened("try_it"), test_set[0])
    assert torch.equal(probabilities.argmax(dim=1), result.predictions)
    assert (probabilities - result.probabilities).abs().max() < 1e-3


@pytest.mark.performance
def test_the_browser_classifies_nearly_every_image_in_20_ms(opened, test_set):
    _, times = classify(opened("try_it"), test_set[0][:2000])
    assert (times < 20).double().mean() > 0.99


ATTENTION = """([pixels, patches]) => {
  const { probabilities, attention } = document.getElementById("try-it").network(pixels, patches);
  return [[...probabilities], attention.map((layer) => [...layer])];
}"""


def without(model, image, patches):
    """Return the probabilities of an image of which the network gets the given patches only, in float64."""
    model = try_it.rounded(model)
    cut = model.embedding(patchify(data.normalise(image)[None, None].double(), model.config.patch_size))[:, patches]
    x = torch.cat([model.class_token, cut], dim=1) + model.positions[:, [0, *(p + 1 for p in patches)]]
    for layer in model.encoder:
        x = layer(x)
    return model.head(model.norm(x[:, 0])).softmax(dim=1)[0]


@pytest.mark.browser
def test_attention_and_hidden_patches_are_those_of_python(opened, run, test_set):
    page, image = opened("try_it"), test_set[0][17]
    pixels, everything = image.flatten().tolist(), [*range(49)]
    _, found = page.evaluate(ATTENTION, [pixels, everything])
    wanted = next(attention_maps.observe(try_it.rounded(run.model), image[None]))[0]
    assert torch.allclose(torch.tensor(found).view(wanted.shape).double(), wanted, atol=1e-5)
    for patches in ([0, 5, 12, 13, 48], everything[1:], []):
        probabilities, _ = page.evaluate(ATTENTION, [pixels, patches])
        with torch.inference_mode():
            wanted = without(run.model, image, patches)
        assert torch.allclose(torch.tensor(probabilities).double(), wanted, atol=1e-5)


ODD = ViTConfig(embed_dim=30, depth=3, num_heads=5, patch_size=7, mlp_ratio=3, share_norm=False)


@pytest.mark.browser
def test_another_network_runs_as_well(opened, pages, run, test_set, tmp_path):
    """The page's template with another network in it: odd sizes, two norms a layer."""
    model = ViT(ODD)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    fake = type("Run", (), {"config": type("Config", (), {"model": ODD}), "model": model})
    markup = try_it.page(fake, test_set[0], [try_it.Sample("typical", 3, 1, 1, 1.0)]).data
    markup = f"<html><head><title>Odd</title></head><body>{markup}</body></html>"
    (tmp_path / "odd.html").write_text(markup, encoding="utf-8")
    arguments = [test_set[0][3].flatten().tolist(), [*range(16)]]
    probabilities, _ = opened("odd", folder=tmp_path).evaluate(ATTENTION, arguments)
    with torch.inference_mode():
        wanted = without(model, test_set[0][3], [*range(16)])
    assert torch.allclose(torch.tensor(probabilities).double(), wanted, atol=1e-5)


# ---- the ways in ---------------------------------------------------------------------------------------------------


def answer(page):
    return page.inner_text(".try-it .answer b")


def png(image, **options):
    content = BytesIO()
    image.save(content, options.pop("format", "png"), **options)
    return content.getvalue()


def load(page, name, content):
    page.click("[data-tab=load]")
    page.set_input_files(".try-it input[type=file]", {"name": name, "mimeType": "image/png", "buffer": content})


def seen(page):
    """Return the 28 x 28 pixels that the network sees."""
    script = """() => {
      const copy = new OffscreenCanvas(28, 28).getContext("2d", { willReadFrequently: true });
      copy.drawImage(document.querySelector("[data-frame=picture] canvas"), 0, 0);
      return [...copy.getImageData(0, 0, 28, 28).data].filter((_, i) => i % 4 === 0);
    }"""
    return np.array(page.evaluate(script), np.uint8).reshape(28, 28)


@pytest.mark.browser
def test_choosing_an_image_shows_its_answer_and_announces_it(opened, result):
    page, samples = opened("try_it"), try_it.choose(result)
    thumbs = page.locator(".try-it .thumbs button")
    assert thumbs.count() == len(samples)
    for i in (0, 25, 39):
        thumbs.nth(i).click()
        sample = samples[i]
        assert answer(page) == data.CLASSES[sample.answer]
        verdict = "Right" if sample.answer == sample.label else "Wrong"
        assert page.inner_text(".verdict") == f"{verdict}: the label is {data.CLASSES[sample.label]}."
        expect(page.locator(".said")).to_contain_text(f"{answer(page)}, ")
    page.keyboard.press("ArrowLeft")
    assert answer(page) == data.CLASSES[samples[37].answer]


@pytest.mark.browser
def test_hidden_patches_change_the_answer_by_click_and_key_and_come_back(opened):
    page = opened("try_it", has_touch=True)
    before = page.inner_text(".answer")
    cells = page.locator(".cells button")
    for i in (9, 10, 11, 16, 17):
        cells.nth(i).tap()
    assert page.inner_text(".answer") != before
    assert "Hidden: 5 of 49 patches. The network gets 45 tokens" in page.inner_text(".count")
    name, _, share = before.rpartition(" ")
    assert f"With all patches: {name}, {share}." in page.inner_text(".verdict")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    assert cells.nth(18).get_attribute("aria-pressed") == "true"
    page.click("[data-do=show]")
    assert page.inner_text(".answer") == before


@pytest.mark.browser
def test_trousers_can_be_drawn_with_mouse_and_keyboard(opened):
    page = opened("try_it")
    page.click("[data-tab=draw]")
    assert page.inner_text(".verdict").startswith("The picture is a single shade of grey")
    box = page.locator("[data-frame=picture]").bounding_box()
    page.locator("[data-width]").fill("6")
    for line in ([(9, 3), (18, 3)], [(10, 3), (9, 25)], [(17, 3), (18, 25)]):
        points = [(box["x"] + x * box["width"] / 28, box["y"] + y * box["height"] / 28) for x, y in line]
        page.mouse.move(*points[0])
        page.mouse.down()
        page.mouse.move(*points[1], steps=5)
        page.mouse.up()
    assert answer(page) == "Trouser"
    page.click("[data-do=clear]")
    assert not seen(page).any()
    page.focus("[data-frame=picture] canvas")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    assert seen(page)[15, 14] == 255


# x, y, x, y, ...
SHIRT = [300, 250, 600, 250, 760, 420, 680, 520, 610, 450, 610, 950, 290, 950, 290, 450, 220, 520, 140, 420]


def photo(mode, ground, cloth):
    image = Image.new(mode, (900, 1200), ground)
    ImageDraw.Draw(image).polygon(SHIRT, fill=cloth)
    return image


@pytest.mark.browser
def test_every_kind_of_picture_becomes_the_same_light_shirt_on_black(opened):
    page, portrait = opened("try_it"), photo("RGB", (228, 226, 222), (60, 40, 90))
    turned = Image.Exif()
    turned[0x0112] = 6  # shown turned by a quarter
    wide = Image.fromarray(np.array(photo("L", 255, 60)).astype(np.uint16) * 257)
    pictures = {
        "portrait.png": png(portrait),
        "turned.jpg": png(portrait.rotate(90, expand=True), format="jpeg", exif=turned),
        "transparent.png": png(photo("RGBA", (0, 0, 0, 0), (60, 40, 90, 255))),
        "16-bit.png": png(wide),
        "light-on-dark.png": png(photo("L", 10, 220)),
        "white.png": png(photo("L", 255, 0)),
    }
    shapes = {}
    for name, content in pictures.items():
        load(page, name, content)
        expect(page.locator(".seen p")).to_contain_text(name)
        shapes[name] = seen(page) > 60
        assert "900 × 1,200 pixels" in page.inner_text(".seen p")
        assert answer(page) in ("T-shirt/top", "Shirt", "Pullover")
    for shape in shapes.values():
        assert (shape != shapes["portrait.png"]).mean() < 0.02
        assert shape.any(axis=1).all()  # as high as the frame
    page.click("[data-do=invert]")
    assert not seen(page).any()  # not inverted, nothing is lighter than the white around the shirt


@pytest.mark.browser
def test_a_bad_file_gets_one_sentence_and_changes_nothing(opened, tmp_path):
    page = opened("try_it")
    before = page.inner_text(".answer")
    huge = png(Image.new("1", (9000, 9000)))
    for name, content, sentence in (
        ("notes.txt", b"no picture", "notes.txt cannot be read as a picture: choose a PNG, JPEG, GIF or WebP file."),
        ("huge.png", huge, "huge.png has 9,000 × 9,000 pixels: choose at most 64 million."),
        ("heavy.png", bytes(65_000_000), "heavy.png has 65 MB: choose a file of at most 64 MB."),
    ):
        (tmp_path / name).write_bytes(content)
        page.click("[data-tab=load]")
        page.set_input_files(".try-it input[type=file]", tmp_path / name)
        expect(page.locator(".try-it .wrong")).to_have_text(sentence, timeout=60_000)
        assert page.inner_text(".answer") == before
    load(page, "plain.png", png(Image.new("L", (40, 40), 200)))
    expect(page.locator(".verdict")).to_contain_text("The picture is a single shade of grey")
    assert not page.is_visible(".wrong")


# ---- attention, explanation, address -------------------------------------------------------------------------------


@pytest.mark.browser
def test_a_head_is_previewed_under_the_pointer_and_kept_by_click_or_key(opened):
    page = opened("try_it")
    minis, reading = page.locator(".minis button"), page.locator(".reading")
    minis.nth(1).hover()
    assert reading.inner_text().startswith("Layer 1, head 2: ")
    page.mouse.move(1, 1)
    assert reading.inner_text().startswith("Layer 4, head 4: ")
    minis.nth(6).click()
    page.mouse.move(1, 1)
    assert reading.inner_text().startswith("Layer 2, head 3: ")
    page.keyboard.press("ArrowDown")
    assert reading.inner_text().startswith("Layer 3, head 3: ")


@pytest.mark.browser
def test_explain_walks_through_all_stages_with_the_macs_of_the_cost_page(opened, run):
    page, network = opened("try_it"), cost.model(run.config.model)
    page.click("[data-do=explain]")
    for i, stage in enumerate(try_it.stages(run.config.model)):
        assert page.inner_text(".walk [aria-current]") == f"{i + 1} {stage['title']}"
        assert page.inner_text(".shape") == f"{stage['before']} → {stage['after']}"
        for macs in (stage["macs"], stage["macs"] * stage["times"]):
            assert (f"{macs:,}" if macs else "No MACs") in page.inner_text(".macs")
        drawn = page.evaluate("() => { const c = document.querySelector('.step canvas'); return [c.width, c.height]; }")
        assert drawn != [1, 1]
        if i < len(try_it.STAGES) - 1:
            page.click("[data-do=next]")
    assert f"{network.macs:,}" in page.inner_text(".total")
    assert page.is_disabled("[data-do=next]")
    page.click("[data-do=explain]")
    assert not page.is_visible(".walk")


@pytest.mark.browser
def test_the_address_keeps_image_patches_head_step_and_drawing(opened):
    page = opened("try_it")
    page.locator(".thumbs button").nth(30).click()
    page.locator(".cells button").nth(5).click()
    page.locator(".minis button").nth(2).click()
    page.click("[data-do=explain]")
    page.mouse.move(1, 1)
    page.wait_for_url(re.compile("step=1"))
    again = page.context.new_page()
    again.goto(page.url)
    for what in (".answer", ".verdict", ".count", ".reading", ".shape"):
        assert again.inner_text(what) == page.inner_text(what)
    page.click("[data-tab=draw]")
    page.focus("[data-frame=picture] canvas")
    page.keyboard.press("Space")
    page.wait_for_url(re.compile("pixels="))
    again.goto("about:blank")
    again.goto(page.url)
    assert (seen(again) == seen(page)).all()
    assert seen(page).any()


@pytest.mark.browser
def test_a_wrong_address_gets_one_sentence_and_the_page_works(opened):
    page = opened("try_it")
    for address, sentence in {
        "image=-1": "The address has image=-1, which is none of the 40 test images here.",
        "layer=9": "The address has layer=9, but it must be 1 to 4.",
        "hidden=3.50": "The address has hidden=3.50, but patches have the numbers 1 to 49.",
        "pixels=AAAA": "The address holds a picture that is cut off: copy all of it.",
    }.items():
        page.evaluate("address => { location.hash = address; }", address)
        expect(page.locator(".try-it .wrong")).to_have_text(sentence)
        assert "%" in page.inner_text(".answer")


# ---- the page ------------------------------------------------------------------------------------------------------


def test_no_other_page_loads_the_network(pages):
    assert [name for name, other in pages.items() if other.select_one("#try-it")] == ["try_it.html"]


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_in_any_state(opened, theme):
    page = opened("try_it", 360 if theme == "light" else 1280, color_scheme=theme)
    for address in ("hidden=1.2", "step=5"):
        page.evaluate("address => { location.hash = address; }", address)
        page.wait_for_url(re.compile("layer="))
        assert_axe_finds_nothing(page)
    for tab in ("draw", "load"):
        page.click(f"[data-tab={tab}]")
        assert_axe_finds_nothing(page)


@pytest.mark.browser
def test_without_scripts_and_on_paper_six_worked_examples_stand_for_the_network(opened):
    page = opened("try_it", java_script_enabled=False)
    assert page.is_visible("#fig-try-it img")
    assert not page.is_visible(".try-it .tool")
    page.emulate_media(media="print")
    assert page.is_visible("#fig-try-it img")
    assert not page.is_visible(".try-it")
    content = json.loads((paths.ROOT / "book" / "try_it.ipynb").read_text(encoding="utf-8"))
    (figure,) = (c for c in content["cells"] if c["metadata"].get("mystnb", {}).get("figure"))
    assert len("".join(figure["outputs"][0]["data"]["text/csv"]).splitlines()) == 1 + 6
