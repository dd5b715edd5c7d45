"""``stdlib/prox.us``: each function is the minimizer that it claims to be."""

from __future__ import annotations

import numpy as np
import pytest

from tests.dsl.language_harness import expression

_rng = np.random.default_rng(11)
V = _rng.standard_normal((6, 5)) * 2


def prox(call: str, **inputs: np.ndarray) -> np.ndarray:
    return expression(f"prox.{call}", inputs, f"real[{', '.join(map(str, inputs['v'].shape))}]", "use prox\n")


def test_soft() -> None:
    t = 0.7
    x = prox("soft(v, t)", v=V, t=np.asarray(t))
    np.testing.assert_allclose(x, np.sign(V) * np.maximum(np.abs(V) - t, 0))
    for other in x + 0.1, x - 0.1, x * 0:  # f(x) + |x - v|^2 / 2, element by element
        assert np.all(t * np.abs(x) + (x - V) ** 2 / 2 <= t * np.abs(other) + (other - V) ** 2 / 2 + 1e-12)


def test_hard() -> None:
    np.testing.assert_array_equal(prox("hard(v, 1)", v=V), np.where(np.abs(V) > 1, V, 0))


def test_box() -> None:
    np.testing.assert_array_equal(prox("box(v, -1, 0.5)", v=V), np.clip(V, -1, 0.5))


@pytest.mark.parametrize("shape", [(1,), (2,), (7,), (6, 5), (2, 3, 4)])
def test_simplex(shape: tuple[int, ...]) -> None:
    v = _rng.standard_normal(shape) * 3
    x = prox("simplex(v)", v=v)
    assert np.all(x >= 0)
    np.testing.assert_allclose(x.sum(-1), 1)
    for _ in range(50):  # the projection has an obtuse angle to every point of the simplex
        point = _rng.dirichlet(np.ones(shape[-1]), shape[:-1])
        assert np.all(((v - x) * (point - x)).sum(-1) <= 1e-12)


def test_simplex_of_ties_and_of_points_of_the_simplex() -> None:
    np.testing.assert_allclose(prox("simplex(v)", v=np.zeros(4)), np.full(4, 0.25))
    np.testing.assert_allclose(prox("simplex(v)", v=np.array([0.2, 0.3, 0.5])), [0.2, 0.3, 0.5])
    np.testing.assert_allclose(prox("simplex(v)", v=np.array([5.0, 0.0])), [1.0, 0.0])
