"""Which threads touch one element: asked of isl for two parts of a loop tree, by the statements that they were made of.

    thread i: A[i] = ..                  one thread has i = i' in both: no two threads meet at an element of A
    thread i: B[i] = A[i] + ..

What counts is where the arrays of the scheduled nest lie in the end, not the order of the program: two instances that touch an element, one of
them writing, must not be under way at the same time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..graph.types import Size
from . import isl
from .dependences import primed
from .nest import LoopOrder, Nest, Statement
from .tree import Int, LibraryCall, Loop, Store, Tree
from .tree_walk import loads, walk


@dataclass(frozen=True, eq=False)
class Place:
    """What an assignment was made of: the statement, and the loops of the nest that it is in, by the variables of the tree."""

    statement: Statement
    around: Mapping[str, LoopOrder]

    def value(self, loop: Loop) -> Size | None:
        """The value of a loop of the tree for the statement; None if no loop of the nest became that one."""
        found = self.around.get(loop.name)
        return None if found is None else found.value(self.statement.name)


@dataclass(frozen=True)
class _Touch:
    place: Place
    array: str
    index: tuple[Size, ...]
    write: bool


class Touching:
    """The assignments of a loop tree, by id, with the nest that they were made of."""

    def __init__(self, nest: Nest, places: Mapping[int, Place]) -> None:
        self.nest, self.places = nest, places

    def scopes(self) -> dict[str, str]:
        """Where each array lies."""
        return {a.name: a.scope for a in self.nest.arrays}

    def apart(
        self, first: Tree, second: Tree, arrays: Collection[str], same: Sequence[Loop], differ: Loop | None,
        dealt: Sequence[tuple[Loop, Loop]],
    ) -> bool:  # fmt: skip
        """Whether isl shows that instances of two parts never touch one element of ``arrays``, one of them writing: in one iteration of the
        loops ``same``, in two of ``differ``, and on two threads, where one has both parts of each pair of equal values of loops ``dealt``."""
        touches = [list(self._touches(part, arrays)) for part in (first, second)]
        if any(None in found for found in touches):
            return False
        pairs = ((a, b) for a in touches[0] for b in touches[1] if a and b and a.array == b.array and (a.write or b.write))
        return all(self._apart(a, b, same, differ, dealt) for a, b in pairs)

    def _touches(self, part: Tree, arrays: Collection[str]) -> Iterator[_Touch | None]:
        """Each access of a part to one of the arrays, once; None for one that is no statement's."""
        seen = set[str]()
        for node in walk(part):
            if isinstance(node, Loop) and any(x.array in arrays for e in node.tests for x in loads(e)):
                yield None
            if not isinstance(node, (Store, LibraryCall)):
                continue
            place = self.places.get(id(node))
            if place is None:
                yield None
                continue
            s = place.statement
            if s.name in seen:
                continue  # written out more than once
            seen.add(s.name)
            writes = s.outputs if s.routine else (s.write,)
            found = [_Touch(place, w.array, w.index, True) for w in writes]
            found += [_Touch(place, r.array, r.index, False) for r in (s.inputs if s.routine else s.reads())]
            yield from dict.fromkeys(x for x in found if x.array in arrays)

    def _apart(
        self, a: _Touch, b: _Touch, same: Sequence[Loop], differ: Loop | None, dealt: Sequence[tuple[Loop, Loop]]
    ) -> bool:
        s, t = a.place.statement, b.place.statement
        rename, indices = primed(t), list(zip(a.index, b.index))
        threads = [(a.place.value(x), b.place.value(y)) for x, y in dealt]
        if not all(x is not None and y is not None and _dense(x) and _dense(y) for x, y in threads):
            threads = []
        if threads and all(x is not None and y is not None and _forced(x, y, indices) for x, y in threads):
            return True
        around = [_pair(a.place.value(loop), b.place.value(loop)) for loop in same]
        equal = indices + [pair for pair in around if pair and _dense(pair[0]) and _dense(pair[1])]
        parts = [_compare(x, "=", y.substitute(rename)) for x, y in equal]
        if differ is not None and (pair := _pair(a.place.value(differ), b.place.value(differ))):
            parts.append(_compare(pair[0], "!=", pair[1].substitute(rename)))
        others = [_compare(x, "!=", y.substitute(rename)) for x, y in threads if x is not None and y is not None]
        if threads and len(others) == len(threads):
            parts.append(f"({' or '.join(others)})")
        found = isl.relation(s, t, " and ".join(parts) or "1 = 1", self.nest.params)
        params = self.nest.params
        return bool(found.intersect_domain(isl.domain(s, params)).intersect_range(isl.domain(t, params)).is_empty())


