"""The check of a homework: invented reports with one slip each, pasted text as people paste it, and bad files."""

import json
import sys

import pytest

from tests.conftest import call
from vitlib import homework, paths, printed
from vitlib.checking import report
from vitlib.checking.claims import Verdict
from vitlib.config import CLASSES
from vitlib.homework import Homework

# N = 17, M = 16, D = 48, K = 8, F = 96: every count below is worked by hand
NETWORK = {
    "image_size": 32, "patch_size": 8, "channels": 3, "embed_dim": 48,
    "depth": 3, "num_heads": 6, "mlp_ratio": 2, "share_norm": False,
}  # fmt: skip
LAYER_MACS = """
Q, K, V: 3 * seq_len * embed_dim * embed_dim = 3 * 17 * 48 * 48 = 117504
Scores: 17 * 17 * 48 = 13872
Weighted sum: 17 * 17 * 48 = 13872
Output projection: 17 * 48 * 48 = 39168
Fc1: 17 * 48 * 96 = 78336
Fc2: 17 * 96 * 48 = 78336
Total: 341088
"""
LAYER_PARAMETERS = """
LayerNorm 1: 2 * 48 = 96
Q, K, V: 3 * (48^2 + 48) = 7056
Output projection: 48^2 + 48 = 2352
LayerNorm 2: 2 * 48 = 96
Fc1: 48 * 96 + 96 = 4704
Fc2: 96 * 48 + 48 = 4656
Total: 18960
"""
RESULTS = "Test Loss: 0.41\n" + "\n".join(f"Class {i}: {80 + i}.00% ({800 + 10 * i}/1000)" for i in range(10))
RESULTS += "\nTest Accuracy (Overall): 84.50% (8450/10000)"
NETWORK_MACS = "Network total: 1171200"
NETWORK_PARAMETERS = "Network total: 67594"
NONE = {
    "layer_macs": LAYER_MACS,
    "layer_parameters": LAYER_PARAMETERS,
    "network_macs": NETWORK_MACS,
    "network_parameters": NETWORK_PARAMETERS,
    "results": RESULTS,
}


def checked(**texts):
    return report.check(Homework.model_validate({"network": NETWORK, **texts}))


def wrong(claims):
    return {(claim.where, claim.name): claim.why for claim in claims if claim.verdict is Verdict.WRONG}


def changed(part, *changes):
    text = NONE[part]
    for old, new in changes:
        assert text.count(old) == 1
        text = text.replace(old, new)
    return NONE | {part: text}


