"""Muon (Jordan et al., 2024): momentum whose update, a matrix, is made orthogonal before it is applied.

`torch.optim.Muon` does the same one matrix at a time. Here matrices of one shape are stacked and orthogonalised
together, which for this network's 24 small matrices leaves three batched products where there were 24; a leading axis
of seeds joins the same products. Axes: M matrices of one shape, S seeds, R rows, C columns.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic in Jordan et al., 2024


def orthogonalise(matrices: Tensor, steps: int = 5) -> Tensor:
    """Move the singular values of each matrix towards one by Newton–Schulz steps.

    Args:
        matrices: (M, R, C), or with further axes before, float.
        steps: applications of the quintic. Five bring singular values of at least a fiftieth of the matrix's
            Frobenius norm to between 0.6 and 1.3; smaller ones grow by a factor of at most 3.5 a step.

    Returns:
        The same shape and type.
    """
    a, b, c = COEFFICIENTS
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = (matrices.mT if tall else matrices).flatten(end_dim=-3)
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)  # a X + (b G + c G²) X
    return (x.mT if tall else x).view(matrices.shape)


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum and decoupled weight decay, batched over matrices of one shape.

    Args:
        params: matrices (R, C), or stacks of them (S, R, C).
        lr: learning rate, a number or a tensor on the parameters' device; a matrix with more rows than columns takes
            √(R / C) times as much.
        momentum: share of the running mean of gradients that stays at each step.
        weight_decay: share of the weights, times `lr`, taken away at each step.

    Raises:
        ValueError: a parameter is no matrix.
    """

    def __init__(
        self, params: Iterable[Tensor], lr: float | Tensor = 0.02, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        for group in self.param_groups:
            for p in group["params"]:
                if p.ndim < 2:
                    raise ValueError(f"a parameter has shape {tuple(p.shape)}, but Muon takes matrices only.")

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every matrix that has a gradient."""
        if closure is not None:
            raise ValueError("closure is given, but Muon takes none.")
        for group in self.param_groups:
            momentum = group["momentum"]
            by_shape: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for p in group["params"]:
                if p.grad is not None:
                    by_shape[p.shape].append(p)
            for (*_, rows, columns), matrices in by_shape.items():
                gradients = [p.grad for p in matrices]
                for p in matrices:
                    if not self.state[p]:
                        self.state[p]["momentum"] = torch.zeros_like(p)
                means = [self.state[p]["momentum"] for p in matrices]
                torch._foreach_lerp_(means, gradients, 1 - momentum)
                ahead = torch._foreach_lerp(gradients, means, momentum)
                scale = group["lr"] * math.sqrt(max(1, rows / columns))
                updates = orthogonalise(torch.stack(list(ahead))) * -scale
                torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_add_(matrices, list(updates.unbind()))
