import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vitlib import ViT, ViTConfig, cost, counters, homework


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


@settings(max_examples=60, deadline=None)
@given(config=configs())
def test_every_row_of_macs_equals_what_the_dispatcher_sees(config):
    measured = [product.macs for product in counters.matrix_products(config)]
    layer = cost.encoder_layer(config)
    one = [layer["Q, K, V projections"].macs // 3] * 3 + [row.macs for row in layer.rows if row.macs][1:]
    network = cost.model(config)
    expected = [network["Patch embedding"].macs, *one * config.depth, network["Head"].macs]
    assert measured == expected
    assert sum(measured) == network.macs


@settings(max_examples=100, deadline=None)
@given(config=configs())
def test_every_row_of_parameters_equals_the_models(config):
    with torch.device("meta"):
        model = ViT(config)
    sizes = {name: p.numel() for name, p in model.named_parameters()}

    def total(*prefixes):
        return sum(n for name, n in sizes.items() if name.startswith(prefixes))

    layer = cost.encoder_layer(config)
    parts = {
        "Norm 1": ("norm1.",),
        "Q, K, V projections": ("attention.query.", "attention.key.", "attention.value."),
        "Output projection": ("attention.output.",),
        "Norm 2": ("norm2.",),
        "MLP, first layer": ("mlp.fc1.",),
        "MLP, second layer": ("mlp.fc2.",),
        "Scores": (),
        "Weighted sum": (),
    }
    for row in layer.rows:
        assert row.parameters == total(*(f"encoder.0.{part}" for part in parts[row.name])), row.name
    network = cost.model(config)
    assert network["Patch embedding"].parameters == total("embedding.")
    assert network["Class token"].parameters == total("class_token")
    assert network["Position embedding"].parameters == total("positions")
    assert network["Final norm"].parameters == total("norm.")
    assert network["Head"].parameters == total("head.")
    assert network.parameters == sum(sizes.values())


def test_homeworks_hand_count_is_right():
    two_norms = cost.encoder_layer(ViTConfig(share_norm=False))
    assert [row.macs for row in two_norms.rows if row.macs] == [row.macs for row in homework.LAYER_MACS_ROWS]
    assert two_norms.macs == homework.LAYER_MACS == 2_777_600
    counted = [row.parameters for row in two_norms.rows if row.parameters]
    assert counted == [row.parameters for row in homework.LAYER_PARAMETER_ROWS]
    assert two_norms.parameters == homework.LAYER_PARAMETERS == 49_984


def test_the_tools_print_the_homeworks_numbers():
    config = ViTConfig()
    assert counters.thop_profile(config) == (homework.THOP_MACS, homework.THOP_PARAMETERS) == (9983872.0, 201290.0)
    rows, total = counters.summary(config)
    ours = [(row.index, row.type, list(row.output_shape), row.parameters) for row in rows]
    theirs = [(row.index, row.type.replace("_", ""), row.output_shape, row.parameters) for row in homework.SUMMARY]
    assert ours == theirs
    assert (len(rows), total) == (63, 201_802)


def test_heads_change_no_count():
    assert len({(t.macs, t.parameters) for t in (cost.model(ViTConfig(num_heads=h)) for h in (1, 2, 4, 8, 64))}) == 1


def test_a_published_count_comes_out():
    base = ViTConfig(image_size=224, patch_size=16, channels=3, embed_dim=768, depth=12, num_heads=12, num_classes=1000,
                     share_norm=False)  # fmt: skip
    assert cost.model(base).parameters == 86_567_656  # ViT-B/16 as published in torchvision and timm


def test_a_count_prints_as_a_teacher_writes_it():
    row = cost.encoder_layer(ViTConfig())["Q, K, V projections"]
    assert row.macs_count.symbols == r"3 \, N D^{2}"
    assert row.macs_count.factors == r"3 \times 50 \times 64 \times 64"
    assert row.parameters_count.symbols == r"3 \, D^{2} + 3 \, D"


def test_an_unknown_row_names_the_rows_there_are():
    with pytest.raises(KeyError, match="'Softmax': the rows are Norm 1, Q, K, V projections"):
        cost.encoder_layer(ViTConfig())["Softmax"]
