"""Random programs of the classes that schedules are made for: written out with other names, factors and orders each time.

A class is a function of a source of randomness that gives a program as text, its sizes, and what its operands must be like.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from random import Random
from string import Template

import torch

from unspool.compiler.graph.graph import Graph
from unspool.compiler.graph.specialize import specialize
from unspool.compiler.target import Machine
from unspool.dsl.program import load_text

#: Caches so small that programs of a few elements are beyond them: what is done for large programs is done for these.
MACHINES = (
    Machine(64, 32, l1=512, l2=4096, l3=16384),
    Machine(64, 32, cores=1, l1=16, l2=16, l3=1 << 16),
    Machine(32, 16, l1=1024, l2=2048, l3=8192),
)


@dataclass(frozen=True, eq=False)
class Program:
    """A program with sizes. ``square`` names operands that are symmetric and positive definite, ``lower`` those with a dominant diagonal."""

    text: str
    sizes: dict[str, int]
    counts: dict[str, int]
    square: str = ""
    lower: str = ""

    @cached_property
    def graph(self) -> Graph:
        """In float64, with counts of iterations left open."""
        (algorithm,) = load_text(self.text).algorithms.values()
        return specialize(algorithm.graph, "f64", self.sizes)

    def inputs(self, seed: int, batch: int = 0) -> list[torch.Tensor]:
        """Operands, with a leading axis of ``batch`` if that is not 0."""
        g = torch.Generator().manual_seed(seed)
        lead = (batch,) if batch else ()
        made = []
        for v in self.graph.inputs:
            shape = tuple(s.evaluate({**self.sizes, **self.counts}) for s in v.type.shape)
            x = torch.rand((*lead, *shape), generator=g, dtype=torch.float64) - 0.5
            if v.name in self.square.split():
                x = x @ x.mT / shape[-1] + torch.eye(shape[-1], dtype=x.dtype)
            elif v.name in self.lower.split():
                x = x / shape[-1] + 2 * torch.eye(shape[-1], dtype=x.dtype)
            made.append(x)
        return made


def _names(dice: Random, count: int) -> list[str]:
    return dice.sample(["A", "B", "C", "D", "u", "v", "grid", "M", "Z", "left"], count)


def stencil(dice: Random) -> Program:
    """Sweeps with random neighbours inside a loop over time: between two fields, or in place."""
    rank, (a, b) = dice.choice([1, 2, 2]), _names(dice, 2)
    axes = ["i", "j"][:rank]
    n = {1: 40, 2: 12}[rank] + dice.randint(0, 5)
    in_place = dice.random() < 0.4
    ranges = ", ".join(f"{x} in 1..n-1" for x in axes)

    def sweep(to: str, of: str) -> list[str]:
        terms = [f"{of}[{', '.join(x + dice.choice(['-1', '', '+1']) for x in axes)}]" for _ in range(dice.randint(2, 5))]
        value = (
            f"{round(0.9 / len(terms), 3)} * ({' + '.join(terms)})"
            if dice.random() < 0.7
            else " + ".join(f"0.2 * {t}" for t in terms)
        )
        if dice.random() < 0.2:
            value = f"tanh({value})"
        return [f"        for {ranges}:", f"            {to}[{', '.join(axes)}] = {value}"]

    body = sweep(a, a) if in_place else [*sweep(b, a), *(sweep(a, b) if dice.random() < 0.7 else [f"        {a} = {b}"])]
    shape = ", ".join(["n"] * rank)
    lines = [
        f"algorithm f({a}: real[{shape}]) -> real[{shape}]:",
        "    iterations T = 2",
        *([] if in_place else [f"    {b} = {a}"]),
    ]
    return Program(
        "\n".join([*lines, "    for t in 0..T:", *body, f"    return {a}", ""]), {"n": n}, {"T": dice.choice([3, 5, 6])}
    )


def _written(dice: Random, template: str) -> str:
    """A template with names of our choice for its operands X, Y, Z."""
    return Template(template.lstrip("\n")).substitute(dict(zip("XYZ", _names(dice, 3), strict=True)))


PRODUCTS = """
algorithm f($X: real[m, k], $Y: real[k, n], $Z: real[m, n]) -> real[m, n]:
    return 0.5 * $Z + $X @ $Y
