"""The compiler's pass changes how a step is computed, not what comes out."""

import pytest
import torch
import torch.nn.functional as F

from tests.conftest import TINY
from vitlib import TrainConfig, data
from vitlib.engine import Engine
from vitlib.fuse import FuseLinears

CPU = torch.device("cpu")


@pytest.mark.parametrize("seeds", [1, 3])
def test_fused_layers_give_the_same_loss_and_gradients(seeds):
    images, labels = (part[: 16 * seeds] for part in data.load("train"))
    if seeds > 1:
        images, labels = images.unflatten(0, (seeds, 16)), labels.unflatten(0, (seeds, 16))
    config = TrainConfig(model=TINY, batch_size=16, train_images=48, precision="float32")
    engine = Engine(config, *(part[:48] for part in data.load("train")), CPU, seeds, compiled=False)
    engine.begin(range(seeds))
    counts = []

    def fused(module, _):
        def linears():
            return len(module.graph.find_nodes(op="call_function", target=F.linear))

        before = linears()
        FuseLinears()(module.graph)
        module.graph.lint()
        module.recompile()
        counts.append((before, linears()))
        return module

    found = []
    for function in (engine.loss_function, torch.compile(engine.loss_function, backend=fused)):
        engine.model.zero_grad()
        losses = function(images, labels)
        losses.sum().backward()
        found.append((losses.detach(), *(p.grad.clone() for p in engine.model.parameters())))
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-6)
    six = 6  # query, key, value, output and the MLP's two
    assert counts == [(six * TINY.depth + 2, (six - 2) * TINY.depth + 2)]
