"""A matrix product counts its MACs and draws its matrices to scale."""

import math

from bs4 import BeautifulSoup
from hypothesis import given
from hypothesis import strategies as st

from vitlib.report.matrix_products import WIDTH, MatrixProduct

SIZES = {"N": 5, "d": 3, "H": 2, "D": 6}
NAMES = ("Q", "Kᵀ", "S_h")


HEADS = MatrixProduct(names=NAMES, shape="NdN", sizes=SIZES, sheets=("H",) * 3, labels=("one", "all"))


def drawn(product):
    return BeautifulSoup(product._repr_mimebundle_()[0]["text/html"], "html.parser")


def test_one_product_takes_the_macs_of_the_loops_that_compute_it():
    macs = sum(1 for _row in range(SIZES["N"]) for _column in range(SIZES["N"]) for _k in range(SIZES["d"]))
    assert (HEADS.macs_of_one, HEADS.macs) == (macs, SIZES["H"] * macs)


def test_a_single_product_shows_one_count():
    product = MatrixProduct(names=NAMES, shape="NdN", sizes=SIZES, labels=("one", "all"))
    assert [p.get_text(" ", strip=True) for p in drawn(product).select("p")] == ["one N · N · d = 5 × 5 × 3 = 75"]


def test_the_counts_show_symbols_values_and_results():
    lines = [p.get_text(" ", strip=True) for p in drawn(HEADS).select("p")]
    assert lines == ["one N · N · d = 5 × 5 × 3 = 75", "all H · N · N · d = 2 × 5 × 5 × 3 = 150"]
    three = MatrixProduct(names=NAMES, shape="NDD", sizes=SIZES, sheets=(1, 3, 3), labels=("one", "all"))
    assert three.formulas()[1].endswith("3 · <i>N</i> · <i>D</i> · <i>D</i> = 3 × 5 × 6 × 6 = <b>540</b>")


@given(sizes=st.fixed_dictionaries({s: st.integers(1, 3000) for s in "RST"}))
def test_the_matrices_are_to_scale_and_fit_a_phone(sizes):
    picture = drawn(MatrixProduct(names=NAMES, shape="RST", sizes=sizes)).svg
    assert float(picture["width"]) <= WIDTH + 1
    sheets = [(float(r["height"]), float(r["width"])) for r in picture.select("rect.sheet")]
    R, S, T = (sizes[s] for s in "RST")
    scale = max(max(sheet) for sheet in sheets) / max(R, S, T)
    for sheet, shape in zip(sheets, ((R, S), (S, T), (R, T)), strict=True):
        for a, b in zip(sheet, shape, strict=True):
            assert math.isclose(a, scale * b, abs_tol=0.06 + 0.06 * b / max(R, S, T))
    assert picture["aria-label"] == f"Q, {R} by {S}, times Kᵀ, {S} by {T}, gives S h, {R} by {T}"


def test_the_picture_has_a_sheet_for_each_copy_and_its_sizes_at_the_sides():
    picture = drawn(HEADS).svg
    assert len(picture.select("rect.sheet")) == 6
    sides = [text.get_text() for text in picture.select("text.side")]
    assert sides == ["d = 3", "N", "5", "N = 5", "d", "3", "N = 5", "N", "5"]
    assert [text.get_text() for text in picture.select("text.name")] == ["Q", "Kᵀ", "Sh"]
