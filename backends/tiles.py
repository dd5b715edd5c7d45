"""Contractions that run in vector registers: which loops are one, and how they are cut into tiles.

    for k: for j vector: C[i, j] += A[i, k] * B[k, j]      "outer": the stored element moves with the vector loop
    for j vector: r[i] += A[i, j] * x[j]                   "dot":   it stays, and lanes are summed in the end

The accumulators are loaded once, live in registers through the reduction loops, and are stored once. An
independent loop around it (``i``) is jammed: several of its iterations share what they load.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from ..compiler.loops.tree import (
    Array,
    Barrier,
    Call,
    Declare,
    Expr,
    FromInt,
    Int,
    LibraryCall,
    Literal,
    Load,
    Loop,
    Single,
    Store,
    Tree,
)
from ..compiler.loops.tree_walk import loads, walk, writes
from ..compiler.target import Machine
from .affine import coefficient, constant, linear, names, offset
from .rewrite import expr_names

Arrays = Mapping[str, Array]
#: Dtypes of vector tiles.
TILED = ("f32", "f64")
_VECTOR_OPS = {"add", "sub", "mul", "div", "neg"}


@dataclass(frozen=True)
class Contraction:
    """``reductions`` (outermost first) around the loop ``vector`` around ``stores``, all adding up."""

    reductions: tuple[Loop, ...]
    vector: Loop
    stores: tuple[Store, ...]
    style: str
    dtype: str


def trip(loop: Loop) -> int | None:
    """The number of iterations where it is a literal."""
    span = constant(Int("-", (loop.upper, loop.lower)))
    return None if span is None else max(0, -(-span // loop.step))


def moves(load: Load, arrays: Arrays, variable: str) -> int | None:
    """By how many elements an access moves when a variable grows by one."""
    return coefficient(offset(load.index, arrays[load.array].shape), variable)


def match(tree: Tree, arrays: Arrays) -> Contraction | None:
    """The contraction that starts at a loop, or None."""
    chain: list[Loop] = []
    node = tree
    while isinstance(node, Loop):
        if node.tests:
            return None
        chain.append(node)
        if len(node.body.children) != 1 or "vector" in node.kind:
            break
        node = node.body.children[0]
    if not chain or "vector" not in chain[-1].kind or chain[-1].step != 1:
        return None
    *reductions, vector = chain
    stores = tuple(c for c in vector.body.children if isinstance(c, Store))
    if not stores or len(stores) != len(vector.body.children) or any(r.dealt for r in reductions):
        return None
    dtype = stores[0].value.dtype
    if dtype not in TILED or any(s.reduce != "add" or s.value.dtype != dtype or arrays[s.array].dtype != dtype for s in stores):
        return None
    places = [Load(s.array, s.index, dtype) for s in stores]
    steps = {moves(p, arrays, vector.name) for p in places}
    read = {x.array for s in stores for x in loads(s.value)}
    inner = {r.name for r in reductions}
    if steps not in ({0}, {1}) or len({s.array for s in stores}) != len(stores) or read & {s.array for s in stores}:
        return None
    if any(inner & names(i) for p in places for i in p.index) or inner & (names(vector.lower) | names(vector.upper)):
        return None
    if not all(_vectorable(s.value, arrays, vector.name) and vector.name in expr_names(s.value) for s in stores):
        return None
    count, outer = trip(vector), steps == {1}
    if (outer and not reductions) or (count is not None and count < (2 if outer else 4)):
        return None
    return Contraction(tuple(reductions), vector, stores, "outer" if outer else "dot", dtype)


def _vectorable(e: Expr, arrays: Arrays, variable: str) -> bool:
    if variable not in expr_names(e):
        return not any(isinstance(c, Call) and c.op == "check_index" for c in _calls(e))
    if isinstance(e, Load):
        return moves(e, arrays, variable) in (0, 1)
    if isinstance(e, (Literal, FromInt)):
        return False
    if is_square(e):
        return _vectorable(e.args[0], arrays, variable)
    return e.op in _VECTOR_OPS and all(a.dtype == e.dtype and _vectorable(a, arrays, variable) for a in e.args)


def is_square(e: Call) -> bool:
    """Whether a call is the second power of a real number."""
    return e.op == "pow" and e.dtype in TILED and isinstance(e.args[1], Literal) and e.args[1].value == 2


def _calls(e: Expr) -> list[Call]:
    return [e, *(c for a in e.args for c in _calls(a))] if isinstance(e, Call) else []


# -- jamming ---------------------------------------------------------------------------------------------------------


def independent(loop: Loop) -> bool:
    """Whether iterations of a loop touch different elements, so that any order of their parts is right."""
    if loop.dealt:
        return True
    own = {t.array.name for t in walk(loop.body) if isinstance(t, Declare)}
    bound = {t.name for t in walk(loop.body) if isinstance(t, Loop)}
    for array in writes(loop.body) - own:
        accesses = [Load(t.array, t.index, "") for t in walk(loop.body) if isinstance(t, Store) and t.array == array]
        accesses += [x for t in walk(loop.body) if isinstance(t, Store) for x in loads(t.value) if x.array == array]
        if not any(_separates([x.index[d] for x in accesses], loop.name, bound) for d in range(len(accesses[0].index))):
            return False
    return True


def _separates(components: list[Int], variable: str, bound: set[str]) -> bool:
    forms = [linear(c) for c in components]
    used = set().union(*(names(atom) for atom in forms[0]))
    return all(f == forms[0] for f in forms) and coefficient(components[0], variable) not in (None, 0) and not used & bound


def shared_tile(loop: Loop, child: Tree, arrays: Arrays) -> Contraction | None:
    """The contraction at ``child``, if iterations of the loop around it can run it together and share loads."""
    found = match(child, arrays)
    if found is None:
        return None
    bounds = [b for x in (*found.reductions, found.vector) for b in (x.lower, x.upper)]
    if any(loop.name in names(b) for b in bounds):
        return None
    v, own = found.vector.name, {t.array.name for t in loop.body.children if isinstance(t, Declare)}
    if not all(s.array in own or loop.name in expr_names(Load(s.array, s.index, found.dtype)) for s in found.stores):
        return None
    read = [x for s in found.stores for x in loads(s.value) if x.array not in own]
    common = [x for x in read if moves(x, arrays, v) == 1 and moves(x, arrays, loop.name) == 0]
    return found if common else None


def can_jam(loop: Loop, arrays: Arrays) -> bool:
    """Whether several iterations of a loop may run side by side around the contractions in its body."""
    if loop.step != 1 or "vector" in loop.kind or trip(loop) in (0, 1):
        return False
    for inner in walk(loop.body):
        if isinstance(inner, (Barrier, Single, LibraryCall)) or (isinstance(inner, Loop) and inner.dealt):
            return False
    if not all(_small(t.array) for t in loop.body.children if isinstance(t, Declare)):
        return False
    with_locals = {**arrays, **{t.array.name: t.array for t in walk(loop.body) if isinstance(t, Declare)}}
    return any(shared_tile(loop, c, with_locals) for c in loop.body.children) and independent(loop)


def _small(array: Array) -> bool:
    extents = [constant(s) for s in array.shape]
    return all(e is not None for e in extents) and prod(e or 0 for e in extents) <= 64


# -- tile shapes -----------------------------------------------------------------------------------------------------


def pieces(elements: int, lanes: int) -> list[int]:
    """Vectors that cover ``elements``: full ones, then powers of two."""
    out = [lanes] * (elements // lanes)
    rest = elements % lanes
    while rest:
        size = 1 << (rest.bit_length() - 1)
        out.append(size)
        rest -= size
    return out


def tile_lanes(c: Contraction, machine: Machine) -> int:
    """Lanes of the vectors of a tile: the machine's, less for short loops."""
    count = trip(c.vector)
    lanes = machine.lanes(c.dtype)
    return lanes if count is None or count >= lanes else 1 << (count.bit_length() - 1)


