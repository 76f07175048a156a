"""Figures that tell more about what the reader points at, taps or reaches by keyboard."""

import csv
import shutil
from io import BytesIO

import matplotlib.pyplot as plt
import pytest
from bs4 import BeautifulSoup
from PIL import Image

from tests.test_built_pages import downloads
from vitlib.report import output

pytestmark = pytest.mark.browser


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
        "ArrowRight": (6, 3), "ArrowDown": (7, 3), "ArrowLeft": (7, 2), "ArrowUp": (6, 2),
        "Home": (0, 0), "End": (9, 9),
    }  # fmt: skip
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
