"""The steps of training: one code for CPU and GPU, for one seed and for many at once.

The images stay in memory as bytes; each epoch draws its order and its augmentation from the run's seed and the
epoch's number alone, so that a run continued after a kill equals one that was never interrupted, and a seed trained
beside others equals that seed alone. Axes: S seeds, B batch.
"""

import copy
import ctypes
import hashlib
import platform
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from vitlib import data
from vitlib.config import TrainConfig
from vitlib.training.augmentation import change, draw, mix
from vitlib.training.initialisation import build
from vitlib.training.optimizers import Muon

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
WARM = 3  # steps in which an engine compiles and allocates, before its speed counts or a graph records it
COMPILED_KINDS = 256  # configurations that one process compiles; beyond PyTorch's own limit of 8 it would run eagerly


class Engine:
    """Seeds of one configuration in training, epoch by epoch: what `train` runs and what benchmarks measure.

    With several seeds every parameter has a leading axis of seeds and the step runs under `torch.vmap`; a single seed
    has no such axis. What an epoch's steps need of order, augmentation and learning rates is drawn before them and
    lies on the device, with a counter that a step reads and moves: a step takes nothing from the host and waits for
    nothing. On a GPU it is therefore recorded once as a CUDA graph and replayed.

    Args:
        config: what defines the runs, but for the seeds.
        images: uint8 (N, 28, 28) to train on.
        targets: classes int64 (N,), or shares of the classes float32 (N, Y).
        device: where to train.
        seeds: S, how many at once.
        compiled: compile the forward and backward pass.
        without_compiler: called with the reason where compilation fails.
        network: makes the model from images (B, 1, 28, 28) to logits (B, Y); by default `config`'s own.
    """

    def __init__(
        self,
        config: TrainConfig,
        images: Tensor,
        targets: Tensor,
        device: torch.device,
        seeds: int = 1,
        compiled: bool = True,
        without_compiler: Callable[[str], None] = print,
        network: Callable[[], nn.Module] | None = None,
    ) -> None:
        if device.type == "cpu":
            _keep_freed_memory()
        self.config, self.device, self.stacked = config, device, seeds > 1
        if (config.mixup or config.cutmix) and not targets.is_floating_point():
            targets = F.one_hot(targets, config.model.num_classes).float()
        self.images, self.targets = images.to(device), targets.to(device)
        self.steps = len(images) // config.batch_size
        self.images_an_epoch = self.steps * config.batch_size * seeds
        self._make = network or (lambda: build(config.model, config.initialisation))
        self._alone = self._make().to(device)  # the form of one seed's network
        self.model = copy.deepcopy(self._alone) if self.stacked or config.ema_decay else self._alone
        if self.stacked:
            for p in self.model.parameters():
                p.data = p.data.new_empty(seeds, *p.shape)
        self._parameters = list(self.model.parameters())
        self._averages = [p.detach().clone() for p in self._parameters] if config.ema_decay else []
        self.loss_function = _loss_function(self.model, config, device, compiled, without_compiler, self.stacked)
        self.optimizers = _optimizers(self.model, config, self.stacked)
        shape = (self.steps, seeds, config.batch_size) if self.stacked else (self.steps, config.batch_size)
        self._order = torch.zeros(shape, dtype=torch.int64, device=device)
        form = draw(1, torch.Generator(device), config)
        self._draws = {
            name: one.new_zeros(self.steps, seeds * config.batch_size, one.shape[1]) for name, one in form.items()
        }
        self._rates = torch.zeros(self.steps, device=device)
        self._losses = torch.zeros(seeds, device=device)
        self._at = torch.zeros(1, dtype=torch.int64, device=device)  # the epoch's next step
        self._past = torch.zeros(1, device=device)  # steps of the epochs before
        self._taken = 0
        self._records = device.type == "cuda"
        self._graph: torch.cuda.CUDAGraph | None = None

    def begin(self, seeds: Sequence[int]) -> None:
        """Draw each seed's weights, and forget what the optimizers know."""
        networks = []
        for seed in seeds:
            torch.manual_seed(seed)
            networks.append(self._make())
        self.seeds = list(seeds)
        self._fill([dict(network.named_parameters()) for network in networks])
        for optimizer in self.optimizers:
            for state in optimizer.state.values():
                for tensor in state.values():
                    tensor.zero_()  # in place, where a recorded step finds it

    def rate(self, epoch: int, step: int) -> float:
        """Return the learning rate of a step as a share of its peak."""
        config = self.config
        return _rate(epoch * self.steps + step, config.epochs * self.steps, config.warmup, config.schedule)

    def epoch(self, epoch: int, advance: Callable[[int], None] = lambda _: None) -> tuple[list[float], float]:
        """Train for the epoch with this number, counted from zero.

        Args:
            epoch: which one; it decides order and augmentation.
            advance: called after each step with its number of images.

        Returns:
            Each seed's mean loss, and images per second over all seeds. An engine's first steps compile; the speed is
            that of the others.
        """
        counted, since = self.steps, time.perf_counter()
        self._draw(epoch)
        self.model.train()
        for step in range(self.steps):
            self._take()
            advance(self._order[0].numel())
            if self._taken == WARM:
                self._losses.tolist()  # waits for the device
                if step + 1 < self.steps:
                    counted, since = self.steps - step - 1, time.perf_counter()
        means = [total / self.steps for total in self._losses.tolist()]
        return means, counted * self._order[0].numel() / (time.perf_counter() - since)

    def _draw(self, epoch: int) -> None:
        """Draw what the steps of an epoch need, from each seed and the epoch alone."""
        config, images = self.config, self.steps * self.config.batch_size
        generators = [_generator(seed, epoch, self.device) for seed in self.seeds]
        torch.manual_seed(generators[0].initial_seed())  # dropout draws from the global generator
        for s, generator in enumerate(generators):
            order = torch.randperm(len(self.images), generator=generator, device=self.device)[:images]
            (self._order[:, s] if self.stacked else self._order).copy_(order.view(self.steps, -1))
            of_seed = slice(s * config.batch_size, (s + 1) * config.batch_size)
            for name, drawn in draw(images, generator, config).items():
                self._draws[name][:, of_seed].copy_(drawn.unflatten(0, (self.steps, -1)))
        self._rates.copy_(torch.tensor([self.rate(epoch, step) for step in range(self.steps)]))
        self._losses.zero_()
        self._at.zero_()
        self._past.fill_(epoch * self.steps)

    def _take(self) -> None:
        """Take a step, on a GPU as a replay of the recorded one once everything is compiled and allocated."""
        self._taken += 1
        if self._records and self._graph is None and self._taken > WARM:
            self._record()
        if self._graph is None:
            self._step()
        else:
            self._graph.replay()

    def _record(self) -> None:
        """Record a step, which does not take it."""
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                self._step()
        except RuntimeError as error:  # something in the step waits for the device or allocates outside of the graph
            self._records = False
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            warnings.warn(f"a step cannot be recorded as a CUDA graph ({reason}): training is slower.", stacklevel=2)
        else:
            self._graph = graph

    def _step(self) -> None:
        """Take the step that the counter points at."""
        config = self.config
        batch = self._order[self._at][0]  # (S, B), or (B,) for a single seed
        draws = {name: drawn[self._at][0] for name, drawn in self._draws.items()}
        seen = change(self.images[batch.flatten()], draws, config).unflatten(0, batch.shape)
        targets = self.targets[batch]
        if "mix" in draws:
            seen, targets = mix(seen, targets, draws["mix"].unflatten(0, batch.shape))
        rate = self._rates[self._at][0]
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                torch.mul(group["peak_lr"], rate, out=group["lr"])
        loss = self._gradients(seen, targets)
        if config.sam_rho:
            with torch.no_grad():
                moves = self._uphill()
                torch._foreach_add_(self._parameters, moves)
            self._gradients(seen, targets)
            with torch.no_grad():
                torch._foreach_sub_(self._parameters, moves)
        for optimizer in self.optimizers:
            optimizer.step()
        if config.ema_decay:
            self._average()
        self._losses += loss.detach()
        self._at += 1

    def _gradients(self, seen: Tensor, targets: Tensor) -> Tensor:
        """Set the gradients and return the loss: (S,), or () for a single seed."""
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss = self.loss_function(seen, targets)
        loss.sum().backward()
        return loss

    def _uphill(self) -> list[Tensor]:
        """Return the way up the loss, `sam` long over all weights of a seed (Foret et al., 2021, equation 2)."""
        gradients = [p.grad for p in self._parameters]
        seeds = 1 if self.stacked else 0
        length = sum(g.square().flatten(seeds).sum(-1) for g in gradients).sqrt()  # (S,), or ()
        scale = self.config.sam_rho / (length + 1e-12)
        return [g * scale.view(*scale.shape, *[1] * (g.ndim - seeds)) for g in gradients]

    @torch.no_grad()
    def _average(self) -> None:
        """Move the running averages towards the weights, faster in the first steps, which hold what was drawn."""
        steps = self._past + self._at
        weight = 1 - torch.minimum((1 + steps) / (10 + steps), torch.full_like(steps, self.config.ema_decay))
        change = torch._foreach_sub(self._parameters, self._averages)
        torch._foreach_mul_(change, weight[0])
        torch._foreach_add_(self._averages, change)

    def network(self, s: int) -> nn.Module:
        """Return the network of the seed at position `s`, with averaged weights where `ema` asks for them.

        Valid until the next call.
        """
        if self._alone is not self.model:
            weights = self._averages or self._parameters
            with torch.no_grad():
                for alone, p in zip(self._alone.parameters(), weights, strict=True):
                    alone.copy_(p[s] if self.stacked else p)
        return self._alone

    def to(self, device: torch.device) -> None:
        """Move the networks to another device."""
        self.model.to(device)
        self._alone.to(device)
        self._averages = [average.to(device) for average in self._averages]

    def states(self) -> list[dict[str, Tensor]]:
        """Return what the checkpoint of each seed holds: its weights and its optimizers' tensors, on the CPU."""
        tensors = {f"model.{name}": p.detach().cpu() for name, p in self.model.named_parameters()}
        tensors |= {f"average.{i}": average.cpu() for i, average in enumerate(self._averages)}
        for i, optimizer in enumerate(self.optimizers):
            for index, state in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer{i}.{index}.{key}": value.cpu() for key, value in state.items()}
        if not self.stacked:
            return [tensors]
        # AdamW counts its steps once for all seeds
        return [{name: t[s].clone() if t.ndim else t for name, t in tensors.items()} for s in range(len(self.seeds))]

    def restore(self, states: Sequence[dict[str, Tensor]]) -> None:
        """Continue where the checkpoints of all seeds left off."""
        self._fill([{name.removeprefix("model."): value for name, value in state.items()} for state in states])
        for i, average in enumerate(self._averages):
            kept = [state[f"average.{i}"] for state in states]
            average.copy_(torch.stack(kept) if self.stacked else kept[0])
        for i, optimizer in enumerate(self.optimizers):
            restored: dict[int, dict[str, Tensor]] = {}
            for name, first in states[0].items():
                owner, _, rest = name.partition(".")
                if owner == f"optimizer{i}":
                    index, key = rest.split(".")
                    stacked = self.stacked and first.ndim > 0
                    value = torch.stack([state[name] for state in states]) if stacked else first
                    restored.setdefault(int(index), {})[key] = value
            optimizer.load_state_dict({"state": restored, "param_groups": optimizer.state_dict()["param_groups"]})

    @torch.no_grad()
    def _fill(self, weights: Sequence[dict[str, Tensor]]) -> None:
        """Copy each seed's weights into the model."""
        for name, p in self.model.named_parameters():
            p.copy_(torch.stack([each[name] for each in weights]) if self.stacked else weights[0][name])
        for average, p in zip(self._averages, self._parameters if self._averages else [], strict=True):
            average.copy_(p)


