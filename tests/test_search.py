import random

import pytest
from hypothesis import given, settings, strategies

from tests.test_cost import configs
from vitlib import ViTConfig, cost
from vitlib.counting import search, terms
from vitlib.counting.search import Target, explain
from vitlib.printed import number


def targets(config):
    return [Target(config, kind, layer=layer) for kind in terms.KINDS for layer in (False, True)]


def texts(explanations):
    return [[step.text for step in explanation.steps] for explanation in explanations]


@settings(max_examples=25, deadline=None)
@given(config=configs(), chance=strategies.integers(0, 2**32))
def test_a_number_made_by_one_term_is_explained_by_it(config, chance):
    for target in targets(config):
        choices = [(None, (term,), None) for term in target.terms]
        choices += [(swap, (), None) for swap in target.swaps] + [(None, (), scale) for scale in target.scales]
        made = target.explanation(*random.Random(chance).choice(choices))
        count = target.exact + sum(step.change for step in made.steps)
        if count > 0 and count != target.exact and count.denominator == 1:
            assert made in explain(number(str(count)), target)


@settings(max_examples=25, deadline=None)
@given(config=configs(), chance=strategies.integers(0, 2**32))
def test_every_explanation_adds_up_to_the_number(config, chance):
    generator = random.Random(chance)
    for target in targets(config):
        count = max(
            1, target.exact + generator.choice([-1, 1]) * generator.choice([1, config.embed_dim, target.exact // 3])
        )
        for found in explain(number(str(count)), target):
            assert found.exact + sum(step.change for step in found.steps) == count


def test_the_exact_counts_are_those_of_the_derivation():
    config = ViTConfig(share_norm=False, depth=3)
    assert [target.exact for target in targets(config)] == [
        cost.model(config).macs,
        cost.encoder_layer(config).macs,
        cost.model(config).parameters,
        cost.encoder_layer(config).parameters,
    ]


THOP = ["misses the attention matmuls", "counts 4 for each element of a LayerNorm"]


@pytest.mark.parametrize(
    ("printed", "found"),
    [
        ("22,322,432", [["counts FLOPs, two for each MAC"], ["counts a batch of 2 images"]]),
        ("11161216", [[]]),
        ("11.2M", [[]]),
        ("11161126", [["swaps two digits of 11,161,216"]]),
        ("1116121", [["misses a digit of 11,161,216"]]),
        ("111612166", [["has a digit too many of 11,161,216"]]),
        ("11161217", [["has one wrong digit of 11,161,216"]]),
        (str(64 * 9983872), [[*THOP, "counts a batch of 64 images"]]),
        ("19762432", [[THOP[0], "counts FLOPs, two for each MAC"]]),
        ("5", []),
    ],
)
def test_a_number_of_macs_is_explained(printed, found):
    assert texts(explain(number(printed), Target(ViTConfig(), "macs"))) == found


def test_two_slips_in_the_same_row_are_not_combined():
    target = Target(ViTConfig(), "parameters")
    terms = {term.text: term for term in target.terms}
    layer, bias = (terms[f"misses {what}the MLP's first layer"] for what in ("", "the bias of "))
    assert not search._apart((layer, bias), target)
