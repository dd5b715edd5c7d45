"""Programs of one class in several texts, and what a proposer makes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from tests.loops.run_tree import Runner
from unspool.compiler.graph.graph import Graph
from unspool.compiler.graph.interp import interpret
from unspool.compiler.graph.simplify import simplify
from unspool.compiler.graph.specialize import specialize
from unspool.compiler.loops.lower import lower
from unspool.compiler.loops.scan import scan
from unspool.compiler.loops.schedule import prove
from unspool.compiler.search.choose import choose
from unspool.compiler.search.draft import Draft, Task
from unspool.compiler.search.sweeps import finish
from unspool.compiler.target import Machine
from unspool.dsl.api import loads

#: Caches so small that what pays for large arrays pays for small ones.
SMALL = Machine(64, 32, cores=2, l1=256, l2=512, l3=1024)

#: A recursion whose iterations wait for each other.
DURBIN = """algorithm durbin(r: real[n]) -> real[n]:
    y = zeros(n)
    y[0] = -r[0]
    b = 1.0
    a = -r[0]
    for k in 1..n:
        b = (1 - a * a) * b
        a = -(r[k] + sum(r[k-i-1] * y[i] for i in 0..k)) / b
        z = zeros(n)
        for i in 0..k:
            z[i] = y[i] + a * y[k-i-1]
        for i in 0..k:
            y[i] = z[i]
        y[k] = a
    return y
"""


def graph_of(text: str) -> Graph:
    """The graph of the first algorithm of a text."""
    return next(iter(loads(text))).algorithm.graph


def computes(draft: Draft, inputs: list[torch.Tensor], wanted: Sequence[torch.Tensor], sizes: dict[str, int]) -> None:
    """Assert that the loops of a draft give these results."""
    outputs = [np.zeros(tuple(w.shape)) for w in wanted]
    tree = scan(draft.scheduled, "k")
    Runner(tree, [*(x.numpy() for x in inputs), *outputs], {p: sizes[p] for p in tree.integers}, 1)
    for got, want in zip(outputs, wanted, strict=True):
        np.testing.assert_allclose(got, want.numpy(), rtol=1e-9, atol=1e-9)


def proposed(
    proposer: Callable[[Draft], bool], graph: Graph, sizes: dict[str, int], machine: Machine = SMALL, *, strict: bool = False,
    run: bool = True,
) -> str:  # fmt: skip
    """The schedule that a proposer makes of a graph, finished by the sweeps and proved, as text; empty if it does not fire. Its tree is
    run in float64 and compared with the interpreter."""
    fixed = simplify(specialize(graph, "f64", {n: v for n, v in sizes.items() if n != "K"}))
    draft = Draft.of(Task(lower(fixed, strict=strict), machine, strict))
    if not proposer(draft):
        return ""
    finish(draft)
    prove(draft.scheduled, strict=strict)
    if run:
        types = [v.type.substitute(sizes) for v in graph.inputs]
        shapes = [tuple(s.evaluate({}) for s in t.shape) for t in types]
        inputs = [torch.as_tensor(np.random.default_rng(n).uniform(-0.2, 0.2, shape)) for n, shape in enumerate(shapes)]
        wanted = interpret(fixed, inputs, sizes)
        computes(draft, inputs, wanted, sizes)
    return str(draft.schedule)


def chosen(graph: Graph, sizes: dict[str, int], machine: Machine) -> str:
    """The text of the schedule chosen for a graph."""
    fixed = simplify(specialize(graph, "f64", {n: v for n, v in sizes.items() if n != "K"}))
    return str(choose(Task(lower(fixed), machine))[1])
