"""The terms that lead from the exact counts to each tool's."""

import json
import sys
from importlib.metadata import PackageNotFoundError, version

import pytest
import torch
from hypothesis import given, settings

from tests.test_cost import configs
from vitlib import ViTConfig, cost, paths
from vitlib.counting import counters, reconcile

sys.path.insert(0, str(paths.ROOT / "studies"))
import counting

sys.path.pop(0)

COMMITTED = json.loads(counting.TABLE.read_text())


def lead_to(exact, terms):
    return exact + sum(value for _, value in terms)


@pytest.mark.parametrize("tool", counting.TOOLS)
def test_the_terms_lead_to_what_each_tool_reported(tool):
    config = ViTConfig()
    network = cost.model(config)
    said = COMMITTED["counts"]["q @ k"][tool]
    for kind, terms in (("macs", reconcile.macs(config)), ("parameters", reconcile.parameters(config))):
        assert (said[kind] is None) == (tool not in terms)
        if tool in terms:
            assert lead_to(getattr(network, kind), terms[tool]) == said[kind]


@settings(max_examples=25, deadline=None)
@given(config=configs())
def test_the_terms_hold_for_networks_of_any_size(config):
    network, macs, parameters = cost.model(config), reconcile.macs(config), reconcile.parameters(config)
    thop = counters.thop_profile(config)
    assert thop == (lead_to(network.macs, macs["thop"]), lead_to(network.parameters, parameters["thop"]))
    assert counters.summary(config)[1] == lead_to(network.parameters, parameters["torchsummary"])


@pytest.mark.parametrize("tool", counting.TOOLS)
def test_a_tool_that_is_installed_says_what_is_committed(tool):
    package = counting.TOOLS[tool][0]
    try:
        installed = version(package)
    except PackageNotFoundError:
        pytest.skip(f"{package} is not installed (requirements-counters.txt); its committed counts stand unchecked")
    if installed != COMMITTED["versions"][package]:
        pytest.skip(f"{package} is {installed} here, the committed counts are of {COMMITTED['versions'][package]}")
    for form in ("q @ k", "torch.matmul", "scaled_dot_product_attention", "nn.MultiheadAttention"):
        assert counting.ask(tool, form) == COMMITTED["counts"][form][tool], form


@pytest.mark.parametrize("form", ["torch.matmul", "torch.einsum", "scaled_dot_product_attention"])
def test_each_form_of_attention_computes_the_same(form):
    plain, other = counting.FORMS["q @ k"](), counting.FORMS[form]()
    other.load_state_dict(plain.state_dict())
    images = torch.rand(3, 1, 28, 28)
    assert torch.allclose(plain(images), other(images), atol=1e-5)


def test_the_modules_of_pytorch_compute_the_same_too():
    plain, other = counting.FORMS["q @ k"](), counting.FORMS["nn.MultiheadAttention"]()
    state = other.state_dict()
    for name, tensor in plain.state_dict().items():
        if ".attention." not in name:
            state[name] = tensor
    for i, layer in enumerate(plain.encoder):
        attention = layer.attention
        for kind in ("weight", "bias"):
            parts = [getattr(part, kind) for part in (attention.query, attention.key, attention.value)]
            state[f"encoder.{i}.attention.core.in_proj_{kind}"] = torch.cat(parts)
            state[f"encoder.{i}.attention.core.out_proj.{kind}"] = getattr(attention.output, kind)
    other.load_state_dict(state)
    images = torch.rand(3, 1, 28, 28)
    assert torch.allclose(plain(images), other(images), atol=1e-5)
