"""Random stencil programs: sweeps with random offsets over several fields inside a loop over iterations."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import strategies as st

from tests.loops.run_tree import Runner
from unspool.compiler.graph.graph import Graph
from unspool.compiler.graph.interp import interpret
from unspool.compiler.graph.specialize import specialize
from unspool.compiler.loops.lower import lower
from unspool.compiler.loops.nest import Nest
from unspool.compiler.loops.scan import scan
from unspool.compiler.loops.scheduled import Scheduled
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
    lines, least = [], 0
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
        value = " + ".join(terms)
        if draw(st.integers(0, 3)) == 0:  # a temporary of a point
            lines += [f"        for {ranges}:", f"            half{number} = 0.5 * {terms[0]}"]
            lines += [f"            {target}[{', '.join(indices)}] = half{number} + {value}"]
        else:
            lines += [f"        for {ranges}:", f"            {target}[{', '.join(indices)}] = {value}"]
        if draw(st.integers(0, 3)) == 0:  # a value of an iteration, for a boundary row or a point source
            least = 2
            lines.append(f"        level{number} = 0.5 * w[t] + 1")
            edge, along = draw(st.sampled_from(["0", "1"])), [(i, n) for i, n in zip(indices, extents)][1:]
            place = f"{target}[{', '.join([edge, *(i for i, _ in along)])}]"
            if along and draw(st.booleans()):
                lines.append(f"        for {', '.join(f'{i} in 0..{n}' for i, n in along)}:")
                lines.append(f"            {place} = level{number}")
            else:
                place = f"{target}[{', '.join(edge for _ in indices)}]"
                lines.append(f"        {place} = {place} + level{number}")
    shape = ", ".join(extents)
    inputs = ", ".join(f"{a}: real[{shape}]" for a in (*fields, "c"))
    results = ", ".join(f"real[{shape}]" for _ in fields)
    text = "\n".join(
        [
            f"algorithm stencil({inputs}, w: real[K]) -> ({results}) where {', '.join(f'{n} >= {least}' for n in extents)}:",
            "    iterations K = 3",
            "    for t in 0..K:",
            *lines,
            f"    return {', '.join(fields)}",
            "",
        ]
    )
    sizes = {n: draw(st.sampled_from([largest, largest, *range(least, largest)])) for n in extents}
    sizes["n"] = draw(st.sampled_from([3 * largest, 6 * largest, sizes["n"]]))
    graph = load_text(text).algorithms["stencil"].graph
    return specialize(graph, "f64", sizes), sizes


def nest_of(text: str, name: str, **sizes: int) -> Nest:
    """The nest of an algorithm at float64."""
    return lower(specialize(load_text(text).algorithms[name].graph, "f64", sizes))


def same_as_the_interpreter(graph: Graph, scheduled: Scheduled, count: int, seed: int, low: float = -0.5) -> None:
    """A schedule of a graph on random data in ``low .. low + 1``."""
    g = torch.Generator().manual_seed(seed)
    counts = dict.fromkeys(scheduled.nest.params, count)
    shapes = [tuple(n.evaluate({"K": count, "T": count}) for n in v.type.shape) for v in graph.inputs]
    inputs = [torch.rand(s, generator=g, dtype=torch.float64) + low for s in shapes]
    want = interpret(graph, inputs, {"K": count, "T": count})
    outputs = [np.zeros(tuple(w.shape)) for w in want]
    Runner(scan(scheduled, "k"), [*(x.numpy() for x in inputs), *outputs], counts, seed)
    for got, expected in zip(outputs, want, strict=True):
        np.testing.assert_allclose(got, expected.numpy(), rtol=1e-9, atol=1e-12)