def width(c: Contraction, rows: int, machine: Machine) -> int:
    """Vectors side by side in a tile of ``rows`` rows."""
    room = max(1, machine.accumulators // (rows * len(c.stores)))
    if c.style == "dot":
        wanted = max(2, 8 // (rows * len(c.stores)))  # two cache lines of a row at a time
    else:
        wanted = 8 if rows == 1 else machine.accumulators // 6 if rows <= 6 else room
    wanted = max(1, min(wanted, room))
    count = trip(c.vector)
    if count is None:
        return min(wanted, 4)
    vectors = max(1, count // tile_lanes(c, machine))
    blocks = -(-vectors // wanted)
    return -(-vectors // blocks)


def vectors_of(c: Contraction, machine: Machine) -> int | None:
    """Whole vectors in an iteration of the vector loop, if its length is a literal."""
    count = trip(c.vector)
    return None if count is None else max(1, count // tile_lanes(c, machine))


def rows(c: Contraction, loop: Loop, machine: Machine) -> int:
    """Iterations of the loop around that a tile takes."""
    if c.style == "dot":
        best = 4
    else:
        vectors = vectors_of(c, machine) or 4
        most = machine.accumulators // 6
        best = machine.accumulators // -(-vectors // -(-vectors // most)) if vectors else machine.accumulators
    best = max(1, min(machine.accumulators if vectors_of(c, machine) == 1 else 12, best // len(c.stores)))
    total = trip(loop)
    return best if total is None else min(best, total)
