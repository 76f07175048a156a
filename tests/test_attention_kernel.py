"""The attention kernel against the explicit products: on a GPU, or on a CPU in Triton's interpreter.

The interpreter has to be chosen before Triton is imported, so on a CPU the first test runs this file in a new process.
"""

import os
import sys

import pytest
import torch

from tests.conftest import NEEDS_GPU, call
from vitlib import TrainConfig, ViTConfig, data, model
from vitlib.training.engine import Engine
from vitlib.training.fast_model import make_fast

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
CPU = torch.device("cpu")
DEVICES = [
    pytest.param(
        CPU, marks=pytest.mark.skipif(not INTERPRETED, reason="runs in Triton's interpreter, see the first test")
    ),
    pytest.param(torch.device("cuda"), marks=NEEDS_GPU),
]
SHAPES = [(2, 3, 5, 16), (3, 2, 7, 32), (2, 1, 17, 64), (1, 2, 50, 16)]  # B, H, N, K
TOLERANCE = {torch.float32: {"rtol": 1e-5, "atol": 1e-5}, torch.bfloat16: {"rtol": 0.02, "atol": 0.02}}


@pytest.mark.skipif(INTERPRETED, reason="this is the new process")
def test_the_tests_of_this_file_hold_in_tritons_interpreter():
    pytest.importorskip("triton", reason="Triton is not installed")
    command = [sys.executable, "-m", "pytest", "-q", __file__, "-m", "not gpu"]
    status, output = call(command, TRITON_INTERPRET="1", TORCH_COMPILE_DISABLE="0")
    assert status == 0, output[-3000:]
    assert " passed" in output


@pytest.fixture
def kernel(monkeypatch):
    """Return the module with the kernel, and count its calls."""
    if INTERPRETED:
        from triton.language import float32
        from triton.runtime.interpreter import InterpreterBuilder

        dot = InterpreterBuilder.create_dot

        def dot_of_widened(builder, a, b, *others):  # the interpreter multiplies the bits of bfloat16 as integers
            widened = [builder.cast_impl(each, float32) if each.dtype.scalar.is_bf16() else each for each in (a, b)]
            return dot(builder, *widened, *others)

        monkeypatch.setattr(InterpreterBuilder, "create_dot", dot_of_widened)
    from vitlib.training import attention_kernel

    return attention_kernel


@pytest.fixture
def launched(kernel, monkeypatch):
    """Return the list of kernels that were launched."""
    names, launch = [], kernel._launch

    def observed(function, *arguments):
        names.append(function)
        launch(function, *arguments)

    monkeypatch.setattr(kernel, "_launch", observed)
    return names


def sample(shape, device, dtype, *more):
    """Return queries, keys and values that lie in memory as the network's projection leaves them, and a gradient."""
    B, H, N, K = shape
    q, k, v, g = (x.transpose(-2, -3) for x in torch.randn(*more, B, N, 4, H, K, device=device).to(dtype).unbind(-3))
    return [x.requires_grad_() for x in (q, k, v)], g


def assert_same(attend, inputs, g, tolerance):
    """Assert that values and gradients are those of the explicit products in float64."""
    values = attend(*inputs)
    expected = model.attention(*(x.double() for x in inputs))
    torch.testing.assert_close(values.double(), expected, **tolerance)
    found = torch.autograd.grad(values, inputs, g)
    wanted = torch.autograd.grad(expected, inputs, g.double())
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, **tolerance)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values_and_gradients_are_those_of_the_explicit_products(kernel, launched, shape, dtype, device):
    assert_same(kernel.attention, *sample(shape, device, dtype), TOLERANCE[dtype])
    assert launched == [kernel.attention_forward_kernel, kernel.attention_backward_kernel]


@pytest.mark.parametrize("device", DEVICES)
def test_tensors_may_lie_in_memory_in_any_order(kernel, device):
    q, k, v = (torch.randn(2, 3, 16, 5, device=device).mT.requires_grad_() for _ in range(3))
    assert_same(kernel.attention, [q, k, v], torch.randn(2, 3, 16, 5, device=device).mT, TOLERANCE[torch.float32])
    mixed = [q, k.detach().contiguous().requires_grad_(), v]
    g = torch.ones((), device=device).expand(2, 3, 5, 16)
    assert_same(kernel.attention, mixed, g, TOLERANCE[torch.float32])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_seeds_under_vmap_are_one_launch(kernel, launched, dtype, device):
    inputs, g = sample((3, 2, 5, 16), device, dtype, 2)
    assert_same(torch.vmap(kernel.attention), inputs, g, TOLERANCE[dtype])
    assert len(launched) == 2
    q, k, v = inputs
    shared = torch.vmap(kernel.attention, in_dims=(0, None, 0))(q, k[0], v)
    torch.testing.assert_close(shared[1], kernel.attention(q[1], k[0], v[1]))


@pytest.mark.parametrize("device", DEVICES)
def test_the_operator_keeps_what_pytorch_expects_of_it(kernel, device):
    inputs, g = sample((2, 3, 5, 16), device, torch.float32)
    torch.library.opcheck(kernel._forward, tuple(inputs))
    torch.library.opcheck(kernel._backward, (g, *(x.detach() for x in inputs)))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("seeds", [1, 2])
def test_a_compiled_network_launches_it_in_all_layers_but_the_last(kernel, launched, seeds, device):
    config = TrainConfig(model=ViTConfig(patch_size=14, embed_dim=32, num_heads=2, depth=2), precision="float32")
    images, labels = (part[:4].to(device) for part in data.load("train"))
    shape = (seeds, -1) if seeds > 1 else (-1,)
    images, labels = images.view(*shape, 28, 28), labels.view(*shape)
    found = []
    for attend in (model.attention, kernel.attention):
        engine = Engine(
            config, images.view(-1, 28, 28), labels.view(-1), device, seeds, False,
            network=lambda attend=attend: make_fast(model.ViT(config.model, attend)),
        )  # fmt: skip
        engine.begin(range(seeds))
        losses = torch.compile(engine.loss_function, backend="aot_eager", fullgraph=True)(images, labels)
        losses.sum().backward()
        found.append([losses.detach(), *(p.grad for p in engine.model.parameters())])
    assert len(launched) == 2 * (config.model.depth - 1)  # forward and backward; the last layer has one query
    for explicit, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, explicit, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((2, 3, 65, 16), torch.float32), ((2, 3, 5, 8), torch.float32), ((2, 3, 5, 16), torch.float64)],
    ids=str,
)
def test_what_does_not_fit_is_computed_by_explicit_products(kernel, launched, shape, dtype, device):
    (q, k, v), _ = sample(shape, device, dtype)
    assert torch.equal(kernel.attention(q, k, v), model.attention(q, k, v))
    assert launched == []
