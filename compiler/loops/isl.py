"""Every islpy idiom of the compiler; nothing else imports islpy.

Functions are named by the question they answer. Names in a nest are fit for isl and for C: lowering gives dims
names of its own and passes the user's names through :func:`safe`.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import islpy

from ..diagnostics import UnspoolError
from ..graph.types import Size, SizeFn, size_fn
from .nest import Access, Dim, Guard, Leaf, LoopOrder, Order, Statement
from .nest import Sequence as SequenceOrder
from .tree import Int

#: Words of isl and of C.
_RESERVED = frozenset(
    re.findall(
        r"\w+",
        """and or not exists implies mod floor floord ceil ceild min max true false infty NaN
        auto break case char const continue default do double else enum extern float for goto if inline int long register
        restrict return short signed sizeof static struct switch typedef union unsigned void volatile while complex asm
        typeof main""",
    )
)
#: Names that isl gives to loops and the compiler to dims.
_GENERATED = re.compile(r"[cti]\d+|us_\w*|w\d+")


class NotAffine(UnspoolError):
    """An index or bound is not affine in loop indices and parameters."""


def safe(name: str) -> str:
    """A name that isl and C accept, the same one every time, different for different names."""
    plain = name.isascii() and name.isidentifier() and name not in _RESERVED and not keyword.iskeyword(name)
    if plain and not _GENERATED.fullmatch(name):
        return name
    return "u_" + "".join(c if c.isascii() and c.isalnum() else f"_{ord(c):x}_" for c in name)


def affine_text(size: Size) -> str:
    """A size in isl notation. Raises NotAffine for a product of names."""
    parts = []
    for monomial, coefficient in size.terms:
        if len(monomial) > 1:
            raise NotAffine(f"{size} is not affine")
        if not monomial:
            parts.append(str(coefficient))
            continue
        atom = monomial[0]
        text = atom if isinstance(atom, str) else _function_text(atom)
        parts.append(f"{coefficient} * {text}" if coefficient != 1 else text)
    return f"({' + '.join(parts)})" if parts else "0"


def _function_text(atom: SizeFn) -> str:
    args = [affine_text(a) for a in atom.args]
    if atom.op in ("min", "max"):
        return f"{atom.op}({', '.join(args)})"
    divisor = atom.args[1].constant
    if divisor is None or divisor <= 0:
        raise NotAffine(f"{atom} is not affine: it divides by something other than a positive literal")
    return f"floor(({args[0]})/{divisor})" if atom.op == "//" else f"(({args[0]}) mod {divisor})"


def head(params: Iterable[str]) -> str:
    """The parameter list of an isl object."""
    names = ", ".join(params)
    return f"[{names}] -> " if names else ""


def _tuple(statement: Statement) -> str:
    return f"{statement.name}[{', '.join(d.name for d in statement.dims)}]"


#: A guard's comparison in isl notation.
_COMPARISONS = {">=": ">=", "==": "=", "!=": "!="}


def domain_condition(statement: Statement, rename: Mapping[str, Size]) -> str:
    """What makes a point an instance of a statement, dims renamed; empty if every point is one."""
    parts = []
    for d in statement.dims:
        lower, upper = (affine_text(bound.substitute(rename)) for bound in (d.lower, d.upper))
        parts.append(f"{lower} <= {affine_text(rename.get(d.name, Size.of(d.name)))} < {upper}")
    parts += [f"{affine_text(g.size.substitute(rename))} {_COMPARISONS[g.op]} 0" for g in statement.guards]
    return " and ".join(parts)


@lru_cache(maxsize=4096)
def _set(text: str) -> islpy.Set:
    """A set in isl notation; kept, as reading takes longer than most of what is done with it."""
    return islpy.Set(text)


@lru_cache(maxsize=8192)
def map_of(text: str) -> islpy.Map:
    """A map in isl notation; kept."""
    return islpy.Map(text)


def domain(statement: Statement, params: Sequence[str]) -> islpy.Set:
    """The set of a statement's instances; kept with it."""
    kept: dict[tuple[str, ...], islpy.Set] = statement.__dict__.setdefault("_domains", {})
    key = tuple(params)
    if key not in kept:
        condition = domain_condition(statement, {})
        kept[key] = _set(f"{head(params)}{{ {_tuple(statement)}{' : ' + condition if condition else ''} }}")
    return kept[key]


