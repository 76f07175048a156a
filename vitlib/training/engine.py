"""The steps of training: the same code for CPU and GPU, for one seed and for many at once.

The images stay on the device as bytes. Each epoch samples its order and augmentations from the run's seed and the
epoch's number alone, so a run that continues after a kill equals one that was never interrupted, and a seed trained
beside others equals that seed alone. Axes: S seeds, B batch, N images, Y classes.
"""

import copy
import ctypes
import platform
import time
import warnings
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from vitlib.config import TrainConfig
from vitlib.evaluate import BATCH, Evaluation, classify
from vitlib.model import Attention, MultiHeadAttention, ViT, attention
from vitlib.training.augmentation import augment, mix, named_generator, sample_augmentations
from vitlib.training.fast_model import make_fast
from vitlib.training.objective import compiled_or_eager, compute_type, make_loss
from vitlib.training.optimizers import learning_rate_fraction, make_optimizers

WARMUP_STEPS = 3  # an engine compiles and allocates in them; then its speed counts, and a CUDA graph records a step
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


class Engine:
    """Trains the seeds of one configuration, epoch by epoch.

    With several seeds every parameter has a leading axis of seeds and the loss runs under `torch.vmap`; a single seed
    has no such axis. Order, augmentations and learning rates of an epoch are sampled before its steps and lie on the
    device, with a counter that each step reads and advances. A step takes nothing from the host and waits for nothing,
    so on a GPU it is recorded once as a CUDA graph and replayed.

    The optimizers update the float32 master weights, `weights`. Forward and backward pass run on `model`: the same
    network, or a bfloat16 copy that is cast from them after each step and whose gradients are cast to float32.

    Args:
        config: what defines the runs, but for the seeds.
        images: uint8 (N, 28, 28) to train on, or with a teacher its views (V, N, 28, 28), which are augmented already.
        targets: classes int64 (N,), or with a teacher probabilities and its logits, (V, N, 2, Y).
        device: where to train.
        seeds: S, how many at once.
        compiled: compile the forward and backward pass; on a GPU also use the kernel of `attention_kernel`.
        on_compile_failure: receives the reason if compilation fails.
        network: makes the model, from images (B, 1, 28, 28) to logits (B, Y); by default `config`'s own, in its
            fast form.
    """

    def __init__(
        self,
        config: TrainConfig,
        images: Tensor,
        targets: Tensor,
        device: torch.device,
        seeds: int = 1,
        compiled: bool = True,
        on_compile_failure: Callable[[str], None] = print,
        network: Callable[[], nn.Module] | None = None,
    ) -> None:
        if device.type == "cpu":
            _keep_freed_memory()
        self.config, self.device, self.batched = config, device, seeds > 1
        if config.teacher:
            self.views, self.number = images.shape[:2]
            images, targets = images.flatten(0, 1), targets.flatten(0, 1)
        else:
            self.views, self.number = 1, len(images)
            if config.mixup:
                targets = F.one_hot(targets, config.model.num_classes).float()
        self.images, self.targets = images.to(device), targets.to(device)
        self.steps = self.number // config.batch_size
        self.images_per_epoch = self.steps * config.batch_size * seeds
        attend = _attention(device) if compiled else attention
        self._make_network = network or (lambda: make_fast(ViT(config.model, attend)))
        self._template = self._make_network().to(device)  # the network of one seed, float32
        self.weights = copy.deepcopy(self._template) if self.batched else self._template
        if self.batched:
            for p in self.weights.parameters():
                p.data = p.data.new_empty(seeds, *p.shape)
        dtype = compute_type(config, device)
        self.model = self.weights if dtype == torch.float32 else copy.deepcopy(self.weights).to(dtype)
        self.parameters: list[Tensor] = list(self.weights.parameters())
        self.loss_function = make_loss(self.model, config, self.batched)
        self._on_compile_failure = on_compile_failure
        self._loss = compiled_or_eager(self._step_loss, device, self._uncompiled) if compiled else self._step_loss
        self.optimizers = make_optimizers(self.weights, config, self.batched, compiled)
        self._allocate(seeds)

    def _allocate(self, seeds: int) -> None:
        """Make the tensors that the steps of an epoch read and write; a recorded step keeps their addresses."""
        config, device = self.config, self.device
        shape = (self.steps, seeds, config.batch_size) if self.batched else (self.steps, config.batch_size)
        self._order = torch.zeros(shape, dtype=torch.int64, device=device)
        one = self._sample_augmentations(1, torch.Generator(device))
        size = seeds * config.batch_size
        self._sampled = {name: values.new_zeros(self.steps, size, values.shape[1]) for name, values in one.items()}
        self._rates = torch.zeros(self.steps, device=device)
        groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]
        self._peaks = torch.stack([group["lr"] for group in groups])
        self._learning_rates = self._peaks.clone()
        for group, rate in zip(groups, self._learning_rates.unbind(), strict=True):
            group["lr"] = rate
        self._losses = torch.zeros(seeds, device=device)
        self._ones = torch.ones(seeds if self.batched else (), device=device)
        self._gradients = []
        if self.model is not self.weights:
            self._gradients = [torch.zeros_like(p) for p in self.parameters]
            for p, gradient in zip(self.parameters, self._gradients, strict=True):
                p.grad = gradient
        self._step_of_epoch = torch.zeros(1, dtype=torch.int64, device=device)
        self._steps_taken = 0
        self.record_steps = device.type == "cuda"
        self._graph: torch.cuda.CUDAGraph | None = None

    @torch.no_grad()
    def begin(self, seeds: Sequence[int]) -> None:
        """Draw each seed's initial weights, and reset the optimizers."""
        networks = []
        for seed in seeds:
            torch.manual_seed(seed)
            networks.append(self._make_network())
        self.seeds = list(seeds)
        for p, *initial in zip(self.parameters, *(network.parameters() for network in networks), strict=True):
            p.copy_(torch.stack(initial) if self.batched else initial[0])
        self._round_weights()
        for optimizer in self.optimizers:
            for state in optimizer.state.values():
                for tensor in state.values():
                    tensor.zero_()  # in place: a recorded step reads this tensor

    def rate(self, epoch: int, step: int) -> float:
        """Return the learning rate of a step as a fraction of its peak."""
        config = self.config
        total = config.epochs * self.steps
        return learning_rate_fraction(epoch * self.steps + step, total, config.warmup, config.schedule)

    def epoch(self, epoch: int, advance: Callable[[int], None] = lambda _: None) -> tuple[list[float], float]:
        """Train for one epoch.

        Args:
            epoch: its number, from zero; it decides order and augmentations.
            advance: called after each step with its number of images.

        Returns:
            Each seed's mean loss, and images per second over all seeds. The speed leaves out an engine's first steps,
            which compile.
        """
        counted, since = self.steps, time.perf_counter()
        self._sample(epoch)
        self.model.train()
        images = self._order[0].numel()
        for step in range(self.steps):
            self._take_step()
            advance(images)
            if self._steps_taken == WARMUP_STEPS:
                self._losses.tolist()  # waits for the device
                if step + 1 < self.steps:
                    counted, since = self.steps - step - 1, time.perf_counter()
        means = [total / self.steps for total in self._losses.tolist()]
        return means, counted * images / (time.perf_counter() - since)

    def _sample(self, epoch: int) -> None:
        """Sample what the steps of an epoch need, from each seed and the epoch alone."""
        config, images = self.config, self.steps * self.config.batch_size
        generators = [_generator(seed, epoch, self.device) for seed in self.seeds]
        torch.manual_seed(generators[0].initial_seed())  # dropout draws from the global generator
        for s, generator in enumerate(generators):
            order = torch.randperm(self.number, generator=generator, device=self.device)[:images]
            if config.teacher:
                order += self.number * self._sample_views(self.seeds[s], epoch)[order]
            (self._order[:, s] if self.batched else self._order).copy_(order.view(self.steps, -1))
            of_seed = slice(s * config.batch_size, (s + 1) * config.batch_size)
            for name, sampled in self._sample_augmentations(images, generator).items():
                self._sampled[name][:, of_seed].copy_(sampled.unflatten(0, (self.steps, -1)))
        self._rates.copy_(torch.tensor([self.rate(epoch, step) for step in range(self.steps)]))
        self._losses.zero_()
        self._step_of_epoch.zero_()

    def _sample_augmentations(self, number: int, generator: torch.Generator) -> dict[str, Tensor]:
        return {} if self.config.teacher else sample_augmentations(number, generator, self.config)

    def _sample_views(self, seed: int, epoch: int) -> Tensor:
        """Return the view of each image in an epoch, int64 (N,): in V epochs a seed sees every view once."""
        generator = _generator(seed, -1 - epoch // self.views, self.device)
        first = torch.randint(self.views, (self.number,), generator=generator, device=self.device)
        return (first + epoch) % self.views

    # ---- one step: batch, gradients, optimizers --------------------------------------------------------------------

    def training_step(self) -> None:
        """Take the step that the counter points at: augmented batch, loss, gradients, optimizers."""
        torch.mul(self._peaks, self._rates[self._step_of_epoch], out=self._learning_rates)
        loss = self.backward()
        for optimizer in self.optimizers:
            optimizer.step()
        self._round_weights()
        self._losses += loss.detach()
        self._step_of_epoch += 1

    def backward(self) -> Tensor:
        """Compute the step's gradients and return its loss: (S,), or () for a single seed."""
        self.model.zero_grad(set_to_none=True)
        loss = self._loss()
        loss.backward(self._ones)  # of the sum over the seeds
        self._widen_gradients()
        return loss

    def _step_loss(self) -> Tensor:
        """Return the loss of the step that the counter points at. This, with its backward pass, is compiled."""
        return self.loss_function(*self._batch())

    def _batch(self) -> tuple[Tensor, Tensor]:
        """Return the step's augmented images ([S,] B, 28, 28) and its targets ([S,] B) or ([S,] B, Y)."""
        index = self._order[self._step_of_epoch][0]  # (S, B), or (B,) for a single seed
        sampled = {name: values[self._step_of_epoch][0] for name, values in self._sampled.items()}
        images = augment(self.images[index.flatten()], sampled, self.config).unflatten(0, index.shape)
        targets = self.targets[index]
        if "mix" in sampled:
            images, targets = mix(images, targets, sampled["mix"].unflatten(0, index.shape))
        return images, targets

    @torch.no_grad()
    def _round_weights(self) -> None:
        """Round the float32 weights to the type that the network computes in."""
        if self.model is not self.weights:
            torch._foreach_copy_(list(self.model.parameters()), self.parameters)

    def _widen_gradients(self) -> None:
        """Give the float32 weights the gradients of the network that was computed."""
        if self.model is self.weights:
            return
        both = zip(self._gradients, self.model.parameters(), strict=True)
        pairs = [(wide, p.grad) for wide, p in both if p.grad is not None]
        torch._foreach_copy_([wide for wide, _ in pairs], [gradient for _, gradient in pairs])

    def _take_step(self) -> None:
        """Take a step; on a GPU replay the recorded one once everything is compiled and allocated."""
        self._steps_taken += 1
        if self.record_steps and self._graph is None and self._steps_taken > WARMUP_STEPS:
            self._record_step()
        if self._graph is None:
            self.training_step()
        else:
            self._graph.replay()

    def _record_step(self) -> None:
        """Record a step as a CUDA graph, without taking it."""
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                self.training_step()
        except RuntimeError as error:  # something in the step waits for the device or allocates outside of the graph
            self.record_steps = False
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            warnings.warn(f"a step cannot be recorded as a CUDA graph ({reason}): training is slower.", stacklevel=2)
        else:
            self._graph = graph

    def _uncompiled(self, reason: str) -> None:
        """Do without a compiler, which the attention kernel needs as well."""
        for module in self.model.modules():
            if isinstance(module, MultiHeadAttention):
                module.attend = attention
        self._on_compile_failure(reason)

    # ---- weights and checkpoints -----------------------------------------------------------------------------------

    def evaluate(self, images: Tensor, labels: Tensor) -> list[Evaluation]:
        """Classify images without dropout as each seed's network does now, all seeds at once.

        The arithmetic has the type that training computes in.

        Args:
            images: uint8 (N, 28, 28).
            labels: int64 (N,).

        Returns:
            The answers of each seed.
        """
        dtype = next(self.model.parameters()).dtype
        names = [name for name, _ in self.model.named_parameters()]
        tensors = [w.detach().to(dtype) for w in self.parameters]
        self.model.eval()

        def network(weights: list[Tensor], x: Tensor) -> Tensor:
            return functional_call(self.model, dict(zip(names, weights, strict=True)), x.to(dtype), tie_weights=False)

        forward = torch.vmap(network, in_dims=(0, None)) if self.batched else network
        at_once = len(images) if self.device.type == "cuda" else max(1, BATCH["cpu"] // len(self.seeds))
        logits = classify(lambda x: forward(tensors, x), images.to(self.device), at_once)
        return [Evaluation(of_seed, labels) for of_seed in (logits if self.batched else logits[None])]

    def network(self, s: int) -> nn.Module:
        """Return the network of the seed at position `s`; it is valid until the next call."""
        if self.batched:
            with torch.no_grad():
                for p, trained in zip(self._template.parameters(), self.parameters, strict=True):
                    p.copy_(trained[s])
        return self._template

    def states(self) -> list[dict[str, Tensor]]:
        """Return what the checkpoint of each seed holds, on the CPU: weights and optimizer states."""
        tensors = {name: tensor.detach().cpu() for name, tensor in self._named_tensors().items()}
        if not self.batched:
            return [tensors]
        # AdamW counts its steps once for all seeds
        return [{name: t[s].clone() if t.ndim else t for name, t in tensors.items()} for s in range(len(self.seeds))]

    @torch.no_grad()
    def restore(self, states: Sequence[dict[str, Tensor]]) -> None:
        """Continue from the checkpoints of all seeds. Tensors are written in place: a recorded step reads them."""
        kept = {
            name: torch.stack([state[name] for state in states]) if self.batched and first.ndim else first
            for name, first in states[0].items()
        }
        for name, tensor in self._named_tensors(like=kept).items():
            tensor.copy_(kept[name])
        self._round_weights()

    def _named_tensors(self, like: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Return all tensors that training changes, by name.

        An optimizer makes its state in its first step; before that, `like` says which tensors to make.
        """
        tensors: dict[str, Tensor] = {f"model.{name}": p for name, p in self.weights.named_parameters()}
        for i, optimizer in enumerate(self.optimizers):
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            for index, p in enumerate(parameters):
                prefix = f"optimizer{i}.{index}."
                for name, tensor in (like or {}).items():
                    if name.startswith(prefix):
                        empty = torch.empty_like(tensor, device=self.device)
                        optimizer.state[p].setdefault(name.removeprefix(prefix), empty)
                tensors |= {f"{prefix}{key}": value for key, value in optimizer.state[p].items()}
        return tensors


def _attention(device: torch.device) -> Attention:
    """Return how attention is computed on a device: on a GPU by our own kernel, if Triton is installed."""
    if device.type != "cuda":
        return attention
    try:
        from vitlib.training import attention_kernel
    except ImportError:
        return attention
    return attention_kernel.attention


def _keep_freed_memory() -> None:
    """Make glibc keep the memory that a step frees for the next one, for the rest of the process.

    By default it returns every activation to the system, which clears the pages again in each step: a fifth to a third
    of a step's time on two cores.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL("libc.so.6")
        for parameter, value in ((M_MMAP_THRESHOLD, 2**30), (M_TRIM_THRESHOLD, 2**31 - 1)):
            libc.mallopt(parameter, value)


def _generator(seed: int, epoch: int, device: torch.device) -> torch.Generator:
    return named_generator(f"seed {seed}, epoch {epoch}", device)
