"""Reconstruction of magnetic resonance images in torch, as one writes it: a batch comes first, operands are the inputs and then the parameters."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad


def combined(k: Tensor, S: Tensor) -> Tensor:
    """The image of transforms [n, c, h, w]."""
    return (S.conj() * torch.fft.ifft2(k)).sum(1)


def channels(x: Tensor) -> Tensor:
    """A complex image as two channels."""
    return torch.stack([x.real, x.imag], 1)


def convolved(u: Tensor, W: Tensor, dilation: int = 1) -> Tensor:
    """A convolution that repeats the border."""
    return conv2d(pad(u, (dilation * (W.shape[-1] // 2),) * 4, mode="replicate"), W, dilation=dilation)


def by_pixel(u: Tensor, W: Tensor) -> Tensor:
    """A convolution of 1 x 1."""
    return conv2d(u, W[:, :, None, None])


def cirim(
    y: Tensor, mask: Tensor, S: Tensor, C1: Tensor, C2: Tensor, C3: Tensor, W1: Tensor, W2: Tensor, r1: Tensor, r2: Tensor, steps: int
) -> Tensor:
    """Cascades of recurrent inference machines; the gradient goes through all of them."""
    return cirim_explicit(y, mask, S, C1, C2, C3, W1, W2, r1, r2, None, steps)


def cirim_explicit(
    y: Tensor, mask: Tensor, S: Tensor, C1: Tensor, C2: Tensor, C3: Tensor, W1: Tensor, W2: Tensor, r1: Tensor, r2: Tensor,
    dc: Tensor | None, steps: int,
) -> Tensor:  # fmt: skip
    """The same; behind each cascade the samples are mixed in with a weight dc, if it is not None."""
    x = combined(y, S)
    estimates = []
    for k in range(len(C1)):
        a = b = x.real.new_zeros(len(x), C1.shape[1], *x.shape[1:])
        for _ in range(steps):
            g = combined(mask[:, None] * (torch.fft.fft2(S * x[:, None]) - y), S)
            u = torch.cat([channels(x), channels(g)], 1)
            a = (by_pixel(convolved(u, C1[k]).relu(), W1[k]) + r1[k][:, None, None] * a).relu()
            b = (by_pixel(convolved(a, C2[k], 2).relu(), W2[k]) + r2[k][:, None, None] * b).relu()
            v = convolved(b, C3[k])
            x = x + torch.complex(v[:, 0], v[:, 1])
            estimates.append(x)
        if dc is not None:
            z = torch.fft.fft2(S * x[:, None])
            x = combined(z - dc[k] * (mask[:, None] * (z - y)), S)
            estimates[-1] = x
    return torch.stack(estimates, 1).unflatten(1, (len(C1), steps))


def gated(u: Tensor, s: Tensor, W: Tensor, b: Tensor) -> Tensor:
    """A gated recurrent unit."""
    both, bias = torch.cat([u, s], 1), b[..., None, None]
    update, reset = torch.sigmoid(by_pixel(both, W[0]) + bias[0]), torch.sigmoid(by_pixel(both, W[1]) + bias[1])
    proposal = torch.tanh(by_pixel(torch.cat([u, reset * s], 1), W[2]) + bias[2])
    return s * (1 - update) + update * proposal


def recurrent_varnet(
    y: Tensor, mask: Tensor, S: Tensor, alpha: Tensor, C0: Tensor, C: Tensor, last: Tensor, W: Tensor, b: Tensor, iterations: int
) -> Tensor:
    """A recurrent variational network whose states begin at 0."""
    k = y
    states = [y.real.new_zeros(len(y), C0.shape[1], *y.shape[2:]) for _ in range(W.shape[1])]
    for t in range(iterations):
        cell, u = t % len(alpha), channels(combined(k, S))
        for n, s in enumerate(states):
            u = convolved(u, C0[cell] if n == 0 else C[cell, n - 1], 2 if n == 1 else 1).relu()
            states[n] = gated(u, s, W[cell, n], b[cell, n])
            u = states[n].relu()
        v = convolved(u, last[cell])
        k = k - alpha[cell] * (mask[:, None] * (k - y)) + torch.fft.fft2(S * torch.complex(v[:, 0], v[:, 1])[:, None])
    return torch.fft.ifft2(k).abs().square().sum(1).sqrt()