def _keep_freed_memory() -> None:
    """Have glibc keep the memory that a step frees for the next one, for the rest of the process.

    By default it hands every activation back to the system, which clears the pages anew at each step: a fifth to a
    third of a step's time on two cores.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL("libc.so.6")
        for parameter, value in ((M_MMAP_THRESHOLD, 2**30), (M_TRIM_THRESHOLD, 2**31 - 1)):
            libc.mallopt(parameter, value)


def _generator(seed: int, epoch: int, device: torch.device) -> torch.Generator:
    """Return a generator whose stream belongs to this seed and epoch alone."""
    digest = hashlib.sha256(f"seed {seed}, epoch {epoch}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:6], "big"))


def _rate(step: int, steps: int, warmup: float, schedule: str = "linear") -> float:
    """Return the learning rate as a share of its peak: rising linearly, then falling towards zero, or staying."""
    rising = warmup * steps
    falling = (steps - step) / (steps - rising) if schedule == "linear" else 1.0
    return min((step + 1) / rising if rising >= 1 else 1.0, falling)


def _optimizers(model: nn.Module, config: TrainConfig, stacked: bool = False) -> list[torch.optim.Optimizer]:
    """Return AdamW for all parameters, or Muon for the encoder's matrices and AdamW for the rest.

    `stacked` says that every parameter has a leading axis of seeds. Learning rates are tensors on the device.
    """
    named = list(model.named_parameters())
    matrix = 3 if stacked else 2  # axes of a matrix
    hidden = [p for name, p in named if p.ndim == matrix and name.startswith("encoder.")]
    muon = hidden if config.optimizer == "muon" else []
    rest = [p for _, p in named if not any(p is h for h in muon)]
    decayed = [p for p in rest if p.ndim == matrix]
    plain = [p for p in rest if p.ndim != matrix]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    device = next(model.parameters()).device
    lr, muon_lr = (torch.tensor(rate, device=device) for rate in (config.lr, config.muon_lr))
    capturable = device.type == "cuda"  # by a CUDA graph
    optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, lr=lr, fused=True, capturable=capturable)]
    if muon:
        optimizers.append(Muon(muon, lr=muon_lr, weight_decay=config.weight_decay))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak_lr"], group["lr"] = group["lr"].clone(), group["lr"].clone()
    return optimizers


def _loss_function(
    model: nn.Module,
    config: TrainConfig,
    device: torch.device,
    compiled: bool,
    without_compiler: Callable[[str], None],
    stacked: bool = False,
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the function from images (B, 28, 28) of 0 to 255 and targets (B,) or (B, Y) to the mean loss.

    With `stacked`, parameters, images, targets and losses have a leading axis of seeds. Where compilation fails it runs
    eagerly and calls `without_compiler` with the reason.
    """

    def one(network: Callable[[Tensor], Tensor], images: Tensor, targets: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            logits = network(data.normalise(images).unsqueeze(1))
        return F.cross_entropy(logits.float(), targets, label_smoothing=config.label_smoothing)

    def seed(parameters: dict[str, Tensor], images: Tensor, targets: Tensor) -> Tensor:
        # a block's norm is one module under two names: tying its weights would put them back in the wrong order
        return one(lambda x: functional_call(model, parameters, x, tie_weights=False), images, targets)

    def eager(images: Tensor, targets: Tensor) -> Tensor:
        if stacked:
            return torch.vmap(seed)(dict(model.named_parameters()), images, targets)
        return one(model, images, targets)

    if not compiled:
        return eager
    options: dict[str, Any] = {}
    if device.type == "cpu":
        # There the compiler would replace the two products of attention() by its fused kernel, whose backward pass is
        # several times slower; without its pattern matcher it keeps them.
        options["pattern_matcher"] = False
    torch._dynamo.config.recompile_limit = COMPILED_KINDS
    function = torch.compile(eager, dynamic=False, options=options)
    working = False

    def careful(images: Tensor, targets: Tensor) -> Tensor:
        nonlocal function, working
        if working:
            return function(images, targets)
        try:
            loss = function(images, targets)
        except RuntimeError as error:  # what torch.compile raises without a working C++ compiler
            loss = eager(images, targets)  # another fault, such as too little memory, shows here again
            without_compiler((str(error).strip().splitlines() or [type(error).__name__])[0][:120])
            function = eager
        working = True
        return loss

    return careful
