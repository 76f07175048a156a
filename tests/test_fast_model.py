"""The form that trains gives the results of the readable form, from less arithmetic."""

import copy

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from vitlib import ViT, ViTConfig
from vitlib.training.fast_model import make_fast

CONFIGS = [ViTConfig(), ViTConfig(depth=1, num_heads=2), ViTConfig(depth=2, share_norm=False, mlp_ratio=2)]


def pair(config):
    network = ViT(config).double()
    return network, make_fast(copy.deepcopy(network))


@pytest.mark.parametrize("config", CONFIGS, ids=["default", "one layer", "two norms"])
def test_logits_gradients_and_names_are_those_of_the_readable_form(config):
    images, results = torch.randn(3, 1, 28, 28).double(), []
    for network in pair(config):
        logits = network(images)
        gradients = torch.autograd.grad(logits.square().sum(), list(network.parameters()))
        results.append([logits, *gradients])
        names = list(network.state_dict())
    torch.testing.assert_close(*results)
    assert names == list(ViT(config).state_dict())


def test_the_last_layer_computes_the_class_token_alone():
    macs = []
    for network in pair(ViTConfig()):
        with FlopCounterMode(display=False) as counter:
            network(torch.randn(1, 1, 28, 28).double())
        macs.append(counter.get_total_flops() / 2)
    queries_and_output, mlp, products = 2 * 64 * 64, 2 * 64 * 256, 2 * 64 * 50
    assert macs[0] - macs[1] == 49 * (queries_and_output + mlp + products)