def _pair(x: Size | None, y: Size | None) -> tuple[Size, Size] | None:
    return None if x is None or y is None else (x, y)


def _dense(value: Size) -> bool:
    """Whether the variable of a loop is its value. Where a loop has only multiples of a number, isl leaves that number out, and what lies
    between two multiples (8 k and 8 k + 4) is one iteration."""
    return any(abs(c) == 1 for names, c in value.terms if names)


def _compare(x: Size, how: str, y: Size) -> str:
    return f"{isl.affine_text(x)} {how} {isl.affine_text(y)}"


def _forced(x: Size, y: Size, equal: Sequence[tuple[Size, Size]]) -> bool:
    """Whether equal indices alone imply that two values are equal."""
    for a, b in equal:
        shift = (x - a).constant
        if shift is not None and shift == (y - b).constant:
            return True
    return False


# -- how loops are dealt out -------------------------------------------------------------------------------------------


def dealt_alike(first: Tree, second: Tree, bound: Collection[str]) -> list[tuple[Loop, Loop]]:
    """Loops of two parts, from the outermost on, of which one thread has the same iterations; empty if they are not dealt out in the same way.

    Iterations are dealt by their numbers, so ranges must be the same, and hold none of the variables ``bound``, which the parts do not have in
    common. Threads that have an iteration in common must be as many. Loops that are dealt out by number have rules of their own.
    """
    a, b = _chain(first), _chain(second)
    if not a or len(a) != len(b) or _lanes(first) != _lanes(second):
        return []
    if any(isinstance(one, Loop) and (one.numbered or one.kind == "tensor") for part in (first, second) for one in walk(part)):
        return []
    names: dict[str, str] = {}
    for x, y in zip(a, b, strict=True):
        ranges = [(x.lower, y.lower), (x.upper, y.upper)]
        if x.kind != y.kind and not {"parallel"} <= set(x.kind.split()) & set(y.kind.split()):
            return []
        if x.step != y.step or x.tests or y.tests or any(_renamed(p, names) != q for p, q in ranges):
            return []
        if any((_names(v) - names.keys()) & set(bound) for v in (x.lower, x.upper)):
            return []
        names[x.name] = y.name
    return list(zip(a, b, strict=True))


def _chain(part: Tree) -> list[Loop]:
    """Loops directly inside of each other that are dealt out in one go."""
    chain = [part] if isinstance(part, Loop) and part.dealt else []
    word = next((w for w in ("thread", "block") if chain and w in chain[0].kind), "")
    while word and len(chain[-1].body.children) == 1:
        inner = chain[-1].body.children[0]
        if not isinstance(inner, Loop) or word not in inner.kind:
            break
        chain.append(inner)
    return chain


def _lanes(part: Tree) -> int:
    """Threads that have an iteration in common."""
    return max((one.lanes for one in walk(part) if isinstance(one, Loop)), default=1)


def _renamed(value: Int, names: Mapping[str, str]) -> Int:
    if value.op == "name":
        return Int("name", name=names.get(value.name, value.name))
    return Int(value.op, tuple(_renamed(a, names) for a in value.args), value.value) if value.args else value


def _names(value: Int) -> set[str]:
    return {value.name} if value.op == "name" else set().union(*map(_names, value.args))