SLIPS = {
    "class token": (
        changed("network_macs", ("1171200", "1106400")),
        {("network_macs", "Network total"): ["misses the class token: 16 tokens, not 17 (−64,800)"]},
    ),
    "scores for each head": (
        changed(
            "layer_macs", ("Scores: 17 * 17 * 48 = 13872", "Scores: 6 * 17 * 17 * 48 = 83232"), ("341088", "410448")
        ),
        {
            ("layer_macs", "Scores"): ["counts the scores with the full width for each head (+69,360)"],
            ("layer_macs", "Total"): ["follows from Scores"],
        },
    ),
    "scores for one head": (
        changed("layer_macs", ("Scores: 17 * 17 * 48 = 13872", "Scores: 17 * 17 * 8 = 2312"), ("341088", "329528")),
        {
            ("layer_macs", "Scores"): ["counts the scores for one head of 6 (−11,560)"],
            ("layer_macs", "Total"): ["follows from Scores"],
        },
    ),
    "hidden bias": (
        changed("layer_parameters", ("48 * 96 + 96 = 4704", "48 * 96 = 4608"), ("18960", "18864")),
        {
            ("layer_parameters", "Fc1"): ["misses the bias of the MLP's first layer (−96)"],
            ("layer_parameters", "Total"): ["follows from Fc1"],
        },
    ),
    "one projection of three": (
        changed("layer_parameters", ("3 * (48^2 + 48) = 7056", "48^2 + 48 = 2352"), ("18960", "14256")),
        {
            ("layer_parameters", "Q, K, V"): ["counts one of query, key and value, not three (−4,704)"],
            ("layer_parameters", "Total"): ["follows from Q, K, V"],
        },
    ),
    "output projection": (
        changed("layer_macs", ("Output projection: 17 * 48 * 48 = 39168\n", ""), ("341088", "301920")),
        {("layer_macs", "Total"): ["no row counts output projection"]},
    ),
    "hidden width": (
        changed("layer_macs", ("17 * 48 * 96 = 78336", "17 * 48 * 192 = 156672"), ("341088", "419424")),
        {
            ("layer_macs", "Fc1"): [
                "counts FLOPs, two for each MAC, in this row alone (+78,336)",
                "uses the hidden width for both sides of the MLP's first layer (+78,336)",
                "uses 4 × 48 for the MLP's hidden layer, not 96 (+78,336)",
            ],
            ("layer_macs", "Total"): ["follows from Fc1"],
        },
    ),
    "two explanations": (
        changed("network_parameters", ("67594", "67546")),
        {
            ("network_parameters", "Network total"): [
                "misses the class token, or the bias of the patch projection, or counts scale or shift of the "
                "last LayerNorm, not both, or misses the position of the class token (−48)"
            ]
        },
    ),
    "swapped digits": (
        changed("network_macs", ("1171200", "1711200")),
        {("network_macs", "Network total"): ["swaps two digits of 1,171,200 (+540,000)"]},
    ),
    "arithmetic": (
        changed("layer_macs", ("17 * 96 * 48 = 78336", "17 * 96 * 48 = 78436")),
        {
            ("layer_macs", "Fc2"): ["the formula as written gives 78,336"],
        },
    ),
    "percentage": (
        changed("results", ("Class 3: 83.00%", "Class 3: 38.00%")),
        {("results", "Dress"): ["830 of 1,000 is 83.00 %, not 38.00 %"]},
    ),
    "sum of the classes": (
        changed("results", ("84.50% (8450/10000)", "85.40% (8540/10000)")),
        {("results", "overall and the classes"): ["the classes give 8,450"]},
    ),
    "name of a dimension": (
        changed("layer_macs", ("Scores: 17", "Scores: seq_len * seq_len * head_dim = 17")),
        {("layer_macs", "the name head_dim"): ["in Scores: the width of a head is 8, and 48 is the width of a token"]},
    ),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_each_slip_is_named_and_nothing_else_is_wrong(slip):
    texts, expected = SLIPS[slip]
    found = wrong(checked(**texts))
    assert found.keys() == expected.keys()
    for claim, why in expected.items():
        assert list(found[claim]) == why


def test_a_report_without_slips_is_right():
    claims = checked(**NONE)
    assert {claim.verdict for claim in claims} == {Verdict.RIGHT}
    assert len(claims) == 7 + 7 + 1 + 1 + 12


def test_other_conventions_are_no_slips():
    tools = {
        "fvcore": "1.17 M",
        "FlopCounterMode": "2,342,400 FLOPs",
        "thop": f"({1171200 - 2 * 3 * 13872 + 4 * (6 * 17 + 1) * 48}.0, 66730.0)",
    }
    claims = checked(tools=tools, layer_macs="Total: 682,176", network_parameters="Total: 66,730")
    assert wrong(claims) == {}
    why = {claim.name: claim.why for claim in claims}
    assert why["FlopCounterMode, flops"] == ("counts FLOPs, two for each MAC (+1,171,200)",)
    assert why["thop, MACs"][0].endswith("as thop counts")
    assert why["Total"] == ("misses the class token and the positions (−864), as thop and torchsummary count",)


PASTED = {
    "wrapped lines": "Linear-1\n    [-1, 16, 48]    9,264\nA_Very_Long_Name_Of_A_Layer-2\n   [-1, 17, 48]   0\n",
    "no shapes": "Linear-1    9,264\nLayerNorm-2    96\n",
    "other spacing": "Linear-1\t[-1,16,48]\t9264\n   LayerNorm-2   [ -1 , 17 , 48 ]  96   \n",
    "other spaces and Windows line ends": "Linear-1\u00a0[-1, 16, 48]\u00a09\u202f264\r\nNorm-2 [-1, 17, 48] 96\r\n",
    "torchinfo": "├─Linear: 1-1  [1, 16, 48]  9,264\n│  └─LayerNorm: 2-1 [1, 17, 48] 96\n├─GELU: 1-2 [1, 17, 96] --\n",
    "a convolution and a fused projection": "Conv2d-1 [-1, 48, 4, 4] 9,264\nLinear-2 [-1, 17, 144] 7,056\n",
}


@pytest.mark.parametrize("form", PASTED)
def test_a_summary_is_read_as_it_is_pasted(form):
    claims = checked(summary=PASTED[form] + "Total params: 67,594\n")
    verdicts = {claim.name: claim.verdict for claim in claims if claim.name != "sum of the rows"}
    assert verdicts == {"rows": Verdict.RIGHT, "total parameters": Verdict.RIGHT}


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("Linear-1 [-1, 17, 96] 4,608", "misses the bias of the MLP's first layer (−96)"),
        ("LayerNorm-1 [-1, 16, 48] 96", "the class token is missing"),
        ("Linear-1 [-1, 17, 50] 2,450", "no Linear of this network is 50 wide; the widths are 10, 48, 96"),
        ("Linear-1 [-1, 17, 48] 9,264", None),  # the patch projection of a token too many
    ],
)
def test_a_wrong_row_of_a_summary_is_named(row, why):
    found = wrong(checked(summary=row))
    assert why is None or [*found.values()] == [(why,)]
    assert len(found) == 1


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        ("Accuracy of Shirt : 71 % (700/1000)", "Shirt"),
        ("| T-shirt/top | 80,0 % | 70 / 1000 |", "T-shirt/top"),
        ("6: 0.71 (700/1000)", "Shirt"),
        ("Class 6: 72% (709/1000)", "Shirt"),
        ("Class 6: 70.00 % (700/999)", "Shirt"),
        ("Class 6: 120.00 %", "Shirt"),
        ("Class 6: 101%", "Shirt"),
        ("accuracy: 85.17% (8516/10000)", "overall"),
        ("test acc 0.8517\r\nTest\u00a0loss: -0.4", "loss"),
    ],
)
def test_a_wrong_result_is_found_in_every_print_format(lines, name):
    found = wrong(checked(results=lines))
    assert {claim for _, claim in found} == {name}