def where(statement: Statement, condition: str, params: Sequence[str]) -> islpy.Set:
    """The instances of a statement that meet a condition in isl notation."""
    return domain(statement, params).intersect(_set(f"{head(params)}{{ {_tuple(statement)} : {condition} }}"))


def renamed_domain(statement: Statement, order: Sequence[str], env: Mapping[str, Size], params: Sequence[str]) -> islpy.Set:
    """The set of a statement's instances over other indices, ``order``, that its dims follow from by ``env``."""
    condition = domain_condition(statement, env)
    return _set(f"{head(params)}{{ {statement.name}[{', '.join(order)}]{' : ' + condition if condition else ''} }}")


def bounds(found: islpy.Set, names: Sequence[str]) -> tuple[Dim, ...]:
    """Bounds of each index of a set over those before it. Raises NotAffine where these, and conditions on the counts alone, are not all that
    makes a point part of the set."""
    kind, rank = islpy.dim_type, len(names)
    found = found.reset_tuple_id().coalesce().remove_redundancies()
    parts = found.get_basic_sets()
    if any(part.dim(kind.div) for part in parts):
        hull = found.convex_hull()
        parts = [hull] if found.is_equal(hull.to_set()) else parts
    if len(parts) != 1:
        raise NotAffine("its instances are no convex set" if parts else "it has no instances")
    dims = []
    for n, name in enumerate(names):
        part = parts[0].project_out(kind.set, n + 1, rank - n - 1)
        if n:  # so that what the indices before are bounded by need not be said again
            part = part.intersect(parts[0].project_out(kind.set, n, rank - n).insert_dims(kind.set, n, 1))
        part = part.remove_redundancies()
        if part.dim(kind.div):
            raise NotAffine(f"the bounds of {name} are not affine")
        known = [(kind.param, m, str(part.get_dim_name(kind.param, m))) for m in range(part.dim(kind.param))]
        known += [(kind.set, m, names[m]) for m in range(n)]
        lower: list[Size] = []
        upper: list[Size] = []
        for c in part.get_constraints():
            own = c.get_coefficient_val(kind.set, n).to_python()
            rest = Size.of(c.get_constant_val().to_python())
            for where, m, other in known:
                rest = rest + Size.of(other) * c.get_coefficient_val(where, m).to_python()
            if abs(own) > 1:
                raise NotAffine(f"the bounds of {name} are not affine")
            if own and c.is_equality():
                lower.append(rest * -own)
                upper.append(rest * -own + 1)
            elif own:  # own * name + rest >= 0
                (lower if own > 0 else upper).append(-rest if own > 0 else rest + 1)
        if not lower or not upper:
            raise NotAffine(f"{name} has no bounds")
        dims.append(Dim(name, size_fn("min", *upper), size_fn("max", *lower)))
    return tuple(dims)


def counts(found: islpy.Set, given: islpy.Set) -> tuple[Guard, ...]:
    """What a non-empty set says of the counts alone, beyond what another one does. Raises NotAffine where that is no conjunction."""
    parts = found.params().gist(given.params()).remove_redundancies().get_basic_sets()
    if len(parts) != 1 or parts[0].dim(islpy.dim_type.div):
        raise NotAffine("its instances depend on the counts of iterations in more ways than one")
    kind, guards = islpy.dim_type.param, []
    for c in parts[0].get_constraints():
        size = Size.of(c.get_constant_val().to_python())
        for n in range(parts[0].dim(kind)):
            size = size + Size.of(str(parts[0].get_dim_name(kind, n))) * c.get_coefficient_val(kind, n).to_python()
        guards.append(Guard(size, "==" if c.is_equality() else ">="))
    return tuple(guards)


def relation_text(source: Statement, sink: Statement, condition: str, params: Sequence[str]) -> str:
    """The relation ``{ source[dims] -> sink[dims_] : condition }`` in isl notation (the sink's dims are primed with ``_``)."""
    right = ", ".join(d.name + "_" for d in sink.dims)
    return f"{head(params)}{{ {_tuple(source)} -> {sink.name}[{right}] : {condition} }}"


