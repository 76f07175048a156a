import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from torch.utils.module_tracker import ModuleTracker

from vitlib import ViT, ViTConfig, cost


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


ARITHMETIC = frozenset({"addmm", "mm", "bmm", "add", "div", "_softmax", "gelu", "native_layer_norm"})
SHAPES = frozenset(  # these compute nothing: they copy, or view the same numbers in another shape
    {"view", "_unsafe_view", "transpose", "permute", "expand", "unsqueeze", "select", "slice", "t"}
    | {"clone", "cat", "detach"}
)


class Recorder(TorchDispatchMode):
    """Records each arithmetic operation with the MACs of PyTorch's own formula for the shapes that arrive."""

    def __init__(self):
        super().__init__()
        self.operations = []  # (module, operator, MACs, how many numbers it wrote)
        self.modules = ModuleTracker()

    def __enter__(self):
        self.modules.__enter__()
        return super().__enter__()

    def __exit__(self, *exception):
        super().__exit__(*exception)
        self.modules.__exit__(*exception)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        operator = func._overloadpacket.__name__
        if operator in ARITHMETIC:
            module = max(self.modules.parents, key=len)
            last = self.operations[-1] if self.operations else None
            if operator == "add" and last and last[:2] == (module, "mm"):
                return out  # a linear layer's bias: for some layouts PyTorch splits addmm into mm and add
            formula = flop_registry.get(func._overloadpacket)
            flops = formula(*args, **(kwargs or {}), out_val=out) if formula else 0
            written = (out[0] if isinstance(out, tuple) else out).numel()
            self.operations.append((module, operator, flops // 2, written))
        else:
            assert operator in SHAPES, operator
        return out


def operations(config):
    """Return every arithmetic operation of a forward pass over one image, as PyTorch's dispatcher sees it.

    The pass runs on the meta device, which tracks shapes and computes no numbers.
    """
    with torch.device("meta"):
        model = ViT(config).eval()
        images = torch.empty(1, config.channels, config.image_size, config.image_size)
    with Recorder() as recorder, torch.no_grad():
        model(images)
    return recorder.operations


def derived_operations(config):
    """Return the derived rows that compute something, in the order of a forward pass."""
    layer = [row for row in cost.encoder_layer(config).rows if row.activations]
    network = cost.model(config)
    around = [network[name] for name in ("Patch projection", "Positions", "Final norm", "Head")]
    return [*around[:2], *layer * config.depth, *around[2:]]


@settings(max_examples=100, deadline=None)
@given(config=configs())
def test_every_derived_operation_equals_what_the_dispatcher_counts(config):
    measured = [operation[2:] for operation in operations(config)]
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


def test_a_count_shows_symbols_and_powers():
    row = cost.encoder_layer(ViTConfig()).merged(("Query", "Key", "Value"), "Q, K, V")["Q, K, V"]
    assert row.symbols == r"3 \, N D^{2}"
    assert row.parameters.symbols == r"3 \, D^{2} + 3 \, D"
    assert cost.encoder_layer(ViTConfig())["Softmax"].symbols == "0"


def test_the_error_for_an_unknown_row_lists_the_rows():
    with pytest.raises(KeyError, match="'Sigmoid': the rows are Norm 1, Query, Key"):
        cost.encoder_layer(ViTConfig())["Sigmoid"]
