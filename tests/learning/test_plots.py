"""Plots show the values that layers, paths and histories have."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

pytest.importorskip("matplotlib", reason="pip install 'unspool[demo]'")

import unspool as us
from unspool.backends.learning.history import History

PROGRAM = us.loads("""
algorithm shrink(y: real[n]) -> real[n]:
    iterations K = 3
    param w[K]: free = 0.25
    param M[K, 2, 3]: free = 1.0
    param shared: positive = 2.0
    objective J(x) = sum((x - y)**2)
    x = zeros(n)
    for k in 0..K:
        x = x + w[k] * shared * (M[k, 0, 0] * y - x)
    return x
""")


def lines(figure, n: int) -> list[list[float]]:  # type: ignore[no-untyped-def]
    return [list(map(float, line.get_ydata())) for line in figure.axes[n].lines]


def test_parameters_against_iterations() -> None:
    layer = PROGRAM.shrink.build()
    layer.assign(w=[1.0, 2.0, 3.0], shared=4.0)
    figure = us.plot_parameters(layer)
    assert [a.get_title() for a in figure.axes] == ["w", "M", "shared"]
    assert lines(figure, 0) == [[1, 2, 3], [0.25] * 3]
    assert len(lines(figure, 1)) == 12
    assert [line[0] for line in lines(figure, 2)] == pytest.approx([4, 2])
    assert len(us.plot_parameters(layer, ["shared"]).axes) == 1
    with pytest.raises(us.DataError, match="no parameter 'v'; there are w, M, shared"):
        us.plot_parameters(layer, ["v"])
    with pytest.raises(us.DataError, match="3 axes are needed, not 1"):
        us.plot_parameters(layer, axes=figure.axes[:1])


def test_curves_of_a_path() -> None:
    layer, y = PROGRAM.shrink.build(dtype="f64"), torch.randn(5, 4, dtype=torch.float64)
    _, path = layer(y, trace=["x"])
    figure = us.plot_curves(path, layer, y, metrics={"error": lambda x: (x - y[:, None]).abs().amax(-1)})
    x = path.x.detach()
    objective, change, error = lines(figure, 0)
    np.testing.assert_allclose(objective, ((x - y[:, None]) ** 2).sum(-1).mean(0))
    np.testing.assert_allclose(change, (x[:, 1:] - x[:, :-1]).norm(dim=-1).mean(0))
    np.testing.assert_allclose(error, (x - y[:, None]).abs().amax(-1).mean(0))
    assert list(figure.axes[0].lines[1].get_xdata()) == [1, 2]
    with pytest.raises(us.DataError, match="a path alone does not say"):
        us.plot_curves(path)


def test_other_curves() -> None:
    figure = us.plot_curves(History([3.0, 2.0], [4.0, 5.0]))
    assert lines(figure, 0) == [[3, 2], [4, 5]]
    assert figure.axes[0].get_xlabel() == "epoch"
    assert lines(us.plot_curves({"a": [1, 2], "b": np.ones((3, 2))}, log=False), 0) == [[1, 2], [1, 1]]
    with pytest.raises(us.DataError, match=r"a is no curve: its shape is \(\)"):
        us.plot_curves({"a": 1.0})


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(us.DataError, match=r"pip install 'unspool\[demo\]'"):
        us.plot_curves({"a": [1.0]})
