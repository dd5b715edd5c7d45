"""Sums that wait for the next iteration are the same sums, and the host program calls a kernel less."""

from __future__ import annotations

import pytest
import torch

from unspool.compiler.graph.delay import delayed
from unspool.compiler.graph.graph import Graph, Node
from unspool.compiler.graph.interp import interpret
from unspool.compiler.graph.partition import kernels, partition
from unspool.compiler.graph.text import parse_graph
from unspool.compiler.graph.verify import verify


def expands(node: Node) -> bool:
    """``cumsum`` stands for what kernels do not take."""
    return node.op not in ("cumsum", "for")


def both(text: str, *inputs: torch.Tensor, **sizes: int) -> tuple[Graph, Graph]:
    """A graph and the delayed one, which gives the same."""
    graph = parse_graph(text)
    made = delayed(graph, expands)
    verify(made)
    for got, want in zip(interpret(made, inputs, sizes), interpret(graph, inputs, sizes), strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=0)
    return graph, made


def number_of_kernels(graph: Graph) -> int:
    (loop,) = [n for n in partition(graph, expands).nodes if n.op == "for"]
    return len(kernels(loop.regions[0]))


LOOP = """
graph a(%x: f64[n], %w: f64[n]) {{
  %y, %v, %all = for(%x, %w) {{index='k', lower=Size('0'), names=(), stacked=1, step=1, upper=Size('K')}} : f64[n], f64[n], f64[K, n] {{
    (%a: f64[n], %b: f64[n])
{body}
  }}
  return %y, %v, %all
}}
"""
#: Two carried values, of which the first is ``%a + %f`` at the end.
SUM = LOOP.format(
    body="""    %e = tanh(%a) {} : f64[n]
    %f = cumsum(%e) {axis=-1} : f64[n]
    %c = add(%a, %f) {} : f64[n]
    %d = mul(%b, %e) {} : f64[n]
    yield %c, %d, %e"""
)


def values() -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    return [torch.randn(4, dtype=torch.float64, generator=random) for _ in range(2)]


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_a_sum_waits_for_the_next_iteration(count: int) -> None:
    graph, made = both(SUM, *values(), n=4, K=count)
    assert (number_of_kernels(graph), number_of_kernels(made)) == (2, 1)


def test_both_carried_values_wait() -> None:
    text = SUM.replace("%d = mul(%b, %e)", "%g = cumsum(%h) {axis=-1} : f64[n]\n    %d = add(%g, %b)")
    text = text.replace("%f = cumsum", "%h = tanh(%b) {} : f64[n]\n    %f = cumsum")
    _, made = both(text, *values(), n=4, K=3)
    (loop,) = [n for n in made.nodes if n.op == "for"]
    assert len(loop.regions[0].args) == 4


@pytest.mark.parametrize(
    "change",
    [
        ("%c = add(%a, %f)", "%c = sub(%a, %f)"),  # no sum
        ("%c = add(%a, %f)", "%c = add(%a, %e)"),  # of nothing that the host makes
        ("yield %c, %d, %e", "yield %c, %d, %c"),  # the sum is asked for now
        ("%d = mul(%b, %e)", "%d = mul(%b, %c)"),
        ("%e = tanh(%a)", "%e = tanh(%b)"),  # no kernel of the next iteration reads it
    ],
)
def test_what_does_not_wait(change: tuple[str, str]) -> None:
    text = SUM.replace(*change)
    assert text != SUM
    graph, made = both(text, *values(), n=4, K=3)
    assert made == graph