---
algorithm f($X: real[m, k], $Y: real[k, n], $Z: real[m, n]) -> real[m, n]:
    for i in 0..m, j in 0..n:
        $Z[i, j] = 1.5 * sum($X[i, x] * $Y[x, j] for x in 0..k) + 0.5 * $Z[i, j]
    return $Z
---
algorithm f($X: real[m, k], $Y: real[k, n], $Z: real[m, n]) -> real[m, n]:
    for x in 0..k, j in 0..n, i in 0..m:
        $Z[i, j] += $X[i, x] * $Y[x, j]
    return $Z
---
algorithm f($Y: real[k, n], $X: real[m, k], $Z: real[m, n]) -> real[m, n]:
    for p in 0..m, q in 0..k, r in 0..n:
        $Z[p, r] -= $Y[q, r] * $X[p, q]
    return $Z
---
algorithm f($X: real[m, k], $Y: real[k, n], $Z: real[m, n]) -> real[m, n]:
    inner = $X @ $Y
    return max(inner @ ($Z.T @ $Z), 0) + inner
---
algorithm f($X: real[m, k], $Y: real[n, k], $Z: real[m, n]) -> real[m, n]:
    return tanh($X @ $Y.T + $Z) - sum($Z, axis=1)[:, None]
"""


def contraction(dice: Random) -> Program:
    """Products of matrices: with operators, written out, accumulated in any order of the loops, chained, with an epilogue."""
    sizes = {name: dice.choice([7, 12, 17, 24]) for name in "mkn"}
    return Program(_written(dice, dice.choice(PRODUCTS.split("---"))), sizes, {})


TRIANGLES = """
algorithm f($Z: real[n, n], $X: real[n, m]) -> real[n, n]:
    for i in 0..n, j in 0..i+1:
        $Z[i, j] = 0.5 * $Z[i, j] + sum($X[i, k] * $X[j, k] for k in 0..m)
    return $Z
---
algorithm f($Z: real[n, n], $X: real[n, m], $Y: real[n, m]) -> real[n, n]:
    for i in 0..n:
        for j in 0..i+1:
            $Z[i, j] = $Z[i, j] * 0.25
        for k in 0..m, j in 0..i+1:
            $Z[i, j] += $X[i, k] * $Y[j, k] + $Y[i, k] * $X[j, k]
    return $Z
---
algorithm f($Z: real[n, m], $X: real[n, n], $Y: real[n, m]) -> real[n, m]:
    for i in 0..n, j in 0..m:
        low = sum($X[i, k] * $Y[k, j] for k in 0..i+1)
        high = sum($X[k, i] * $Y[k, j] for k in i+1..n)
        $Z[i, j] = low + high - $Z[i, j]
    return $Z
---
algorithm f($X: real[n, n], $Y: real[n, m]) -> real[n, m]:
    for i in 0..n, j in 0..m:
        $Y[i, j] += sum($X[k, i] * $Y[k, j] for k in i+1..n)
    return $Y
"""

SOLVES = """
algorithm f(L: real[n, n], $Y: real[n]) -> real[n]:
    x = zeros(n)
    for i in 0..n:
        x[i] = ($Y[i] - sum(L[i, j] * x[j] for j in 0..i)) / L[i, i]
    return x
---
algorithm f(L: real[n, n], $Y: real[n]) -> real[n]:
    for j in 0..n:
        $Y[j] = $Y[j] / L[j, j]
        for i in j+1..n:
            $Y[i] -= L[i, j] * $Y[j]
    return $Y
---
algorithm f(L: real[n, n], $Y: real[n, m]) -> real[n, m]:
    for i in n-1..-1 by -1:
        for j in 0..m:
            $Y[i, j] = ($Y[i, j] - sum(L[i, k] * $Y[k, j] for k in i+1..n)) / L[i, i]
    return $Y
"""


def triangular(dice: Random) -> Program:
    """Triangles read, written and solved: rank-k updates, symmetric products, products with a triangle, substitution."""
    sizes = {"n": dice.choice([9, 14, 18]), "m": dice.choice([5, 8, 13])}
    text = _written(dice, dice.choice([*TRIANGLES.split("---"), *SOLVES.split("---")]))
    return Program(text, sizes if "m]" in text else {"n": sizes["n"]}, {}, lower="L")


FACTORS = """
algorithm f($X: real[n, n]) -> real[n, n]:
    L = zeros(n, n)
    for i in 0..n:
        for j in 0..i:
            L[i, j] = ($X[i, j] - sum(L[i, k] * L[j, k] for k in 0..j)) / L[j, j]
        L[i, i] = sqrt($X[i, i] - sum(L[i, k]**2 for k in 0..i))
    return L
