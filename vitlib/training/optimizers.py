"""The optimizers, and the schedule of their learning rates.

Muon (Jordan et al., 2024) is SGD with momentum that orthogonalises the update of each matrix.
`torch.optim.Muon` does this one matrix at a time. Here all matrices of one shape, or of its transpose, are one stack,
which leaves two batched products for this network's 24 matrices, and a leading axis of seeds joins the batch.
Axes: M matrices of one shape, S seeds, R rows, C columns.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from vitlib.config import TrainConfig
from vitlib.training.objective import compiled_or_eager

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic in Jordan et al., 2024
STEPS = 5  # applications of it


def make_optimizers(
    model: nn.Module, config: TrainConfig, batched: bool = False, compiled: bool = False
) -> list[torch.optim.Optimizer]:
    """Return AdamW for all parameters, or AdamW and Muon, which takes the encoder's matrices.

    The learning rate of each parameter group is a tensor on the device, at its peak. On a GPU, Muon computes its
    products in bfloat16, as in Jordan et al., 2024, on a CPU in float32.

    Args:
        model: the network.
        config: which optimizers, and their settings.
        batched: every parameter has a leading axis of seeds.
        compiled: compile Muon's arithmetic on a GPU.
    """
    matrix = 3 if batched else 2  # axes of a matrix
    named = list(model.named_parameters())
    encoder = [p for name, p in named if p.ndim == matrix and name.startswith("encoder.")]
    for_muon = encoder if config.optimizer == "muon" else []
    for_adamw = [p for _, p in named if not any(p is m for m in for_muon)]
    groups = [
        {"params": [p for p in for_adamw if p.ndim == matrix], "weight_decay": config.weight_decay},
        {"params": [p for p in for_adamw if p.ndim != matrix], "weight_decay": 0.0},
    ]
    device = next(model.parameters()).device
    lr, muon_lr = (torch.tensor(rate, device=device) for rate in (config.lr, config.muon_lr))
    capturable = device.type == "cuda"  # by a CUDA graph
    optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, lr=lr, fused=True, capturable=capturable)]
    if for_muon:
        muon = Muon(for_muon, lr=muon_lr, weight_decay=config.weight_decay)
        if device.type == "cuda":
            muon.dtype = torch.bfloat16
            muon.update = compiled_or_eager(muon.update, device, lambda _: None) if compiled else muon.update
        optimizers.append(muon)
    return optimizers


def learning_rate_fraction(step: int, steps: int, warmup: float, schedule: str = "linear") -> float:
    """Return the learning rate of a step as a fraction of its peak.

    It rises linearly over the first ``warmup * steps`` steps. Then it falls linearly to zero ("linear") or stays
    ("constant").
    """
    rising = warmup * steps
    falling = (steps - step) / (steps - rising) if schedule == "linear" else 1.0
    return min((step + 1) / rising if rising >= 1 else 1.0, falling)


def orthogonalise(matrices: Tensor) -> Tensor:
    """Move the singular values of each matrix towards one by `STEPS` Newton–Schulz steps.

    They bring singular values of at least 1/50 of the matrix's Frobenius norm to between 0.6 and 1.3; smaller ones grow
    by a factor of at most 3.5 a step.

    Args:
        matrices: (M, R, C), R at most C, or with further axes before, float.

    Returns:
        The same shape and type.
    """
    a, b, c = COEFFICIENTS
    x = matrices.flatten(end_dim=-3)
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)  # a X + (b G + c G²) X
    return x.view(matrices.shape)


def orthogonalise_all(matrices: Sequence[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """Orthogonalise matrices ([S,] R, C) of any shapes in few stacks, computing in `dtype`."""
    stacks: dict[torch.Size, list[int]] = defaultdict(list)
    wide = [matrix.mT if matrix.shape[-2] > matrix.shape[-1] else matrix for matrix in matrices]
    for i, matrix in enumerate(wide):
        stacks[matrix.shape].append(i)
    result = list(matrices)
    for members in stacks.values():
        stack = torch.stack([wide[i] for i in members]).to(dtype)
        for i, matrix in zip(members, orthogonalise(stack).to(matrices[0].dtype).unbind(), strict=True):
            result[i] = matrix if wide[i] is matrices[i] else matrix.mT
    return result


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum and decoupled weight decay, batched over matrices of one shape.

    Args:
        params: matrices (R, C), or stacks of them (S, R, C).
        lr: learning rate, a number or a tensor on the parameters' device; a matrix with more rows than columns takes
            √(R / C) times as much.
        momentum: decay of the running mean of gradients.
        weight_decay: fraction of the weights, times `lr`, that a step takes away.

    Attributes:
        dtype: in which matrices are orthogonalised.
        update: takes a step of one parameter group; a compiled function can replace it.
    """

    def __init__(
        self, params: Iterable[Tensor], lr: float | Tensor = 0.02, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.dtype, self.update = torch.float32, muon_update

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Update every matrix that has a gradient."""
        for group in self.param_groups:
            matrices = [p for p in group["params"] if p.grad is not None]
            for p in matrices:
                if not self.state[p]:
                    self.state[p]["momentum"] = torch.zeros_like(p)
            means = [self.state[p]["momentum"] for p in matrices]
            gradients = [p.grad for p in matrices]
            self.update(matrices, gradients, means, group["lr"], group["momentum"], group["weight_decay"], self.dtype)


def muon_update(
    matrices: list[Tensor],
    gradients: list[Tensor],
    means: list[Tensor],
    lr: float | Tensor,
    momentum: float,
    weight_decay: float,
    dtype: torch.dtype,
) -> None:
    """Change matrices and the running means of their gradients in place, as `Muon` does in a step."""
    torch._foreach_lerp_(means, gradients, 1 - momentum)
    updates = orthogonalise_all(torch._foreach_lerp(gradients, means, momentum), dtype)
    scales = [-math.sqrt(max(1, matrix.shape[-2] / matrix.shape[-1])) for matrix in matrices]
    torch._foreach_mul_(matrices, 1 - lr * weight_decay)
    torch._foreach_add_(matrices, torch._foreach_mul(torch._foreach_mul(updates, scales), lr))
