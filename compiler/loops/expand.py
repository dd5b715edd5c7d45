"""How each op of the graph becomes expressions and statements: one rule per op.

A rule takes the lowering and a node and binds the node's outputs. An op without a rule is a library call
and stays with the host.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import TYPE_CHECKING

from ..graph.graph import Node, Value, free_names, walk
from ..graph.ops.table import lookup
from ..graph.types import At, Pick, Range, Size, Type, is_floating
from . import lazy as lz
from .isl import NotAffine
from .lazy import ZERO, Index, Lazy, stored
from .nest import Access, Apply, Expr, Guard, SizeValue, Whole, accesses
from .tree import Literal

if TYPE_CHECKING:
    from .lower import Lowering

Rule = Callable[["Lowering", Node], None]
EXPANSIONS: dict[str, Rule] = {}
_LARGE = {"random_normal", "random_uniform", "random_rademacher", "random_randint"}
_NOMINAL = 64  # iterations assumed when a count is a run-time argument


def rule_for(op: str) -> Rule | None:
    """The expansion of an op, or None if it is a library call."""
    found = EXPANSIONS.get(op)
    if found is None and lookup(op).family == "elementwise" and not lookup(op).library:
        return _elementwise
    return found


def expansion(*ops: str) -> Callable[[Rule], Rule]:
    """Register a rule for ops."""

    def add(rule: Rule) -> Rule:
        EXPANSIONS.update(dict.fromkeys(ops, rule))
        return rule

    return add


# -- what to store -------------------------------------------------------------------------------------------------


def elements(type: Type) -> float:
    """Number of elements, with run-time counts taken as a nominal value."""
    return nominal(type.numel)


def nominal(size: Size) -> int:
    """A size with run-time counts taken as a nominal value."""
    return size.evaluate(dict.fromkeys(size.names(), _NOMINAL))


def note_uses(low: Lowering, nodes: Sequence[Node], results: Sequence[str], loop: bool) -> None:
    """Record for every value of a region how often it is used and by how wide an operation."""
    types = low.graph.types
    for node in nodes:
        width = _width(low, node, types)
        for name in node.inputs:
            low.uses[name] = low.uses.get(name, 0) + 1
            low.wide[name] = max(low.wide.get(name, 0), width)
        for name in free_names(node) - set(node.inputs):
            low.uses[name] = low.uses.get(name, 0) + 2
            low.wide[name] = inf
    for name in results:
        low.uses[name] = low.uses.get(name, 0) + 1


def _width(low: Lowering, node: Node, types: dict[str, Type]) -> float:
    if node.op in ("for", "if"):
        return 0
    if node.op == "einsum":
        extents = _letters(node, [low.type(types[n]) for n in node.inputs])
        return elements(Type("i64", tuple(extents.values())))
    shapes = [elements(low.type(v.type)) for v in node.outputs] + [0.0]
    if lookup(node.op).family in ("reduction", "scan") or node.op in ("update", "slice"):
        shapes = [elements(low.type(types[n])) for n in node.inputs[:1]]
    if node.op == "update":
        shapes = [elements(low.type(types[node.inputs[1]]))]
    return max(shapes)


def worth_storing(low: Lowering, name: str, value: Lazy) -> bool:
    """Whether a value should be a statement of its own rather than part of its users."""
    if value.cost == 0 and name not in low.targets:
        return False
    if name in low.targets:
        return True
    if low.uses.get(name, 0) == 0:
        return False
    own = elements(value.type)
    expanding = low.wide.get(name, 0) > own
    if expanding:
        return value.cost > (3 if own == 1 else 0)
    return low.uses[name] > 1 or value.cost > 150


# -- elementwise, constants, views -----------------------------------------------------------------------------------


def _elementwise(low: Lowering, node: Node) -> None:
    operands = [low.scope[n] for n in node.inputs]
    low.define(node.output, lz.elementwise(node.op, low.type(node.output.type), operands))


@expansion("const")
def _const(low: Lowering, node: Node) -> None:
    low.scope[node.output.name] = lz.literal(node.attr("value"), node.attr("dtype"))


@expansion("size_value")
def _size_value(low: Lowering, node: Node) -> None:
    low.scope[node.output.name] = lz.size_value(low.size(node.attr("value")), node.attr("dtype"))


@expansion("iota")
def _iota(low: Lowering, node: Node) -> None:
    out = low.type(node.output.type)
    low.scope[node.output.name] = Lazy(out, lambda i: SizeValue(i[0], out.dtype))


@expansion("broadcast")
def _broadcast(low: Lowering, node: Node) -> None:
    low.define(node.output, lz.broadcast(low.scope[node.inputs[0]], low.type(node.output.type)))


@expansion("reshape")
def _reshape(low: Lowering, node: Node) -> None:
    low.define(node.output, lz.reshape(low.scope[node.inputs[0]], low.type(node.output.type)))


@expansion("permute")
def _permute(low: Lowering, node: Node) -> None:
    low.define(node.output, lz.permute(low.scope[node.inputs[0]], low.type(node.output.type), node.attr("axes")))


@expansion("flip")
def _flip(low: Lowering, node: Node) -> None:
    low.define(node.output, lz.flip(low.scope[node.inputs[0]], node.attr("axes")))


@expansion("diagonal")
def _diagonal(low: Lowering, node: Node) -> None:
    out = low.type(node.output.type)
    low.define(node.output, lz.view(low.scope[node.inputs[0]], out, lambda i: (*i, i[-1])))


def _items(low: Lowering, node: Node) -> tuple[At | Range | Pick, ...]:
    out: list[At | Range | Pick] = []
    for item in node.attr("items"):
        if isinstance(item, At):
            out.append(At(low.size(item.index)))
        elif isinstance(item, Range):
            out.append(Range(low.size(item.start), low.size(item.size), item.step))
        else:
            raise NotAffine("a data-dependent index")
    return tuple(out)


@expansion("slice")
def _slice(low: Lowering, node: Node) -> None:
    items = _items(low, node)
    low.define(node.output, lz.view(low.scope[node.inputs[0]], low.type(node.output.type), lambda i: lz.item_index(items, i)))


@expansion("concat")
def _concat(low: Lowering, node: Node) -> None:
    out = low.type(node.output.type)
    array = low.new_array(node.output.name, out)
    axis = node.attr("axis") % out.rank
    offset = ZERO
    for name in node.inputs:
        part = low.scope[name]

        def make(i: Index, part: Lazy = part, offset: Size = offset) -> tuple[Access, Expr]:
            place = tuple(x + offset if n == axis else x for n, x in enumerate(i))
            return Access(array, place, out.dtype), part.element(i)

        low.emit(part.type.shape, make)
        offset = offset + part.type.shape[axis]
    low.scope[node.output.name] = stored(array, out)


@expansion("update")
def _update(low: Lowering, node: Node) -> None:
    base, value = low.scope[node.inputs[0]], low.scope[node.inputs[1]]
    out, items = low.type(node.output.type), _items(low, node)
    kept = [i.size for i in items if isinstance(i, Range)]
    part = Type(out.dtype, tuple(kept))
    array, name = base.array, node.inputs[0]
    mine = name in low.frames[-1].defined or array in low.targets.values()
    if array is None or not mine or low.frames[-1].live(name) or not low.protect(array):
        target = low.targets.get(node.output.name)
        fresh = target is not None and target not in base.reads | value.reads and low.protect(target)
        array = target if fresh and target is not None else low.new_array(node.output.name, out)
        low.store(base, array)
    rank = len(kept)

    def make(i: Index) -> tuple[Access, Expr]:
        return Access(array, lz.item_index(items, i), out.dtype), value.element(lz.aligned(value.type, part, i))

    probe, expr = make(tuple(Size.of(f"p{n}") for n in range(rank)))
    if any(s.constant != 1 for s in kept) and low.reads_elsewhere(array, probe.index, expr):
        copy = low.new_array(node.inputs[1], value.type)
        low.store(value, copy)
        value = stored(copy, value.type)
    low.emit(kept, make, "add" if node.attr("mode") == "add" else "")
    low.scope[node.output.name] = stored(array, out)


# -- reductions and contractions -------------------------------------------------------------------------------------


def _identity(kind: str, dtype: str) -> Literal:
    if kind in ("add", "mul"):
        return Literal(0 if kind == "add" else 1, dtype)
    if kind in ("or", "and"):
        return Literal(kind == "and", dtype)
    low = kind == "max"
    if is_floating(dtype):
        return Literal(-inf if low else inf, dtype)
    bits = int(dtype[1:]) if dtype != "bool" else 1
    return Literal(-(2 ** (bits - 1)) if low else 2 ** (bits - 1) - 1, dtype)


def _reduce(low: Lowering, out: Value, type: Type, extents: Sequence[Size], kind: str, element: Callable[[Index, Index], Expr],
            reads: frozenset[str]) -> None:  # fmt: skip
    target = low.targets.get(out.name)
    if target is not None and (target in reads or not low.protect(target)):
        target = None
    if not low.strict and not type.shape and len(extents) > 1:  # rows first: they are independent
        rows = Value(out.name + "_rows", Type(type.dtype, (extents[0],)))
        low.uses[rows.name] = 1
        _reduce(low, rows, rows.type, extents[1:], kind, lambda outer, inner: element((), (*outer, *inner)), reads)
        part = low.scope.pop(rows.name)
        _reduce(low, out, type, extents[:1], kind, lambda outer, inner: part.element(inner), part.reads)
        return
    array = target or low.new_array(out.name, type)
    identity = _identity(kind, type.dtype)
    low.emit(type.shape, lambda i: (Access(array, i, type.dtype), identity))
    rank = type.rank

    def make(i: Index) -> tuple[Access, Expr]:
        return Access(array, i[:rank], type.dtype), element(i[:rank], i[rank:])

    low.emit(
        [*type.shape, *extents], make, kind, lambda w, e, names: _loop_order(low, w, e, names, rank, [*type.shape, *extents])
    )
    low.scope[out.name] = stored(array, type)


def _loop_order(low: Lowering, write: Access, value: Expr, names: list[str], kept: int, extents: Sequence[Size]) -> list[str]:
    """Outputs, then reductions, the dim with the best strides innermost (an output dim when it ties)."""

    def score(position: int) -> tuple[float, float]:
        name, total = names[position], 0.0
        for a in [write, *dict.fromkeys(accesses(value))]:
            stride = _stride(low, a, name)
            total += 1 if stride == 0 else 2 if stride == 1 else -3
        extent = nominal(extents[position])
        return (total - (6 if extent < 8 else 0), 1.0 if position < kept else 0.0)

    if not names:
        return names
    best = max(range(len(names)), key=lambda p: (score(p), p))
    return [n for p, n in enumerate(names) if p != best] + [names[best]]


def _stride(low: Lowering, access: Access, name: str) -> int:
    step, total = 1, 0
    for index, extent in zip(reversed(access.index), reversed(low.arrays[access.array].shape), strict=True):
        affine = index.affine()
        if affine is None:
            return 1 << 20
        for atom, c in affine[0].items():
            if atom == name:
                total += c * step
            elif not isinstance(atom, str) and name in atom.names():
                return 1 << 20
        step *= nominal(extent)
    return abs(total)


_KINDS = {"sum": "add", "prod": "mul", "max": "max", "min": "min", "any": "or", "all": "and"}


@expansion(*_KINDS)
def _reduction(low: Lowering, node: Node) -> None:
    value = low.scope[node.inputs[0]]
    rank = value.type.rank
    axes = sorted(a % rank for a in node.attr("axes"))
    if not axes:
        low.define(node.output, value)
        return
    kept = [n for n in range(rank) if n not in axes]

    def element(outer: Index, inner: Index) -> Expr:
        place = dict(zip([*kept, *axes], [*outer, *inner], strict=True))
        return value.element(tuple(place[n] for n in range(rank)))

    extents = [value.type.shape[a] for a in axes]
    _reduce(low, node.output, low.type(node.output.type), extents, _KINDS[node.op], element, value.reads)


@expansion("argmax", "argmin")
def _argument(low: Lowering, node: Node) -> None:
    value = low.in_array(low.scope[node.inputs[0]], node.inputs[0])
    rank = value.type.rank
    axis = node.attr("axis") % rank
    kept = Type(value.type.dtype, tuple(s for n, s in enumerate(value.type.shape) if n != axis))
    best = Value(node.output.name + "_best", kept)

    def at(outer: Index, inner: Index) -> Index:
        return (*outer[:axis], inner[0], *outer[axis:])

    extent = [value.type.shape[axis]]
    low.uses[best.name] = 2
    _reduce(low, best, kept, extent, "max" if node.op == "argmax" else "min", lambda o, i: value.element(at(o, i)), value.reads)
    extreme = low.scope[best.name]

    def first(outer: Index, inner: Index) -> Expr:
        x = value.element(at(outer, inner))
        hit = Apply("or", (Apply("eq", (x, extreme.element(outer)), "bool"), Apply("ne", (x, x), "bool")), "bool")
        return Apply("where", (hit, SizeValue(inner[0], "i64"), SizeValue(extent[0], "i64")), "i64")

    _reduce(low, node.output, low.type(node.output.type), extent, "min", first, value.reads | extreme.reads)


def _letters(node: Node, types: Sequence[Type]) -> dict[str, Size]:
    inputs, output = node.attr("spec").replace(" ", "").split("->")
    found: dict[str, Size] = {}
    for letters, type in zip(inputs.split(","), types, strict=True):
        for letter, size in zip(letters, type.shape, strict=True):
            if letter not in found or found[letter].constant == 1:
                found[letter] = size
    return {letter: found[letter] for letter in dict.fromkeys(output + "".join(inputs.split(",")))}


@expansion("einsum")
def _einsum(low: Lowering, node: Node) -> None:
    operands = [low.scope[n] for n in node.inputs]
    extents = _letters(node, [o.type for o in operands])
    inputs, output = node.attr("spec").replace(" ", "").split("->")
    summed = [x for x in extents if x not in output]
    out = low.type(node.output.type)

    def element(outer: Index, inner: Index) -> Expr:
        place = dict(zip([*output, *summed], [*outer, *inner], strict=True))
        factors = []
        for letters, operand in zip(inputs.split(","), operands, strict=True):
            index = tuple(place[x] if s.constant != 1 else ZERO for x, s in zip(letters, operand.type.shape, strict=True))
            factors.append(operand.element(index))
        product = factors[0]
        for factor in factors[1:]:
            product = Apply("mul", (product, factor), out.dtype)
        return product

    reads = frozenset().union(*(o.reads for o in operands))
    if not summed:
        cost = sum(o.cost for o in operands) + len(operands) - 1
        low.define(node.output, Lazy(out, lambda i: element(i, ()), reads, cost))
        return
    _reduce(low, node.output, out, [extents[x] for x in summed], "add", element, reads)


@expansion("cumsum")
def _cumsum(low: Lowering, node: Node) -> None:
    value = low.scope[node.inputs[0]]
    out = low.type(node.output.type)
    array = low.new_array(node.output.name, out)
    axis = node.attr("axis") % out.rank

    def place(i: Index, at: Size) -> Index:
        return (*i[:axis], at, *i[axis:])

    rest = [s for n, s in enumerate(out.shape) if n != axis]
    low.emit(rest, lambda i: (Access(array, place(i, ZERO), out.dtype), value.element(place(i, ZERO))))

    def step(i: Index) -> tuple[Access, Expr]:
        *others, t = i
        before, now = place(tuple(others), t), place(tuple(others), t + 1)
        return Access(array, now, out.dtype), Apply("add", (Access(array, before, out.dtype), value.element(now)), out.dtype)

    low.emit([*rest, out.shape[axis] - 1], step)
    low.scope[node.output.name] = stored(array, out)


# -- random numbers --------------------------------------------------------------------------------------------------


@expansion("fold")
def _fold(low: Lowering, node: Node) -> None:
    operands = [low.scope[n] for n in node.inputs]
    low.define(node.output, lz.elementwise("fold", low.type(node.output.type), operands))


@expansion(*_LARGE)
def _random(low: Lowering, node: Node) -> None:
    out, operands = low.type(node.output.type), [low.scope[n] for n in node.inputs]

    def element(index: Index) -> Expr:
        linear = ZERO
        for i, s in zip(index, out.shape, strict=True):
            linear = linear * s + i
        key, *rest = [o.element(lz.aligned(o.type, out, index)) for o in operands]
        return Apply(node.op, (key, SizeValue(linear, "i64"), *rest), out.dtype)

    reads = frozenset().union(*(o.reads for o in operands))
    low.define(node.output, Lazy(out, element, reads, lz.COSTS[node.op]))


# -- routines --------------------------------------------------------------------------------------------------------


@expansion("topk_mask")
def _topk_mask(low: Lowering, node: Node) -> None:
    values, count = (low.in_array(low.scope[n], n) for n in node.inputs)
    if node.attr("axis") != -1 or count.type.rank:
        raise NotAffine("topk along an axis other than the last")
    out = low.type(node.output.type)
    mask = low.new_array(node.output.name, out)
    rows = Size.of(1)
    for s in out.shape[:-1]:
        rows = rows * s
    blocks = [Whole(_name(v), (), v.type.dtype) for v in (values, count)]
    low.emit_call("topk_mask", [Whole(mask, (), "bool")], blocks, [rows, out.shape[-1]])
    low.scope[node.output.name] = stored(mask, out)


def _name(value: Lazy) -> str:
    assert value.array is not None
    return value.array


# -- control ---------------------------------------------------------------------------------------------------------


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
    for region in node.regions:
        low.run_nodes(region.nodes, region.results, [], False)
        chosen.append([low.in_array(low.scope[r], r) for r in region.results])
        low.end_region()
    low.targets = targets
    condition = Lazy(Type("bool"), lambda i: test, frozenset(a.array for a in accesses(test)))
    for out, a, b in zip(node.outputs, *chosen, strict=True):
        low.define(out, lz.elementwise("where", low.type(out.type), [condition, a, b]))


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
