"""``us.fit``: a training loop in plain torch, for those who do not want to write one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from ...compiler.diagnostics import DataError
from ..module import Layer
from .history import Checkpoint, History, is_better
from .shards import Shards

#: Tensors with the same first dimension, a dataset, or batches.
Data = Tensor | Sequence[Tensor] | Dataset[Any] | Iterable[Any]


_NONE = "the data has no problems (an iterator is used up after one epoch: pass a list or a DataLoader)"


def fit(
    layer: nn.Module,
    data: Data,
    loss: Callable[..., Any] | None = None,
    *,
    epochs: int = 20,
    lr: float = 1e-2,
    optimizer: torch.optim.Optimizer | None = None,
    batch_size: int | None = 32,
    validation: Data | None = None,
    patience: int | None = None,
    checkpoint: str | PathLike[str] | None = None,
    inputs: int | None = None,
    seed: int = 0,
    shards: int = 1,
    progress: bool = True,
) -> History:
    """Train a layer, or any module that contains layers, and leave it with the best parameters seen.

    ``data``: a tensor, tensors with the same first dimension (problems), a dataset, or an iterable of batches such as a ``DataLoader``. The
    first tensors of a batch (as many as the layer has inputs; ``inputs`` says how many for other modules, default 1) are what the
    module is called with; the rest goes to the loss behind the results: ``loss(*results, *rest)``. ``loss`` is a function of tensors, whose
    result is averaged, or a ``fn`` of a program, which runs in one kernel with the layer and its gradient; without it the
    layer minimises its own ``objective`` (unsupervised). ``batch_size=None`` takes all problems at once; ``seed`` shuffles them.

    ``optimizer`` is Adam with ``lr`` by default. With ``validation`` data its loss decides which parameters are best; with ``patience`` training stops
    after so many epochs without a better one. With ``checkpoint`` the state is written to that file after every epoch, and read from it
    if it is there: an interrupted training goes on. Ctrl-C ends training with the best parameters so far.

    With ``shards`` every batch is cut into as many parts, whose gradients are computed one by one and added in order, each by its share of the
    problems. Where ``torch.distributed`` is running, the parts are dealt out to its processes, all of which see the same data and take the
    same steps: parameters are the same to the bit, however many processes there are, if each runs as many threads. The first process
    writes the checkpoint.

    Returns the :class:`History`. Raises DataError for data that does not fit, a loss that is no number, and a checkpoint that cannot be
    read or written.
    """
    work = Shards(shards)
    step = _Step(layer, loss, inputs, work)
    chosen = optimizer or torch.optim.Adam(_trainable(layer), lr=lr)
    random = torch.Generator().manual_seed(seed)
    batches = _batches(data, batch_size, random)
    held_out = None if validation is None else _batches(validation, batch_size, None)
    history, best = History(), _copied(layer)
    file = None if checkpoint is None else Checkpoint(Path(checkpoint))
    if file is not None and file.path.exists():
        history, best = file.read(layer, chosen)
    history.stopped = "epochs"
    with _Bar(epochs, history, show=progress and work.rank == 0) as bar:
        try:
            while history.epochs < epochs:
                random.manual_seed(seed * 1_000_003 + history.epochs)  # the order of problems, of every epoch another one
                layer.train()
                history.loss.append(_mean(step.train(batch, chosen) for batch in _seen(batches)))
                if held_out is not None:
                    layer.eval()
                    history.validation.append(_mean(step.value(batch) for batch in _seen(held_out)))
                if not math.isfinite(history.loss[-1]):
                    raise DataError(f"the loss of epoch {history.epochs} is {history.loss[-1]}: a smaller lr, or look at the data")
                if is_better(history):
                    best = _copied(layer)
                bar.show(history)
                if file is not None and work.rank == 0:
                    file.write(layer, best, chosen, history)
                if patience is not None and history.epochs - 1 - history.best >= patience:
                    history.stopped = "patience"
                    break
        except KeyboardInterrupt:
            history.stopped = "interrupted"
        finally:
            layer.load_state_dict(best)
    return history


class _Step:
    """The loss of a batch, and a step of an optimizer with it."""

    def __init__(self, layer: nn.Module, loss: Callable[..., Any] | None, inputs: int | None, work: Shards) -> None:
        self.layer, self.loss, self.work = layer, loss, work
        self.inputs = inputs if inputs is not None else len(layer.inputs) if isinstance(layer, Layer) else 1
        self.fused = layer.value_and_grad(loss) if isinstance(layer, Layer) and callable(getattr(loss, "lower", None)) else None  # type: ignore[arg-type]
        if loss is None and not (isinstance(layer, Layer) and layer.has_objective):
            raise DataError("the algorithm declares no objective: pass a loss" if isinstance(layer, Layer) else "pass a loss")

    def train(self, batch: Sequence[Tensor], optimizer: torch.optim.Optimizer) -> tuple[float, int]:
        """The loss before a step, and the number of problems."""
        value = self._backward(batch, optimizer) if self.work.count == 1 else self._backward_in_shards(batch, optimizer)
        optimizer.step()
        return float(value.detach()), len(batch[0])

    def _backward(self, batch: Sequence[Tensor], optimizer: torch.optim.Optimizer) -> Tensor:
        """The loss; parameters have its gradients."""
        optimizer.zero_grad()
        if self.fused is not None:
            return self.fused.backward(*batch)
        value = self._loss(batch)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    def _backward_in_shards(self, batch: Sequence[Tensor], optimizer: torch.optim.Optimizer) -> Tensor:
        """The same, shard by shard: the sum in their order, each by its share of the problems."""
        pieces = self.work.pieces(len(batch[0]))
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        found = []
        for n in self.work.own:
            piece = pieces[n]
            value = self._backward([x[piece.start : piece.stop] for x in batch], optimizer) if piece else torch.zeros((), dtype=torch.float64)
            grads = [torch.zeros_like(p) if p.grad is None or not piece else p.grad.clone() for p in parameters]
            found.append([value.detach().to(parameters[0].device, torch.float64), *grads])
        total: list[Tensor] = []
        for piece, tensors in zip(pieces, self.work.gathered(found), strict=True):
            shares = [t * (len(piece) / len(batch[0])) for t in tensors]
            total = [a + b for a, b in zip(total, shares, strict=True)] if total else shares
        for p, grad in zip(parameters, total[1:], strict=True):
            p.grad = grad
        return total[0]

    def value(self, batch: Sequence[Tensor]) -> tuple[float, int]:
        """The loss, and the number of problems."""
        with torch.no_grad():
            return float(self._loss(batch)), len(batch[0])

    def _loss(self, batch: Sequence[Tensor]) -> Tensor:
        own, rest = batch[: self.inputs], batch[self.inputs :]
        found = self.layer(*own)
        results = found if isinstance(found, tuple) else (found,)
        if self.loss is None:
            assert isinstance(self.layer, Layer)
            value = self.layer.objective(*results, *own)
        else:
            value = self.loss(*results, *rest)
        if not isinstance(value, Tensor) or not value.is_floating_point():
            raise DataError(f"the loss is a tensor of real numbers, not {type(value).__name__}")
        return value.mean()


def _trainable(layer: nn.Module) -> list[nn.Parameter]:
    found = [p for p in layer.parameters() if p.requires_grad]
    if not found:
        raise DataError("nothing can be trained: the module has no parameters that require a gradient")
    return found


def _is_tensors(data: Any) -> bool:
    return isinstance(data, (tuple, list)) and bool(data) and all(isinstance(x, Tensor) for x in data)


def _batches(data: Data, batch_size: int | None, random: torch.Generator | None) -> Iterable[Any]:
    """Batches of problems, shuffled by ``random`` if there is one; what is none of torch's is taken as it is."""
    if isinstance(data, Tensor):
        data = (data,)
    if _is_tensors(data):
        tensors: Any = data
        lengths = {len(x) if x.dim() else 0 for x in tensors}
        if len(lengths) != 1 or 0 in lengths:
            shapes = ", ".join(str(tuple(x.shape)) for x in tensors)
            raise DataError(f"tensors of data have the same first dimension, one entry a problem; these are {shapes}")
        data = TensorDataset(*tensors)
    if isinstance(data, DataLoader) or not (hasattr(data, "__getitem__") and hasattr(data, "__len__")):
        return data  # type: ignore[return-value]
    if not len(data):  # type: ignore[arg-type]
        raise DataError(_NONE)
    size = len(data) if batch_size is None else batch_size  # type: ignore[arg-type]
    return DataLoader(data, batch_size=size, shuffle=random is not None, generator=random)  # type: ignore[arg-type]


