"""Families of random programs, each a function that writes one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from random import Random

from .writing import Text


def _offsets(random: Random, rank: int, radius: int) -> list[tuple[int, ...]]:
    """The neighbours of a stencil, itself included: a star, a box, or some of them."""
    kind = random.choice(("star", "star", "box", "some"))
    if kind == "star" or radius ** (rank - 1) > 4:
        found = [tuple(d if a == axis else 0 for a in range(rank)) for axis in range(rank) for d in range(-radius, radius + 1) if d]
        return [(0,) * rank, *found]
    box: list[tuple[int, ...]] = [()]
    for _ in range(rank):
        box = [(*o, d) for o in box for d in range(-radius, radius + 1)]
    return box if kind == "box" else [(0,) * rank, *random.sample(box, min(len(box), random.randint(2, 6)))]


def _moved(name: str, indices: Sequence[str], offset: Sequence[int]) -> str:
    at = [i if not d else f"{i}{'+' if d > 0 else '-'}{abs(d)}" for i, d in zip(indices, offset)]
    return f"{name}[{', '.join(at)}]"


def _weighted(t: Text, terms: Sequence[str]) -> str:
    """A mean of terms: equal weights, or one for each."""
    if t.random.random() < 0.5:
        return f"{0.95 / len(terms):.4f} * ({' + '.join(terms)})"
    shares = [t.random.uniform(0.2, 1) for _ in terms]
    return " + ".join(f"{0.95 * s / sum(shares):.4f} * {term}" for s, term in zip(shares, terms))


def stencil(t: Text) -> None:
    """Sweeps over a grid, repeated: from one array to another and back, in place, or of several fields that depend on each other."""
    random = t.random
    rank = random.choice((1, 1, 2, 2, 2, 2, 3, 3))
    radius = random.choice((1, 1, 1, 2, 2, 3))
    offsets = _offsets(random, rank, radius)
    axes = t.axes(rank, t.iterations() / len(offsets) ** 0.5)
    fields = [t.input(*axes) for _ in range(random.choice((1, 2, 2, 2, 3)))]
    fixed = [t.input(*axes)] if random.random() < 0.3 else []
    scale = t.param() if random.random() < 0.3 else ""
    indices = "ijl"[:rank]
    reach = [f"{radius}..{n}-{radius}" for n in axes]
    if random.random() < 0.15:  # narrower from sweep to sweep
        reach[0] = f"max({radius}, k)..min({axes[0]}-{radius}, {axes[0]}-k)"
    t.begin("for k in 0..K:")
    for n, target in enumerate(fields):
        t.begin("for " + ", ".join(f"{i} in {r}" for i, r in zip(indices, reach)) + ":")
        source = target if len(fields) == 1 else fields[n - 1]
        terms = [_moved(source, indices, o) for o in (offsets if n < 2 or random.random() < 0.5 else offsets[: rank + 1])]
        value = _weighted(t, terms)
        here = f"[{', '.join(indices)}]"
        if fixed:
            value = f"({value}) * {fixed[0]}{here}" if random.random() < 0.5 else f"{value} + 0.05 * {fixed[0]}{here}"
        if scale:
            value = f"{target}{here} + 0.5 * {scale} * ({value} - {target}{here})"
        if random.random() < 0.15:
            value = f"max({value}, {t.number()})" if random.random() < 0.5 else f"tanh({value})"
        t.say(f"{target}{here} = {value}")
        t.end()
    t.end()
    for name in fields[-2:]:
        t.result(name, *axes)


def contraction(t: Text) -> None:
    """Products of two or three arrays summed over some of their indices, for a batch or not, and what is made of them."""
    random = t.random
    t.work *= 3  # the best order runs several at once
    first = _product(t, t.work, None)
    if random.random() < 0.35:
        name, axes = _product(t, t.work, first)
        t.result(name, *axes)
        if random.random() < 0.3:
            t.result(first[0], *first[1])
        return
    t.result(first[0], *first[1])


def _product(t: Text, work: float, before: tuple[str, list[str]] | None) -> tuple[str, list[str]]:
    """One product; ``before`` is an operand. The name and the axes of what it makes."""
    random = t.random
    batch = [t.size(random.choice((2, 4, 8, 16, 32)))] if before is None and random.random() < 0.25 else []
    batched = "where" if batch else ""
    inner = work / (t.sizes[batch[0]] if batch else 1)
    if before is not None and len(before[1]) == 2:
        n, k = before[1]
        m = t.size(max(16, min(512, round(work / t.sizes[n] / t.sizes[k]))))
        left, shape = before[0], (n, k, m)
    else:
        kind = random.random()
        if kind < 0.25:  # a matrix and a vector
            n, k = t.axes(2, min(inner, 4e6))
            m = ""
        else:
            n, k, m = t.axes(3, inner * random.choice((1, 1, 2)))
        shape, left = (n, k, m), ""
    n, k, m = shape
    turned, across = random.random() < 0.35 and not left, random.random() < 0.35
    left = left or t.input(*batch, *((k, n) if turned else (n, k)))
    shared = bool(batch) and random.random() < 0.4
    right = t.input(*([] if shared else batch), *((m, k) if across else (k, m)) if m else (k,))
    indices = {"b": batch[0]} if batched else {}
    rows = {**indices, "i": n, **({"j": m} if m else {})}
    at_left = [*indices, *(("l", "i") if turned else ("i", "l"))]
    at_right = [*([] if shared else indices), *((("j", "l") if across else ("l", "j")) if m else ("l",))]
    term = f"{left}[{', '.join(at_left)}] * {right}[{', '.join(at_right)}]"
    if random.random() < 0.12:
        term += f" * {t.input(k)}[l]"
    reduce = random.choices(("sum", "max", "min"), weights=(12, 1, 1))[0]
    value = f"{reduce}({term} for l in 0..{k})"
    if reduce == "sum":
        value = f"{value} / {k}"
    made, axes = t.fresh("y"), list(rows.values())
    plain = term.count("*") == 1 and reduce == "sum" and not batch and m and random.random() < 0.4
    if plain:
        value = f"({left}{'.T' if turned else ''} @ {right}{'.T' if across else ''}) / {k}"
        extra = [t.input(m)] if random.random() < 0.4 else []
        t.say(f"{made} = {t.pointwise([value, *extra])}")
        return made, axes
    extra = [f"{t.input(*axes)}[{', '.join(rows)}]"] if random.random() < 0.3 else []
    value = t.pointwise([value, *extra]) if random.random() < 0.5 else value
    t.say(f"{made} = [{value} for {', '.join(f'{i} in 0..{s}' for i, s in rows.items())}]")
    return made, axes


def reduction(t: Text) -> None:
    """Sums, extremes, norms and softmax along axes, and arrays made of them."""
    random = t.random
    rank = random.choice((1, 2, 2, 2, 3))
    axes = t.axes(rank, t.work / random.choice((2, 4)))
    values = [t.input(*axes) for _ in range(random.choice((1, 1, 2)))]
    for _ in range(random.randint(1, 3)):
        axis = random.randrange(rank)
        x, y = t.pointwise(values), t.fresh("r")
        kind = random.choice(("sum", "mean", "max", "softmax", "norm", "var", "cumsum", "sum", "logsumexp"))
        if kind == "softmax":
            t.say(f"{y} = softmax({x}, axis={axis})")
        elif kind == "cumsum":
            t.say(f"{y} = cumsum({x} / {axes[axis]}, axis={axis})")
        else:
            whole = random.random() < 0.2 and kind not in ("logsumexp",)
            arguments = "" if whole else f", axis={axis}, keepdims=True"
            value = f"sqrt(sum(({x})**2{arguments}))" if kind == "norm" else f"{kind}({x}{arguments})"
            value = f"{value} / {axes[axis]}" if kind == "sum" else value
            s = t.fresh("s")
            t.say(f"{s} = {value}")
            t.say(f"{y} = {t.pointwise([values[-1], s])}")
        values = [y, *values[:1]] if random.random() < 0.5 else [y]
    name = values[0]
    if random.random() < 0.4 and rank > 1:
        t.say(f"out = sum({name}, axis={random.randrange(rank)})")
        kept = t.lines[-1].rsplit("=", 1)[1].strip(")")
        t.result("out", *(a for n, a in enumerate(axes) if n != int(kept)))
    else:
        t.result(name, *axes)


def triangular(t: Text) -> None:
    """Domains that are no boxes: triangles, trapezoids, bands; products over them, and recurrences that go row by row."""
    random = t.random
    kind = random.choice(("product", "product", "update", "solve", "factor", "pairs"))
    c = t.number()
    if kind == "product":  # over a triangle of one operand or of the result, or over a band
        n, m = t.axes(2, (t.work * 2) ** (2 / 3))
        a, b = t.input(n, n), t.input(n, m)
        low, high = random.choice((("0", "i+1"), ("i", n), ("0", "i"), (f"max(0, i-{random.choice((4, 16, 64))})", "i+1"), ("i // 2", f"min({n}, i+9)")))
        read = f"{a}[i, l]" if random.random() < 0.6 else f"{a}[l, i]"
        factor = random.choice(("", f" * {c}", f" + {c}"))
        t.say(f"y = [sum(({read}{factor}) * {b}[l, j] for l in {low}..{high}) / {n} for i in 0..{n}, j in 0..{m}]")
        t.result("y", n, m)
    elif kind == "update":  # the result is a triangle
        n, m = t.axes(2, (t.work * 2) ** (2 / 3))
        a, b, y = t.input(n, m), t.input(n, m), t.input(n, n)
        low, high = random.choice((("0", "i+1"), ("i", n), ("i+1", n), (f"max(0, i-{random.choice((8, 32))})", "i+1")))
        two = f" + {b}[i, l] * {a}[j, l]" if random.random() < 0.4 else ""
        t.begin(f"for i in 0..{n}, j in {low}..{high}:")
        t.say(f"{y}[i, j] = {c} * {y}[i, j] + sum({a}[i, l] * {b}[j, l]{two} for l in 0..{m}) / {m}")
        t.end()
        t.result(y, n, n)
    elif kind == "solve":  # several right sides, forward or backward
        n, m = t.axes(2, (t.work * 2) ** (2 / 3))
        a, y = t.input(n, n), t.input(n, m)
        if random.random() < 0.5:
            loop, inner = f"for i in 0..{n}:", "0..i"
        else:
            loop, inner = f"for i in {n}-1..-1 by -1:", f"i+1..{n}"
        t.begin(loop)
        t.begin(f"for j in 0..{m}:")
        read = f"{a}[i, l]" if random.random() < 0.6 else f"{a}[l, i]"
        t.say(f"{y}[i, j] = ({y}[i, j] - {c} * sum({read} * {y}[l, j] for l in {inner}) / {n}) / (1 + {a}[i, i])")
        t.end(2)
        t.result(y, n, m)
    elif kind == "factor":  # a triangle that is made of its own rows
        (n,) = t.axes(1, (3 * t.work) ** (1 / 3))
        a = t.input(n, n)
        t.say(f"L = zeros({n}, {n})")
        t.begin(f"for i in 0..{n}:")
        width = random.choice(("0", "0", f"max(0, i-{random.choice((16, 48))})"))
        t.begin(f"for j in {width}..i:")
        weight = random.choice(("", "", f"{c} * "))
        t.say(f"L[i, j] = ({a}[i, j] - {weight}sum(L[i, l] * L[j, l] for l in {width}..j) / {n}) / (1 + L[j, j] * L[j, j])")
        t.end()
        t.say(f"L[i, i] = sqrt(1 + abs({a}[i, i] - sum(L[i, l]**2 for l in 0..i)))")
        t.end()
        t.result("L", n, n)
    else:  # all pairs of rows
        n, m = t.axes(2, (t.work * 2) ** (2 / 3))
        a = t.input(n, m)
        term = random.choice((f"abs({a}[i, l] - {a}[j, l])", f"({a}[i, l] - {a}[j, l])**2", f"max({a}[i, l], {a}[j, l])"))
        t.say(f"y = zeros({n}, {n})")
        t.begin(f"for i in 0..{n}, j in {random.choice(('i', 'i+1'))}..{n}:")
        t.say(f"y[i, j] = sum({term} for l in 0..{m}) / {m}")
        if random.random() < 0.5:
            t.say("y[j, i] = y[i, j]")
        t.end()
        t.result("y", n, n)


def chain(t: Text) -> None:
    """Stages on a grid, each made of earlier ones: at the same place, of neighbours, along another axis, of sums."""
    random = t.random
    rank = random.choice((1, 2, 2, 2, 3))
    count = random.randint(2, 6)
    square = random.random() < 0.4
    axes = t.axes(rank, t.work / count / 2, square=square)
    made = [t.input(*axes) for _ in range(random.randint(1, 2))]
    indices = "ijl"[:rank]
    for _ in range(count):
        y, x = t.fresh("y"), random.choice(made[-2:])
        kind = random.choice(("point", "near", "near", "turn", "sum", "point"))
        if kind == "near":
            radius = random.choice((1, 1, 2, 3))
            offsets = _offsets(random, rank, radius)
            if random.random() < 0.4:  # along one axis
                axis = random.randrange(rank)
                offsets = [tuple(d if a == axis else 0 for a in range(rank)) for d in range(-radius, radius + 1)]
            t.say(f"{y} = {random.choice(made)}")
            t.begin("for " + ", ".join(f"{i} in {radius}..{n}-{radius}" for i, n in zip(indices, axes)) + ":")
            value = _weighted(t, [_moved(x, indices, o) for o in offsets])
            if random.random() < 0.4:
                value = t.pointwise([f"({value})", f"{random.choice(made)}[{', '.join(indices)}]"])
            t.say(f"{y}[{', '.join(indices)}] = {value}")
            t.end()
        elif kind == "turn" and rank == 2 and square:
            t.say(f"{y} = {t.pointwise([x + '.T', random.choice(made)])}")
        elif kind == "sum" and rank > 1:
            t.say(f"{y} = {t.pointwise([random.choice(made), f'mean({x}, axis={random.randrange(rank)}, keepdims=True)'])}")
        else:
            t.say(f"{y} = {t.pointwise([x, *random.sample(made, min(len(made), random.randint(0, 2)))])}")
        made.append(y)
    t.result(made[-1], *axes)
    if random.random() < 0.2:
        t.result(made[-2], *axes)


def unrolled(t: Text) -> None:
    """Iterations that carry a state, with numbers of their own: a linear operator and its transpose, a map of every element, momentum, a batch."""
    random = t.random
    operator = random.choice(("dense", "dense", "dense", "difference", "gram"))
    each = t.iterations(60.0)
    if operator == "difference":
        axes = t.axes(random.choice((1, 2, 2)), each / 8)
        y = t.input(*axes)
        t.say(f"u = {y}")
        duals = [t.fresh("p") for _ in axes]
        for p in duals:
            t.say(f"{p} = zeros({', '.join(axes)})")
        step, bound = t.param(), t.param()
        t.begin("for k in 0..K:")
        indices = "ij"[: len(axes)]
        whole = ", ".join(indices)
        for axis, p in enumerate(duals):
            t.begin("for " + ", ".join(f"{i} in 0..{n}{'-1' if a == axis else ''}" for a, (i, n) in enumerate(zip(indices, axes))) + ":")
            offset = [int(a == axis) for a in range(len(axes))]
            moved = f"{p}[{whole}] + 0.2 * {step} * ({_moved('u', indices, offset)} - u[{whole}])"
            t.say(f"{p}[{whole}] = {random.choice((f'clip({moved}, -{bound}, {bound})', f'tanh({moved})'))}")
            t.end()
        t.say(f"u = {y}")
        t.begin("for " + ", ".join(f"{i} in 1..{n}" for i, n in zip(indices, axes)) + ":")
        parts = [f"{p}[{whole}] - {_moved(p, indices, [-int(a == axis) for a in range(len(axes))])}" for axis, p in enumerate(duals)]
        t.say(f"u[{whole}] = {y}[{whole}] + 0.2 * ({' + '.join(parts)})")
        t.end(2)
        t.result("u", *axes)
        return
    batch = [t.size(random.choice((4, 8, 16, 32, 64)))] if random.random() < 0.4 else []
    rows = t.sizes[batch[0]] if batch else 1
    if operator == "gram":
        (n,) = t.axes(1, math.sqrt(each / rows))
        a, y = t.input(n, n), t.input(*batch, n)
        product, m = (f"(z @ {a}) / {n}" if batch else f"({a} @ z) / {n}"), n
    else:
        m, n = t.axes(2, each / rows / 2)
        a, y = t.input(m, n), t.input(*batch, m)
        product = f"((z @ {a}.T / {n} - {y}) @ {a}) / {m}" if batch else f"({a}.T @ ({a} @ z / {n} - {y})) / {m}"
    del m
    shape = ", ".join((*batch, n))
    step = t.param()
    t.say(f"x = zeros({shape})")
    momentum = random.random() < 0.4
    t.say("z = x")
    t.begin("for k in 0..K:")
    t.say(f"v = z - 0.1 * {step} * ({product}{f' - {y}' if operator == 'gram' else ''})")
    bound = t.param()
    maps = [f"sign(v) * max(abs(v) - 0.01 * {bound}, 0)", "max(v, 0)", "tanh(v)", f"clip(v, -{bound}, {bound})"]
    maps += [f"v / (1 + {bound} * v * v)", f"softmax({bound} * v, axis={len(batch)})", "v"]
    t.say(f"w = {random.choice(maps)}")
    t.say(f"z = w + 0.3 * {bound} * (w - x)" if momentum else "z = w")
    t.say("x = w")
    t.end()
    t.result("x", *batch, n)


def recurrence(t: Text) -> None:
    """What goes along an axis element by element, beside others that do the same: filters, both ways, tables of dynamic programming."""
    random = t.random
    n, m = t.axes(2, t.work / 3)
    kind = random.choice(("filter", "filter", "both", "table", "columns"))
    x = t.input(n, m)
    c, d = t.number(), t.number()
    if kind == "table":
        t.begin(f"for i in 1..{n}, j in 1..{m}:")
        best = random.choice((f"max({x}[i-1, j], {x}[i, j-1])", f"min({x}[i-1, j] + {c}, {x}[i-1, j-1])", f"{c} * {x}[i-1, j] + 0.1 * {x}[i, j-1]"))
        t.say(f"{x}[i, j] = {d} * {x}[i, j] + 0.5 * {best}")
        t.end()
        t.result(x, n, m)
        return
    along, across = (f"i in 1..{n}", f"j in 0..{m}") if kind != "columns" else (f"j in 1..{m}", f"i in 0..{n}")
    before = f"{x}[i-1, j]" if kind != "columns" else f"{x}[i, j-1]"
    loops = (along, across) if random.random() < 0.5 else (across, along)
    weight = f"{t.input(n, m)}[i, j]" if random.random() < 0.4 else c
    t.begin(f"for {loops[0]}, {loops[1]}:")
    t.say(f"{x}[i, j] = {x}[i, j] + {d} * {weight} * {before}" if random.random() < 0.6 else f"{x}[i, j] = ({x}[i, j] + {d} * {before}) / (1 + {weight})")
    t.end()
    if kind == "both":
        t.begin(f"for i in {n}-2..-1 by -1, j in 0..{m}:")
        t.say(f"{x}[i, j] = {x}[i, j] + {c} * 0.5 * {x}[i+1, j]")
        t.end()
    if random.random() < 0.4:
        t.say(f"y = {t.pointwise([x, t.input(n, m)])}")
        t.result("y", n, m)
    else:
        t.result(x, n, m)


def several(t: Text) -> None:
    """Nests of different families in one program, one reading what another has made."""
    random = t.random
    t.work /= 2
    first = _product(t, t.work, None)
    name, axes = first
    indices = "ijl"[: len(axes)]
    y = t.fresh("y")
    t.say(f"{y} = {name}")
    t.begin("for " + ", ".join(f"{i} in 1..{n}-1" for i, n in zip(indices, axes)) + ":")
    t.say(f"{y}[{', '.join(indices)}] = {_weighted(t, [_moved(name, indices, o) for o in _offsets(random, len(axes), 1)])}")
    t.end()
    if len(axes) == 2 and random.random() < 0.6:
        x = t.input(axes[-1])
        t.say(f"z = {t.pointwise([f'({y} @ {x}) / {axes[-1]}', t.input(axes[0])])}")
        t.result("z", axes[0])
    t.say(f"s = {random.choice(('sum', 'max', 'mean'))}({y}, axis={random.randrange(len(axes))}, keepdims=True)")
    t.say(f"out = {t.pointwise([y, 's'])}")
    t.result("out", *axes)


#: Families by name, with how often each is drawn.
FAMILIES: Mapping[str, tuple[Callable[[Text], None], float]] = {
    "stencil": (stencil, 5),
    "contraction": (contraction, 5),
    "reduction": (reduction, 2),
    "triangular": (triangular, 4),
    "chain": (chain, 3),
    "unrolled": (unrolled, 4),
    "recurrence": (recurrence, 2),
    "several": (several, 2),
}
