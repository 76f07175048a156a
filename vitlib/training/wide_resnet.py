"""Convolutional teachers: Wide ResNets (Zagoruyko & Komodakis, 2016), their training, and what several answer together.

Axes: B images, C channels, L pixels a side, Y classes.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitlib import data
from vitlib.config import TeacherConfig, TrainConfig
from vitlib.training.augmentation import augment, sample_augmentations
from vitlib.training.optimizers import learning_rate_fraction

MOMENTUM, WARMUP = 0.9, 0.15
ANSWERED_AT_ONCE = 2_000  # images; 1 GB of activations in the default network


class Block(nn.Module):
    """Two convolutions and a shortcut around them, each after batch normalisation and ReLU; (B, C, L, L)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.resize = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, outputs, L / stride, L / stride)."""
        activated = F.relu(self.norm1(x))
        shortcut = x if self.resize is None else self.resize(activated)
        return shortcut + self.conv2(F.relu(self.norm2(self.conv1(activated))))


class WideResNet(nn.Sequential):
    """Images (B, 1, 28, 28) to logits (B, 10): a convolution, three groups of blocks, the mean over pixels, a matrix.

    Args:
        depth: layers with weights, 6 n + 4 for groups of n blocks.
        width: the groups have 16, 32 and 64 times as many channels.
    """

    def __init__(self, depth: int, width: int) -> None:
        channels = [16, 16 * width, 32 * width, 64 * width]
        blocks = [
            Block(channels[group] if n == 0 else channels[group + 1], channels[group + 1], 2 if group and n == 0 else 1)
            for group in range(3)
            for n in range((depth - 4) // 6)
        ]
        head = [nn.BatchNorm2d(channels[3]), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        first, last = nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.Linear(channels[3], len(data.CLASSES))
        super().__init__(first, *blocks, *head, last)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def fit(
    teacher: TeacherConfig, config: TrainConfig, images: Tensor, labels: Tensor, seed: int, device: torch.device
) -> WideResNet:
    """Train a network: SGD with Nesterov momentum, one cycle of the learning rate, each image augmented anew.

    Args:
        teacher: the network and its schedule.
        config: how images are augmented; none is mixed.
        images: uint8 (N, 28, 28).
        labels: int64 (N,).
        seed: of weights, order and augmentation.
        device: where to train; on CUDA in bfloat16.

    Returns:
        The network on `device`, in evaluation mode.
    """
    config = replace(config, mixup=0)
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        network = _on(device, WideResNet(teacher.depth, teacher.width))
    generator = torch.Generator(device).manual_seed(seed)
    images, labels = images.to(device), labels.to(device)
    size = min(teacher.batch_size, len(images))
    steps = len(images) // size
    optimizer = _optimizer(network, teacher)
    for epoch in range(teacher.epochs):
        order = torch.randperm(len(images), generator=generator, device=device)
        sampled = sample_augmentations(steps * size, generator, config)
        for step in range(steps):
            rows = slice(step * size, (step + 1) * size)
            batch = augment(images[order[rows]], {name: values[rows] for name, values in sampled.items()}, config)
            rate = learning_rate_fraction(epoch * steps + step, teacher.epochs * steps, WARMUP)
            for group in optimizer.param_groups:
                group["lr"] = teacher.lr * rate
            loss = F.cross_entropy(_logits(network, batch), labels[order[rows]])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network.eval()


@torch.inference_mode()
def answers(networks: Sequence[nn.Module], images: Tensor) -> Tensor:
    """Return the networks' mean logits for uint8 images (N, 28, 28): float32 (N, Y), on the networks' device."""
    device = next(networks[0].parameters()).device
    batches = [batch.to(device) for batch in images.split(ANSWERED_AT_ONCE)]
    return torch.cat([torch.stack([_logits(n, batch) for n in networks]).mean(dim=0) for batch in batches])


def load(weights: dict[str, Tensor], teacher: TeacherConfig, device: torch.device) -> WideResNet:
    """Return a trained network on a device, in evaluation mode."""
    with torch.random.fork_rng([]):  # its initial weights must not take the caller's random numbers
        network = WideResNet(teacher.depth, teacher.width)
    network.load_state_dict(weights)
    return _on(device, network).eval()


def _on(device: torch.device, network: WideResNet) -> WideResNet:
    network = network.to(device)
    return network.to(memory_format=torch.channels_last) if device.type == "cuda" else network


def _optimizer(network: nn.Module, teacher: TeacherConfig) -> torch.optim.Optimizer:
    decayed = [p for p in network.parameters() if p.ndim > 1]
    undecayed = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": teacher.weight_decay}, {"params": undecayed, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=teacher.lr, momentum=MOMENTUM, nesterov=True)


def _logits(network: nn.Module, images: Tensor) -> Tensor:
    """Return the logits float32 (B, Y) of uint8 images (B, 28, 28)."""
    x = data.normalise(images).unsqueeze(1)
    with torch.autocast("cuda", torch.bfloat16, enabled=images.device.type == "cuda"):
        return network(x).float()
