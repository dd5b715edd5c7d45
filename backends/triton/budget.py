"""How many problems a program of a Triton kernel takes at a time, and how many warps it has: as its values fit into registers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from ...compiler.diagnostics import CompileError
from ...compiler.graph.graph import Graph, Node, free_names, walk
from ...compiler.graph.ops.contract import split_spec
from ...compiler.graph.types import Size, Type
from .contract import LEAST
from .values import BATCH, extent, is_known, size_of, widens

#: Bytes of values that a warp holds in registers without spilling, at about 64 registers of 4 bytes for values in each of its threads.
WARP = 32 * 64 * 4
#: What the estimate may be above that before a program is refused: elementwise chains take less than it says.
TIGHT = 2
#: Warps of a program.
WARPS = (4, 8, 16)
#: Threads of 8 warps.
THREADS = 256
#: Problems in a tile: of kernels that contract with ``tl.dot``, and of others.
DOT_ROWS = (32, 16)
ROWS = (32, 16, 8, 4, 2, 1)


@dataclass(frozen=True)
class Budget:
    """Problems in a tile, and warps of a program."""

    rows: int
    warps: int


def budget(graph: Graph) -> Budget:
    """The budget of a batched graph. Raises CompileError if not even the smallest tile fits."""
    choices = DOT_ROWS if _contracts(graph) else ROWS
    for rows in choices:
        held = peak(graph, rows)
        for warps in WARPS[:-1]:
            if held <= warps * WARP:
                return Budget(rows, warps)
    if held <= WARPS[-1] * WARP * TIGHT:
        return Budget(choices[-1], WARPS[-1])
    raise CompileError(f"the values of a problem take {held >> 10} KiB of registers at once, more than a program has")


def _contracts(graph: Graph) -> bool:
    """Whether ``tl.dot`` may take a product of what problems have of their own with what they share (or one summed over the problems)."""
    types = graph.types
    for node in walk(graph.nodes):
        if node.op == "einsum" and len(node.inputs) == 2:
            parts, right = split_spec(node.attr("spec"))
            shapes = [types[n].shape for n in node.inputs]
            beside = any(c in right for c in set(parts[0]) & set(parts[1]))
            if not beside and any(BATCH in s for s in shapes) and all(map(_wide, shapes)):
                return True
    return False


def _wide(shape: Sequence[Size]) -> bool:
    return any(s != BATCH and s.constant is not None and s.constant > LEAST // 2 for s in shape)


def peak(graph: Graph, rows: int) -> int:
    """Bytes of the tiles that are alive at once at most, by the order of the nodes."""
    sizes = {name: _bytes(type, rows) for name, type in graph.types.items()}
    memory = {v.name for v in graph.inputs}
    return _peak(graph.nodes, set(graph.results), sizes, memory, graph.types, rows)


def _products(node: Node, types: Mapping[str, Type], rows: int) -> int:
    """Bytes of the products of a contraction before they are summed, or of the operands of ``tl.dot`` that threads hold."""
    parts, right = split_spec(node.attr("spec"))
    sizes = {c: extent(s, rows) for part, n in zip(parts, node.inputs, strict=True) for c, s in zip(part, types[n].shape, strict=True)}
    width = max(4, size_of(types[node.inputs[0]].dtype))
    if len(parts) == 2:
        both = set(parts[0]) & set(parts[1])
        summed = both - set(right)
        edges = [prod(sizes[c] for c in part if c not in both) for part in parts]
        if summed and not both & set(right) and min(*edges, prod(sizes[c] for c in summed)) >= LEAST:
            return int(LEAST // 2 * (edges[0] * edges[1] * THREADS) ** 0.5) * width
    return prod(sizes.values()) * width if len(sizes) > len(right) else 0


def _bytes(type: Type, rows: int) -> int:
    if not all(map(is_known, type.shape)) or not type.shape:
        return 0
    count = 1
    for s in type.shape:
        count *= extent(s, rows)
    return count * max(4, size_of(type.dtype))


def _peak(
    nodes: Sequence[Node], wanted: set[str], sizes: dict[str, int], memory: set[str], types: Mapping[str, Type], rows: int
) -> int:
    """``memory`` has names of values that take no registers until they are read."""
    last: dict[str, int] = {}
    for n, node in enumerate(nodes):
        last.update(dict.fromkeys(free_names(node), n))
    last.update(dict.fromkeys(wanted, len(nodes)))
    alive: dict[str, int] = {}
    most = 0
    for n, node in enumerate(nodes):
        view = node.op in ("slice", "permute", "reshape", "broadcast")
        view = view or (node.op == "cast" and widens(types[node.inputs[0]].dtype, node.output.type.dtype))
        if view and set(node.inputs) <= memory:
            memory.update(v.name for v in node.outputs)  # a view
            continue
        made = {v.name: sizes[v.name] for v in node.outputs if v.name not in memory}
        inner = 0
        for region in node.regions:
            carried = {a.name: sizes[a.name] for a in region.args}
            inner = max(inner, sum(carried.values()) + _peak(region.nodes, set(region.results), sizes, memory, types, rows))
        read = sum(sizes[i] for i in node.inputs if i in memory) if node.op != "einsum" else 0
        if node.op == "einsum":
            read += _products(node, types, rows)
        most = max(most, sum(alive.values()) + max(inner, sum(made.values()) + read))
        alive.update(made)
        alive = {name: size for name, size in alive.items() if last.get(name, -1) > n}
    return most
