"""Random stencil programs: sweeps with random offsets over several fields inside a loop over iterations."""

from __future__ import annotations

from hypothesis import strategies as st

from unspool.compiler.graph.graph import Graph
from unspool.compiler.graph.specialize import specialize
from unspool.compiler.loops.lower import lower
from unspool.compiler.loops.nest import Nest
from unspool.compiler.target import Machine
from unspool.dsl.program import load_text

#: Caches so small that programs of a few elements are beyond them.
TINY = Machine(64, 32, cores=1, l1=16, l2=16, l3=1 << 16)
NAMES = ("A", "B", "u")


@st.composite
def stencil_programs(draw: st.DrawFn, *, ranks: tuple[int, ...] = (1, 2, 3), largest: int = 7) -> tuple[Graph, dict[str, int]]:
    """A program, specialized, and its sizes: one to three sweeps over fields of one to three axes, in place or not."""
    rank = draw(st.sampled_from(ranks))
    fields = NAMES[: draw(st.sampled_from([1, 2, 2, 3, 3]))]
    apart = draw(st.integers(0, 2)) > 0 and len(fields) > 1  # no sweep reads what it writes
    indices = ("i", "j", "k")[:rank]
    extents = ("n", "m", "p")[:rank]
    margin = draw(st.integers(1, 2))
    reach = st.integers(-margin, margin)
    lines = []
    for _ in range(draw(st.integers(1, 3))):
        ranges = ", ".join(f"{i} in {margin}..{n}-{margin}" for i, n in zip(indices, extents, strict=True))
        target = draw(st.sampled_from(fields))
        terms = []
        for _ in range(draw(st.integers(1, 4))):
            at = ", ".join(f"{i}{o:+d}" if o else i for i in indices for o in [draw(reach)])
            factor = draw(st.sampled_from(["0.2", "0.31", "w[t]", f"c[{', '.join(indices)}]"]))
            terms.append(f"{factor} * {draw(st.sampled_from([f for f in fields if not apart or f != target]))}[{at}]")
        lines += [f"        for {ranges}:", f"            {target}[{', '.join(indices)}] = {' + '.join(terms)}"]
    shape = ", ".join(extents)
    inputs = ", ".join(f"{a}: real[{shape}]" for a in (*fields, "c"))
    results = ", ".join(f"real[{shape}]" for _ in fields)
    text = "\n".join(
        [
            f"algorithm stencil({inputs}, w: real[K]) -> ({results}):",
            "    iterations K = 3",
            "    for t in 0..K:",
            *lines,
            f"    return {', '.join(fields)}",
            "",
        ]
    )
    sizes = {n: draw(st.sampled_from([largest, largest, *range(largest)])) for n in extents}
    sizes["n"] = draw(st.sampled_from([3 * largest, sizes["n"]]))
    graph = load_text(text).algorithms["stencil"].graph
    return specialize(graph, "f64", sizes), sizes


def nest_of(text: str, name: str, **sizes: int) -> Nest:
    """The nest of an algorithm at float64."""
    return lower(specialize(load_text(text).algorithms[name].graph, "f64", sizes))
