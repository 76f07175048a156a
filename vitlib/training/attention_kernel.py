"""Attention as one Triton kernel forward and one backward, for sequences short enough for the registers.

A program computes one head of one image. Its scores stay in registers: neither they nor their softmax are written to
memory, and the backward pass computes them again (FlashAttention, Dao et al., 2022, with a single tile).
Axes: B images, H heads, N tokens, K width of a head, S seeds; T is N, padded to a power of two.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton import knobs

from vitlib import model

MAX_TOKENS = 64  # T x T scores have to fit into the registers
WIDTHS = (16, 32, 64)  # of a head; a tensor core multiplies at least 16 by 16
TYPES = (torch.float32, torch.bfloat16)
INTERPRETED = knobs.runtime.interpret  # Triton's interpreter runs the kernels on a CPU, for tests


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return what `vitlib.model.attention` returns for the same (B, H, N, K): by one kernel, or by explicit products.

    The kernel takes CUDA tensors, float32 or bfloat16, N up to 64, and K of 16, 32 or 64.
    """
    N, K = q.shape[-2:]
    fits = q.shape == k.shape and N <= MAX_TOKENS and K in WIDTHS and q.dtype in TYPES
    if fits and (q.is_cuda or INTERPRETED):
        return _forward(q, k, v)
    return model.attention(q, k, v)


# ---- the kernels ---------------------------------------------------------------------------------------------------


