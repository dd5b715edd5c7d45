"""Random numbers: counter-based, the same bits on every back end and in every order (see ``random_bits.py``).

A draw from a key of shape ``[lead]`` has shape ``[lead, *shape]``; each key counts its own elements from 0.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, Any

from ..types import Size, Type, is_floating, is_integer
from .common import add_batch, batch_elementwise, broadcast_shapes, emit, need, need_count, shape_of, torch_dtype
from .random_bits import TAGS, fold_word, normal, philox, uniform
from .table import Attrs, Infer, Numerics, Op, OpTypeError, register

if TYPE_CHECKING:
    from ..graph import Builder, Node, Value


def _infer_draw(name: str, fits: Callable[[str], bool]) -> Infer:
    def infer(types: tuple[Type, ...], attrs: Attrs) -> tuple[Type, ...]:
        need_count(name, types, 1)
        need(name, "key", types[0])
        if not fits(attrs["dtype"]):
            raise OpTypeError(f"{name} cannot make {attrs['dtype']} values")
        return (Type(attrs["dtype"], (*types[0].shape, *shape_of(attrs["shape"]))),)

    return infer


def words(torch: Any, key: Any, shape: tuple[int, ...], tag: str) -> tuple[Any, Any]:
    """The words a and b of every element of a draw: shape ``[*key.shape, *shape]``."""
    counter = torch.arange(prod(shape), dtype=torch.int64, device=key.device)
    a, b, _, _ = philox(key.unsqueeze(-1), counter, TAGS[tag])
    full = (*key.shape, *shape)
    return a.reshape(full), b.reshape(full)


def _normal(torch: Any, attrs: Attrs, key: Any) -> Any:
    return normal(torch, *words(torch, key, attrs["shape"], "normal")).to(torch_dtype(torch, attrs["dtype"]))


def _uniform(torch: Any, attrs: Attrs, key: Any) -> Any:
    a, b = words(torch, key, attrs["shape"], "uniform")
    return uniform(torch, attrs["dtype"], a, b).to(torch_dtype(torch, attrs["dtype"]))


def _rademacher(torch: Any, attrs: Attrs, key: Any) -> Any:
    a, _ = words(torch, key, attrs["shape"], "rademacher")
    return (1 - 2 * (a & 1)).to(torch_dtype(torch, attrs["dtype"]))


def batch_key(b: Builder, node: Node, operands: Any, batched: Any, size: Size) -> tuple[Value, ...]:
    """A batch of keys draws a batch; ``shape`` is that of one problem."""
    return emit(b, node, [add_batch(b, v, f, size) for v, f in zip(operands, batched, strict=True)])


def _draw(name: str, fits: Callable[[str], bool], numerics: Numerics, doc: str) -> None:
    register(Op(name, "random", _infer_draw(name, fits), numerics, None, batch_key, doc=doc))


_draw("random_normal", is_floating, _normal, "Normal numbers of mean 0 and variance 1.")
_draw("random_uniform", is_floating, _uniform, "Uniform numbers: 0 <= u < 1.")
_draw("random_rademacher", lambda d: is_floating(d) or is_integer(d), _rademacher, "-1 or 1, each with probability 1/2.")


def _infer_randint(types: tuple[Type, ...], attrs: Attrs) -> tuple[Type, ...]:
    need_count("random_randint", types, 3)
    need("random_randint", "key", types[0])
    need("random_randint", "integer", *types[1:], Type(attrs["dtype"]))
    if types[1].dtype != types[2].dtype or {t.shape for t in types} != {types[0].shape}:
        raise OpTypeError(f"random_randint needs two scalar bounds of one dtype, not {types[1]} and {types[2]}")
    return (Type(attrs["dtype"], (*types[0].shape, *shape_of(attrs["shape"]))),)


def _randint(torch: Any, attrs: Attrs, key: Any, low: Any, high: Any) -> Any:
    a, _ = words(torch, key, attrs["shape"], "randint")
    ones = (1,) * len(attrs["shape"])
    low, high = (v.long().reshape((*v.shape, *ones)) for v in (low, high))
    width = high - low
    drawn = ((a >> 16) * width + (((a & 0xFFFF) * width) >> 16)) >> 16
    return (low + drawn).to(torch_dtype(torch, attrs["dtype"]))


register(Op("random_randint", "random", _infer_randint, _randint, None, batch_key, doc="Uniform integers: low <= r < high."))


def _infer_permutation(types: tuple[Type, ...], attrs: Attrs) -> tuple[Type, ...]:
    need_count("random_permutation", types, 1)
    need("random_permutation", "key", types[0])
    return (Type("i64", (*types[0].shape, Size.of(attrs["size"]))),)


def _permutation(torch: Any, attrs: Attrs, key: Any) -> Any:
    a, b = words(torch, key, (attrs["size"],), "permutation")
    return torch.argsort(a * 2**31 + (b >> 1), dim=-1, stable=True)


register(Op("random_permutation", "random", _infer_permutation, _permutation, None, batch_key, library=True,
            doc="The numbers 0, ..., size - 1 in random order."))  # fmt: skip


def _infer_fold(types: tuple[Type, ...], attrs: Attrs) -> tuple[Type, ...]:
    if not types:
        raise OpTypeError("fold needs a key")
    need("fold", "key", types[0])
    need("fold", "integer", *types[1:])
    return (Type("key", broadcast_shapes("fold", types)),)


def _fold(torch: Any, attrs: Attrs, key: Any, *integers: Any) -> Any:
    for integer in integers:
        key = fold_word(key, integer.long())
    return key


register(Op("fold", "random", _infer_fold, _fold, None, batch_elementwise,
            doc="A key derived from a key and integers: different integers give unrelated numbers."))  # fmt: skip
