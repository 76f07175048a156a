"""The loss of a training step, eager or compiled, for one seed or batched over seeds.

Axes: S seeds, B batch, Y classes.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from vitlib import data
from vitlib.config import TrainConfig

COMPILED_CONFIGS = 256  # that one process may compile; beyond PyTorch's own limit of 8 it would run eagerly

LossFunction = Callable[[Tensor, Tensor], Tensor]


def make_loss(model: nn.Module, config: TrainConfig, batched: bool = False) -> LossFunction:
    """Return the function from images and targets to the mean loss.

    Args:
        model: the network, (B, 1, 28, 28) -> logits (B, Y).
        config: precision and label smoothing.
        batched: every parameter has a leading axis of seeds; then images, targets and losses have one, too.

    Returns:
        Images (B, 28, 28) of 0 to 255 and targets, int64 (B,) or probabilities (B, Y), to a loss (), in nats.
    """
    low_precision = config.precision == "bfloat16"

    def loss(network: Callable[[Tensor], Tensor], images: Tensor, targets: Tensor) -> Tensor:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=low_precision):
            logits = network(data.normalise(images).unsqueeze(1))
        return F.cross_entropy(logits.float(), targets, label_smoothing=config.label_smoothing)

    def loss_of_seed(parameters: dict[str, Tensor], images: Tensor, targets: Tensor) -> Tensor:
        # A shared norm is one module under two names; tied weights would be put back in the wrong order.
        return loss(lambda x: functional_call(model, parameters, x, tie_weights=False), images, targets)

    if batched:
        return lambda images, targets: torch.vmap(loss_of_seed)(dict(model.named_parameters()), images, targets)
    return lambda images, targets: loss(model, images, targets)


def compiled_or_eager(function: LossFunction, device: torch.device, on_failure: Callable[[str], None]) -> LossFunction:
    """Return `function` compiled, or as it is if the first call shows that compilation fails.

    Args:
        function: the loss.
        device: where it runs.
        on_failure: receives the reason for which compilation fails.
    """
    # On a CPU the pattern matcher would replace attention's two matrix products by a fused kernel whose backward pass
    # is several times slower.
    options: dict[str, Any] = {"pattern_matcher": False} if device.type == "cpu" else {}
    torch._dynamo.config.recompile_limit = COMPILED_CONFIGS
    compiled = torch.compile(function, dynamic=False, options=options)
    chosen: list[LossFunction] = []

    def call(images: Tensor, targets: Tensor) -> Tensor:
        if chosen:
            return chosen[0](images, targets)
        try:
            loss = compiled(images, targets)
            chosen.append(compiled)
        except RuntimeError as error:  # what torch.compile raises without a working C++ compiler
            loss = function(images, targets)  # another fault, such as too little memory, appears here again
            chosen.append(function)
            on_failure((str(error).strip().splitlines() or [type(error).__name__])[0][:120])
        return loss

    return call
