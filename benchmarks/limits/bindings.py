"""The limits as functions of tensors. Each prepares its buffers and returns what is timed."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from . import address, library, rows_per_tile

Run = Callable[[], Any]


def ista(A: Tensor, y: Tensor, truth: Tensor, step: Tensor, lam: Tensor, threads: int, gradient: bool) -> Run:
    """``y`` is [B, m], B 1 or a multiple of 16. The gradient (of mean squares) is that of ``step`` and ``lam``, the
    threshold being their product."""
    (m, n), batch, count = A.shape, y.shape[0], len(step)
    code = library("ista", M=m, N=n, RT=rows_per_tile(m, n))
    code.ista_grad.restype = code.ista_grad1.restype = ctypes.c_float
    code.ista_setup(address(A))
    threshold = step * lam
    x, g_step, g_threshold = torch.empty(batch, n), torch.empty(count), torch.empty(count)
    operands = [address(v) for v in (y, x, step, threshold)]
    both = [address(v) for v in (y, truth, step, threshold, g_step, g_threshold)]
    sizes = [*([] if batch == 1 else [batch]), count, threads]

    def forward() -> Tensor:
        (code.ista_fwd1 if batch == 1 else code.ista_fwd)(*operands, *sizes)
        return x

    def backward() -> tuple[Tensor, Tensor]:
        (code.ista_grad1 if batch == 1 else code.ista_grad)(*both, *sizes)
        return g_step + lam * g_threshold, step * g_threshold

    return backward if gradient else forward


def admm(Q: Tensor, c: Tensor, relax: Tensor, lam: Tensor, threads: int) -> Run:
    """``c`` is [B, n], B 1 or a multiple of 16; n a multiple of 4."""
    n, batch = Q.shape[0], c.shape[0]
    code = library("admm", N=n, RT=rows_per_tile(n))
    code.admm_setup(address(Q))
    z = torch.empty(batch, n)
    operands = [*(address(v) for v in (c, z, relax, lam)), ctypes.c_float(1)]

    def forward() -> Tensor:
        if batch == 1:
            code.admm1(*operands, len(relax), threads)
        else:
            code.admm(*operands, batch, len(relax), threads)
        return z

    return forward


def em(
    support: Tensor, labels: Tensor, query: Tensor, truth: Tensor, temperature: Tensor, balance: Tensor, threads: int, kind: str
) -> Run:
    """``kind`` is direct (means as written), gram, or gradient (gram; mean negative log likelihood of ``truth``, one-hot)."""
    batch, s, d = support.shape
    q, classes = query.shape[1], labels.shape[-1]
    code = library("em", NQ=q, NS=s, D=d, C=classes)
    code.em_grad.restype = ctypes.c_float
    z = torch.cat([query, support], 1).contiguous()
    known, wanted = labels.argmax(-1).int().contiguous(), truth.argmax(-1).int().contiguous()
    u, g_temperature, g_balance = torch.empty(batch, q, classes), torch.empty_like(temperature), torch.empty_like(balance)
    sizes = [batch, len(temperature), threads]

    def forward() -> Tensor:
        run = code.em_direct if kind == "direct" else code.em_gram
        run(*(address(v) for v in (z, known, temperature, balance, u)), *sizes)
        return u

    def backward() -> tuple[Tensor, Tensor]:
        code.em_grad(*(address(v) for v in (z, known, wanted, temperature, balance, g_temperature, g_balance)), *sizes)
        return g_temperature, g_balance

    return backward if kind == "gradient" else forward


def moe(scores: Tensor, top: int, step: Tensor, threads: int) -> Run:
    """``scores`` is [tokens, experts], tokens a multiple of 16."""
    tokens, experts = scores.shape
    code = library("balance", E=experts, TOP=top)
    bias, load = torch.empty(experts), torch.empty(experts, dtype=torch.int32)
    operands = [address(v) for v in (scores, bias, load, step)]

    def forward() -> Tensor:
        code.moe(*operands, tokens, len(step), threads)
        return bias

    return forward


def scaling(M: Tensor, iterations: int, threads: int) -> Run:
    """``M`` is [B, n, n], n a multiple of 32."""
    batch, n, _ = M.shape
    code = library("balance", E=64, TOP=6)
    r, c = torch.empty(batch, n), torch.empty(batch, n)
    operands = [address(v) for v in (M, r, c)]

    def forward() -> tuple[Tensor, Tensor]:
        code.sinkhorn(*operands, batch, n, iterations, threads)
        return r, c

    return forward


def tv(image: Tensor, clean: Tensor, strength: float, tau: Tensor, sigma: Tensor, threads: int, tile: int, gradient: bool) -> Run:
    """``tile`` iterations go over the image together, as a wavefront of rows. The gradient is that of ``tau`` and ``sigma``."""
    (h, w), count = image.shape, len(tau)
    code = library("tv")
    state = [torch.empty(h, w) for _ in range(4)]
    weight = ctypes.c_float(1 / strength)
    g_tau, g_sigma = torch.empty(count), torch.empty(count)
    history = torch.empty(4 * count * h * w + 16 if gradient else 0)
    work = torch.empty(4 * h * w if gradient else 0)
    aligned = address(
        history[-history.data_ptr() // 4 % 16 :]
    )  # rows of the history are stored past the caches, 64 bytes at once

    def forward() -> Tensor:
        operands = [address(v) for v in (image, *state, tau, sigma)]
        code.tv_fwd(*operands, weight, h, w, count, tile, threads)
        return state[0]

    def backward() -> tuple[Tensor, Tensor]:
        operands = [address(v) for v in (image, clean, *state, tau, sigma)]
        results = [address(g_tau), address(g_sigma), aligned, address(work)]
        code.tv_grad(*operands, weight, *results, h, w, count, tile, threads)
        return g_tau, g_sigma

    return backward if gradient else forward


def es(X: Tensor, target: Tensor, W1: Tensor, W2: Tensor, noise: Tensor, lr: Tensor, sigma: Tensor, threads: int) -> Run:
    """``noise`` is [K, 4, pairs, rank, 256]; 16 rows of inputs, all widths 256."""
    count, _, pairs, rank, _ = noise.shape
    code = library("es", PAIRS=pairs, RK=rank)

    def forward() -> list[Tensor]:
        weights = [W1.clone(), W2.clone()]
        code.es(*(address(v) for v in (X, target, *weights, noise, lr, sigma)), count, threads)
        return weights

    return forward


def bilevel(X: Tensor, t: Tensor, weight: Tensor, Xv: Tensor, tv: Tensor, step: Tensor, threads: int, gradient: bool) -> Run:
    """``tv`` are labels of the validation samples ``Xv``. The gradient is that of ``step`` and ``weight``."""
    (n, d), count = X.shape, len(step)
    code = library("bilevel", N=n, D=d)
    code.bl_setup(address(X))
    padded = (d + 15) // 16 * 16
    w, g_weight, g_step = torch.empty(d), torch.empty(n), torch.empty(count)
    history = [torch.empty(count * n), torch.empty((count + 1) * padded)]
    head = [address(v) for v in (t, weight, step)]
    tail = [address(v) for v in (w, Xv, tv)]
    results = [address(v) for v in (g_weight, g_step, *history)]

    def run() -> Any:
        code.bl_run(*head, ctypes.c_float(0.001), count, *tail, len(Xv), *results, int(gradient), threads)
        return (g_step, g_weight) if gradient else w

    return run
