"""What a value inside a loop is as a sum of products of others: the form in which products can be taken in another order.

    r = A @ x - y; g = A.T @ r       -->      g[i] = 1 * A[j, i] A[j, k] x[k]  -  1 * A[j, i] y[j]

Additions, differences, scalings, products, sums, divisions and views are followed back to *atoms*: what the loop does not change, what
it carries, and what other ops make. Axes are numbered indices; those that an output lacks are summed over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace

from ..graph import Node
from ..ops.contract import split_spec
from ..rules import literal
from ..types import Size, Type

#: Ops that a form follows. Of a quotient only what is divided.
LINEAR = frozenset({"add", "sub", "neg", "mul", "div", "einsum", "sum", "permute", "reshape", "broadcast"})
#: Terms of a form, at most, and factors of a term.
TERMS, FACTORS = 8, 8
#: The index of an axis whose size is literally 1: it is none.
NONE = -1

Indices = tuple[int, ...]


class NoForm(Exception):
    """A value has no such form, or too large a one."""


@dataclass(frozen=True, order=True)
class Factor:
    """An atom, an index for each of its axes, and whether it divides."""

    name: str
    indices: Indices
    inverse: bool = False

    @property
    def letters(self) -> frozenset[int]:
        """Its indices, without axes of size 1."""
        return frozenset(self.indices) - {NONE}


@dataclass(frozen=True)
class Term:
    """``scale`` times a product. ``squared``: two of its factors come from what the loop makes by products (a square of a mean)."""

    scale: float
    factors: tuple[Factor, ...]
    squared: bool = False

    def times(self, other: Term) -> Term:
        """The product of two terms."""
        if len(self.factors) + len(other.factors) > FACTORS:
            raise NoForm
        return Term(self.scale * other.scale, self.factors + other.factors, self.squared or other.squared)


@dataclass(frozen=True)
class Form:
    """A sum of terms with output ``indices``; ``extents`` has the size of every index; ``through``: what was followed."""

    indices: Indices
    terms: tuple[Term, ...]
    extents: Mapping[int, Size]
    through: frozenset[str]


class Expander:
    """Forms of values in the body of one loop, whose ``producers`` are those of all values of the graph and ``inside`` the names of what
    the body makes or carries, ``own`` what its top level makes. What is in ``follow`` is followed in any case."""

    def __init__(
        self, producers: Mapping[str, Node], types: Mapping[str, Type], inside: Set[str], own: Set[str], follow: Set[str] = frozenset()
    ) -> None:
        self.producers, self.types, self.inside = producers, types, inside
        self.own = own
        self.extents: dict[int, Size] = {}
        self.through: set[str] = set()
        self._rich = dict.fromkeys(follow, True)

    def form(self, node: Node) -> Form:
        """The form of a node's output, with fresh indices. Raises NoForm."""
        self.extents, self.through = {}, set()
        indices = self.fresh(node.output.type.shape)
        return Form(indices, tuple(self._node(node, indices)), dict(self.extents), frozenset(self.through))

    def fresh(self, shape: Sequence[Size]) -> Indices:
        """An index for each axis, none for those of size 1."""
        made = []
        for size in shape:
            if size.constant == 1:
                made.append(NONE)
            else:
                made.append(len(self.extents))
                self.extents[made[-1]] = size
        return tuple(made)

    def is_rich(self, name: str) -> bool:
        """Whether a value of the body has a product with something the loop does not change in it."""
        if name not in self._rich:
            node = self.producers.get(name)
            found = False
            if name in self.own and node is not None and node.op in LINEAR:
                fixed = [n not in self.inside for n in node.inputs]
                followed = node.inputs[:1] if node.op == "div" else node.inputs
                found = (node.op == "einsum" and any(fixed) and not all(fixed)) or any(map(self.is_rich, followed))
            self._rich[name] = found
        return self._rich[name]

    def terms(self, name: str, indices: Indices) -> list[Term]:
        """The terms of a value whose axes have these indices."""
        node = self.producers.get(name)
        value = literal(self.producers, name)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return [Term(float(value), ())]
        if node is not None and (self.is_rich(name) or self._is_scaled(name)):
            return self._node(node, indices)
        return [Term(1.0, (Factor(name, indices),))]

    def _is_scaled(self, name: str) -> bool:
        """Whether a value is a view of another, or that times a number, so that the other one is the better atom."""
        node = self.producers.get(name)
        if node is None:
            return False
        if node.op in ("permute", "neg", "broadcast"):
            return True
        if node.op == "reshape":
            return _thick(node.output.type) == _thick(self.types[node.inputs[0]])
        numbers = [isinstance(literal(self.producers, n), (int, float)) for n in node.inputs]
        return (node.op == "mul" and any(numbers)) or (node.op == "div" and numbers[1])

    def _node(self, node: Node, indices: Indices) -> list[Term]:
        self.through.add(node.output.name)
        found: list[Term] = getattr(self, f"_{node.op}")(node, indices)
        if len(found) > TERMS:
            raise NoForm
        return found

    def _aligned(self, name: str, indices: Indices) -> list[Term]:
        """Terms of an operand that broadcasts to axes with these indices."""
        shape = self.types[name].shape
        mine = indices[len(indices) - len(shape) :]
        return self.terms(name, tuple(NONE if s.constant == 1 else i for s, i in zip(shape, mine, strict=True)))

    def _add(self, node: Node, indices: Indices) -> list[Term]:
        return [t for n in node.inputs for t in self._aligned(n, indices)]

    def _sub(self, node: Node, indices: Indices) -> list[Term]:
        left, right = (self._aligned(n, indices) for n in node.inputs)
        return [*left, *(replace(t, scale=-t.scale) for t in right)]

    def _neg(self, node: Node, indices: Indices) -> list[Term]:
        return [replace(t, scale=-t.scale) for t in self.terms(node.inputs[0], indices)]

    def _mul(self, node: Node, indices: Indices) -> list[Term]:
        left, right = (self._aligned(n, indices) for n in node.inputs)
        return self._product([left, right], node.inputs)

    def _div(self, node: Node, indices: Indices) -> list[Term]:
        above, below = node.inputs
        value = literal(self.producers, below)
        if isinstance(value, (int, float)) and value:
            return [replace(t, scale=t.scale / value) for t in self._aligned(above, indices)]
        atom = below
        while (made := self.producers.get(atom)) is not None and made.op in ("reshape", "permute", "broadcast") and self._is_scaled(atom):
            atom = made.inputs[0]
        (divisor,) = self._inverse(below, atom, indices)
        return [t.times(divisor) for t in self._aligned(above, indices)]

    def _inverse(self, below: str, atom: str, indices: Indices) -> list[Term]:
        """What divides, as a factor; seen through views so that quotients by one vector have one atom."""
        found = self._view(below, atom, indices)
        return [Term(1.0, (Factor(atom, found, inverse=True),))]

    def _view(self, name: str, atom: str, indices: Indices) -> Indices:
        """The indices of the axes of ``atom``, of which ``name`` is a view that broadcasts to axes with ``indices``."""
        shape = self.types[name].shape
        mine = tuple(NONE if s.constant == 1 else i for s, i in zip(shape, indices[len(indices) - len(shape) :], strict=True))
        if name == atom:
            return mine
        node = self.producers[name]
        if node.op == "permute":
            return self._view(node.inputs[0], atom, _unpermuted(node, mine))
        if node.op == "reshape":
            return self._view(node.inputs[0], atom, self._reshaped(node, mine))
        return self._view(node.inputs[0], atom, mine)

    def _permute(self, node: Node, indices: Indices) -> list[Term]:
        return self.terms(node.inputs[0], _unpermuted(node, indices))

    def _reshape(self, node: Node, indices: Indices) -> list[Term]:
        return self.terms(node.inputs[0], self._reshaped(node, indices))

    def _reshaped(self, node: Node, indices: Indices) -> Indices:
        """The indices of the operand of a reshape that only adds or drops axes of size 1. Raises NoForm for another."""
        source = self.types[node.inputs[0]]
        if _thick(source) != _thick(node.output.type):
            raise NoForm
        kept = iter([i for i in indices if i != NONE])
        return tuple(NONE if s.constant == 1 else next(kept) for s in source.shape)

    def _broadcast(self, node: Node, indices: Indices) -> list[Term]:
        return self._aligned(node.inputs[0], indices)

    def _sum(self, node: Node, indices: Indices) -> list[Term]:
        source = self.types[node.inputs[0]]
        dropped = {a + source.rank for a in node.attr("axes")}
        kept = iter(indices)
        summed = iter(self.fresh([s for n, s in enumerate(source.shape) if n in dropped]))
        inner = tuple(next(summed) if n in dropped else next(kept) for n in range(source.rank))
        return self._summed(self.terms(node.inputs[0], inner), {inner[n] for n in dropped})

    def _einsum(self, node: Node, indices: Indices) -> list[Term]:
        operands, right = split_spec(node.attr("spec"))
        known = dict(zip(right, indices, strict=True))
        for letters, name in zip(operands, node.inputs, strict=True):
            for letter, size in zip(letters, self.types[name].shape, strict=True):
                if letter not in known:
                    (known[letter],) = self.fresh([size])
        parts = [self.terms(name, tuple(known[c] for c in letters)) for letters, name in zip(operands, node.inputs, strict=True)]
        return self._summed(self._product(parts, node.inputs), {i for c, i in known.items() if c not in right})

    def _product(self, parts: Sequence[list[Term]], names: Sequence[str]) -> list[Term]:
        squared = sum(self.is_rich(n) for n in names) > 1
        found = [Term(1.0, (), squared)]
        for part in parts:
            found = [a.times(b) for a in found for b in part]
            if len(found) > TERMS:
                raise NoForm
        return found

    def _summed(self, terms: list[Term], indices: Set[int]) -> list[Term]:
        """Terms to be summed over indices, each of which must have them all: a sum over an index that a term lacks is a multiple of it."""
        for term in terms:
            if not indices - {NONE} <= frozenset[int]().union(*(f.letters for f in term.factors)):
                raise NoForm
        return terms


def _thick(type: Type) -> tuple[Size, ...]:
    return tuple(s for s in type.shape if s.constant != 1)


def _unpermuted(node: Node, indices: Indices) -> Indices:
    axes = node.attr("axes")
    found = [NONE] * len(axes)
    for place, axis in enumerate(axes):
        found[axis + len(axes)] = indices[place]
    return tuple(found)
