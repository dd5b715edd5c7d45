"""``stdlib/es.us``: every algorithm against its equations in NumPy, on the same noise; the same integers on every target; memory; what theory
promises."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax

import unspool as us
from tests.helpers import TVM_SLOW
from tests.stdlib.harness import built, gradients_agree

ES = us.stdlib.es
Array = np.ndarray
K, B, D, H, C = 3, 6, 5, 4, 3
SIZES = {"b": B, "d": D, "h": H, "c": C}
KEY = us.key(11)
NOISE = us.loads("""
algorithm noise(rng: key, k: i64, i: i64, j: i64) -> f64[n]:
    iterations n = 1
    return normal(fold(rng, k, i, j), n, dtype=f64)

algorithm step(rng: key, k: i64, j: i64) -> f64[n]:
    iterations n = 1
    return normal(fold(rng, k, j), n, dtype=f64)
""")
SLOW = pytest.mark.slow


@cache
def noise(rows: int, columns: int, *place: int) -> Array:
    """What a program draws with the key of a place."""
    draw = NOISE.noise if len(place) == 3 else NOISE.step
    drawn: Array = np.asarray(draw(KEY, *place, n=rows * columns, target="interpreter"))
    return drawn.reshape(rows, columns)


def problem(seed: int = 0, c: int = C) -> tuple[Array, Array, Array, Array]:
    """Minibatches, their classes, and weights to begin with."""
    random = np.random.default_rng(seed)
    y = np.eye(c)[random.integers(c, size=(K, B))]
    return random.standard_normal((K, B, D)), y, random.standard_normal((H, D)) / 2, random.standard_normal((c, H)) / 2


def integers(seed: int = 0) -> tuple[Array, ...]:
    """The same in int8; thresholds so that some weights move and others do not."""
    random = np.random.default_rng(seed)
    y = np.eye(C, dtype=np.int8)[random.integers(C, size=(K, B))]
    x = random.integers(0, 33, (K, B, D)).astype(np.int8)
    W, V = (random.integers(-20, 21, shape).astype(np.int8) for shape in ((H, D), (C, H)))
    return x, y, W, V, np.array([8, 12, 16], np.int32)


def likelihood(x: Array, y: Array, W: Array, V: Array) -> float:
    return float((y * log_softmax(np.maximum(x @ W.T, 0) @ V.T, axis=1)).sum(1).mean())


def evolved(x: Array, y: Array, W: Array, V: Array, p: dict[str, Array], pairs: int, rank: int) -> tuple[Array, Array]:
    """Perturbations as matrices, of full rank where ``rank`` is 0."""
    for k in range(K):
        moves = []
        for i in range(pairs):
            if rank:
                A, B_, C_, D_ = (noise(rows, rank, k, i, j) for j, rows in enumerate((H, D, len(V), H)))
                moves.append((A @ B_.T / np.sqrt(rank), C_ @ D_.T / np.sqrt(rank)))
            else:
                moves.append((noise(H, D, k, i, 0), noise(len(V), H, k, i, 1)))
        s = p["sigma"][k]
        scores = np.array([[likelihood(x[k], y[k], W + t * E, V + t * F) for t in (s, -s)] for E, F in moves])
        z = (scores[:, 0] - scores[:, 1]) / np.sqrt(scores.var() + 1e-5)
        rate = p["lr"][k] * s / np.sqrt(2 * pairs)
        W = W + rate * sum(a * E for a, (E, _) in zip(z, moves))
        V = V + rate * sum(a * F for a, (_, F) in zip(z, moves))
    return W, V


def mezo(x: Array, y: Array, W: Array, V: Array, p: dict[str, Array]) -> tuple[Array, Array]:
    for k in range(K):
        E, F = noise(H, D, k, 0), noise(len(V), H, k, 1)
        s = p["eps"][k]
        slope = (likelihood(x[k], y[k], W - s * E, V - s * F) - likelihood(x[k], y[k], W + s * E, V + s * F)) / (2 * s)
        W, V = W - p["lr"][k] * slope * E, V - p["lr"][k] * slope * F
    return W, V


def eggroll_int8(x: Array, y: Array, W: Array, V: Array, threshold: Array, pairs: int) -> tuple[Array, Array]:
    """With Python's arithmetic shift, in int64: nothing overflows where it does not in i32."""
    x, y, W, V = (v.astype(np.int64) for v in (x, y, W, V))

    def drawn(n: int, *place: int) -> Array:
        single = noise(n, 1, *place)[:, 0].astype(np.float32)
        return np.clip(np.round(16 * single), -127, 127).astype(np.int64)

    for k in range(K):
        Z, Q = np.zeros_like(W), np.zeros_like(V)
        for i in range(pairs):
            a, b, c, d = (drawn(n, k, i, j) for j, n in enumerate((H, D, C, H)))
            leads = []
            for sign in (1, -1):
                hidden = np.clip((x[k] @ W.T + (np.outer(x[k] @ b, sign * a) >> 6)) // (16 * int(np.sqrt(D))), 0, 127)
                logits = np.clip((hidden @ V.T + (np.outer(hidden @ d, sign * c) >> 6)) // (16 * int(np.sqrt(H))), -127, 127)
                right = (y[k] * logits).sum(1)
                leads.append(np.minimum(right - np.where(y[k] > 0, -255, logits).max(1), 32).sum())
            better = np.sign(leads[0] - leads[1])
            Z += better * np.outer(a, b)
            Q += better * np.outer(c, d)
        least = threshold[k] * int(np.sqrt(pairs)) * 256
        W, V = (np.clip(w + np.sign(z) * (16 * abs(z) >= least), -127, 127) for w, z in ((W, Z), (V, Q)))
    return W.astype(np.int8), V.astype(np.int8)


#: name, options, the same in NumPy
CASES: dict[str, tuple[str, dict[str, Any], Any]] = {
    "open_es": ("open_es", {"pairs": 4}, lambda *a: evolved(*a, pairs=4, rank=0)),
    "eggroll": ("eggroll", {"pairs": 4, "rank": 1}, lambda *a: evolved(*a, pairs=4, rank=1)),
    "rank 3": ("eggroll", {"pairs": 2, "rank": 3}, lambda *a: evolved(*a, pairs=2, rank=3)),
    "mezo": ("mezo", {}, mezo),
    "mezo_deferred": ("mezo_deferred", {}, mezo),
}
#: A compiled case without a search for a schedule is cheap; how schedules are found is no matter of the library's.
PLAIN = {"target": "c", "schedule": ""}


HOWS = [pytest.param({"target": "interpreter"}, marks=SLOW, id="interpreter"), pytest.param(PLAIN, id="plain"),
        pytest.param({"target": "c"}, marks=SLOW, id="c")]  # fmt: skip


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("case", CASES)
def test_equations(case: str, how: dict[str, Any]) -> None:
    name, options, reference = CASES[case]
    random = np.random.default_rng(1)
    second = "eps" if name.startswith("mezo") else "sigma"
    options = {**options, "lr": random.uniform(0.2, 1, K), second: random.uniform(0.05, 0.2, K)}
    layer = built(ES, name, K=K, **options, **how)
    inputs = problem()
    got = layer(*map(torch.as_tensor, inputs), KEY)
    expected = reference(*inputs, {n: v.numpy() for n, v in layer.values().items()})
    for one, other, before in zip(got, expected, inputs[2:]):
        np.testing.assert_allclose(one.detach().numpy(), other, rtol=1e-9, atol=1e-11)
        assert np.abs(other - before).max() > 1e-3


@pytest.mark.parametrize("target", ["interpreter", "c", *(pytest.param(t, marks=SLOW) for t in ("numba", "emulated")), TVM_SLOW])
def test_integers_are_the_same_on_every_target(target: str) -> None:
    inputs = integers()
    options = {} if target == "interpreter" else {"schedule": ""}
    kernel = ES.eggroll_int8.compile(SIZES, K=K, pairs=6, target=target, **options)
    for got, expected, before in zip(kernel(*inputs, KEY), eggroll_int8(*inputs, pairs=6), inputs[2:4]):
        assert got.dtype == np.int8
        np.testing.assert_array_equal(got, expected)
        assert 0 < np.count_nonzero(got != before) < got.size


@SLOW
@pytest.mark.parametrize("batch", [(), (3,)])
def test_integers_are_the_same_in_every_schedule_and_batch(batch: tuple[int, ...]) -> None:
    inputs = integers(1)
    x = np.broadcast_to(inputs[0], (*batch, *inputs[0].shape))
    W, V = ES.eggroll_int8(x, *inputs[1:], KEY, K=K, pairs=6)
    expected = eggroll_int8(*inputs, pairs=6)
    np.testing.assert_array_equal(W, np.broadcast_to(expected[0], W.shape))
    np.testing.assert_array_equal(V, np.broadcast_to(expected[1], V.shape))


@pytest.mark.parametrize("target", ["interpreter", pytest.param("c", marks=SLOW)])
@pytest.mark.parametrize("case", ["eggroll", *(pytest.param(case, marks=SLOW) for case in ("open_es", "rank 3", "mezo", "mezo_deferred"))])
def test_gradients_in_rates_and_deviations(case: str, target: str) -> None:
    name, options, _ = CASES[case]
    layer = built(ES, name, K=2, **{n: min(v, 2) for n, v in options.items()}, target=target)
    x, y, W, V = map(torch.as_tensor, problem(3))
    gradients_agree(layer, [x[:2], y[:2], W, V, KEY], tolerance=1e-4)


@pytest.mark.parametrize("how", [PLAIN, pytest.param({"target": "c"}, marks=SLOW)], ids=["plain", "c"])
@pytest.mark.parametrize(("name", "options"), [("open_es", {}), ("eggroll", {"rank": 4})])
def test_noise_is_never_stored(name: str, options: dict[str, Any], how: dict[str, Any], asked: list[int]) -> None:
    sizes = {"b": 4, "d": 64, "h": 32, "c": 10}
    random = np.random.default_rng(0)
    x, W, V = (random.standard_normal(shape).astype(np.float32) for shape in ((1, 4, 64), (32, 64), (10, 32)))
    y = np.eye(10, dtype=np.float32)[random.integers(10, size=(1, 4))]
    needed = []
    for pairs in (4, 260):
        asked.clear()
        getattr(ES, name).compile(sizes, K=1, pairs=pairs, **options, **how)(x, y, W, V, KEY)
        needed.append(max(asked))
    perturbation = (W.size + V.size if name == "open_es" else 4 * (sum(W.shape) + sum(V.shape))) * 4
    assert needed[1] - needed[0] <= 256 * 8 * 4  # scores and what is made of them, for each pair
    assert 256 * perturbation > 8 * needed[1]


def test_the_deferred_order_is_the_same_to_the_bit() -> None:
    inputs = problem(5)
    for dtype in (np.float32, np.float64):
        arrays = [v.astype(dtype) for v in inputs]
        plain, deferred = (
            getattr(ES, name)(*arrays, KEY, K=K, lr=0.5, numerics="strict", **PLAIN) for name in ("mezo", "mezo_deferred")
        )
        for one, other in zip(plain, deferred):
            np.testing.assert_array_equal(one, other)


def test_the_deferred_order_is_proved() -> None:
    """The updates of mezo, made to wait until the next step needs them: legal as its dependences are, and to the bit what they were."""
    x, y, W, V = (v.astype(np.float32) for v in problem(5))
    loops = str(ES.mezo.compile(SIZES, K=K, **PLAIN).loops)
    statements = dict(re.findall(r"^(S\d+) {[^}]*} (.*)$", loops, re.MULTILINE))
    update = {a: next(s for s, text in statements.items() if text.startswith(f"{a}[") and "sub:" in text) for a in "WV"}
    draws = [s for s, text in statements.items() if "fold:key(" in text]
    time = re.search(r"for (t\d+) serial \(" + draws[0], loops)
    assert time
    wait = [f"retime {update['V']} {time[1]} {draws[1]}", f"retime {update['W']} {time[1]} {draws[0]}"]
    plain, *deferred = (
        ES.mezo.compile(SIZES, K=K, target="c", schedule=s)(x, y, W, V, KEY) for s in ("", wait[0], "\n".join(wait))
    )
    for got in deferred:
        for one, other in zip(got, plain):
            np.testing.assert_array_equal(one, other)
    with pytest.raises(us.UnspoolError, match=r"the flow dependence on W is reversed, for instance"):  # the first layer has read its weights by then
        ES.mezo.compile(SIZES, K=K, target="c", schedule=f"retime {update['W']} {time[1]} {draws[1]}")


@settings(max_examples=8)
@given(seed=st.integers(0, 10**6), scale=st.floats(0.1, 3))
@pytest.mark.parametrize("case", ["open_es", "eggroll", "mezo"])
def test_perturbations_come_with_both_signs(case: str, seed: int, scale: float) -> None:
    """Inputs and weights negated, and two classes exchanged: what one sign does, the other one did, and all updates are negated."""
    name, options, _ = CASES[case]
    layer = built(ES, name, K=K, **options, lr=scale, **PLAIN)
    x, y, W, V = map(torch.as_tensor, problem(seed, c=2))
    one = layer(x, y, W, V, KEY)
    other = layer(-x, y.flip(-1), -W, -V, KEY)
    for a, b in zip(one, other):
        torch.testing.assert_close(a, -b, rtol=1e-9, atol=1e-10)


@settings(max_examples=5)
@given(seed=st.integers(0, 10**6), rank=st.integers(1, 3), pairs=st.integers(1, 2))
def test_an_update_has_the_rank_of_its_perturbations(seed: int, rank: int, pairs: int) -> None:
    x, y, W, V = map(torch.as_tensor, problem(seed))
    layer = built(ES, "eggroll", K=1, pairs=pairs, rank=rank, target="interpreter")
    got = layer(x[:1], y[:1], W, V, us.key(seed))
    for after, before in zip(got, (W, V)):
        values = torch.linalg.svdvals(after.detach() - before)
        assert int((values > 1e-9 * values[0]).sum()) == min(rank * pairs, len(values))


@settings(max_examples=25)
@given(scores=st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=1, max_size=9), order=st.randoms(use_true_random=False))
def test_members_may_come_in_any_order(scores: list[tuple[float, float]], order: Any) -> None:
    values = np.array(scores)
    chosen = order.sample(range(len(values)), len(values))
    np.testing.assert_allclose(ES.advantage(values[chosen]), ES.advantage(values)[chosen], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(ES.advantage(values[:, ::-1]), -ES.advantage(values), rtol=1e-9, atol=1e-12)


def test_samples_of_a_minibatch_may_come_in_any_order() -> None:
    x, y, W, V, threshold = integers(2)
    order = np.random.default_rng(0).permutation(B)
    one, other = (
        ES.eggroll_int8(x[:, o], y[:, o], W, V, threshold, KEY, K=K, pairs=6, **PLAIN) for o in (slice(None), order)
    )
    for a, b in zip(one, other):
        np.testing.assert_array_equal(a, b)