---
algorithm f($X: real[n, n]) -> real[n, n]:
    for k in 0..n:
        $X[k, k] = sqrt($X[k, k])
        for i in k+1..n:
            $X[i, k] = $X[i, k] / $X[k, k]
        for j in k+1..n, i in j..n:
            $X[i, j] -= $X[i, k] * $X[j, k]
    return tril($X)
---
algorithm f($X: real[n, n]) -> real[n, n]:
    for k in 0..n:
        for i in k+1..n:
            $X[i, k] = $X[i, k] / $X[k, k]
        for i in k+1..n, j in k+1..n:
            $X[i, j] -= $X[i, k] * $X[k, j]
    return $X
---
algorithm f($X: real[n, n]) -> real[n, n]:
    Q = zeros(n, n)
    for k in 0..n:
        r = sqrt(sum($X[i, k]**2 for i in 0..n))
        for i in 0..n:
            Q[i, k] = $X[i, k] / r
        for j in k+1..n:
            s = sum(Q[i, k] * $X[i, j] for i in 0..n)
            for i in 0..n:
                $X[i, j] -= Q[i, k] * s
    return Q
"""


def factorization(dice: Random) -> Program:
    """Cholesky by rows and by columns, LU in place, Gram-Schmidt."""
    text = _written(dice, dice.choice(FACTORS.split("---")))
    return Program(text, {"n": dice.choice([6, 9, 12])}, {}, square=text.partition("(")[2].partition(":")[0])


REDUCTIONS = """
algorithm f($X: real[m, n], $Y: real[n], $Z: real[m]) -> (real[n], real[m]):
    return $X.T @ ($X @ $Y), $X @ $Y + $Z
---
algorithm f($X: real[m, n], $Y: real[n], $Z: real[m]) -> (real[n], real[m]):
    p = zeros(n)
    q = zeros(m)
    for i in 0..m, j in 0..n:
        p[j] += $Z[i] * $X[i, j]
        q[i] += $X[i, j] * $Y[j]
    return p, q
---
algorithm f($X: real[m, n], $Y: real[n], $Z: real[m]) -> (real[n], real[m]):
    centred = $X - mean($X, axis=0)
    spread = sqrt(mean(centred**2, axis=0) + 0.1)
    return spread * $Y, sum(centred / spread, axis=1) * $Z
---
algorithm f($X: real[m, n], $Y: real[n], $Z: real[m]) -> (real[n], real[m]):
    shares = softmax($X + $Y, axis=1)
    return shares.T @ $Z, logsumexp($X, axis=1) - $Z
"""


def reduction(dice: Random) -> Program:
    """Products of a matrix with vectors from both sides, statistics of columns, normalised rows."""
    sizes = {"m": dice.choice([9, 16, 31]), "n": dice.choice([7, 16, 25])}
    return Program(_written(dice, dice.choice(REDUCTIONS.split("---"))), sizes, {})


def chain(dice: Random) -> Program:
    """Sweeps that hand intermediate arrays on, by slices, inside a loop with parameters of each iteration."""
    a, b = _names(dice, 2)
    lines = [f"algorithm f({a}: real[n], w: real[K]) -> real[n]:", "    iterations K = 3", f"    {b} = {a}", "    for k in 0..K:"]
    lines += [
        f"        d = {b}[1:] - {b}[:-1]",
        f"        e = {dice.choice(['tanh(d)', 'd / sqrt(1 + d * d)', 'max(min(d, 0.5), -0.5)'])}",
    ]
    lines += [f"        {b}[:-1] += w[k] * e", f"        {b}[1:] -= w[k] * e"]
    if dice.random() < 0.5:
        lines.append(f"        {b} = {b} - 0.1 * mean({b})")
    return Program("\n".join([*lines, f"    return {b}", ""]), {"n": dice.choice([5, 20, 33])}, {"K": dice.choice([1, 3, 4])})


#: class -> generator
CLASSES: dict[str, Callable[[Random], Program]] = {
    f.__name__: f for f in (stencil, contraction, triangular, factorization, reduction, chain)
}
