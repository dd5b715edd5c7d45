"""``stdlib/mri.us``: every network against the same in torch, its gradients, what holds whatever the weights are, and its kernels."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

import unspool as us
from tests.stdlib.harness import built, gradients_agree
from unspool.compiler import options

MRI = us.stdlib.mri
SLOW = pytest.mark.slow
COILS, H, W, F = 2, 4, 5, 3
KEY = us.key(5)
SEEDS = st.integers(0, 10**6)
ZERO, ONE = torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64)
CASCADES = {"K": 2, "T": 2, "f": F, "rng": KEY}
HOWS = [
    pytest.param({"target": "interpreter"}, id="interpreter"),
    pytest.param({"schedule": ""}, marks=SLOW, id="plain"),
    pytest.param({}, marks=SLOW, id="c"),
    pytest.param({"target": "emulated", "schedule": ""}, marks=SLOW, id="emulated"),
]


def problem(seed: int = 0, *lead: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Samples, the mask, sensitivities whose squares add up to 1, and the image."""
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.complex128)

    S, x = normal(COILS, H, W), normal(*lead, H, W)
    S = S / S.abs().square().sum(0).sqrt()
    mask = (torch.rand(W, generator=random) < 0.5).double().expand(H, W).contiguous()
    return mask * torch.fft.fft2(S * x[..., None, :, :]), mask, S, x