@triton.jit
def _offsets(image_stride, head_stride, token_stride, H: tl.constexpr, T: tl.constexpr, K: tl.constexpr):
    """Return where the program's head lies in a tensor (B, H, N, K): (T, K)."""
    image, head = (tl.program_id(0) // H).to(tl.int64), tl.program_id(0) % H
    tokens, columns = tl.arange(0, T)[:, None], tl.arange(0, K)[None, :]
    return image * image_stride + head * head_stride + tokens * token_stride + columns


@triton.jit
def _load(
    Q, K_, V, image, head, token, H: tl.constexpr, N: tl.constexpr, T: tl.constexpr, K: tl.constexpr
):  # fmt: skip
    """Return the program's queries, keys and values, each (T, K), and which rows are no padding, (T, 1)."""
    real = tl.arange(0, T)[:, None] < N
    at = _offsets(image, head, token, H, T, K)
    q = tl.load(Q + at, mask=real, other=0.0)
    k = tl.load(K_ + at, mask=real, other=0.0)
    v = tl.load(V + at, mask=real, other=0.0)
    return q, k, v, real


@triton.jit
def _weights(q, k, N: tl.constexpr, T: tl.constexpr, K: tl.constexpr):
    """Return softmax(Q Kᵀ / √K), float32 (T, T): a row per query, and zero in the columns of padding."""
    scores = tl.dot(q, tl.trans(k), input_precision="ieee") * (K**-0.5)
    scores = tl.where(tl.arange(0, T)[None, :] < N, scores, float("-inf"))
    weights = tl.exp(scores - tl.max(scores, axis=1)[:, None])
    return weights / tl.sum(weights, axis=1)[:, None]


@triton.jit
def attention_forward_kernel(
    Q, K_, V, OUT, image, head, token, out_image, out_head, out_token,
    H: tl.constexpr, N: tl.constexpr, T: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    """Write softmax(Q Kᵀ / √K) V of one head to OUT; image, head and token are strides."""
    q, k, v, real = _load(Q, K_, V, image, head, token, H, N, T, K)
    out = tl.dot(_weights(q, k, N, T, K).to(v.dtype), v, input_precision="ieee")
    tl.store(OUT + _offsets(out_image, out_head, out_token, H, T, K), out.to(v.dtype), mask=real)


@triton.jit
def attention_backward_kernel(
    G, Q, K_, V, DQ, DK, DV, image, head, token, g_image, g_head, g_token, d_image, d_head, d_token,
    H: tl.constexpr, N: tl.constexpr, T: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    """Write one head's gradients to DQ, DK and DV, from G, that of its output; image, head and token are strides."""
    q, k, v, real = _load(Q, K_, V, image, head, token, H, N, T, K)
    g = tl.load(G + _offsets(g_image, g_head, g_token, H, T, K), mask=real, other=0.0)
    weights = _weights(q, k, N, T, K)
    d_weights = tl.dot(g, tl.trans(v), input_precision="ieee")
    d_scores = weights * (d_weights - tl.sum(weights * d_weights, axis=1)[:, None]) * (K**-0.5)
    d_scores = d_scores.to(q.dtype)
    to = _offsets(d_image, d_head, d_token, H, T, K)
    dv = tl.dot(tl.trans(weights.to(g.dtype)), g, input_precision="ieee")
    tl.store(DV + to, dv.to(v.dtype), mask=real)
    dq = tl.dot(d_scores, k, input_precision="ieee")
    tl.store(DQ + to, dq.to(q.dtype), mask=real)
    dk = tl.dot(tl.trans(d_scores), q, input_precision="ieee")
    tl.store(DK + to, dk.to(k.dtype), mask=real)


# ---- the operators: for autograd, torch.compile and torch.vmap -----------------------------------------------------


@torch.library.custom_op("vitlib::attention", mutates_args=())
def _forward(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q, k, v = _alike(q, k, v)
    heads = _like_tokens(q)
    _launch(attention_forward_kernel, q, [q, k, v, heads], [q, heads])
    return heads


@torch.library.custom_op("vitlib::attention_backward", mutates_args=())
def _backward(g: Tensor, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = _alike(q, k, v)
    g = g if g.stride(-1) == 1 else g.contiguous()
    gradients = _like_tokens(q), _like_tokens(q), _like_tokens(q)
    _launch(attention_backward_kernel, q, [g, q, k, v, *gradients], [q, g, gradients[0]])
    return gradients


def _launch(kernel: triton.JITFunction, q: Tensor, tensors: list[Tensor], layouts: list[Tensor]) -> None:
    """Run a program for each head of each image; `layouts` are the tensors whose strides the kernel needs."""
    B, H, N, K = q.shape
    T = max(16, triton.next_power_of_2(N))
    strides = [stride for layout in layouts for stride in layout.stride()[:3]]
    kernel[(B * H,)](*tensors, *strides, H=H, N=N, T=T, K=K, num_warps=max(1, T // 16))


def _alike(*tensors: Tensor) -> list[Tensor]:
    """Return tensors that all have the strides of the first, with the columns of a token side by side."""
    strides = tensors[0].stride()
    if strides[-1] == 1 and all(tensor.stride() == strides for tensor in tensors):
        return list(tensors)
    return [tensor.contiguous() for tensor in tensors]


def _like_tokens(q: Tensor) -> Tensor:
    """Return an empty tensor (B, H, N, K) that lies in memory as (B, N, H, K), so that joining the heads is free."""
    B, H, N, K = q.shape
    return q.new_empty(B, N, H, K).transpose(1, 2)


@_forward.register_fake
def _(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return _like_tokens(q)


@_backward.register_fake
def _(g: Tensor, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return _like_tokens(q), _like_tokens(q), _like_tokens(q)


def _keep(ctx, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


_forward.register_autograd(lambda ctx, g: _backward(g, *ctx.saved_tensors), setup_context=_keep)


def _fold(S: int, in_dims: tuple[int | None, ...], tensors: tuple[Tensor, ...]) -> list[Tensor]:
    """Fold the seeds into the batch: (S, B, H, N, K) -> (S B, H, N, K)."""
    seeds = zip(in_dims, tensors, strict=True)
    moved = [tensor.expand(S, *tensor.shape) if d is None else tensor.movedim(d, 0) for d, tensor in seeds]
    return [tensor.flatten(0, 1) for tensor in moved]


@_forward.register_vmap
def _(info, in_dims: tuple[int | None, ...], *tensors: Tensor) -> tuple[Tensor, int]:
    return _forward(*_fold(info.batch_size, in_dims, tensors)).unflatten(0, (info.batch_size, -1)), 0


@_backward.register_vmap
def _(info, in_dims: tuple[int | None, ...], *tensors: Tensor):
    gradients = _backward(*_fold(info.batch_size, in_dims, tensors))
    return tuple(gradient.unflatten(0, (info.batch_size, -1)) for gradient in gradients), (0, 0, 0)