def relation(source: Statement, sink: Statement, condition: str, params: Sequence[str]) -> islpy.Map:
    """The relation of :func:`relation_text`."""
    return map_of(relation_text(source, sink, condition, params))


def elements(statement: Statement, access: Access, instances: islpy.Set, params: Sequence[str]) -> islpy.Set:
    """The elements that instances of a statement touch by one access."""
    index = ", ".join(affine_text(i) for i in access.index)
    return map_of(f"{head(params)}{{ {_tuple(statement)} -> [{index}] }}").intersect_domain(instances).range()


def box(shape: Sequence[Size], params: Sequence[str]) -> islpy.Set:
    """The elements that an array has."""
    names = [f"us_{n}" for n in range(len(shape))]
    inside = " and ".join(f"0 <= {n} < {affine_text(s)}" for n, s in zip(names, shape, strict=True))
    return islpy.Set(f"{head(params)}{{ [{', '.join(names)}]{' : ' + inside if inside else ''} }}")


def greatest(found: islpy.Set) -> list[int | None]:
    """The greatest coordinate of a set along each axis; None where it has no bound, or the set is empty."""
    values = [found.dim_max_val(n) for n in range(found.dim(islpy.dim_type.set))]
    return [v.to_python() if v.is_int() else None for v in values]


def example_pair(found: islpy.Map) -> str:
    """The first pair of a non-empty relation, for the least run-time arguments that have one: ``S0[t0=0, i0=1] -> S1[t0=1, i0=0] (K=2)``."""
    pairs, kind = found.wrap(), islpy.dim_type
    if pairs.is_empty():
        return "none"
    names = [str(pairs.get_dim_name(kind.param, n)) for n in range(pairs.dim(kind.param))]
    points = pairs.move_dims(kind.set, 0, kind.param, 0, len(names))
    for n in range(len(names)):
        least = points.dim_min_val(n)
        if not least.is_int():
            least = points.sample_point().get_coordinate_val(kind.set, n)
        points = points.fix_val(kind.set, n, least)
    try:
        points = points.lexmin()
    except islpy.Error as error:  # isl gives up on some sets of tiles in tiles; then any point will do
        if "affine expression involves some of the domain dimensions" not in str(error):
            raise
    point = points.sample_point()
    numbers = [point.get_coordinate_val(kind.set, n).to_python() for n in range(points.dim(kind.set))]
    values, numbers, count = numbers[: len(names)], numbers[len(names) :], found.dim(kind.in_)
    ends = []
    for side, part in ((kind.in_, numbers[:count]), (kind.out, numbers[count:])):
        dims = [str(found.get_dim_name(side, n)).removesuffix("_") for n in range(len(part))]
        ends.append(f"{found.get_tuple_name(side)}[{', '.join(f'{d}={v}' for d, v in zip(dims, part, strict=True))}]")
    given = ", ".join(f"{n}={v}" for n, v in zip(names, values, strict=True))
    return " -> ".join(ends) + (f" ({given})" if given else "")


def differences(
    found: islpy.Map, source: Statement, sink: Statement, pairs: Sequence[tuple[Size, Size]], params: Sequence[str]
) -> islpy.Set:
    """Of the pairs of a relation as :func:`relation` makes it, the set of differences of values: (at source, at sink primed)."""
    right = ", ".join(d.name + "_" for d in sink.dims)
    values = ", ".join(f"{affine_text(b)} - {affine_text(a)}" for a, b in pairs)
    ends = f"[{_tuple(source)} -> {sink.name}[{right}]]"
    return found.wrap().apply(map_of(f"{head(params)}{{ {ends} -> [{values}] }}"))


def entries(found: islpy.Set) -> tuple[str, ...]:
    """What every dim of a non-empty set can be, for any parameters: a number, a range open where it has no bound, or ``*``."""
    found = found.project_out_all_params()
    texts = []
    for n in range(found.dim(islpy.dim_type.set)):
        low, high = (v.to_python() if v.is_int() else None for v in (found.dim_min_val(n), found.dim_max_val(n)))
        both = low is None or low < 0, high is None or high > 0
        open_ = "*" if all(both) else f"{'' if low is None else low}..{'' if high is None else high}"
        texts.append(str(low) if low is not None and low == high else open_)
    return tuple(texts)