class Start(nn.Module):
    """First states from an image, by one convolution."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.layers, self.conv = layers, nn.Conv2d(2, layers * F, 3, padding=1).double()

    def forward(self, u: Tensor) -> Tensor:
        return self.conv(u).tanh().unflatten(1, (self.layers, F))


# -- the same in torch, for one image, with convolutions that torch pads -------------------------------------------------


def combined(k: Tensor, S: Tensor) -> Tensor:
    return torch.einsum("chw,chw->hw", S.conj(), torch.fft.ifft2(k))


def convolved(u: Tensor, weights: Tensor, dilation: int = 1) -> Tensor:
    border = dilation * (weights.shape[-1] // 2)
    return conv2d(pad(u[None], (border,) * 4, mode="replicate"), weights, dilation=dilation)[0]


def one_by_one(u: Tensor, weights: Tensor) -> Tensor:
    return conv2d(u[None], weights[:, :, None, None])[0]


def cirim(y: Tensor, mask: Tensor, S: Tensor, p: dict[str, Tensor], joint: bool) -> Tensor:
    x = combined(y, S)
    cascades = []
    for k in range(CASCADES["K"]):
        x, a, b, estimates = x if joint else x.detach(), x.real.new_zeros(F, H, W), x.real.new_zeros(F, H, W), []
        for _ in range(CASCADES["T"]):
            g = combined(mask * (torch.fft.fft2(S * x) - y), S)
            u = torch.stack([x.real, x.imag, g.real, g.imag])
            a = (one_by_one(convolved(u, p["C1"][k]).relu(), p["W1"][k]) + p["r1"][k][:, None, None] * a).relu()
            b = (one_by_one(convolved(a, p["C2"][k], 2).relu(), p["W2"][k]) + p["r2"][k][:, None, None] * b).relu()
            v = convolved(b, p["C3"][k])
            x = x + torch.complex(v[0], v[1])
            estimates.append(x)
        if "dc" in p:
            z = torch.fft.fft2(S * x)
            x = estimates[-1] = combined(torch.where(mask == 1, z - p["dc"][k] * (z - y), z), S)
        cascades.append(torch.stack(estimates))
    return torch.stack(cascades)


def varnet(y: Tensor, mask: Tensor, S: Tensor, p: dict[str, Tensor], start: nn.Module, K: int) -> Tensor:
    sense = torch.fft.fft2(combined(y, S))
    k, states = y, list(start(torch.stack([sense.real, sense.imag])[None])[0])
    for t in range(K):
        cell = t % len(p["alpha"])
        x = combined(k, S)
        u = torch.stack([x.real, x.imag])
        for n, s in enumerate(states):
            weights = p["C0"][cell] if n == 0 else p["C"][cell, n - 1]
            u = convolved(u, weights, 2 if n == 1 else 1).relu()
            update, reset = (
                (one_by_one(torch.cat([u, s]), p["W"][cell, n, i]) + p["b"][cell, n, i][:, None, None]).sigmoid() for i in (0, 1)
            )
            proposal = (one_by_one(torch.cat([u, reset * s]), p["W"][cell, n, 2]) + p["b"][cell, n, 2][:, None, None]).tanh()
            states[n] = (1 - update) * s + update * proposal
            u = states[n].relu()
        v = convolved(u, p["last"][cell])
        k = k - p["alpha"][cell] * torch.where(mask == 1, k - y, 0) + torch.fft.fft2(S * torch.complex(v[0], v[1]))
    return torch.fft.ifft2(k).abs().square().sum(0).sqrt()


def agree(layer: us.Layer, inputs: list[Tensor], one: Any) -> None:
    """A layer does to a batch what ``one(y, params)`` does to each of its problems, and so do the gradients in everything learned."""
    layer.requires_grad_()
    got = layer(*inputs)
    p = {n: v.clone().requires_grad_() for n, v in layer.values().items()}
    expected = torch.stack([one(y, p) for y in inputs[0]])
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-11)
    weights = torch.randn(got.shape, dtype=got.dtype, generator=torch.Generator().manual_seed(3))
    stored = {n: v for n, v in layer.parameters_by_name().items() if n != "dc"}  # of which another number is stored
    ours = torch.autograd.grad((weights * got).abs().sum(), list(stored.values()))
    theirs = torch.autograd.grad((weights * expected).abs().sum(), [p[n] for n in stored])
    for name, a, b in zip(stored, ours, theirs, strict=True):
        assert b.abs().max() > 1e-6, name
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("joint", [True, False])
def test_cirim(joint: bool, how: dict[str, Any]) -> None:
    y, mask, S, _ = problem(0, 2)
    agree(built(MRI, "cirim", **CASCADES, **how), [y, mask, S, ONE if joint else ZERO], lambda y, p: cirim(y, mask, S, p, joint))


@pytest.mark.parametrize("how", HOWS)
def test_cirim_explicit(how: dict[str, Any]) -> None:
    y, mask, S, _ = problem(0, 2)
    layer = built(MRI, "cirim_explicit", **CASCADES, dc=torch.tensor([0.8, 0.6], dtype=torch.float64), **how)
    agree(layer, [y, mask, S, ONE], lambda y, p: cirim(y, mask, S, p, True))
    none = built(MRI, "cirim_explicit", **CASCADES, dc=0.0, **how)(y, mask, S, ZERO)
    torch.testing.assert_close(none, built(MRI, "cirim", **CASCADES, **how)(y, mask, S, ZERO), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("cells", [3, pytest.param(2, marks=SLOW), 1])
def test_recurrent_varnet(cells: int, how: dict[str, Any]) -> None:
    y, mask, S, _ = problem(1, 2)
    start = Start(3)
    layer = built(MRI, "recurrent_varnet", K=3, cells=cells, deeper=2, f=F, rng=KEY, start=start, **how)
    agree(layer, [y, mask, S], lambda y, p: varnet(y, mask, S, p, start, 3))


@pytest.mark.parametrize("target", ["interpreter", pytest.param("c", marks=SLOW)])
@pytest.mark.parametrize("name", ["cirim", "cirim_explicit", "recurrent_varnet"])
def test_gradients(name: str, target: str) -> None:
    y, mask, S, _ = problem(2)
    if name == "recurrent_varnet":
        gradients_agree(
            built(MRI, name, K=2, cells=2, deeper=1, f=F, rng=KEY, start=Start(2), target=target), [y, mask, S], tolerance=1e-4
        )
    else:
        gradients_agree(built(MRI, name, **CASCADES, target=target), [y, mask, S, ONE], tolerance=1e-4)


def test_between_cascades_the_gradient_is_cut() -> None:
    y, mask, S, _ = problem(3)
    layer = built(MRI, "cirim", **CASCADES, target="interpreter")
    for joint in (ZERO, ONE):
        (slope,) = torch.autograd.grad(layer(y, mask, S, joint)[1].abs().sum(), layer.parameters_by_name()["C1"])
        assert slope[1].any()
        assert bool(slope[0].any()) == bool(joint)


# -- whatever the weights are --------------------------------------------------------------------------------------------


@settings(max_examples=10)
@given(seed=SEEDS)
def test_the_misfit_is_the_gradient_of_the_distance_to_the_samples(seed: int) -> None:
    y, mask, S, x = problem(seed)
    y = y + mask * torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(seed))
    (slope,) = torch.autograd.grad(((mask * torch.fft.fft2(S * x.requires_grad_()) - y).abs() ** 2).sum() / (2 * H * W), x)
    torch.testing.assert_close(MRI.misfit(x.detach(), y, mask, S), slope)


@settings(max_examples=10)
@given(seed=SEEDS)
def test_combining_is_the_adjoint_of_seeing(seed: int) -> None:
    y, _, S, x = problem(seed)
    k = torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close((MRI.seen(x, S).conj() * k).sum(), H * W * (x.conj() * MRI.combine(k, S)).sum())
    torch.testing.assert_close(MRI.combine(MRI.seen(x, S), S), x)


@settings(max_examples=5)
@given(seed=SEEDS)
def test_coils_may_come_in_any_order(seed: int) -> None:
    y, mask, S, _ = problem(seed)
    for layer, more in (
        (built(MRI, "cirim_explicit", **CASCADES, target="interpreter"), [ZERO]),
        (built(MRI, "recurrent_varnet", K=2, cells=2, deeper=1, f=F, rng=KEY, start=Start(2), target="interpreter"), []),
    ):
        torch.testing.assert_close(layer(y.flip(0), mask, S.flip(0), *more), layer(y, mask, S, *more))


@settings(max_examples=5)
@given(seed=SEEDS, scale=st.floats(0.01, 100))
def test_estimates_scale_with_the_samples(seed: int, scale: float) -> None:
    y, mask, S, _ = problem(seed)
    layer = built(MRI, "cirim_explicit", **CASCADES, target="interpreter")
    torch.testing.assert_close(layer(scale * y, mask, S, ZERO), scale * layer(y, mask, S, ZERO), rtol=1e-9, atol=1e-11)


@settings(max_examples=5)
@given(seed=SEEDS, dc=st.floats(0, 2))
def test_explicit_consistency_brings_an_image_nearer_to_the_samples(seed: int, dc: float) -> None:
    y, mask, S, _ = problem(seed)
    one = {**CASCADES, "K": 1, "T": 1}
    before = built(MRI, "cirim", **one, target="interpreter")(y, mask, S, ZERO)[0, 0]
    after = built(MRI, "cirim_explicit", **one, dc=dc, target="interpreter")(y, mask, S, ZERO)[0, 0]
    first, last = (float((mask * torch.fft.fft2(S * x.detach()) - y).abs().square().sum()) for x in (before, after))
    assert last <= first * (1 + 1e-12)


def test_where_nothing_is_missing_and_networks_are_silent_the_image_stays() -> None:
    y, _, S, x = problem(4, 2)
    y, mask = torch.fft.fft2(S * x[:, None]), torch.ones(H, W, dtype=torch.float64)
    found = built(MRI, "cirim_explicit", **CASCADES, C3=0.0, target="interpreter")(y, mask, S, ZERO)
    torch.testing.assert_close(found, x[:, None, None].expand(found.shape))
    found = built(MRI, "recurrent_varnet", K=2, cells=1, deeper=1, f=F, rng=KEY, last=0.0, start=Start(2), target="interpreter")(
        y, mask, S
    )
    torch.testing.assert_close(found, x.abs())


def test_one_network_for_all_is_many_that_are_equal() -> None:
    y, mask, S, _ = problem(5)
    options = {"K": 2, "deeper": 1, "f": F, "rng": KEY, "start": Start(2), "target": "interpreter"}
    shared = built(MRI, "recurrent_varnet", cells=1, **options)
    copies = {name: v.expand(2, *v.shape[1:]).clone() for name, v in shared.values().items()}
    torch.testing.assert_close(
        built(MRI, "recurrent_varnet", cells=2, **options, **copies)(y, mask, S), shared(y, mask, S), rtol=0, atol=0
    )


# -- kernels -------------------------------------------------------------------------------------------------------------

SIZES = {"c": COILS, "h": H, "w": W, "batch": (2,)}


def kernels_of(loops: str) -> list[str]:
    """The nests of a host program, by kernel."""
    return re.split(r"^# kernel \w+$", loops, flags=re.MULTILINE)[1:]


def statements(nest: str) -> list[str]:
    return re.findall(r"^S\d+ .*$", nest, re.MULTILINE)


def test_the_data_consistency_of_the_variational_network_is_one_statement_of_one_kernel() -> None:
    kernel = MRI.recurrent_varnet.compile(SIZES, K=2, cells=2, deeper=1, f=F, schedule="")
    nest = kernels_of(kernel.loops)[-2]  # the last one of the loop: k - alpha mask (k - y) + F(S v)
    assert re.findall(r"^array ([a-z]+)\S*: (\w+)\[.*\] input$", nest, re.MULTILINE) == [
        ("v", "c64"), ("v", "c64"), ("alpha", "f32"), ("k", "c64"), ("y", "c64"),
    ]  # fmt: skip
    assert len(re.findall(r" output$", nest, re.MULTILINE)) == 1
    assert len(statements(nest)) == 1


def test_the_gradient_of_cirim_is_one_kernel_between_two_transforms_and_one_behind() -> None:
    kernel = MRI.cirim.compile(SIZES, K=2, T=2, f=F, schedule="")
    inner = kernel.graph.partition("index='t'")[2]
    steps = re.findall(r"^      %.* = (fft2|ifft2|kernel|conv2d)\(", inner, re.MULTILINE)
    assert steps == ["kernel", "fft2", "kernel", "ifft2", "kernel", "conv2d", "kernel", "conv2d", "kernel", "conv2d", "kernel"]
    between = kernels_of(kernel.loops)[3]
    assert len(statements(between)) == 1  # mask (F S x - y)
    assert re.search(r"mul:c64\(\w+\[i1, i2\]:c64, sub:c64\(", between)


@pytest.mark.parametrize(("count", "target"), [(8, "interpreter"), pytest.param(200, "c", marks=SLOW)])
def test_the_example(count: int, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="pip install 'unspool[demo]'")
    from examples.reconstruct_mri import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["reconstruct_mri", "--phantoms", str(count)])
    with options.scope(target=target):
        main()
    before, after = (float(v) for v in re.findall(r": (\S+) dB$", capsys.readouterr().out, re.MULTILINE))
    assert 20 < before < 24
    assert after > (before if count > 100 else 15)
    assert (tmp_path / "reconstruct_mri.svg").stat().st_size > 10_000
