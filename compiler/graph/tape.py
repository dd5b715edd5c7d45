"""What a loop records for its adjoint: the cheapest set of values from which the rest follows.

    needed by the adjoint: m, u          r = A x   (contraction: worth recording)
    m = |x - s u| > t                    u = A.T r
    record x, u; compute m again         m, u      <- x, u

Two ways are compared. *Residuals*: a minimum cut between what an iteration starts from and what its adjoint needs, in which
contractions, reductions, loops and library calls are never computed again. *State*: the carried values at the start of an
iteration, from which all is computed again; taken if it is much smaller, or if the policy of the outermost loops says so
(``segments.py``), since it costs a second forward pass.

What an iteration makes of a carried value is what the next one starts from: where the one is recorded, the other stands in the row
behind, and is neither recorded nor computed again.

    needed: p, q = p'/len, len           record p;     q <- the next row,  len <- p
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from .bounds import greatest
from .graph import Node, free_names, walk
from .ops.table import lookup
from .types import BYTES, Size, Type, range_length, size_fn

#: A size with a name counts as this many elements.
NOMINAL = 256
#: The state is recorded instead of residuals if it is this many times smaller.
SAVING = 16
#: Families of ops that are computed again rather than recorded; random numbers follow from their counters.
_CHEAP = frozenset({"elementwise", "view", "constructor", "random"})
_VECTOR = 4 * NOMINAL  # bytes below which saving does not count
_FEW = 3  # elementwise ops that take no longer than a read


@dataclass(frozen=True)
class Tape:
    """``record``: values to stack, one row per iteration; ``following``: results of an iteration, each with the recorded value whose
    next row it is; ``recompute``: nodes that give the rest from these."""

    record: tuple[str, ...]
    recompute: tuple[Node, ...]
    following: tuple[tuple[str, str], ...] = ()


def choose(
    args: Iterable[str], body: Sequence[Node], needed: Iterable[str], types: Mapping[str, Type], index: str, saving: float = SAVING,
    free: Set[str] = frozenset(), steps: Sequence[tuple[str, str]] = (),
) -> Tape:  # fmt: skip
    """The tape of a loop over ``index`` with carried ``args`` whose adjoint reads ``needed`` values of its body; the state, if it is
    ``saving`` times smaller than residuals. Those in ``free`` are at hand anyway: to record them costs nothing. ``steps`` are those
    of :func:`steps`."""
    producer = {v.name: n for n in body for v in n.outputs}
    own = set(args)
    wanted = sorted(n for n in set(needed) if n in own or n in producer)
    residuals = _minimum_cut(own, producer, wanted, types, index, free)
    state = _reached(wanted, producer, set()) & own
    whole = max(_weight(state - free, types), _VECTOR if saving > 1 else 0) * saving <= _weight(residuals - free, types)

    def tape(pairs: Sequence[tuple[str, str]]) -> Tape:
        record, paid = state if whole else residuals, {name for pair in pairs for name in pair}
        if pairs:
            both = _reached(wanted, producer, paid) & (own | paid)
            record = both if whole else _minimum_cut(own, producer, wanted, types, index, free | paid)
        again = _reached(wanted, producer, record) - record
        following = tuple(pair for pair in pairs if record.issuperset(pair))
        nodes = tuple(n for n in body if any(v.name in again for v in n.outputs))
        return Tape(tuple(sorted(record - {result for result, _ in following})), nodes, following)

    plain = tape(())

    def settled(pairs: Sequence[tuple[str, str]]) -> Tape:
        found = tape(pairs) if pairs else plain
        made = {v.name for n in found.recompute for v in n.outputs}  # what is computed again with others need not be read
        return settled([p for p in pairs if p[0] not in made]) if any(result in made for result, _ in pairs) else found

    useful = [p for p in steps if p[0] in plain.record or _pays(p[0], plain, wanted, producer)]
    ways = {tuple(_matching(order, set(plain.record), free)) for order in (useful, useful[::-1])}
    return min(map(settled, sorted(ways)), key=lambda tape: _weight(set(tape.record) - free, types))


def _pays(result: str, tape: Tape, wanted: Sequence[str], producer: Mapping[str, Node]) -> bool:
    """Whether it is worth a read not to compute a result again: for more than a few elementwise ops, or where others than such read it,
    which must wait until it is all there."""
    rest = _reached([n for n in wanted if n != result], producer, {*tape.record, result})
    spared = [n for n in tape.recompute if not any(v.name in rest - {result} for v in n.outputs)]
    if sum(lookup(n.op).family == "elementwise" for n in spared) > _FEW or not all(map(_is_cheap, spared)):
        return True
    return any(result in free_names(n) and lookup(n.op).family != "elementwise" for n in tape.recompute)


def steps(node: Node) -> list[tuple[str, str]]:
    """The results of an iteration of a ``for`` node, each with the carried value that it becomes, where a tape may have a row more for
    the end of the loop: not where data tells how many rows there are."""
    region = node.regions[0]
    return [] if node.attr("until") else [(r, a.name) for r, a in zip(region.results, region.args, strict=False)]


def _matching(steps: Sequence[tuple[str, str]], paid: set[str], free: Set[str]) -> list[tuple[str, str]]:
    """Those of ``steps`` for which one row, which is recorded anyway, gives both: no value is in two of them."""
    found: list[tuple[str, str]] = []
    taken = set(free)
    for pair in sorted(steps, key=lambda pair: -len(paid.intersection(pair))):  # first where both would be recorded
        if pair[0] != pair[1] and paid.intersection(pair) and not taken.intersection(pair):
            found.append(pair)
            taken.update(pair)
    return found


def from_state(args: Iterable[str], body: Sequence[Node], needed: Iterable[str]) -> Tape:
    """The tape that records nothing: all that an adjoint needs is computed from carried ``args``."""
    producer = {v.name: n for n in body for v in n.outputs}
    again = _reached([n for n in needed if n in producer], producer, set(args))
    return Tape((), tuple(n for n in body if any(v.name in again for v in n.outputs)))


def _reached(names: Iterable[str], producer: Mapping[str, Node], stop: set[str]) -> set[str]:
    """``names`` and what they are computed from, back to the names in ``stop``."""
    found: set[str] = set()
    todo = list(names)
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            if name in producer and name not in stop:
                todo += free_names(producer[name])
    return found


def _minimum_cut(
    args: set[str], producer: Mapping[str, Node], wanted: Sequence[str], types: Mapping[str, Type], index: str, free: Set[str]
) -> set[str]:
    """The smallest set of values that, with cheap ops, gives ``wanted``; of equals the one that computes least again."""
    import networkx as nx  # slow to import, and a program is checked without it

    flow = nx.DiGraph()
    flow.add_nodes_from(("start", "end"))
    for name in wanted:
        flow.add_edge((name, "out"), "end")
    todo, seen = list(wanted), set(wanted)
    while todo:
        name = todo.pop()
        fixed = not any(index in s.names() for s in types[name].shape)  # its row has the same shape in every iteration
        if fixed:
            view = name in producer and lookup(producer[name].op).family == "view"  # of equals, what it is a view of
            flow.add_edge((name, "in"), (name, "out"), capacity=0 if name in free else 16 * _weight([name], types) + view)
        else:
            flow.add_edge((name, "in"), (name, "out"))
        if name in args or (fixed and not _is_cheap(producer[name])):
            flow.add_edge("start", (name, "in"))
            continue
        for source in sorted(free_names(producer[name])):
            if source in args or source in producer:
                flow.add_edge((source, "out"), (name, "in"))
                if source not in seen:
                    seen.add(source)
                    todo.append(source)
    _, (start, _) = nx.minimum_cut(flow, "start", "end")
    return {name for name in seen if (name, "in") in start and (name, "out") not in start}


def _is_cheap(node: Node) -> bool:
    rows = [lookup(n.op) for n in walk([node]) if n.op != "if"]
    return all(row.family in _CHEAP and not row.library for row in rows)


def _weight(names: Iterable[str], types: Mapping[str, Type]) -> int:
    """Bytes of values, with nominal sizes."""
    total = 0
    for name in names:
        numel = types[name].numel
        total += max(1, numel.evaluate(dict.fromkeys(numel.names(), NOMINAL))) * BYTES[types[name].dtype]
    return total


def trip_count(node: Node) -> Size:
    """Number of iterations of a ``for`` node (negative counts mean none)."""
    return range_length(node.attr("lower"), node.attr("upper"), node.attr("step"))


def stack_length(node: Node, around: Sequence[Node]) -> Size:
    """The length of a loop's stacks: a bound of its trip count, not negative, that names no index of the loops around."""
    known: Size | None = node.attr("stack_size")
    if known is not None:
        return known
    size = trip_count(node)
    for loop in reversed(around):
        index = loop.attr("index")
        if index in size.names():
            first, last = loop.attr("lower"), loop.attr("upper") - (1 if loop.attr("step") > 0 else -1)
            size = greatest(size, index, first, last)
    return size if never_negative(size) else size_fn("max", 0, size)


def never_negative(size: Size) -> bool:
    """Whether a size is seen to be at least 0, names being that."""
    atoms = {atom for monomial, c in size.terms for atom in monomial if c > 0}
    known = all(isinstance(a, str) or (a.op == "max" and any(never_negative(s) for s in a.args)) for a in atoms)
    return known and all(c > 0 for _, c in size.terms)