def first_nonzero(found: islpy.Set) -> list[int]:
    """The places at which vectors of a set have their first entry that is not 0."""
    places = []
    for n in range(found.dim(islpy.dim_type.set)):
        zero = found.fix_val(islpy.dim_type.set, n, islpy.Val(0))
        if not found.is_subset(zero):
            places.append(n)
        found = zero
    return places


def _narrowed(found: islpy.Set, condition: str, names: Sequence[str]) -> islpy.Set:
    return found.intersect(_set(f"{{ [{', '.join(names)}] : {condition} }}"))


def sample_where(found: islpy.Set, condition: str, names: Sequence[str]) -> tuple[int, ...] | None:
    """A point of a set, its dims called ``names``, that meets a condition, or None."""
    narrowed = _narrowed(found, condition, names)
    if narrowed.is_empty():
        return None
    point = narrowed.sample_point()
    return tuple(point.get_coordinate_val(islpy.dim_type.set, n).to_python() for n in range(len(names)))


def least_where(found: islpy.Set, condition: str, names: Sequence[str], direction: int = 1) -> float | None:
    """The least value of ``direction`` times the last dim where a condition holds (-inf if there is none); None if it nowhere holds."""
    narrowed = _narrowed(found, condition, names)
    if narrowed.is_empty():
        return None
    last = len(names) - 1
    value = narrowed.dim_min_val(last) if direction > 0 else narrowed.dim_max_val(last).neg()
    return value.to_python() if value.is_int() else float("-inf")


def bound_values(expression: Size, dims: Mapping[str, tuple[int, int]]) -> tuple[int, int]:
    """Least and greatest value of an affine size over a box of inclusive ranges of its names."""
    found = expression.affine()
    if found is None:
        raise NotAffine(f"{expression} is not affine")
    coefficients, low = found
    high = low
    for atom, c in coefficients.items():
        if isinstance(atom, str):
            first, last = dims[atom]
        else:
            first, last = _atom_bounds(atom, dims)
        low += min(c * first, c * last)
        high += max(c * first, c * last)
    return low, high


def _atom_bounds(atom: SizeFn, dims: Mapping[str, tuple[int, int]]) -> tuple[int, int]:
    ranges = [bound_values(a, dims) for a in atom.args]
    if atom.op == "min":
        return min(r[0] for r in ranges), min(r[1] for r in ranges)
    if atom.op == "max":
        return max(r[0] for r in ranges), max(r[1] for r in ranges)
    divisor = atom.args[1].constant or 1
    if atom.op == "//":
        return ranges[0][0] // divisor, ranges[0][1] // divisor
    return 0, divisor - 1


def ast_of(
    order: Order, statements: Mapping[str, Statement], params: Sequence[str], separate: frozenset[str], unrolled: frozenset[str],
    whole: frozenset[str], full: Mapping[str, tuple[int, int]], jammed: Mapping[str, tuple[LoopOrder, int, int]],
) -> islpy.AstNode:  # fmt: skip
    """isl's AST for an order. Loops carry marks ``name``; those in ``separate`` are split so that bodies have no guards, those in
    ``unrolled`` are written out, those in ``whole`` kept in one piece, and those in ``full`` split so that the iterations from the first to
    the last named are by themselves. ``jammed`` maps a loop around a short one to that, the place of the loop over its blocks, and their
    size: full blocks get a copy of the loop to themselves."""
    schedule = _schedule(order, statements, params, {"separate": separate, "unroll": unrolled, "atomic": whole})
    if full:
        schedule = schedule.map_schedule_node_bottom_up(lambda node: _isolate(node, full, params))
    if jammed:
        schedule = schedule.map_schedule_node_bottom_up(lambda node: _isolate_blocks(node, jammed, statements, params))
    context = islpy.Set(f"{head(params)}{{ : }}")
    return islpy.AstBuild.from_context(context).node_from_schedule(schedule)


