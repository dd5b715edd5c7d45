"""Random expressions that are Python too: the program's value is NumPy's, and what NumPy refuses is an error."""

from __future__ import annotations

import random
import warnings
from typing import Any

import numpy as np
import pytest
import scipy.special

from unspool.compiler.diagnostics import ProgramError

from .language_harness import expression, type_of

COUNT = 250
_rng = np.random.default_rng(5)
INPUTS: dict[str, np.ndarray] = {
    "a": np.asarray(0.75),
    "v": _rng.standard_normal(3),
    "w": _rng.standard_normal(4),
    "A": _rng.standard_normal((3, 4)),
    "B": _rng.standard_normal((4, 3)),
    "r": _rng.standard_normal((1, 4)),
    "i": _rng.integers(-3, 4, 3),
    "T": _rng.standard_normal((2, 3, 4)),
}


def strict(function: Any, rank: int = 0) -> Any:
    """NumPy's function, without its leniency: an axis of a scalar and a triangle of a vector are refused."""

    def call(x: Any, *args: Any, **kwargs: Any) -> Any:
        axes = np.atleast_1d(kwargs["axis"]) if "axis" in kwargs else ()
        if np.ndim(x) < max(rank, len(axes)):
            raise ValueError(x)
        return function(x, *args, **kwargs)

    return call


def _extreme(pair: Any, whole: Any) -> Any:
    return lambda *args, **kwargs: pair(*args) if len(args) > 1 else strict(whole)(*args, **kwargs)


_SAME = ["abs", "sin", "exp", "tanh", "sign", "floor", "where", "clip", "outer", "dot", "trace", "flip", "sort"]
_REDUCING = ["sum", "mean", "var", "prod", "cumsum", "argmax", "any"]
NUMPY: dict[str, Any] = {
    **{name: getattr(np, name) for name in _SAME},
    **{name: strict(getattr(np, name)) for name in _REDUCING},
    "tril": strict(np.tril, 2),
    "max": _extreme(np.maximum, np.max),
    "min": _extreme(np.minimum, np.min),
    "norm": lambda x: np.sqrt(np.sum(np.abs(x) ** 2)),
    "softmax": strict(scipy.special.softmax),
    "logsumexp": strict(scipy.special.logsumexp),
    "relu": lambda x: np.maximum(x, 0),
    "roll": strict(lambda x, s, axis: np.roll(x, s, axis)),
    "sigmoid": scipy.special.expit,
}

BINARY = [
    "{0} + {1}",
    "{0} - {1}",
    "{0} * {1}",
    "{0} / ({1} + 3.5)",
    "max({0}, {1})",
    "min({0}, {1})",
    "where({0} > {1}, {0}, {1})",
    "where({0} <= {1}, 1, {1})",
    "({0}) @ ({1})",
    "outer({0}, {1})",
    "dot({0}, {1})",
    "-{0} + {1} * 2",
]
UNARY = [
    "-({0})",
    "abs({0})",
    "sin({0})",
    "tanh({0})",
    "sign({0})",
    "floor(({0}) * 3)",
    "clip({0}, -0.5, 1)",
    "({0})**2",
    "({0})**3",
    "sum({0})",
    "sum({0}, axis=0)",
    "mean({0}, axis=-1, keepdims=True)",
    "var({0})",
    "max({0})",
    "min({0}, axis=0)",
    "norm({0})",
    "softmax({0}, axis=-1)",
    "logsumexp({0}, axis=0)",
    "cumsum({0}, axis=0)",
    "({0}).T",
    "({0})[0]",
    "({0})[-1]",
    "({0})[1:]",
    "({0})[:-1]",
    "({0})[::-1]",
    "({0})[..., 0]",
    "({0})[:, None]",
    "({0})[:, 1]",
    "({0})[:, ::2]",
    "flip({0})",
    "roll({0}, 1, axis=0)",
    "exp(-abs({0}))",
    "relu({0})",
    "sort({0})",
    "tril({0})",
    "sum({0}, axis=(0, 1))",
    "trace({0})",
    "2 / (2 + ({0})**2)",
    "sigmoid({0})",
    "({0}) % 2",
    "({0}) // 0.7",
    "({0})[None]",
]


def grow(chance: random.Random, depth: int) -> str:
    if depth == 0 or chance.random() < 0.1:
        return chance.choice([*INPUTS, *INPUTS, "2", "0.5", "1.25"])
    if chance.random() < 0.4:
        return f"({chance.choice(BINARY)})".format(grow(chance, depth - 1), grow(chance, depth - 1))
    return chance.choice(UNARY).format(grow(chance, depth - 1))


def numpy_value(text: str) -> Any:
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # indexing a literal: an error, as it should be
        return eval(text, {"__builtins__": {}}, {**NUMPY, **INPUTS})


@pytest.mark.parametrize("seed", range(COUNT))
def test_value(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(200):
        text = grow(chance, chance.choice([1, 2, 2, 3]))
        used = {name: x for name, x in INPUTS.items() if name in text}
        if not used or (".T" in text and "T" in used):
            continue
        try:
            wanted = np.asarray(numpy_value(text))
        except (ValueError, TypeError, IndexError):
            continue
        if wanted.size and np.all(np.isfinite(wanted)):
            break
    found = expression(text, used, type_of(wanted))
    assert found.dtype.kind == wanted.dtype.kind, text
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9, err_msg=text)


@pytest.mark.parametrize("seed", range(60))
def test_shapes_that_do_not_fit_are_errors(seed: int) -> None:
    chance = random.Random(1000 + seed)
    while True:
        text = grow(chance, 2)
        used = {name: x for name, x in INPUTS.items() if name in text}
        try:
            numpy_value(text)
        except ValueError:
            break
        except (TypeError, IndexError):
            continue
    with pytest.raises(ProgramError) as caught:
        expression(text, used, "real")
    assert "error US" in str(caught.value)
