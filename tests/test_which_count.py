"""“Which count is this?”: the browser explains a number as Python does, and the page shows it."""

import random
import re
from fractions import Fraction

import pytest
from playwright.sync_api import expect

from tests.browser import random_settings
from vitlib import ViTConfig, cost, homework, printed
from vitlib.counting import search, terms
from vitlib.report import calculator

pytestmark = pytest.mark.browser

TARGETS = [(kind, layer) for kind in terms.KINDS for layer in (False, True)]  # as in the page

# ---- the same search -----------------------------------------------------------------------------------------------


def typing_error(generator, count):
    digits = str(count)
    i = generator.randrange(len(digits) - 1) if len(digits) > 1 else 0
    swapped = digits[:i] + digits[i + 1 : i + 2] + digits[i] + digits[i + 2 :]
    wrong = digits[:i] + generator.choice("123456789") + digits[i + 1 :]
    return generator.choice([swapped, wrong, digits[:i] + digits[i + 1 :], digits[:i] + "7" + digits[i:]])


def random_count(generator, target):
    """Return a count that differs from the exact one by terms, a swap, a factor, a batch or a slip, or by chance."""
    chosen = tuple(generator.sample(target.terms, generator.choice([0, 1, 1, 1, 2, 2, 3])))
    swap = generator.choice([None, None, *target.swaps])
    count = Fraction(target.count(chosen, target.swapped(swap)))
    match generator.randrange(8):
        case 0 if target.scales:
            count *= target.factor(generator.choice(target.scales))
        case 1:
            of_a_tool = [(), *((term,) for term in target.terms if term.tools)]
            count = target.count(generator.choice(of_a_tool), target.values) * generator.randint(1, 300)
        case 2:
            count = int(typing_error(generator, abs(int(count))) or 0)
        case 3:
            count = generator.randrange(10 ** generator.randint(1, 12))
    return abs(int(count))


def as_printed(generator, count):
    power, unit = generator.choice([(3, "k"), (6, "M"), (9, " GMac"), (6, " MMac"), (3, "Kparams")])
    rounded = f"{count / 10**power:.{generator.randrange(4)}f}{unit}"
    full = [f"{count}", f"{count:,}", f"{count:,}".replace(",", "\u00a0"), f" {count}.0", f"{count}macs"]
    return generator.choice([*full, *full, rounded, f"{count:.{generator.randint(1, 9)}e}"])


EXPLAIN = """([address, number, target]) => {
  location.hash = address;
  window.dispatchEvent(new HashChangeEvent("hashchange"));
  return document.getElementById("which-count").explain(number, target).map(({ exact, steps, tools }) => [String(exact),
    steps.map(({ text, change, over = 1n, slip }) => [text, `${change}/${over}`, slip]), tools]);
}"""


def explained(explanation):
    steps = [[step.text, step.change, step.slip] for step in explanation.steps]
    return [explanation.exact, steps, list(explanation.tools)]


def test_the_browser_explains_300_numbers_as_python_does(opened):
    page, generator, several, none = opened("what_if"), random.Random(21), 0, 0
    page.fill("#which-count-number", "")  # only what EXPLAIN asks for is searched
    for _ in range(300):
        network, number = ViTConfig(**random_settings(generator)), generator.randrange(len(TARGETS))
        kind, layer = TARGETS[number]
        target = search.Target(network, kind, layer=layer)
        text = as_printed(generator, random_count(generator, target))
        names = [name for name, *_ in (*calculator.DIALS, *calculator.FLAGS)]
        address = "&".join(f"{name}={str(getattr(network, name)).lower()}" for name in names)
        expected = [explained(one) for one in search.explain(printed.number(text), target)]
        shown = page.evaluate(EXPLAIN, [address, text, number])
        for explanation in shown:
            explanation[0] = int(explanation[0])
            for step in explanation[1]:
                step[1] = Fraction(step[1])
        assert shown == expected, (text, kind, layer, network)
        several, none = several + (len(expected) > 1), none + (not expected)
    assert several > 30
    assert 20 < none < 200


READ = """numbers => numbers.map((number) => {
  const input = document.getElementById("which-count-number");
  input.value = number;
  input.dispatchEvent(new Event("input"));
  return [input.ariaInvalid === "true", document.querySelector("#which-count .sentence").textContent];
})"""


def test_the_page_refuses_what_python_refuses_in_the_same_words(opened):
    # fmt: off
    good = ["9983872", "9,983,872.0", "9\u202f983\u00a0872", "9.98M", "9.98 M", "10.13 MMac", "1.1e7", "204.55 k",
            "5macs", "9 983 872", "9983872 MACs", "5.755.968", "5.1 million"]
    bad = ["abc", "-5", "9 983 87", "9,983,87", "9.98 X", "1.1e", "M", "12 k k", "1e19", "9" * 20, ".5", "3/4", "0x10",
           "9.98.1"]
    # fmt: on
    for number, (invalid, sentence) in zip(good + bad, opened("what_if").evaluate(READ, good + bad), strict=True):
        assert invalid == (number in bad)
        if invalid:
            with pytest.raises(ValueError, match=r"^number is '.*', but must be .*\.$") as refused:
                printed.number(number)
            assert sentence == f"The n{str(refused.value)[1:]}".replace("'", "“", 1).replace("'", "”", 1)
        else:
            printed.number(number)


