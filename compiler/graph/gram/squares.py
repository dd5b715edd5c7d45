"""Which squares may be expanded to products: |s + u.q|^2 = s.s + 2 u.(q s) + u.(q q) u.

An expanded square has an error of the size of its terms, not of its own size. So it is taken only where the program itself computes a distance by
products, |q|^2 - 2 q.mu + |mu|^2, of a mean mu that is a sum without differences: that distance has an error of this size already. The
square of a residual, |A x - y|^2, stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..graph import Node, Region
from .multilinear import LINEAR, Expander, Form


def may_expand(node: Node, form: Form, region: Region, expander: Expander) -> bool:
    """Whether the form of a product of a loop's body may be taken in place of it, as far as squares go."""
    if not any(t.squared for t in form.terms):
        return True
    if any(t.scale <= 0 for t in form.terms):
        return False
    through = [expander.producers[n] for n in form.through]
    pairs = [n for n in through if n.op in ("mul", "einsum") and sum(map(expander.is_rich, n.inputs)) > 1]
    means = {_base(name, expander) for n in pairs for name in n.inputs}
    mine = _sums(node.output.name, region)
    for other in region.nodes:
        rich = [n for n in other.inputs if expander.is_rich(n)]
        if other is not node and other.op == "einsum" and len(rich) == 1 and _base(rich[0], expander) in means:
            if _meet(mine, _sums(other.output.name, region), region.nodes):
                return True
    return False


def _meet(mine: set[str], theirs: set[str], nodes: Sequence[Node]) -> bool:
    """Whether some sum or difference is of a value of each."""
    pairs = [n.inputs for n in nodes if n.op in ("add", "sub")]
    return any((a in mine and b in theirs) or (b in mine and a in theirs) for a, b in pairs)


def _base(name: str, expander: Expander) -> str:
    """What a value of the body is a view of."""
    producers: Mapping[str, Node] = expander.producers
    while name in expander.own and (node := producers[name]).op in ("permute", "reshape", "broadcast"):
        name = node.inputs[0]
    return name


def _sums(name: str, region: Region) -> set[str]:
    """Where a value goes by additions, scalings and views, into the next iteration, too."""
    carry = dict(zip(region.results, (a.name for a in region.args), strict=False))
    found, todo = set[str](), [name]
    while todo:
        at = todo.pop()
        if at in found:
            continue
        found.add(at)
        if at in carry:
            todo.append(carry[at])
        for n in region.nodes:
            if at in n.inputs and n.op in LINEAR and n.op not in ("einsum", "sum"):
                todo += [v.name for v in n.outputs]
    return found
