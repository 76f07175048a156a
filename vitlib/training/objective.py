"""The loss of a training step, in which precision it is computed, and its compilation.

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
from vitlib.evaluate import is_out_of_memory

COMPILED_CONFIGS = 256  # per process; beyond PyTorch's default limit of 8 it would run eagerly

LossFunction = Callable[[Tensor, Tensor], Tensor]
Function = Callable[..., Any]


def compute_type(config: TrainConfig, device: torch.device) -> torch.dtype:
    """Return the type that the network computes in: bfloat16 where `config` wants it and the device is fast at it.

    A CPU is fast at it if oneDNN has products for it; on another one a step would take ten times as long as in float32.
    """
    fast = device.type != "cpu" or (
        torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )
    return torch.bfloat16 if config.precision == "bfloat16" and fast else torch.float32


def make_loss(model: nn.Module, config: TrainConfig, batched: bool = False) -> LossFunction:
    """Return the function from images and targets to the mean loss.

    Args:
        model: the network, (B, 1, 28, 28) -> logits (B, Y); the type of its parameters is that of the arithmetic.
        config: label smoothing, and how the answers of a teacher count.
        batched: every parameter has a leading axis of seeds; then images, targets and losses have one, too.

    Returns:
        Images (B, 28, 28) of 0 to 255 and targets to a loss (), in nats. Targets are int64 (B,), probabilities (B, Y),
        or with a teacher (B, 2, Y): probabilities, and its logits.
    """
    dtype = next(model.parameters()).dtype
    criterion = _taught(config) if config.teacher else _labelled(config)

    def loss(network: Callable[[Tensor], Tensor], images: Tensor, targets: Tensor) -> Tensor:
        return criterion(network(data.normalise(images).to(dtype).unsqueeze(1)).float(), targets)

    def loss_of_seed(parameters: dict[str, Tensor], images: Tensor, targets: Tensor) -> Tensor:
        # A shared norm is one module under two names; tied weights would be put back in the wrong order.
        return loss(lambda x: functional_call(model, parameters, x, tie_weights=False), images, targets)

    if batched:
        return lambda images, targets: torch.vmap(loss_of_seed)(dict(model.named_parameters()), images, targets)
    return lambda images, targets: loss(model, images, targets)


def _labelled(config: TrainConfig) -> LossFunction:
    return lambda logits, targets: F.cross_entropy(logits, targets, label_smoothing=config.label_smoothing)


def _taught(config: TrainConfig) -> LossFunction:
    """Return the cross-entropy with a teacher's softened answers, mixed with that with the labels.

    The factor T² keeps the size of the gradients at every temperature T (Hinton et al., 2015, section 2).
    """
    T, labelled = config.temperature, _labelled(config)

    def criterion(logits: Tensor, targets: Tensor) -> Tensor:
        labels, answers = targets.float().unbind(-2)
        taught = T**2 * F.cross_entropy(logits / T, (answers / T).softmax(-1))
        return taught if config.teacher_weight == 1 else labelled(logits, labels).lerp(taught, config.teacher_weight)

    return criterion


def compiled_or_eager(function: Function, device: torch.device, on_failure: Callable[[str], None]) -> Function:
    """Return `function` compiled, or as it is if the first call shows that compilation fails.

    Args:
        function: what to compile, for one shape of each argument.
        device: where it runs.
        on_failure: receives the reason for which compilation fails.
    """
    # On a CPU the pattern matcher would replace attention's two matrix products by a fused kernel whose backward pass
    # is several times slower. On a GPU, combining independent kernels saves a sixth of them.
    options: dict[str, Any] = {"pattern_matcher": False} if device.type == "cpu" else {"combo_kernels": True}
    torch._dynamo.config.recompile_limit = COMPILED_CONFIGS
    compiled = torch.compile(function, dynamic=False, options=options)
    working: list[Function] = []

    def call(*arguments: Any) -> Any:  # noqa: ANN401
        if working:
            return working[0](*arguments)
        try:
            result = compiled(*arguments)
        except RuntimeError as error:  # what torch.compile raises without a working C++ compiler
            if is_out_of_memory(error):
                raise
            on_failure((str(error).strip().splitlines() or [type(error).__name__])[0][:120])
            working.append(function)
            return function(*arguments)
        working.append(compiled)
        return result

    return call
