"""Threads get equal shares of the work of a parallel loop, not of its iterations, and every iteration is somebody's."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch

from tests.backends import trees
from tests.search.programs import graph_of
from unspool.backends.shares import uneven
from unspool.compiler.graph.simplify import simplify
from unspool.compiler.graph.specialize import specialize
from unspool.compiler.loops.lower import lower
from unspool.compiler.loops.scan import scan
from unspool.compiler.loops.schedule import apply, parse_schedule
from unspool.compiler.loops.tree import Function

LOOPS = {
    "grows": "for i in 0..m, j in 0..i+1:",
    "shrinks": "for i in 0..m, j in i..m:",
    "shrinks to half": "for i in 0..m, j in 0..2*m-i:",
    "is even": "for i in 0..m, j in 0..m:",
}
PARTS = {"grows": 0.5 / 30.5, "shrinks": 30 / 30.5, "shrinks to half": 60 / 90.5}


def tree_of(loops: str, m: int) -> Function:
    text = f"algorithm f(A: real[m, 2*m]) -> real[m, 2*m]:\n    B = A\n    {loops}\n        B[i, j] = 2 * A[i, j] + 1\n    return B\n"
    nest = lower(simplify(specialize(graph_of(text), "f64", {"m": m})))
    head = next(s for s in nest.statements if "2" in str(s.value) and "mul" in str(s.value)).dims[0].name
    return scan(apply(nest, parse_schedule(f"parallel {head}")), "k")


@pytest.mark.parametrize("name", LOOPS)
def test_what_is_uneven_is_seen(name: str) -> None:
    tree = tree_of(LOOPS[name], 30)
    found = list(uneven(tree.body, tree.integers).values())
    assert found == ([] if name == "is even" else [pytest.approx(PARTS[name], abs=0.03)])


@pytest.mark.parametrize("target", ["c", "numba"])
@pytest.mark.parametrize("name", LOOPS)
def test_every_iteration_is_somebodys(name: str, target: str) -> None:
    for m in (1, 2, 3, 17):
        a = torch.rand(m, 2 * m, dtype=torch.float64)
        tree = tree_of(LOOPS[name], m)
        alone = torch.zeros_like(a)
        trees.run(tree, [a], [alone], target=target)
        for team in (2, 3, 5):
            together = torch.zeros_like(a)
            trees.run(tree, [a], [together], team_size=team, target=target)
            torch.testing.assert_close(together, alone, rtol=0, atol=0)


def test_shares_of_a_triangle_are_equal() -> None:
    import numba

    from unspool.backends.numba.library import us_share_uneven

    share = numba.njit(lambda trips, member, size, first: us_share_uneven(trips, 1, member, size, first))
    for grows in (True, False):
        parts = [share(1000, member, 4, 0.0005 if grows else 0.9995) for member in range(4)]
        assert [p[0] for p in parts] == [0, *(p[1] for p in parts[:-1])]
        assert parts[-1][1] == 1000
        work = [sum(i + 1 if grows else 1000 - i for i in range(*p)) for p in parts]
        assert max(work) < 1.02 * min(work)


@pytest.mark.parametrize("target", ["c", "numba"])
def test_loops_of_one_share_give_an_iteration_to_one_thread(target: str) -> None:
    """However different they are: vectors of another length, rows with more and more work."""
    n, arrays = 100, [trees.array(a, dtype, 100, scope="output") for a, dtype in (("x", "f32"), ("y", "f64"), ("z", "f32"))]
    first = trees.loop("i", 0, n, trees.store("x", ["i"], trees.load("x", "i")), kind="parallel vector")
    second = trees.loop("j", 0, n, trees.store("y", ["j"], trees.load("y", "j", dtype="f64")), kind="parallel vector")
    third = trees.loop("k", 0, n, trees.loop("l", 0, "k", trees.store("z", ["k"], trees.load("z", "l"), "add")), kind="parallel")
    for share, parts in ((0, 3), (1, 1)):
        loops = [replace(loop, share=share) for loop in (first, second, third)]
        source = trees.target_of(target).emit(trees.function("f", arrays, *loops))
        assert len(re.findall(r"us_share(?:_uneven)?\(100, ", source)) == parts