def _seen(batches: Iterable[Any]) -> Iterable[Sequence[Tensor]]:
    """Batches as tuples of tensors."""
    for batch in batches:
        yield (batch,) if isinstance(batch, Tensor) else tuple(batch)


def _mean(losses: Iterable[tuple[float, int]]) -> float:
    """The mean over problems of means over batches."""
    total = count = 0.0
    for value, problems in losses:
        total, count = total + value * problems, count + problems
    if not count:
        raise DataError(_NONE)
    return total / count


def _copied(layer: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in layer.state_dict().items()}


class _Bar:
    """A bar over epochs with the last losses; where standard error is no terminal, nothing."""

    def __init__(self, epochs: int, history: History, *, show: bool) -> None:
        console = Console(stderr=True)
        columns = (TextColumn("epoch {task.completed}/{task.total}"), BarColumn(), TextColumn("{task.fields[told]}"), TimeElapsedColumn())
        self._progress = Progress(*columns, console=console, disable=not (show and console.is_terminal))
        self._task = self._progress.add_task("", total=epochs, completed=history.epochs, told="")

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, history: History) -> None:
        """Tell the last epoch."""
        told = f"loss {history.loss[-1]:.4g}" + (f", validation {history.validation[-1]:.4g}" if history.validation else "")
        self._progress.update(self._task, completed=history.epochs, told=told)
