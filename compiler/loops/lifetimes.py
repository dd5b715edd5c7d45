"""How long the elements of an array live in an order, exactly: from a write to the last read of what it wrote."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from typing import Any

import islpy

from ..graph.types import Size
from .dependences import paths
from .isl import affine_text, domain_condition, head
from .nest import LoopOrder, Nest, Statement, loop_path, loops_of

#: So many places are tried where elements that need one each lie arbitrarily far apart.
TRIED = 64


@dataclass(frozen=True)
class Touch:
    """An access of a statement to one element."""

    statement: str
    index: tuple[Size, ...]
    writes: bool


@dataclass(frozen=True)
class Lifetimes:
    """The lives of the elements of one array in the present order of a nest; iterations of loops in ``beside`` run at once.

    What it tells holds for all run-time arguments. A statement that accumulates reads and writes.
    """

    nest: Nest
    touches: tuple[Touch, ...]
    beside: frozenset[str] = frozenset()

    def unwritten(self) -> str | None:
        """A statement that reads what nothing has written before, or None."""
        found = _first(self._flow.get_must_no_source())
        return None if found is None else str(found.get_tuple_name(islpy.dim_type.in_))

    def places(self, axis: int) -> int | None:
        """The least M so that elements whose indices along an axis are equal modulo M, and along all others equal, can share a place;
        None if there is no such number, or none was found."""
        apart = self._apart(axis)
        if apart.is_empty():
            return 1
        ends = (apart.dim_max_val(0), apart.dim_min_val(0).neg())
        known = [v.to_python() for v in ends if v.is_int()]
        most = max(known) + 1 if len(known) == 2 else TRIED
        multiples = (islpy.Set(f"{{ [d] : d mod {m} = 0 }}") for m in range(1, most + 1))
        return next((m for m, found in enumerate(multiples, 1) if apart.intersect(found).is_empty()), None)

    def overwritten(self, axis: int, places: int) -> tuple[str, str, bool, Any] | None:
        """What goes wrong where the indices along an axis are taken modulo ``places``, or None: two statements and a relation between
        instances of them, the first of which overwrites what the second is yet to read, or (True) that use one place at once."""
        same = self._relation(axis, f" and (y{axis} - x{axis}) mod {places} = 0")
        later = self._written.apply_range(same).apply_range(self._written.reverse()).intersect(self._before)
        lost = _first(later.reverse().apply_range(self._used).intersect(self._before))
        at_once = lost is None
        if at_once:
            touched = self._read.union(self._written)
            lost = _first(self._at_once.intersect(touched.apply_range(same).apply_range(self._written.reverse())))
        if lost is None:
            return None
        first, second = (str(lost.get_tuple_name(kind)) for kind in (islpy.dim_type.in_, islpy.dim_type.out))
        return first, second, at_once, lost

    def _apart(self, axis: int) -> Any:
        """Differences along an axis between elements that are in each other's way, equal along all others."""
        same, written = self._relation(axis), self._written
        later = written.apply_range(same).apply_range(written.reverse()).intersect(self._before)
        lost = later.intersect(self._used.apply_range(self._before.reverse()))
        touched = self._read.union(written)
        pairs = written.reverse().apply_range(lost).apply_range(written)
        pairs = pairs.union(touched.reverse().apply_range(self._at_once).apply_range(written)).intersect(same)
        found = islpy.Set("{ [d] : 1 = 0 }")
        parts: list[Any] = []
        pairs.foreach_map(parts.append)
        for part in parts:
            steps = part.deltas().project_out_all_params().reset_tuple_id()
            steps = steps.project_out(islpy.dim_type.set, axis + 1, steps.dim(islpy.dim_type.set) - axis - 1)
            found = found.union(steps.project_out(islpy.dim_type.set, 0, axis))
        return found

    def _relation(self, axis: int, condition: str = "") -> Any:
        """Pairs of elements that differ along an axis only."""
        rank = len(self.touches[0].index)
        left, right = ([f"{n}{k}" for k in range(rank)] for n in "xy")
        equal = [f"x{k} = y{k}" if k != axis else f"x{k} != y{k}" for k in range(rank)]
        return islpy.UnionMap(f"{{ at[{', '.join(left)}] -> at[{', '.join(right)}] : {' and '.join(equal)}{condition} }}")

    # -- relations between instances of statements -----------------------------------------------------------------------

    def _union(self, names: Sequence[str], right: Callable[[Statement], str]) -> Any:
        """The union of ``{ S[dims] -> right : domain }`` over statements. Run-time arguments are sizes: none is negative."""
        parts, sizes = [], [f"{p} >= 0" for p in self.nest.params]
        for name in dict.fromkeys(names):
            s = self.nest.statement_table[name]
            condition = " and ".join(c for c in (domain_condition(s, {}), *sizes) if c)
            dims = ", ".join(d.name for d in s.dims)
            parts.append(f"{s.name}[{dims}] -> {right(s)}{' : ' + condition if condition else ''}")
        return islpy.UnionMap(f"{head(self.nest.params)}{{ {'; '.join(parts)} }}")

    def _elements(self, touches: Sequence[Touch]) -> Any:
        found = islpy.UnionMap("{ }")
        for t in touches:
            place = f"at[{', '.join(map(affine_text, t.index))}]"
            found = found.union(self._union([t.statement], lambda _, place=place: place))  # type: ignore[misc]
        return found

    @cached_property
    def _users(self) -> list[str]:
        return list(dict.fromkeys(t.statement for t in self.touches))

    @cached_property
    def _written(self) -> Any:
        return self._elements([t for t in self.touches if t.writes])

    @cached_property
    def _read(self) -> Any:
        return self._elements([t for t in self.touches if not t.writes])

    @cached_property
    def _times(self) -> Any:
        """When instances run: vectors that compare as the instances follow each other."""
        above = paths(self.nest.order)
        rows = [[str(v) if kind == "at" else affine_text(v.value(n)) for kind, v in above[n]] for n in self._users]
        columns = [c for c in zip_longest(*rows, fillvalue="0") if len(set(c)) > 1 or not c[0].isdigit()]
        texts = dict(zip(self._users, zip(*columns))) if columns else {}
        return self._union(self._users, lambda s: f"[{', '.join(texts.get(s.name, ()))}]")

    @cached_property
    def _before(self) -> Any:
        """Pairs of instances, the one that runs first first."""
        return self._times.lex_lt_union_map(self._times)

    @cached_property
    def _flow(self) -> Any:
        access = islpy.UnionAccessInfo.from_sink(self._read)
        return access.set_must_source(self._written).set_schedule_map(self._times).compute_flow()

    @cached_property
    def _used(self) -> Any:
        """A write, and each read of what it wrote."""
        return self._flow.get_must_dependence().union(self._flow.get_may_dependence())

    @cached_property
    def _at_once(self) -> Any:
        """Pairs of instances in different iterations that run at once."""
        found = islpy.UnionMap("{ }")
        for loop in loops_of(self.nest.order):
            names = [n for n in self._users if n in dict(loop.values)]
            if loop.name not in self.beside or not names:
                continue
            path = loop_path(self.nest.order, names[0])
            path = path[: [p.name for p in path].index(loop.name) + 1]
            around, here = (self._union(names, lambda s, p=p: _values(p, s)) for p in (path[:-1], path))  # type: ignore[misc]
            found = found.union(around.apply_range(around.reverse()).subtract(here.apply_range(here.reverse())))
        return found


def _values(path: Sequence[LoopOrder], statement: Statement) -> str:
    return f"[{', '.join(affine_text(p.value(statement.name)) for p in path)}]"


def _first(found: Any) -> Any | None:
    """A relation of a union, the same one every time; None if all are empty."""
    parts: list[Any] = []
    found.foreach_map(lambda part: parts.append(part) if not part.is_empty() else None)
    ends = (islpy.dim_type.in_, islpy.dim_type.out)
    return min(parts, key=lambda part: [str(part.get_tuple_name(kind)) for kind in ends], default=None)