@pytest.mark.parametrize(
    "lines",
    [
        "Test accuracy: 0.8517 (8517/10000)",
        "Shirt: .614 (614/1000)",
        "Class 1: 100% (1000/1000)",
        "Class 1: 1.00 (1000/1000)",
        "Class 1: 85% (858/1000)",  # cut
        "Class 1: 86% (858/1000)",
        NONE["results"].replace("84.50% (8450/10000)", "0.8450"),
        "\n".join(f"{i}: {0.8 + i / 100:.2f}" for i in range(10)) + "\nOverall accuracy: 85%",
    ],
)
def test_right_results_are_right_in_every_print_format(lines):
    assert {claim.verdict for claim in checked(results=lines)} == {Verdict.RIGHT}


def test_an_accuracy_is_quoted_as_it_is_printed():
    (claim,) = checked(results="6: 0.71 (700/1000)")
    assert claim.why == ("700 of 1,000 is 70.00 %, not 0.71",)
    among = [claim for claim in report.check(Homework(results="Accuracy: 85%")) if claim.name == "among our runs"]
    assert {claim.value for claim in among} == {"85 %"}


MISSES_CLASS_TOKEN = "misses the class token: 16 tokens, not 17 (−64,800)"


@pytest.mark.parametrize(
    ("line", "kinds", "why"),
    [
        ("Computational complexity: 1.17 MMac\nNumber of parameters: 67.59 k", "macs parameters", None),
        ("macs=1171200 params=67594", "macs parameters", None),
        ("macs=1106400 params=67594", "macs parameters", MISSES_CLASS_TOKEN),
        ("MACs: 1,171,200 Params: 67,594", "macs parameters", None),
        ("MACs: 1106400\nParams: 67594", "macs parameters", MISSES_CLASS_TOKEN),
        ("MACs 1.106M Params (K) 67.59", "macs parameters", MISSES_CLASS_TOKEN),
        ("GMACs: 0.001106 MParams: 0.06759", "macs parameters", MISSES_CLASS_TOKEN),
        ("1.106M MACs 67.59K params", "macs parameters", MISSES_CLASS_TOKEN),
        ("FLOPs 2342400 MACs 1106400 Params 67594", "flops macs parameters", MISSES_CLASS_TOKEN),
        ("Total mult-adds (M): 1.17\nTotal params: 67,594", "macs parameters", None),
        ("1.1712e+06 MACs", "macs", None),
        ("FLOPs: 1.106M", "flops", MISSES_CLASS_TOKEN),
    ],
)
def test_what_tools_print_is_read(line, kinds, why):
    assert {*printed.counts(line)} == {*kinds.split()}
    found = wrong(checked(tools={"some tool": line}))
    assert [*found.values()] == ([(why,)] if why else [])


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ("tools", {"a tool": "MACs 9999999999999999999"}),
        ("results", "Test loss: 9999999999999999999"),
        ("summary", "Linear-1 [-1, 16, 48] 9999999999999999999"),
        ("summary", "Total params: 9999999999999999999"),
    ],
)
def test_a_number_that_is_too_large_leaves_its_part_unchecked(part, text):
    first, *others = sorted(checked(**NONE | {part: text}), key=lambda claim: claim.where != part)
    assert (first.where, first.verdict) == (part, Verdict.UNCHECKED)
    assert first.why == ("number is '9999999999999999999', but must be at most 1,000,000,000,000,000,000.",)
    assert {claim.verdict for claim in others} == {Verdict.RIGHT}