def _schedule(
    order: Order, statements: Mapping[str, Statement], params: Sequence[str], types: Mapping[str, frozenset[str]]
) -> Any:
    if isinstance(order, Leaf):
        return islpy.Schedule.from_domain(islpy.UnionSet.from_set(domain(statements[order.statement], params)))
    if isinstance(order, SequenceOrder):
        children = [_schedule(c, statements, params, types) for c in order.children]
        whole = children[0]
        for child in children[1:]:
            whole = whole.sequence(child)
        return whole
    inner = _schedule(order.body, statements, params, types)
    parts = "; ".join(f"{_tuple(statements[s])} -> [{affine_text(v)}]" for s, v in order.values)
    inner = inner.insert_partial_schedule(islpy.MultiUnionPwAff(f"{head(params)}[{{ {parts} }}]"))
    band = inner.get_root().child(0)
    for kind, names in types.items():
        if order.name in names:
            band = band.band_member_set_ast_loop_type(0, getattr(islpy.ast_loop_type, kind))
    return band.insert_mark(islpy.Id(order.name)).get_schedule()


def _isolate(node: Any, full: Mapping[str, tuple[int, int]], params: Sequence[str]) -> Any:
    if node.get_type() != islpy.schedule_node_type.mark or node.mark_get_id().get_name() not in full:
        return node
    first, last = full[node.mark_get_id().get_name()]
    outer = ", ".join(f"o{n}" for n in range(node.get_schedule_depth()))
    option = f"{head(params)}{{ isolate[[{outer}] -> [b]] : {first} <= b <= {last} }}"
    return node.child(0).band_set_ast_build_options(islpy.UnionSet(option)).parent()


def _isolate_blocks(
    node: Any, jammed: Mapping[str, tuple[LoopOrder, int, int]], statements: Mapping[str, Statement], params: Sequence[str]
) -> Any:
    if node.get_type() != islpy.schedule_node_type.mark or node.mark_get_id().get_name() not in jammed:
        return node
    loop, place, size = jammed[node.mark_get_id().get_name()]
    outer = ", ".join(f"o{n}" for n in range(node.get_schedule_depth()))
    around = node.get_prefix_schedule_relation()
    whole = None
    for s, v in loop.values:
        value = islpy.UnionMap(f"{head(params)}{{ {_tuple(statements[s])} -> [{affine_text(v)}] }}")
        product = around.range_product(value)
        if product.is_empty():
            continue  # a statement without instances
        reached = islpy.Map.from_union_map(product.range().unwrap())
        for r in range(size):
            block = reached.intersect(islpy.Map(f"{head(params)}{{ [{outer}] -> [v] : v = {size} * o{place} + {r} }}")).domain()
            whole = block if whole is None else whole.intersect(block)
    if whole is None or whole.is_empty():
        return node
    option = islpy.Map.from_domain_and_range(whole.coalesce(), islpy.Set("{ [p] }")).wrap().set_tuple_name("isolate")
    return node.child(0).band_set_ast_build_options(islpy.UnionSet.from_set(option)).parent()


# -- reading the AST ---------------------------------------------------------------------------------------------------

_OPS = {
    "add": "+", "sub": "-", "mul": "*", "div": "//", "fdiv_q": "//", "pdiv_q": "//", "pdiv_r": "%", "zdiv_r": "%",
    "min": "min", "max": "max",
    "and_": "and", "and_then": "and", "or_": "or", "or_else": "or", "eq": "==", "le": "<=", "lt": "<", "ge": ">=", "gt": ">",
    "cond": "select", "select": "select",
}  # fmt: skip
_AST_OPS = {getattr(islpy.ast_expr_op_type, k): v for k, v in _OPS.items()}


def ast_kind(node: Any) -> str:
    """``mark``, ``block``, ``if``, ``for`` or ``user``."""
    return {getattr(islpy.ast_node_type, k): k.rstrip("_") for k in ("mark", "block", "if_", "for_", "user")}[node.get_type()]


def int_expr(expr: Any) -> Int:
    """An integer expression of the AST."""
    if expr.get_type() == islpy.ast_expr_type.int:
        return Int("const", value=expr.get_val().to_python())
    if expr.get_type() == islpy.ast_expr_type.id:
        return Int("name", name=expr.get_id().get_name())
    args = tuple(int_expr(expr.op_get_arg(i)) for i in range(expr.op_get_n_arg()))
    op = expr.op_get_type()
    if op == islpy.ast_expr_op_type.minus:
        return Int("-", (Int("const", value=0), args[0]))
    if _AST_OPS[op] == "select":
        return Int("select", args)
    out = args[0]
    for arg in args[1:]:
        out = Int(_AST_OPS[op], (out, arg))
    return out