SLOWEST = """numbers => Math.max(...numbers.map((number) => {
  const input = document.getElementById("which-count-number"), start = performance.now();
  input.value = number;
  input.dispatchEvent(new Event("input"));
  return performance.now() - start;
}))"""


@pytest.mark.performance  # depends on what else the machine does
def test_no_search_takes_100_ms(opened):
    """Nothing explains these numbers, so everything is tried."""
    assert opened("what_if").evaluate(SLOWEST, [str(7654321 + 2 * i) for i in range(50)]) < 100


# ---- the page ------------------------------------------------------------------------------------------------------

THOP = [
    ["Exact count", "11,161,216"],
    ["Misses the attention matmuls", "−1,280,000"],
    ["Counts 4 for each element of a LayerNorm", "+102,656"],
    ["Your number", "9,983,872"],
]


def rows(table):
    return table.evaluate("table => [...table.rows].map((row) => [...row.cells].map((cell) => cell.textContent))")


def test_the_page_opens_with_the_number_of_the_homework_and_says_that_it_is_of_thop(opened):
    page = opened("what_if")
    part = page.locator("#which-count")
    assert page.input_value("#which-count-number") == f"{homework.THOP_MACS:,}"
    expect(part.get_by_role("status")).to_have_text("9,983,872: MACs of the network, as thop counts")
    assert rows(part.locator("table")) == THOP


def test_a_number_is_searched_again_when_a_slider_moves(opened):
    page = opened("what_if")
    part = page.locator("#which-count")
    page.fill("#which-count-number", "9983872")
    assert rows(part.locator("table")) == THOP
    page.focus("#what-if-depth")
    page.keyboard.press("ArrowRight")
    exact, missed, *_, number = rows(part.locator("table"))
    assert exact == ["Exact count", f"{cost.model(ViTConfig(depth=5)).macs:,}"]
    assert missed == ["Misses one encoder layer of 5 slip", f"−{cost.encoder_layer(ViTConfig()).macs:,}"]
    assert number == THOP[-1]
    page.keyboard.press("ArrowLeft")
    assert rows(part.locator("table")) == THOP


def test_a_number_that_nothing_explains_gets_the_exact_counts(opened):
    page = opened("what_if")
    part = page.locator("#which-count")
    page.fill("#which-count-number", "1234567")
    expect(part.get_by_role("status")).to_contain_text("No tool and no known slip gives 1,234,567 for this network.")
    counted = (cost.model(ViTConfig()), cost.encoder_layer(ViTConfig()))
    assert rows(part.locator("table")) == [
        [f"{name} of {what}", f"{getattr(table, kind):,}"]
        for name, kind in (("MACs", "macs"), ("Parameters", "parameters"))
        for what, table in zip(("the network", "one encoder layer"), counted, strict=True)
    ]


def test_several_explanations_each_have_a_caption(opened):
    page = opened("what_if")
    page.fill("#which-count-number", "201,802")
    captions = page.locator("#which-count caption").all_text_contents()
    assert captions == ["MACs of the network, as torchinfo counts", "Parameters of the network, as torchsummary counts"]


def test_nonsense_gets_one_sentence_and_nothing_gets_none(opened):
    page = opened("what_if")
    part = page.locator("#which-count")
    page.fill("#which-count-number", "about ten")
    said = "The number is “about ten”, but must be one such as 9983872, 9,983,872 or 9.98M."
    expect(part.get_by_role("status")).to_have_text(said)
    assert part.locator("table").count() == 0
    page.fill("#which-count-number", "")
    expect(part.get_by_role("status")).to_have_text("")
    assert part.locator("table").count() == 0


def test_the_address_keeps_the_number_beside_the_network(opened):
    page = opened("what_if")
    page.get_by_label("Your number").focus()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("201.80 k")
    page.keyboard.press("Enter")
    page.focus("#what-if-num_heads")
    page.keyboard.press("ArrowRight")
    assert re.search(r"[#&]count=201\.80\+k(&|$)", page.url)
    again = page.context.new_page()
    again.goto(page.url)
    assert again.input_value("#which-count-number") == "201.80 k"
    assert again.input_value("[type=number][data-name=num_heads]") == "8"
    both = [one.locator("#which-count").inner_text() for one in (page, again)]
    assert both[0] == both[1]


def test_without_scripts_there_is_no_input(opened):
    page = opened("what_if", java_script_enabled=False)
    assert not page.locator("#which-count").is_visible()