def test_rows_of_a_markdown_table_are_read():
    table = LAYER_MACS.replace(": ", " | ").replace(" = ", " | ").replace("117504", "117,504").replace("*", "×")
    assert wrong(checked(layer_macs="| Row | Formula | MACs |\n|---|---|---|\n" + table)) == {}


BAD = {
    "heads": ("network: {embed_dim: 64, num_heads: 5}", "embed_dim is 64, but must be a multiple of num_heads=5."),
    "dimension": ("network: {width: 64}", "setting is 'width', but must be one of"),
    "part": ("macs: 5", "setting is 'macs', but must be one of"),
    "bomb": ("a: &a [x, x]\nb: &b [*a, *a]\n", "aliases (*name) are not allowed"),
    "paste": (
        "summary: |\n" + "  Linear-1 [-1, 16, 48] 9,264\n" * 200_000,
        "bytes, but must have at most 1,000,000.",
    ),
    "list": ("- 1", "but must hold network, results"),
    "text": ("network: small", "network is 'small', but must hold dimensions by name"),
    "binary": ("\0", "is not valid YAML"),
    "indentation": ("summary: |\n      Layer\n  Linear-1 9,264\n", "is not valid YAML"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_file_that_is_no_homework_gets_one_sentence(kind, tmp_path):
    text, sentence = BAD[kind]
    file = tmp_path / "mine.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="mine") as error:
        homework.read(file)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_the_command_checks_one_file_or_a_folder(tmp_path):
    command = [sys.executable, paths.ROOT / "tools" / "check.py"]
    (tmp_path / "right.yaml").write_text("tools: {thop: '9983872.0'}", encoding="utf-8")
    status, said = call([*command, tmp_path / "right.yaml"])
    assert (status, said.splitlines()[-1].rpartition(": ")[2]) == (0, "1 right under another convention")
    (tmp_path / "wrong.yaml").write_text("tools: {thop: 'MACs 9983871'}", encoding="utf-8")
    (tmp_path / "broken.yaml").write_text("tools: 5", encoding="utf-8")
    status, said = call([*command, tmp_path])
    assert status == 1
    _, broken, right, false, *_ = said.splitlines()
    assert "tools is 5, but must be" in broken
    assert right.split()[1:] == ["0", "1", "0", "0"]
    assert false.split()[1:5] == ["1", "0", "0", "0"]
    data = json.loads(call([*command, tmp_path, "--json"])[1])
    assert [*data.values()][2]["claims"][0]["verdict"] == "wrong"
    wanted = "must be a homework's YAML file or a folder of them (docs/check.md)."
    assert call([*command, "no.yaml"]) == (1, f"\nHOMEWORK is 'no.yaml', but {wanted}\n")


def test_a_check_does_not_import_pytorch():
    code = (
        "import sys; from vitlib import homework; from vitlib.checking import report; "
        "report.check(homework.REPORTED); print('torch' in sys.modules)"
    )
    assert call([sys.executable, "-c", code]) == (0, "False\n")


# names of the six rows of a layer's MACs as people write them
STYLES = [
    "QKV projection|attention scores|attn @ v|Output projection|FFN layer 1|FFN layer 2",
    "W_Q, W_K, W_V|Q @ K.T|A @ V|W_O|Linear 1|Linear 2",
    "Queries, keys, values|QKᵀ|Attention × V|Concat + output projection|Feed-forward 1|Feed-forward 2",
    "Q, K & V projections|Q·Kᵀ|A·V|Output|Dense 1|Dense 2",
    "Multi-head attention QKV|Multi-head attention scores|weighted sum of V|to_out|MLP first linear|mlp.2",
    "3. Attention matrix|dot-product attention|softmax(QK^T) V|proj|MLP (D→4D)|MLP (4D→D)",
    "Q-, K-, V-Projektion|Attention-Scores|Gewichtete Summe|Ausgabeprojektion|MLP 1|MLP 2",
]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("form", ["{:,}", "{} MACs", "≈ {:,} (all heads)", "**{:,}**", "= {:,}", "{:_}"])
def test_right_rows_are_not_wrong_whatever_their_names_and_notation(style, form):
    counts = (117504, 13872, 13872, 39168, 78336, 78336)
    lines = [f"{name}: {form.format(n)}" for name, n in zip(style.split("|"), counts, strict=True)]
    claims = checked(layer_macs="\n".join([*lines, f"Total: {form.format(341088)}"]))
    assert wrong(claims) == {}
    assert len(claims) == 7


@pytest.mark.parametrize(
    ("line", "verdict"),
    [
        ("Attention subtotal: 184,416", Verdict.RIGHT),
        ("MLP head: 480", Verdict.UNCHECKED),  # of the network, not of a layer
        ("magic: 12345", Verdict.UNCHECKED),
        ("QKV: 18,800,64", Verdict.UNCHECKED),
        ("QKV per head: 19584", Verdict.UNCHECKED),
        ("LayerNorm (×2): 0", Verdict.UNCHECKED),
        ("Attention: 184,416", Verdict.RIGHT),
        ("Scores: 17x17x8 = 13872", Verdict.WRONG),
        ("Scores: 6 * 17 * 17 * 48 = 6 * 289 * 8 = 13872", Verdict.WRONG),
        ("Fc1: 156672", Verdict.WRONG),
    ],
)
def test_a_row_gets_its_verdict(line, verdict):
    assert [claim.verdict for claim in checked(layer_macs=line)] == [verdict]


@pytest.mark.parametrize(
    ("lines", "value"),
    [
        ("Test accuracy: 85.86%\nTrain accuracy: 91.20%\nBest validation accuracy: 86.4% (epoch 14)", 85.86),
        ("313/313 - 1s - loss: 0.39 - accuracy: 0.8586", 85.86),
        ("Accuracy of the network on the 10000 test images: 85 %", 85),
        ("Accuracy of the network on the 10000 test images: 0.8586", 85.86),
        ("Accuracy: 8586 of 10000 correct (85.86%)", 85.86),
        ("Test accuracy: 85,86 %", 85.86),
        ("Test accuracy: 85.86, 0.53 s", 85.86),
        ("Test accuracy: 0.8586 (8586/10000)", 85.86),
    ],
)
def test_the_test_accuracy_is_found_among_other_numbers(lines, value):
    assert float(printed.results(lines, CLASSES).overall.percent.value) == value


def test_a_column_of_a_table_is_chosen_by_its_heading():
    table = (
        "| # | Layer | Params | MACs |\n|---|---|---|---|\n| 1 | QKV | 7,056 | 117,504 |\n| 2 | Fc1 | 4,704 | 78,336 |"
    )
    claims = checked(layer_macs=table, layer_parameters=table)
    assert [(claim.name, claim.verdict) for claim in claims] == 2 * [("QKV", Verdict.RIGHT), ("Fc1", Verdict.RIGHT)]


def test_exchanged_numbers_of_a_tool_are_named():
    (claim,) = checked(tools={"thop": "MACs: 66730.0, Params: 1107744.0"})
    assert (claim.verdict, claim.why) == (Verdict.WRONG, ("MACs and parameters are exchanged",))


def test_the_example_of_the_page_has_nothing_wrong(tmp_path):
    page = json.loads((paths.ROOT / "notebooks" / "check.ipynb").read_text(encoding="utf-8"))
    text = "".join(line for cell in page["cells"] if cell["cell_type"] == "markdown" for line in cell["source"])
    file = tmp_path / "mine.yaml"
    file.write_text(text.partition("```yaml\n")[2].partition("```")[0], encoding="utf-8")
    verdicts = {claim.verdict for claim in report.check(homework.read(file))}
    assert verdicts == {Verdict.RIGHT, Verdict.CONVENTION}


def test_a_wrong_layer_is_named_where_the_network_counts_it():
    claims = checked(
        layer_macs="Scores: 17 * 17 * 8 = 2312\nTotal: 329528",
        network_macs="Patch embedding: 147456\nEncoder: 3 * 329528 = 988584\nHead: 480\nTotal: 1136520",
    )
    found = wrong(claims)
    assert found["network_macs", "Encoder"] == ("follows from layer_macs, Total",)
    assert found["network_macs", "Total"] == ("follows from Encoder",)
