"""The nodes of a sum of products (:mod:`.multilinear`), each in its best order (:mod:`.product_order`).

    A[j, i] A[j, k] x[k] - A[j, i] y[j]      -->      before the loop: G = A.T A, b = A.T y      in it: G x - b

Equal products are made once. What the loop does not change is to stand before it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace

from ...diagnostics import Span
from ..graph import Node, Value, make_attrs
from ..ops.table import infer
from ..segments import unused
from ..types import Size, Type
from .multilinear import NONE, Factor, Form, Indices, Term
from .product_order import Tree, best_order, members

#: A value and the index of each of its axes.
Operand = tuple[str, Indices]
#: A contraction: its operands, its left side, the letters of its result.
Key = tuple[tuple[str, str], str, frozenset[str]]


@dataclass
class Emitter:
    """Makes nodes: fixed ones go to ``before``, others to ``here``. Equal ones are made once. ``products``: names of the contractions of
    what is fixed."""

    types: dict[str, Type]  # of all values of the graph; grows
    inside: Set[str]  # what the loop changes
    sizes: Callable[[Size], int]
    weight: Callable[[Set[str]], float]  # how often a product of some values is taken, for one problem

    def __post_init__(self) -> None:
        self.before: list[Node] = []
        self.here: list[Node] = []
        self.changing = set(self.inside)
        self.known: dict[object, str] = {}
        self.symmetric: set[str] = set()
        self.layouts: dict[Key, str] = {}
        self.products: dict[str, None] = {}  # in order
        self.out: Indices = ()
        self.span: Span | None = None

    def is_fixed(self, name: str) -> bool:
        """Whether the loop does not change a value."""
        return name not in self.changing

    def op(self, op: str, *inputs: str, **attrs: object) -> str:
        """The output of a node."""
        kept = make_attrs(attrs)
        key = (op, inputs, kept)
        if key not in self.known:
            (type,) = infer(op, tuple(self.types[n] for n in inputs), dict(kept))
            name = unused("product", self.types)
            self.types[name] = type
            fixed = all(map(self.is_fixed, inputs))
            (self.before if fixed else self.here).append(Node(op, inputs, (Value(name, type),), kept, (), self.span))
            if not fixed:
                self.changing.add(name)
            self.known[key] = name
        return self.known[key]

    def number(self, value: float, dtype: str) -> str:
        """A constant."""
        return self.op("const", value=value, dtype=dtype)

    # -- sums of products -----------------------------------------------------------------------------------------------

    def value(self, form: Form, type: Type) -> str:
        """The value of a form, of a type."""
        self.out = out = tuple(i for i in form.indices if i != NONE)
        terms = self._merged(form.terms, frozenset(out), type)
        common = _common(terms, out, self)
        terms = [replace(t, factors=_without(t.factors, common)) for t in terms]
        sizes = {abs(t.scale) for t in terms}
        size = sizes.pop() if len(sizes) == 1 else 1.0
        sign = -1.0 if all(t.scale < 0 for t in terms) else 1.0
        extents = {i: max(1, self.sizes(s)) for i, s in form.extents.items()}
        total: Operand | None = None
        for term in sorted(terms, key=lambda t: t.scale * sign < 0):
            scale = term.scale * sign / size
            name, indices = self._core(term.factors, frozenset(out), extents, type)
            if abs(scale) != 1.0:
                name = self.op("mul", self.number(abs(scale), type.dtype), name)
            order = tuple(i for i in out if i in indices or (total is not None and i in total[1]))
            name = self._aligned(name, indices, order)
            if total is not None:
                name = self.op("add" if scale > 0 else "sub", self._aligned(*total, order), name)
            total = name, order
        assert total is not None
        name, indices = total
        for factor in common:
            other, theirs = self._leaf(factor)
            order = tuple(i for i in out if i in indices or i in theirs)
            name = self.op("div" if factor.inverse else "mul", self._aligned(name, indices, order), self._aligned(other, theirs, order))
            indices = order
        if size * sign != 1.0:
            name = self.op("mul", self.number(size * sign, type.dtype), name)
        name = self._aligned(name, indices, out)
        shaped = tuple(s if i == NONE or i in indices else Size.of(1) for s, i in zip(type.shape, form.indices, strict=True))
        if self.types[name].shape != shaped:
            name = self.op("reshape", name, shape=shaped)
        return name if shaped == type.shape else self.op("broadcast", name, shape=type.shape)

    def _merged(self, terms: Sequence[Term], out: frozenset[int], type: Type) -> list[Term]:
        """Terms with one factor that the loop changes, and the same others, as one: P x + P y = P (x + y)."""
        found: dict[object, Term] = {}
        for t in terms:
            whole = _canonical(t.factors, out)
            found[whole] = replace(t, scale=t.scale + found[whole].scale) if whole in found else t
        groups: dict[object, list[tuple[Term, int]]] = {}
        for key, t in found.items():
            moving = [n for n, f in enumerate(t.factors) if not self.is_fixed(f.name) and f.letters and not f.inverse]
            if len(moving) == 1 and NONE not in t.factors[moving[0]].indices:
                masked = [replace(f, name="") if n == moving[0] else f for n, f in enumerate(t.factors)]
                key = "one of", _canonical(masked, out)
            groups.setdefault(key, []).append((t, moving[0] if moving else -1))
        merged = []
        for group in groups.values():
            first, place = group[0]
            if len(group) == 1:
                merged.append(first)
                continue
            total = ""
            for t, n in group:
                name = t.factors[n].name
                if t.scale != 1.0:
                    name = self.op("mul", self.number(t.scale, type.dtype), name)
                total = self.op("add", total, name) if total else name
            factors = tuple(replace(f, name=total) if n == place else f for n, f in enumerate(first.factors))
            merged.append(Term(1.0, factors, first.squared))
        return merged

    def _core(self, factors: Sequence[Factor], out: frozenset[int], extents: Mapping[int, int], type: Type) -> Operand:
        """The product of factors, summed over what is not in ``out``."""
        if not factors:
            return self.number(1.0, type.dtype), ()
        order = best_order(factors, out, extents, self.is_fixed, self.weight, self.is_made)
        if isinstance(order.tree, int):
            return self._reduced(self._leaf(factors[order.tree]), factors[order.tree], out, type)
        return self._tree(order.tree, factors, out)

    def _tree(self, tree: Tree, factors: Sequence[Factor], out: frozenset[int]) -> Operand:
        if isinstance(tree, int):
            return self._leaf(factors[tree])
        own = members(tree)
        needed = out.union(*(f.letters for n, f in enumerate(factors) if n not in own))
        a, b = tree
        if isinstance(a, int) and factors[a].inverse:
            a, b = b, a
        divides = isinstance(b, int) and factors[b].inverse
        return self._pair(self._tree(a, factors, out), self._tree(b, factors, out), needed, divides)

    def _reduced(self, leaf: Operand, factor: Factor, out: frozenset[int], type: Type) -> Operand:
        """A factor alone, summed over what is not in ``out``."""
        name, indices = leaf
        if factor.inverse:
            name = self.op("div", self.number(1.0, type.dtype), name)
        axes = tuple(n - len(indices) for n, i in enumerate(indices) if i not in out)
        return (self.op("sum", name, axes=axes) if axes else name), tuple(i for i in indices if i in out)

    def _leaf(self, factor: Factor) -> Operand:
        """A factor without its axes of size 1."""
        if NONE not in factor.indices:
            return factor.name, factor.indices
        shape = tuple(s for s, i in zip(self.types[factor.name].shape, factor.indices, strict=True) if i != NONE)
        return self.op("reshape", factor.name, shape=shape), tuple(i for i in factor.indices if i != NONE)

    def _pair(self, a: Operand, b: Operand, needed: frozenset[int], divides: bool) -> Operand:
        """The product of two, or the quotient, summed over what is not ``needed``."""
        letters = set(a[1]) | set(b[1])
        if letters <= needed and not set(b[1]) <= set(a[1]) and set(a[1]) <= set(b[1]) and not divides:
            a, b = b, a
        if letters <= needed and set(b[1]) <= set(a[1]):
            if not divides and set(a[1]) == set(b[1]) and b < a:
                a, b = b, a
            return self.op("div" if divides else "mul", a[0], self._aligned(*b, a[1])), a[1]
        return self._einsum(a, b, needed)

    def _einsum(self, a: Operand, b: Operand, needed: frozenset[int]) -> Operand:
        """A contraction, made once whatever its indices are called and whichever side comes first; what is fixed stands left."""
        key, left, right, letter = self._key(a, b, needed)
        names, text, _ = key
        if key not in self.layouts:
            self.layouts[key] = "".join(letter[i] for i in self._layout(left, right, needed))
        made = self.layouts[key]
        name = self.op("einsum", *names, spec=f"{text}->{made}")
        if _is_symmetric(names, text, made):
            self.symmetric.add(name)
        if all(map(self.is_fixed, names)):
            self.products.setdefault(name, None)
        index = {c: i for i, c in letter.items()}
        return name, tuple(index[c] for c in made)

    def _key(self, a: Operand, b: Operand, needed: frozenset[int]) -> tuple[Key, Operand, Operand, dict[int, str]]:
        """What tells a contraction from others, its operands in order, and the letters of their indices."""
        choices = []
        for first, second in ((a, b), (b, a)):
            if (not self.is_fixed(first[0]), first[0]) <= (not self.is_fixed(second[0]), second[0]):
                choices += [((first[0], x), (second[0], y)) for x in self._orders(first) for y in self._orders(second)]
        written = [_lettered(one[1], two[1]) for one, two in choices]
        best = max(range(len(choices)), key=lambda n: written[n][0])
        (left, right), (text, letter) = choices[best], written[best]
        return ((left[0], right[0]), text, frozenset(letter[i] for i in letter if i in needed)), left, right, letter

    def is_made(self, a: Factor, b: Factor, needed: frozenset[int]) -> bool:
        """Whether the contraction of two factors has been made."""
        if NONE in (*a.indices, *b.indices) or a.inverse or b.inverse:
            return False
        return self._key((a.name, a.indices), (b.name, b.indices), needed)[0] in self.layouts

    def cost(self, form: Form) -> float:
        """Operations of the products of a form. Raises NoForm."""
        out = frozenset(form.indices) - {NONE}
        extents = {i: max(1, self.sizes(s)) for i, s in form.extents.items()}
        return sum(
            best_order(t.factors, out, extents, self.is_fixed, self.weight, self.is_made).cost for t in form.terms if t.factors
        )

    def _layout(self, left: Operand, right: Operand, needed: frozenset[int]) -> Indices:
        """The order of the axes of a contraction: that of the result, or of the operand that the loop changes, new indices in place of old."""
        kept = {*left[1], *right[1]} & needed
        if kept <= set(self.out):
            return tuple(i for i in self.out if i in kept)
        new = [i for i in left[1] if i in kept and i not in right[1]]
        return (*new, *(i for i in right[1] if i in kept))

    def _orders(self, operand: Operand) -> list[Indices]:
        return [operand[1], operand[1][::-1]] if operand[0] in self.symmetric else [operand[1]]

    def _aligned(self, name: str, indices: Indices, order: Indices) -> str:
        """A value whose axes broadcast to axes in ``order``."""
        wanted = [i for i in order if i in indices]
        if list(indices) != wanted:
            rank = len(indices)
            name = self.op("permute", name, axes=tuple(indices.index(i) - rank for i in wanted))
        first = order.index(wanted[0]) if wanted else len(order)
        if len(wanted) != len(order) - first:
            sizes = dict(zip(wanted, self.types[name].shape, strict=True))
            name = self.op("reshape", name, shape=tuple(sizes.get(i, Size.of(1)) for i in order[first:]))
        return name


def _lettered(a: Indices, b: Indices) -> tuple[str, dict[int, str]]:
    """The left side of a specification with letters in the order of their appearance, and the letters of the indices."""
    letter = {i: chr(ord("a") + n) for n, i in enumerate(dict.fromkeys((*a, *b)))}
    left, right = ("".join(letter[i] for i in part) for part in (a, b))
    return f"{left},{right}", letter


def _is_symmetric(names: tuple[str, str], text: str, made: str) -> bool:
    """Whether a contraction is the product of a matrix with its transpose."""
    left, right = text.split(",")
    differ = [n for n, (a, b) in enumerate(zip(left, right)) if a != b]
    return names[0] == names[1] and len(made) == 2 and len(differ) == 1 and {left[differ[0]], right[differ[0]]} == set(made)


def _canonical(factors: Sequence[Factor], out: frozenset[int]) -> tuple[Factor, ...]:
    """A product in a form that is the same for equal ones: factors in order, what is summed over numbered as it comes."""
    ordered = sorted(factors, key=lambda f: (f.name, f.inverse, tuple(i if i in out else NONE for i in f.indices)))
    number: dict[int, int] = {NONE: NONE}
    return tuple(
        replace(f, indices=tuple(i if i in out else number.setdefault(i, -1 - len(number)) for i in f.indices)) for f in ordered
    )


def _common(terms: Sequence[Term], out: Indices, emitter: Emitter) -> list[Factor]:
    """Factors of all terms that scale a result: what the loop changes, with no index that is summed over."""
    counts = [Counter(t.factors) for t in terms]
    shared = counts[0]
    for c in counts[1:]:
        shared = shared & c
    return [f for f in shared.elements() if not emitter.is_fixed(f.name) and f.letters <= set(out)]


def _without(factors: Sequence[Factor], gone: Sequence[Factor]) -> tuple[Factor, ...]:
    left = list(factors)
    for f in gone:
        left.remove(f)
    return tuple(left)
