"""Loops that compute what an earlier one computes: its results serve for both.

    x, t = for carry a: b = f(a); stack a          x, t = for carry a: b = f(a); stack a
    y = for carry c: d = f(c)                -->   y = x

They start from the same values and make the same of them; what the later one stacks, the earlier one stacks, too. Loops that call modules
stay apart, as such calls do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from .graph import Node, Region, Value, walk

Key = Callable[[Node], object]
#: Attributes in which loops that compute the same may differ.
_OWN = ("loose", "names", "stack_size", "stacked")


def merged(first: Node, second: Node, key: Key) -> tuple[Node, dict[str, str]] | None:
    """The first loop, with what the second one stacks, and what the results of the second one are called then; None if the second one computes
    anything else. ``key`` tells what a node computes from its operands."""
    (one,), (two,) = first.regions, second.regions
    names = _carried(first, second)
    if names is None or _plan(first) != _plan(second) or any(n.op == "module" for n in walk(two.nodes)) or not _same(one, two, names, key):
        return None
    count, ends = len(two.args), (len(first.outputs), len(second.outputs))
    place = {a.name: n for n, a in enumerate(one.args)}
    renamed: dict[str, str] = {}
    for argument, result, output in zip(two.args, two.results, second.outputs, strict=False):
        at = place[names[argument.name]]
        if one.results[at] != names.get(result, result):
            return None
        renamed[output.name] = first.outputs[at].name
    if tuple(names.get(r, r) for r in two.results[ends[1] :]) != one.results[ends[0] :]:  # the condition of `until`
        return None
    have = {(r, v.type): v.name for r, v in zip(one.results[len(one.args) : ends[0]], first.outputs[len(one.args) :], strict=True)}
    more: list[tuple[str, Value]] = []
    for result, output in zip(two.results[count : ends[1]], second.outputs[count:], strict=True):
        row = names.get(result, result)
        known = have.get((row, output.type))
        if known is None:
            more.append((row, output))
        else:
            renamed[output.name] = known
    if not more:
        return first, renamed
    if first.attr("until") or first.attr("stack_size", second.attr("stack_size")) != second.attr("stack_size"):
        return None
    whole = replace(one, results=(*one.results, *(row for row, _ in more)))
    attrs = {"stacked": first.attr("stacked", 0) + len(more), "stack_size": second.attr("stack_size")}
    return replace(first.with_attrs(**attrs), outputs=(*first.outputs, *(v for _, v in more)), regions=(whole,)), renamed


def _plan(node: Node) -> tuple[object, ...]:
    return tuple((k, v) for k, v in node.attrs if k not in _OWN)


def _carried(first: Node, second: Node) -> dict[str, str] | None:
    """For each carried value of the second loop one of the first that starts the same."""
    free = list(zip(first.inputs, first.regions[0].args, strict=True))
    names: dict[str, str] = {}
    for start, argument in zip(second.inputs, second.regions[0].args, strict=True):
        at = next((n for n, (other, _) in enumerate(free) if other == start), None)
        if at is None:
            return None
        names[argument.name] = free.pop(at)[1].name
    return names


def _same(one: Region, two: Region, names: dict[str, str], key: Key) -> bool:
    """Whether all that the second region computes is computed in the first one; ``names`` gets what its values are called there."""
    known = {key(n): n for n in one.nodes if not n.regions}
    for node in two.nodes:
        here = replace(node, inputs=tuple(names.get(i, i) for i in node.inputs))
        if node.regions:
            twin = next((n for n in one.nodes if (n.op, n.inputs, n.attrs) == (here.op, here.inputs, here.attrs) and _alike(n, node, names, key)), None)
        else:
            twin = known.get(key(here))
        if twin is None:
            return False
        names.update((a.name, b.name) for a, b in zip(node.outputs, twin.outputs, strict=True))
    return True


def _alike(one: Node, two: Node, names: dict[str, str], key: Key) -> bool:
    """Whether the regions of two nodes compute the same."""
    for a, b in zip(one.regions, two.regions, strict=True):
        inner = names | {y.name: x.name for x, y in zip(a.args, b.args, strict=False)}
        if tuple(v.type for v in a.args) != tuple(v.type for v in b.args) or not _same(a, b, inner, key):
            return False
        if a.results != tuple(inner.get(r, r) for r in b.results):
            return False
    return True
