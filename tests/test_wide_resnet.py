"""Wide ResNets: their published sizes, their training, and the mean answer of several."""

from dataclasses import replace

import pytest
import torch

from vitlib import TrainConfig, data
from vitlib.config import TeacherConfig
from vitlib.training import wide_resnet
from vitlib.training.wide_resnet import WideResNet, answers, fit

TEACHER = TeacherConfig(networks=2, depth=10, width=1, epochs=1, batch_size=64, views=2)
CPU = torch.device("cpu")


@pytest.mark.parametrize(("depth", "width", "millions"), [(40, 1, 0.6), (40, 2, 2.2), (16, 8, 11.0)])
def test_wide_resnets_have_the_published_numbers_of_parameters(depth, width, millions):
    """Zagoruyko & Komodakis, 2016, table 4."""
    assert sum(p.numel() for p in WideResNet(depth, width).parameters()) / 1e6 == pytest.approx(millions, abs=0.05)


def test_a_network_learns():
    images, labels = (part[:96] for part in data.load("train"))
    longer = replace(TEACHER, epochs=10, batch_size=16, lr=0.1)
    network = fit(longer, TrainConfig(flip=False), images, labels, 0, CPU)
    assert (answers([network], images).argmax(1) == labels).float().mean() > 0.7


def test_the_seed_decides_the_result_and_the_callers_random_numbers_stay():
    images, labels = (part[:64] for part in data.load("train"))
    config = TrainConfig(crop_padding=1, erase=0.1, mixup=1)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, again, other = (fit(TEACHER, config, images, labels, seed, CPU) for seed in (3, 3, 4))
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), again.parameters(), strict=True))
    assert not torch.equal(one[0].weight, other[0].weight)


def test_several_networks_answer_with_their_mean_logits_image_by_image(monkeypatch):
    monkeypatch.setattr(wide_resnet, "ANSWERED_AT_ONCE", 4)
    networks = [WideResNet(10, 1).eval() for _ in range(2)]
    images = data.load("train")[0][:7]
    first, second = (network(data.normalise(images).unsqueeze(1)) for network in networks)
    torch.testing.assert_close(answers(networks, images), (first + second) / 2, rtol=1e-4, atol=1e-4)
