"""``us.fit``: every form of data and loss, the best parameters kept, checkpoints that go on, and what does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import unspool as us
from unspool.backends.learning import fit as fitting
from unspool.backends.learning.history import History

PROGRAM = us.loads("""
fn mse(x, t) = mean((x - t)**2)

algorithm shrink(y: real[n]) -> real[n]:
    iterations K = 3
    param w[K]: free = 0.1
    objective J(x) = sum((x - 0.5 * y)**2)
    x = zeros(n)
    for k in 0..K:
        x = x + w[k] * (y - x)
    return x

algorithm plain(y: real[n]) -> real[n]:
    param w: free = 0.1
    return w * y
""")


@pytest.fixture
def y() -> Tensor:
    return torch.randn(40, 6, generator=torch.Generator().manual_seed(0))


def layer() -> us.Layer:
    return PROGRAM.shrink.build(dtype="f64")


def mse(x: Tensor, t: Tensor) -> Tensor:
    return (x - t) ** 2


@pytest.mark.parametrize(
    ("data", "loss"),
    [
        (lambda y: (y, 0.5 * y), mse),
        (lambda y: (y, 0.5 * y), PROGRAM.mse),
        (lambda y: y, None),
        (lambda y: TensorDataset(y, 0.5 * y), mse),
        (lambda y: DataLoader(TensorDataset(y, 0.5 * y), batch_size=10), PROGRAM.mse),
        (lambda y: [(y[:20], 0.5 * y[:20]), (y[20:], 0.5 * y[20:])], mse),
    ],
    ids=["tensors", "a fn", "objective", "dataset", "loader", "batches"],
)
def test_it_learns(data, loss, y: Tensor) -> None:  # type: ignore[no-untyped-def]
    one = layer()
    history = us.fit(one, data(y.double()), loss, epochs=40, lr=0.03, progress=False)
    assert history.epochs == 40
    assert history.stopped == "epochs"
    assert history.loss[-1] < 0.01 * history.loss[0]
    shrinkage = 1 - torch.prod(1 - one.w)
    torch.testing.assert_close(shrinkage, torch.tensor(0.5, dtype=torch.float64), atol=0.02, rtol=0)


def test_the_same_seed_is_the_same_training(y: Tensor) -> None:
    runs = [us.fit(layer(), (y.double(), y.double()), mse, epochs=3, batch_size=7, seed=s, progress=False).loss for s in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


def test_validation_decides_and_patience_stops(y: Tensor) -> None:
    one, x = layer(), y.double()
    optimizer = torch.optim.SGD(one.parameters(), lr=0.3)
    history = us.fit(one, (x, x), mse, validation=(x, 0.3 * x), optimizer=optimizer, epochs=100, patience=3, progress=False)
    assert history.stopped == "patience"
    assert history.epochs == history.best + 4 < 100
    with torch.no_grad():
        assert float(mse(one(x), 0.3 * x).mean()) == pytest.approx(min(history.validation))


def test_a_checkpoint_goes_on_where_it_was(tmp_path: Path, y: Tensor) -> None:
    data = (y.double(), 0.5 * y.double())
    whole, parts = layer(), layer()
    options = {"batch_size": 16, "progress": False}
    expected = us.fit(whole, data, mse, epochs=6, **options)  # type: ignore[arg-type]
    file = tmp_path / "training.safetensors"
    us.fit(parts, data, mse, epochs=2, checkpoint=file, **options)  # type: ignore[arg-type]
    fresh = layer()
    found = us.fit(fresh, data, mse, epochs=6, checkpoint=file, **options)  # type: ignore[arg-type]
    assert found == expected
    torch.testing.assert_close(fresh.state_dict(), whole.state_dict(), rtol=0, atol=0)
    assert us.fit(layer(), data, mse, epochs=6, checkpoint=file, **options) == expected  # type: ignore[arg-type]  # nothing left to do


def test_an_interrupt_keeps_the_best(monkeypatch: pytest.MonkeyPatch, y: Tensor) -> None:
    one, count = layer(), 0
    true = fitting._Step.train

    def train(self, batch, optimizer):  # type: ignore[no-untyped-def]
        nonlocal count
        count += 1
        if count == 5:
            raise KeyboardInterrupt
        return true(self, batch, optimizer)

    monkeypatch.setattr(fitting._Step, "train", train)
    history = us.fit(one, y.double(), batch_size=20, epochs=50, progress=False)
    assert history.stopped == "interrupted"
    assert history.epochs == 2


def test_other_modules(y: Tensor) -> None:
    model = nn.Sequential(nn.Linear(6, 6), PROGRAM.shrink.build())
    history = us.fit(model, (y, y), mse, epochs=5, progress=False)
    assert history.loss[-1] < history.loss[0]


def test_what_does_not_fit(y: Tensor, tmp_path: Path) -> None:
    one, x = layer(), y.double()
    with pytest.raises(us.DataError, match="the algorithm declares no objective: pass a loss"):
        us.fit(PROGRAM.plain.build(), y)
    with pytest.raises(us.DataError, match=r"same first dimension, one entry a problem; these are \(40, 6\), \(3, 6\)"):
        us.fit(one, (x, x[:3]), mse)
    with pytest.raises(us.DataError, match="the loss is a tensor of real numbers, not float"):
        us.fit(one, (x, x), lambda a, b: 1.0, progress=False)
    with pytest.raises(us.DataError, match="the loss of epoch 1 is nan"):
        us.fit(one, (x, x * float("nan")), mse, progress=False)
    with pytest.raises(us.DataError, match="the data has no problems"):
        us.fit(one, [], mse, progress=False)
    with pytest.raises(us.DataError, match="nothing can be trained"):
        us.fit(layer().requires_grad_(False), x)
    wrong = tmp_path / "wrong"
    wrong.write_bytes(b"\x80\x04\x95 pickle?")
    with pytest.raises(us.DataError, match="cannot be read as a checkpoint"):
        us.fit(one, x, checkpoint=wrong)
    file = tmp_path / "plain"
    us.fit(nn.Linear(6, 6), (y, y), mse, epochs=1, checkpoint=file, progress=False)
    with pytest.raises(us.DataError, match="is a checkpoint of something else"):
        us.fit(one, x, checkpoint=file)
    with pytest.raises(us.DataError, match="cannot write the checkpoint"):
        us.fit(one, x, epochs=1, checkpoint=tmp_path / "wrong" / "x", progress=False)


def test_history() -> None:
    assert History().best == -1
    assert History([3.0, 1.0, 2.0]).best == 1
    assert History([3.0, 1.0, 2.0], [1.0, 2.0, 0.5]).best == 2
