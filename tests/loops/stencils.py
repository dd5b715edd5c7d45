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
    apart = draw(st.sampled_from([True, True, False]))  # every sweep reads what the one before wrote, and not what it writes
    fields = NAMES[: draw(st.integers(2, 3) if apart else st.integers(1, 3))]
    indices = ("i", "j", "k")[:rank]
    extents = ("n", "m", "p")[:rank]
    margin = draw(st.integers(1, 2))
    reach = st.integers(-margin, margin)
    lines = []
    count = draw(st.integers(len(fields) if apart else 1, 3))
    for number in range(count):
        ranges = ", ".join(f"{i} in {margin}..{n}-{margin}" for i, n in zip(indices, extents, strict=True))
        target = fields[number % len(fields)] if apart else draw(st.sampled_from(fields))
        sources = [fields[(number - 1) % len(fields)]] if apart else list(fields)
        terms = []
        for term in range(draw(st.integers(1, 4))):
            far = [margin if term == 0 and apart and axis == 0 else draw(reach) for axis in range(rank)]
            at = ", ".join(f"{i}{o:+d}" if o else i for i, o in zip(indices, far, strict=True))
            factor = draw(st.sampled_from(["0.2", "0.31", "w[t]", f"c[{', '.join(indices)}]"]))
            terms.append(f"{factor} * {draw(st.sampled_from(sources))}[{at}]")
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
    sizes["n"] = draw(st.sampled_from([3 * largest, 6 * largest, sizes["n"]]))
    graph = load_text(text).algorithms["stencil"].graph
    return specialize(graph, "f64", sizes), sizes


def nest_of(text: str, name: str, **sizes: int) -> Nest:
    """The nest of an algorithm at float64."""
    return lower(specialize(load_text(text).algorithms[name].graph, "f64", sizes))
