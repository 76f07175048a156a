import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vitlib import ViT, ViTConfig, cost, homework
from vitlib.counting import counters


@st.composite
def configs(draw):
    heads = draw(st.integers(1, 5))
    patch = draw(st.integers(1, 6))
    return ViTConfig(
        image_size=patch * draw(st.integers(1, 5)),
        patch_size=patch,
        channels=draw(st.integers(1, 3)),
        embed_dim=heads * draw(st.integers(1, 7)),
        depth=draw(st.integers(1, 3)),
        num_heads=heads,
        mlp_ratio=draw(st.integers(1, 5)),
        num_classes=draw(st.integers(1, 12)),
        share_norm=draw(st.booleans()),
    )


def derived_operations(config):
    """Return the derived rows that compute something, in the order of a forward pass."""
    layer = [row for row in cost.encoder_layer(config).rows if row.activations]
    network = cost.model(config)
    around = [network[name] for name in ("Patch projection", "Positions", "Final norm", "Head")]
    return [*around[:2], *layer * config.depth, *around[2:]]


@settings(max_examples=100, deadline=None)
@given(config=configs())
def test_every_derived_operation_equals_what_the_dispatcher_counts(config):
    measured = [(o.macs, o.activations) for o in counters.operations(config)]
    assert measured == [(row.macs, row.activations) for row in derived_operations(config)]
    assert sum(macs for macs, _ in measured) == cost.model(config).macs


@settings(max_examples=100, deadline=None)
@given(config=configs())
def test_every_rows_parameters_equal_those_of_its_module(config):
    with torch.device("meta"):
        model = ViT(config)
    sizes = {name: p.numel() for name, p in model.named_parameters()}

    def total(*prefixes):
        return sum(n for name, n in sizes.items() if name.startswith(prefixes))

    parts = {
        "Norm 1": "norm1.",
        "Query": "attention.query.",
        "Key": "attention.key.",
        "Value": "attention.value.",
        "Output projection": "attention.output.",
        "Norm 2": "norm2.",
        "MLP, first layer": "mlp.fc1.",
        "MLP, second layer": "mlp.fc2.",
    }
    for row in cost.encoder_layer(config).rows:
        assert row.parameters == (total(f"encoder.0.{parts[row.name]}") if row.name in parts else 0), row.name
    network = cost.model(config)
    assert network["Patch projection"].parameters == total("embedding.")
    assert network["Class token"].parameters == total("class_token")
    assert network["Positions"].parameters == total("positions")
    assert network["Final norm"].parameters == total("norm.")
    assert network["Head"].parameters == total("head.")
    assert network.parameters == sum(sizes.values())


@settings(max_examples=50, deadline=None)
@given(config=configs())
def test_sympy_evaluates_each_count_to_the_same_number(config):
    network, values = cost.model(config), cost.dimensions(config)
    for kind in cost.KINDS:
        counts = [getattr(row, kind) for row in network.rows]
        assert network.total(kind) == sum(counts)
        for count in counts:
            assert count.expression.subs({s: values[s.name] for s in count.expression.free_symbols}) == count


def test_the_homeworks_counts_are_right():
    by_hand = cost.encoder_layer(ViTConfig(share_norm=False))
    assert (by_hand.macs, by_hand.parameters) == (2_777_600, 49_984) == (homework.LAYER_MACS, homework.LAYER_PARAMETERS)
    assert counters.thop_profile(ViTConfig()) == (9_983_872, 201_290) == (homework.THOP_MACS, homework.THOP_PARAMETERS)


def test_heads_change_no_count():
    assert len({(t.macs, t.parameters) for t in (cost.model(ViTConfig(num_heads=h)) for h in (1, 2, 4, 8, 64))}) == 1


def test_a_count_shows_symbols_and_powers():
    row = cost.encoder_layer(ViTConfig()).merged(("Query", "Key", "Value"), "Q, K, V")["Q, K, V"]
    assert row.symbols == r"3 \, N D^{2}"
    assert row.parameters.symbols == r"3 \, D^{2} + 3 \, D"
    assert cost.encoder_layer(ViTConfig())["Softmax"].symbols == "0"


def test_the_error_for_an_unknown_row_lists_the_rows():
    with pytest.raises(KeyError, match="'Sigmoid': the rows are Norm 1, Query, Key"):
        cost.encoder_layer(ViTConfig())["Sigmoid"]
