"""Loops and branches, and conditions on indices as guards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..graph.graph import Node, Value, free_names, walk
from ..graph.types import Size, Type
from . import lazy as lz
from .expansion import expansion
from .lazy import Lazy, stored
from .nest import Apply, Expr, Guard, SizeValue, accesses
from .tree import Literal

if TYPE_CHECKING:
    from .lower import Lowering


@expansion("for")
def _for(low: Lowering, node: Node) -> None:
    low.loop(node)


@expansion("if")
def _if(low: Lowering, node: Node) -> None:
    test = low.scope[node.inputs[0]].element(())
    then, orelse = node.regions
    guards, negated = affine_guards(test), affine_guards(Apply("not", (test,), "bool"))
    if guards is None or negated is None:
        _select(low, node, test)
        return
    arrays = []
    for n, out in enumerate(node.outputs):
        arrays.append(_branch_array(low, node, n, out))
    outer, targets = low.guards, low.targets
    for region, alternatives in ((then, guards), (orelse, negated)):
        for conditions in alternatives:
            low.guards, low.targets = (*outer, *conditions), dict(zip(region.results, arrays, strict=True))
            low.run_nodes(region.nodes, region.results, [], False)
            for name, array in zip(region.results, arrays, strict=True):
                low.store(low.scope[name], array)
            low.end_region()
    low.guards, low.targets = outer, targets
    for out, array in zip(node.outputs, arrays, strict=True):
        low.scope[out.name] = stored(array, low.type(out.type))


def _branch_array(low: Lowering, node: Node, n: int, out: Value) -> str:
    """Where result ``n`` of an ``if`` goes: in place when one branch leaves an array as it is."""
    for region in node.regions:
        name = region.results[n]
        value = low.scope.get(name)
        if value is not None and value.array is not None and name in low.frames[-1].defined:
            others = {m for r in node.regions for inner in walk(r.nodes) for m in free_names(inner) if m != name}
            if not low.frames[-1].live(name) and low.protect(value.array, others):
                return value.array
    return low.new_array(out.name, low.type(out.type))


def _select(low: Lowering, node: Node, test: Expr) -> None:
    """A branch on data: both sides are computed, then chosen between."""
    chosen: list[list[Lazy]] = []
    targets, low.targets = low.targets, {}
    around = low.tests
    for region, chooses in zip(node.regions, (test, Apply("not", (test,), "bool")), strict=True):
        low.tests = (*around, chooses)
        low.run_nodes(region.nodes, region.results, [], False)
        chosen.append([low.in_array(low.scope[r], r) for r in region.results])
        low.end_region()
    low.targets, low.tests = targets, around
    condition = Lazy(Type("bool"), lambda i: test, frozenset(a.array for a in accesses(test)))
    ends = [targets.get(out.name) for out in node.outputs]
    if condition.reads & set(ends[:-1]):
        condition = low.in_array(condition)  # results written in place change what it looks at
    sides = [[_kept(low, v, ends[:n]) for n, v in enumerate(side)] for side in chosen]
    for out, a, b in zip(node.outputs, *sides, strict=True):
        low.define(out, lz.elementwise("where", low.type(out.type), [condition, a, b]))


def _kept(low: Lowering, value: Lazy, overwritten: Sequence[str | None]) -> Lazy:
    """A value in an array that stays while others are written."""
    if not value.reads & set(overwritten):
        return value
    array = low.new_array("", value.type)
    low.store(value, array)
    return stored(array, value.type)


def affine_guards(test: Expr) -> list[tuple[Guard, ...]] | None:
    """A condition on indices as disjoint conjunctions of affine guards; None if it looks at data."""
    if isinstance(test, Literal):
        return [()] if test.value else []
    if not isinstance(test, Apply):
        return None
    if test.op == "not":
        inner = test.args[0]
        if isinstance(inner, Apply) and inner.op == "not":
            return affine_guards(inner.args[0])
        if isinstance(inner, Apply) and inner.op in ("and", "or"):
            sides = tuple(Apply("not", (x,), "bool") for x in inner.args)
            return affine_guards(Apply("or" if inner.op == "and" else "and", sides, "bool"))
        if isinstance(inner, Apply) and inner.op in _NEGATED:
            return affine_guards(Apply(_NEGATED[inner.op], inner.args, "bool"))
        if isinstance(inner, Literal):
            return [] if inner.value else [()]
        return None
    if test.op == "and":
        left, right = affine_guards(test.args[0]), affine_guards(test.args[1])
        return None if left is None or right is None else [(*a, *b) for a in left for b in right]
    if test.op == "or":
        a, b = test.args
        only_b = Apply("and", (Apply("not", (a,), "bool"), b), "bool")
        left, right = affine_guards(a), affine_guards(only_b)
        return None if left is None or right is None else [*left, *right]
    if test.op in _NEGATED:
        x, y = (affine_size(a) for a in test.args)
        if x is None or y is None:
            return None
        if test.op == "ne":
            return [(Guard(x - y - 1),), (Guard(y - x - 1),)]
        difference = {"lt": y - x - 1, "le": y - x, "gt": x - y - 1, "ge": x - y, "eq": x - y}[test.op]
        return [(Guard(difference, "==" if test.op == "eq" else ">="),)]
    return None


_NEGATED = {"lt": "ge", "ge": "lt", "gt": "le", "le": "gt", "eq": "ne", "ne": "eq"}


def affine_size(value: Expr) -> Size | None:
    """An integer expression over indices as a size, or None."""
    if isinstance(value, SizeValue):
        return value.size
    if isinstance(value, Literal) and isinstance(value.value, int):
        return Size.of(int(value.value))
    if isinstance(value, Apply) and value.dtype.startswith("i"):
        args = [a for a in map(affine_size, value.args) if a is not None]
        if len(args) < len(value.args):
            return None
        if value.op in ("cast", "neg"):
            return args[0] if value.op == "cast" else -args[0]
        if value.op in ("add", "sub", "mul"):
            a, b = args
            return a + b if value.op == "add" else a - b if value.op == "sub" else a * b
    return None
