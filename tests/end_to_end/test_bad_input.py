"""Values that do not fit: the error names the argument, what came and what is needed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import unspool as us

PROGRAMS = Path(__file__).resolve().parents[1] / "programs"
LASSO = us.load(PROGRAMS / "lasso.us")
TV = us.load(PROGRAMS / "tv.us")
A, y = torch.randn(6, 9), torch.randn(6)

TEXTS = us.loads(
    """
algorithm pad(x: real[n], z: real[n + 1]) -> real[n] where n >= 3:
    return x + z[1:]

algorithm exact(x: f64[n], top: i32) -> f64[n]:
    return x * cast(top, f64)

algorithm waves(x: complex[n]) -> complex[n]:
    return conj(x)

algorithm draw(n_: real[n], rng: key) -> real[n]:
    return normal(rng, n)

algorithm learned(x: real[n]) -> real[d]:
    iterations K = 2
    param W[d, n]
    module f[K]: (real[d]) -> real[d]
    h = W @ x
    for k in 0..K:
        h = f[k](h)
    return h
"""
)


def cases() -> list[tuple[str, Callable[[], Any], str]]:
    ista, tv = LASSO.ista, TV.tv
    return [
        ("rank", lambda: tv(torch.randn(5), 0.1), r"image needs at least 2 axes, real\[h, w\]; got shape \(5,\)"),
        ("size", lambda: ista(A, torch.randn(7)), r"y is real\[m\] and needs shape \(6,\); got shape \(7,\); m = 6 \(A\)"),
        ("size in a batch", lambda: ista(A, torch.randn(2, 7)), r"needs shape \(6,\) in its last axis; got shape \(2, 7\)"),
        ("compound size", lambda: TEXTS.pad(torch.ones(4), torch.ones(4)), r"z is real\[n \+ 1\] and needs shape \(5,\); .* n = 4 \(x\)"),
        ("size zero", lambda: ista(torch.randn(6, 0), y), r"the size n must be at least 1; got shape \(6, 0\)"),
        ("leading", lambda: ista(torch.randn(2, 6, 9), torch.randn(3, 6)), r"leading dimensions of A and y do not .* \(2,\) .* \(3,\)"),
        ("where", lambda: tv(torch.randn(1, 5), 0.1), r"tv needs h >= 2; here h = 1 \(image\)"),
        ("where in a build", lambda: TEXTS.pad.build()(torch.ones(2), torch.ones(3)), r"pad needs n >= 3; here n = 2 \(x\)"),
        ("mixed", lambda: ista(A, y.double()), r"mixed precisions: A is f32 and y is f64"),
        ("mixed numpy", lambda: ista(A.numpy(), y.double().numpy()), r"mixed precisions: A is f32 and y is f64"),
        ("mixed with param", lambda: ista(A, y, step=torch.ones(16).double()), r"mixed precisions: A is f32 and step is f64"),
        ("mixed in a layer", lambda: ista.build(A=A)(y.double()), r"the layer is f32 and y is f64"),
        ("complex for real", lambda: ista(A, y.to(torch.complex64)), r"y needs dtype f32; got dtype c64"),
        ("bool for real", lambda: ista(A, y > 0), r"y needs dtype f32; got dtype bool"),
        ("f32 for f64", lambda: TEXTS.exact(y, 2), r"x needs dtype f64; got dtype f32"),
        ("real for integer", lambda: TEXTS.exact(y.double(), 2.5), r"top needs dtype i32; got the number 2.5"),
        ("i64 for i32", lambda: TEXTS.exact(y.double(), torch.tensor(2)), r"top needs dtype i32; got dtype i64"),
        ("integer too large", lambda: TEXTS.exact(y.double(), 2**40), r"top needs dtype i32; got the number 1099511627776"),
        ("half complex", lambda: TEXTS.waves(torch.ones(3, dtype=torch.float16)), r"no complex twin"),
        ("number for a key", lambda: TEXTS.draw(y, 3), r"rng is a key: make one with us.key\(3\)"),
        ("float for a key", lambda: TEXTS.draw(y, torch.tensor(3.0)), r"rng needs dtype i64 \(us.key\(seed\) makes keys\); got dtype f32"),
        ("no array", lambda: ista(A, "text"), r"y needs real\[m\] as a torch tensor, a NumPy array or a number; got a str"),
        ("objects", lambda: ista(A, np.array([None] * 6)), r"y has NumPy dtype object"),
        ("ragged", lambda: ista(A, [[1.0], [1.0, 2.0]]), r"y is a nested list whose rows differ"),
        ("sparse", lambda: ista(A.to_sparse(), y), r"A is a tensor of layout torch.sparse_coo"),
        ("device", lambda: ista(A, y.to("meta")), r"A is on device cpu, y on meta"),
        ("wrong device", lambda: ista(A.to("meta"), y.to("meta"), step=0.1, target="c"), r"A is on device meta, and target c runs on the cpu"),
        ("device of a layer", lambda: ista.build(A=A)(y.to("meta")), r"the layer is on device cpu, y on meta"),
        ("missing", lambda: ista(A), r"ista\(A, y\): y is missing"),
        ("too many", lambda: ista(A, y, y), r"ista\(A, y\) takes 2 inputs; got 3"),
        ("twice", lambda: ista(A, y, A=A), r"A is given twice"),
        ("unknown name", lambda: ista(A, y, stepp=0.1), r"ista takes no 'stepp'; by name it takes .*step"),
        ("unknown in a layer", lambda: ista.build(A=A)(z=y), r"ista\(y\) has no input 'z'"),
        ("given missing", lambda: ista.build(), r"ista.build\(A\): A is missing"),
        ("iteration count", lambda: ista(A, y, K=0), r"size K must be an integer of at least 1, not 0"),
        ("iteration kind", lambda: ista(A, y, K=2.0), r"size K must be an integer of at least 1, not 2.0"),
        ("constraint", lambda: ista(A, y, step=-0.1), r"step is positive: every value must be greater than 0; got -0.1"),
        ("param shape", lambda: ista(A, y, step=torch.ones(7)), r"step is real\[K\] and needs shape \(16,\); got shape \(7,\); K = 16"),
        ("size of a param", lambda: TEXTS.learned.build(f=[torch.nn.Identity()] * 2), r"the size d is not known .* pass d=\.\.\."),
        ("module missing", lambda: TEXTS.learned.build(d=3, n=4), r"module f: \(real\[d\]\) -> real\[d\] is missing"),
        ("modules too few", lambda: TEXTS.learned.build(d=3, n=4, f=[torch.nn.Identity()]), r"f needs a list of 2 .*; got 1 entries"),
        ("module not callable", lambda: TEXTS.learned.build(d=3, n=4, f=[1, 2]), r"module f needs a list of 2 modules"),
        ("trace", lambda: ista(A, y, trace=["w"]), r"ista carries no 'w' through a loop; trace takes x"),
        ("target", lambda: ista(A, y, target="gpu9"), r"no target is called 'gpu9'"),
        ("dtype", lambda: ista.build(A=A, dtype=torch.int32), r"dtype is one of f16, bf16, f32, f64"),
        ("numerics", lambda: ista.build(A=A, numerics="fast"), r'numerics is "default", "strict" or "tf32"'),
        ("no objective", lambda: ista.objective(A, y), r"ista declares no objective"),
        ("file", lambda: us.load("nowhere/x.us"), r"there is no file 'nowhere/x.us'"),
        ("stdlib", lambda: us.load("nothing_of_this_name"), r"the standard library has no program 'nothing_of_this_name'"),
        ("kernel sizes", lambda: ista.compile(shapes={"m": 6}), r"ista needs the size n"),
        ("kernel unknown size", lambda: ista.compile(shapes={"m": 6, "n": 9, "q": 1}), r"ista has no size 'q'"),
        ("seed", lambda: us.key(2**65), r"a seed is an integer of 64 bits"),
    ]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), [c[1:] for c in cases()], ids=[c[0] for c in cases()])
def test_message(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(us.DataError, match=message):
        call()


def test_module_that_returns_another_shape() -> None:
    layer = TEXTS.learned.build(d=3, n=4, f=[torch.nn.Linear(3, 2)] * 2)
    with pytest.raises(us.DataError, match=r"module f returned shape \(1, 2\), but \(1, 3\) is needed"):
        layer(torch.ones(4))


def test_errors_of_a_program_are_one_text() -> None:
    with pytest.raises(us.ProgramError, match=r"mine:2:12: error US"):
        us.loads("algorithm f(y: real[m]) -> real[m]:\n    return q + y\n", "mine")
