import json
from importlib.metadata import PackageNotFoundError, version

import pytest
import thop
import torch
from hypothesis import given, settings

from tests.test_cost import configs
from vitlib import ViT, ViTConfig, cost
from vitlib.counting import reconcile, tools
from vitlib.counting.forms import FORMS

COMMITTED = json.loads(tools.TABLE.read_text(encoding="utf-8"))


def add_up(exact, terms):
    return exact + sum(value for _, value in terms)


@pytest.mark.parametrize("tool", tools.TOOLS)
def test_the_terms_add_up_to_what_each_tool_reported(tool):
    config = ViTConfig()
    network = cost.model(config)
    reported = COMMITTED["counts"]["q @ k"][tool]
    for kind in ("macs", "parameters"):
        assert (reported[kind] is None) == (tool not in reconcile.differences(config, kind))
    (name, *counts), *terms = reconcile.rows(config, tool, reported)
    assert name == f"**{tool}**"
    for column, (kind, count) in enumerate(zip(("macs", "parameters"), counts, strict=True), 1):
        signed = [int(term[column].replace("−", "-").replace(",", "")) for term in terms if term[column]]
        if reported[kind] is None:
            assert (count, signed) == ("none", [])
        else:
            assert count == f"**{getattr(network, kind) + sum(signed):,}**" == f"**{reported[kind]:,}**"


@pytest.mark.parametrize(("kind", "total"), [("macs", 9983872), ("parameters", 201290)])
def test_a_count_that_the_terms_do_not_explain_gets_one_sentence(kind, total):
    reported = COMMITTED["counts"]["q @ k"]["thop"] | {kind: 5}
    with pytest.raises(ValueError, match=f"thop's {kind} is 5, but must be {total}, the sum of its terms"):
        reconcile.rows(ViTConfig(), "thop", reported)


@settings(max_examples=25, deadline=None)
@given(config=configs())
def test_the_terms_hold_for_networks_of_any_size(config):
    network = cost.model(config)
    macs, parameters = (reconcile.differences(config, kind) for kind in ("macs", "parameters"))
    size = config.channels, config.image_size, config.image_size
    counted = thop.profile(ViT(config), inputs=(torch.zeros(1, *size),), verbose=False)
    assert counted == (add_up(network.macs, macs["thop"]), add_up(network.parameters, parameters["thop"]))
    assert tools.summary(ViT(config), size)[1] == add_up(network.parameters, parameters["torchsummary"])


@pytest.mark.parametrize("tool", tools.TOOLS)
def test_an_installed_tool_reports_what_is_committed(tool):
    package = tools.TOOLS[tool][0]
    try:
        installed = version(package)
    except PackageNotFoundError:
        pytest.skip(f"{package} is not installed (requirements-counters.txt); its committed counts are not checked")
    if installed != COMMITTED["versions"][package]:
        pytest.skip(f"{package} is {installed} here, the committed counts are of {COMMITTED['versions'][package]}")
    for form in FORMS.keys() - {"timm"}:
        assert tools.count(tool, form) == COMMITTED["counts"][form][tool], form


@pytest.mark.parametrize(
    "form", ["torch.matmul", "torch.einsum", "scaled_dot_product_attention", "nn.MultiheadAttention"]
)
def test_each_form_of_attention_computes_the_same(form):
    plain, other = FORMS["q @ k"](), FORMS[form]()
    state = plain.state_dict()
    if form == "nn.MultiheadAttention":
        for i, layer in enumerate(plain.encoder):
            attention = layer.attention
            for kind in ("weight", "bias"):
                parts = [getattr(part, kind) for part in (attention.query, attention.key, attention.value)]
                state[f"encoder.{i}.attention.core.in_proj_{kind}"] = torch.cat(parts)
                state[f"encoder.{i}.attention.core.out_proj.{kind}"] = getattr(attention.output, kind)
        state = {name: tensor for name, tensor in state.items() if ".attention." not in name or ".core." in name}
    other.load_state_dict(state)
    images = torch.rand(3, 1, 28, 28)
    assert torch.allclose(plain(images), other(images), atol=1e-5)
