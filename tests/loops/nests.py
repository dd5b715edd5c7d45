"""Random nests, a class a function: what solvers, stencils, contractions and sweeps look like as statements over integer sets.

Every nest is small enough to enumerate. Loops are triangular, trapezoid, strided and guarded; iterations have a symbolic count;
arrays are updated in place, reduced into with several operators, or scratch that is filled before it is read.
Values stay moderate, so that other orders of a sum show only rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from random import Random

import numpy as np

from unspool.compiler.graph.types import Size, parse_size
from unspool.compiler.loops.nest import (
    Access,
    Apply,
    ArrayInfo,
    Dim,
    Expr,
    Guard,
    Leaf,
    LoopOrder,
    Nest,
    Order,
    SizeValue,
    Statement,
    leaves,
    sequence,
)
from unspool.compiler.loops.tree import Literal

SizeLike = Size | int | str


def op(name: str, *args: Expr | float) -> Apply:
    """An operation on doubles."""
    return Apply(name, tuple(Literal(float(a), "f64") if isinstance(a, (int, float)) else a for a in args), "f64")


def least(*sizes: SizeLike) -> Size:
    """The smallest of some sizes."""
    return parse_size(f"min({', '.join(map(str, sizes))})")


def greatest(*sizes: SizeLike) -> Size:
    """The largest of some sizes."""
    return parse_size(f"max({', '.join(map(str, sizes))})")


class Maker:
    """A nest in the making: loops as ``with`` blocks, statements in the order they run."""

    def __init__(self, dice: Random) -> None:
        self.dice = dice
        self.arrays: dict[str, ArrayInfo] = {}
        self.statements: list[Statement] = []
        self.dims: list[Dim] = []
        self.orders: list[list[Order]] = [[]]
        self.counters: dict[str, int] = {}

    def array(self, name: str, *shape: SizeLike, scope: str = "output") -> Callable[..., Access]:
        """A new array; the result makes accesses to it."""
        self.arrays[name] = ArrayInfo(name, "f64", tuple(Size.of(s) for s in shape), scope)
        return lambda *index: Access(name, tuple(Size.of(i) for i in index), "f64")

    @contextmanager
    def loop(self, upper: SizeLike, lower: SizeLike = 0, prefix: str = "i") -> Iterator[Size]:
        """A loop around what is put within the block."""
        number = self.counters[prefix] = self.counters.get(prefix, -1) + 1
        name = f"{prefix}{number}"
        self.dims.append(Dim(name, Size.of(upper), Size.of(lower)))
        self.orders.append([])
        yield Size.of(name)
        self.dims.pop()
        body = sequence(self.orders.pop())
        self.orders[-1].append(LoopOrder(name, tuple((s, Size.of(name)) for s in leaves(body)), body))

    @contextmanager
    def time(self, chance: float = 1.0, count: str = "K") -> Iterator[Size | None]:
        """A loop over iterations, or none."""
        if self.dice.random() < chance:
            with self.loop(count, prefix="t") as t:
                yield t
        else:
            yield None

    def put(self, write: Access, value: Expr | float, reduce: str = "", guards: Sequence[Guard] = ()) -> None:
        """A statement at this place."""
        if isinstance(value, (int, float)):
            value = Literal(float(value), "f64")
        name = f"S{len(self.statements)}"
        self.statements.append(Statement(name, tuple(self.dims), write, value, reduce, tuple(guards)))
        self.orders[-1].append(Leaf(name))

    def finish(self, name: str) -> Nest:
        """The nest."""
        params = sorted(set().union(*(s.params() for s in self.statements)))
        arrays = sorted(self.arrays.values(), key=lambda a: ("input", "output", "problem").index(a.scope))
        return Nest(name, tuple(params), tuple(arrays), tuple(self.statements), sequence(self.orders[0]))


def mixed(dice: Random, terms: Sequence[Expr]) -> Expr:
    """Terms combined so that the result is no larger than they are."""
    value = op("mul", dice.choice([0.5, 0.75]), terms[0])
    for term in terms[1:]:
        value = op(dice.choice(["add", "sub", "add"]), value, op("mul", 0.5 / len(terms), term))
    return dice.choice(
        [value, value, op("maximum", value, op("neg", terms[-1])), op("where", op("lt", terms[0], 0.0), value, terms[-1])]
    )


def bounds(dice: Random, n: int, outer: Size | None) -> tuple[Size, Size]:
    """Lower and upper bound within 0..n: a rectangle, a triangle, a trapezoid or a band."""
    kind = dice.randrange(8) if outer is not None else 0
    lower, upper = Size.of(0), Size.of(n)
    if outer is None or kind < 3:
        return lower, upper
    return {
        3: (lower, outer + 1),
        4: (outer, upper),
        5: (lower, least(outer + 2, n)),
        6: (greatest(outer - 1, 0), least(outer + 2, n)),
        7: (lower, Size.of(n) - outer),
    }[kind]


def statements(dice: Random) -> Nest:
    """Statements on shared arrays in any form: shifted, strided, mirrored, transposed, guarded, reduced."""
    m, n = Maker(dice), dice.choice([4, 5])
    wide = n + 2
    square = [m.array(a, wide, wide) for a in "AB"]
    T, R, S = m.array("T", wide, wide, scope="problem"), m.array("R", wide), m.array("S")
    with m.loop(wide) as i, m.loop(wide) as j:
        m.put(T(i, j), op("mul", 0.5, square[0](i, j)))
    square.append(T)

    def place(x: Size) -> Size:
        return dice.choice([x + 1, x + 1, x + 1 + dice.choice([-1, 1]), Size.of(n) - x])

    def read(i: Size, j: Size) -> Access:
        array = dice.choice(square)
        return array(place(j), place(i)) if dice.random() < 0.2 else array(place(i), place(j))

    def one(i: Size, j: Size, t: Size | None) -> None:
        terms: list[Expr] = [read(i, j) for _ in range(dice.randint(1, 3))]
        if dice.random() < 0.3:
            terms.append(dice.choice([R(place(i)), op("minimum", S(), 1.0)]))
        if dice.random() < 0.1:
            terms.append(op("mul", 0.125, SizeValue(i if t is None else i + t, "f64")))
        guards = [Guard(dice.choice([i - j, i - 1]), dice.choice([">=", "==", "!="]))] if dice.random() < 0.15 else []
        kind = dice.randrange(7)
        if kind == 0:
            m.put(R(i + 1), op("mul", 0.25, mixed(dice, terms)), "add", guards)
        elif kind == 1:
            m.put(S(), mixed(dice, terms), dice.choice(["max", "min"]), guards)
        elif kind == 2:
            m.put(R(j + 1), op("add", 1.0, op("mul", 0.01, op("maximum", -1.0, op("minimum", 1.0, terms[0])))), "mul", guards)
        else:
            array = dice.choice(square)
            m.put(array(place(i), place(j)) if dice.random() < 0.8 else array(j + 1, i + 1), mixed(dice, terms), "", guards)

    with m.time(0.8) as t:
        for _ in range(dice.randint(2, 4)):
            with m.loop(n) as i:
                lower, upper = bounds(dice, n, i)
                with m.loop(upper, lower) as j:
                    for _ in range(dice.choice([1, 1, 2])):
                        one(i, j, t)
                if dice.random() < 0.2:
                    m.put(R(i + 1), op("mul", 0.5, read(i, i)))
    return m.finish("statements")


def stencil(dice: Random) -> Nest:
    """One to three dimensions, in place or between two arrays, iterated; sometimes with a boundary, a source or two fields."""
    m, rank, reach = Maker(dice), dice.choice([1, 1, 2, 2, 3]), dice.choice([1, 1, 2])
    n = {1: 9, 2: 6, 3: 4}[rank]
    if rank > 1:
        reach = 1
    shape = [n + 2 * reach] * rank
    A = m.array("A", *shape)
    in_place = dice.random() < 0.4
    B = A if in_place else m.array("B", *shape, scope=dice.choice(["output", "problem"]))
    source = m.array("F", *shape, scope="input") if dice.random() < 0.4 else None
    offsets = [tuple(dice.randint(-reach, reach) for _ in range(rank)) for _ in range(dice.randint(2, 4))] + [(0,) * rank]

    mean = in_place and dice.random() < 0.6  # a plain sum with a recurrence along the last axis
    if mean:
        offsets += [(*(0,) * (rank - 1), last) for last in (-1, 1)]

    def nested(body: Callable[[list[Size]], None], size: int, at: list[Size] | None = None) -> None:
        at = at or []
        if len(at) == rank:
            body(at)
            return
        with m.loop(size) as i:
            nested(body, size, [*at, i])

    def update(to: Callable[..., Access], of: Callable[..., Access]) -> Callable[[list[Size]], None]:
        def body(at: list[Size]) -> None:
            terms: list[Expr] = [of(*(x + reach + o for x, o in zip(at, offset, strict=True))) for offset in offsets]
            if source:
                terms.append(source(*(x + reach for x in at)))
            total = terms[0]
            for term in terms[1:]:
                total = op("add", total, term)
            m.put(to(*(x + reach for x in at)), op("div", total, len(terms) + 1) if mean else mixed(dice, terms))

        return body

    if not in_place:
        nested(lambda at: m.put(B(*at), A(*at)), shape[0])
    with m.time():
        nested(update(B, A), n)
        if not in_place:
            nested(
                update(A, B)
                if dice.random() < 0.5
                else lambda at: m.put(A(*(x + reach for x in at)), B(*(x + reach for x in at))),
                n,
            )
        if dice.random() < 0.25:
            edge = [Size.of(0)] * (rank - 1)
            with m.loop(n) as i:
                m.put(A(*edge, i), op("mul", 0.5, A(*edge, i + 1)))
    return m.finish("stencil")


def contraction(dice: Random) -> Nest:
    """Sums of products: matrix products in any layout, chains of two, updates of a triangle, epilogues."""
    m = Maker(dice)
    p, q, r = (dice.randint(2, 6) for _ in range(3))
    chained = dice.random() < 0.4
    triangle = not chained and dice.random() < 0.4
    q = p if triangle else q
    flip_a, flip_b = dice.random() < 0.3, dice.random() < 0.3
    A = m.array("A", *((r, p) if flip_a else (p, r)), scope="input")
    B = m.array("B", *((q, r) if flip_b else (r, q)), scope="input")
    C = m.array("C", p, q, scope="problem" if chained else "output")
    update = not chained and dice.random() < 0.5
    order = "ijk" if dice.random() < 0.5 else dice.choice(["ikj", "kij", *([] if triangle else ["jik", "jki", "kji"])])

    def nested(letters: str, sizes: dict[str, int], body: Callable[[dict[str, Size]], None], at: dict[str, Size]) -> None:
        if not letters:
            body(at)
            return
        upper = at["i"] + 1 if triangle and letters[0] == "j" else sizes[letters[0]]
        with m.loop(upper) as x:
            nested(letters[1:], sizes, body, {**at, letters[0]: x})

    def product(C: Callable[..., Access], left: Callable[..., Access], right: Callable[..., Access], *sizes: int) -> None:
        table = dict(zip("ijk", sizes, strict=True))

        def start(at: dict[str, Size]) -> None:
            m.put(C(at["i"], at["j"]), op("mul", 0.5, C(at["i"], at["j"])) if update else 0.0)

        def term(at: dict[str, Size]) -> None:
            m.put(C(at["i"], at["j"]), op("mul", left(at["i"], at["k"]), right(at["k"], at["j"])), "add")

        def element(at: dict[str, Size]) -> None:
            start(at)
            nested("k", table, term, at)

        if order == "ijk" and dice.random() < 0.5:
            nested("ij", table, element, {})
        else:
            nested("ij", table, start, {})
            nested(order, table, term, {})

    with m.time(0.2):
        product(C, (lambda i, k: A(k, i)) if flip_a else A, (lambda k, j: B(j, k)) if flip_b else B, p, q, r)
        result, width = C, q
        if chained:
            result, width = m.array("E", p, r), r
            product(result, C, m.array("D", q, r, scope="input"), p, r, q)
        if dice.random() < 0.4:
            F = m.array("F", p, width)
            with m.loop(p) as i, m.loop(i + 1 if triangle else width) as j:
                m.put(F(i, j), op("maximum", op("sub", result(i, j), 0.125), 0.0))
    return m.finish("contraction")


def solve(dice: Random) -> Nest:
    """Substitution and factorisation: triangular loops that read what earlier iterations wrote."""
    m, n = Maker(dice), dice.choice([5, 6, 7])
    A = m.array("A", n, n)
    kind = dice.choice(["lower", "upper", "cholesky", "lu", "columns"])

    def pivot(i: Size) -> Expr:
        return op("add", 2.0, op("abs", A(i, i)))

    if kind in ("lower", "upper"):
        b, x = m.array("b", n, scope="input"), m.array("x", n)
        s = m.array("s", *([n] if dice.random() < 0.5 else []), scope="problem")
        with m.time(0.3), m.loop(n) as i:
            row = i if kind == "lower" else Size.of(n - 1) - i
            at = (row,) if m.arrays["s"].shape else ()
            m.put(s(*at), b(row))
            lower, upper = (Size.of(0), row) if kind == "lower" else (row + 1, Size.of(n))
            with m.loop(upper, lower) as j:
                m.put(s(*at), op("neg", op("mul", A(row, j), x(j))), "add")
            m.put(x(row), op("div", s(*at), pivot(row)))
    elif kind == "columns":
        x = m.array("x", n)
        with m.loop(n) as j:
            m.put(x(j), op("div", x(j), pivot(j)))
            with m.loop(n, j + 1) as i:
                m.put(x(i), op("sub", x(i), op("mul", A(i, j), x(j))))
    elif kind == "cholesky":
        with m.loop(n) as i:
            with m.loop(i) as j:
                with m.loop(j) as k:
                    m.put(A(i, j), op("sub", A(i, j), op("mul", 0.25, op("mul", A(i, k), A(j, k)))))
                m.put(A(i, j), op("div", A(i, j), pivot(j)))
            with m.loop(i) as k:
                m.put(A(i, i), op("sub", A(i, i), op("mul", A(i, k), A(i, k))))
            m.put(A(i, i), op("sqrt", op("add", 1.0, op("abs", A(i, i)))))
    else:
        with m.loop(n) as k:
            with m.loop(n, k + 1) as i:
                m.put(A(i, k), op("div", A(i, k), pivot(k)))
            with m.loop(n, k + 1) as i, m.loop(n, k + 1) as j:
                m.put(A(i, j), op("sub", A(i, j), op("mul", A(i, k), A(k, j))))
    return m.finish("solve")


def chain(dice: Random) -> Nest:
    """Producers and consumers: sweeps that hand scratch arrays on, shifted, narrowed, downsampled or reduced."""
    m, rank = Maker(dice), dice.choice([1, 1, 2])
    n = {1: 12, 2: 6}[rank]
    source: Callable[..., Access] = m.array("X", *[n] * rank, scope="input")
    length, number = n, 0
    with m.time(0.4) as t:
        stages = dice.randint(2, 4)
        for stage in range(stages):
            last = stage == stages - 1
            step = 2 if dice.random() < 0.15 and length >= 6 else 1
            taps = dice.randint(1, 3)
            fresh = (length - taps) // step + 1 if length > taps else length
            taps = taps if length > taps else 1
            number += 1
            mine = m.array(f"Y{number}", *[fresh] * rank, scope="output" if last else "problem")

            def value(at: list[Size], source: Callable[..., Access] = source, taps: int = taps, step: int = step) -> Expr:
                terms: list[Expr] = [source(*[x * step + o for x in at]) for o in range(taps)]
                if t is not None and dice.random() < 0.3:
                    terms.append(op("mul", 0.0625, SizeValue(t, "f64")))
                return mixed(dice, terms)

            if rank == 1:
                with m.loop(fresh) as i:
                    m.put(mine(i), value([i]))
            else:
                with m.loop(fresh) as i, m.loop(fresh) as j:
                    m.put(mine(i, j), value([i, j]))
            source, length = mine, fresh
        if dice.random() < 0.4:
            total = m.array("total", *([] if rank == 1 else [length]))
            if rank == 1:
                m.put(total(), 0.0)
                with m.loop(length) as i:
                    m.put(total(), op("mul", source(i), source(i)), "add")
            else:
                with m.loop(length) as i:
                    m.put(total(i), -9.0)
                    with m.loop(length) as j:
                        m.put(total(i), source(i, j) if dice.random() < 0.5 else source(j, i), "max")
    return m.finish("chain")


def unrolled(dice: Random) -> Nest:
    """An iterative algorithm with state, parameters of each iteration and scratch: gradient steps, momentum, proximal maps."""
    m, p, n = Maker(dice), dice.randint(3, 5), dice.randint(3, 6)
    A, y, step = m.array("A", p, n, scope="input"), m.array("y", p, scope="input"), m.array("step", "K", scope="input")
    x, r, g = m.array("x", n), m.array("r", p, scope="problem"), m.array("g", n, scope="problem")
    momentum = dice.random() < 0.4
    v = m.array("v", n, scope="problem") if momentum else None
    history = m.array("h", "K", n) if dice.random() < 0.3 else None
    with m.loop(n) as j:
        m.put(x(j), 0.0)
    if v:
        with m.loop(n) as j:
            m.put(v(j), 0.0)
    with m.time() as t:
        assert t is not None
        with m.loop(p) as i:
            m.put(r(i), 0.0 if dice.random() < 0.5 else op("neg", y(i)))
        with m.loop(p) as i, m.loop(n) as j:
            m.put(r(i), op("mul", A(i, j), x(j)), "add")
        with m.loop(n) as j:
            m.put(g(j), 0.0)
        if dice.random() < 0.5:
            with m.loop(n) as j, m.loop(p) as i:
                m.put(g(j), op("mul", A(i, j), r(i)), "add")
        else:
            with m.loop(p) as i, m.loop(n) as j:
                m.put(g(j), op("mul", A(i, j), r(i)), "add")
        with m.loop(n) as j:
            move = op("mul", op("mul", 0.125, step(t)), g(j))
            if v:
                m.put(v(j), op("add", op("mul", 0.5, v(j)), move))
                move = op("mul", 1.0, v(j))
            new = op("sub", x(j), move)
            m.put(x(j), op("mul", op("sign", new), op("maximum", op("sub", op("abs", new), 0.0625), 0.0)))
        if history:
            with m.loop(n) as j:
                m.put(history(t, j), x(j))
    return m.finish("unrolled")


def reductions(dice: Random) -> Nest:
    """Rows reduced by several operators into scratch, then used: norms, softmax, centred and scaled columns."""
    m, p, n = Maker(dice), dice.randint(3, 6), dice.randint(3, 6)
    A, O = m.array("A", p, n, scope=dice.choice(["input", "output"])), m.array("O", p, n)
    columns = dice.random() < 0.4
    rows, cols = (n, p) if columns else (p, n)
    high, total = m.array("high", rows, scope="problem"), m.array("total", rows, scope="problem")
    product = m.array("product") if dice.random() < 0.4 else None

    def at(i: Size, j: Size) -> tuple[Size, Size]:
        return (j, i) if columns else (i, j)

    def rest(i: Size) -> None:
        m.put(total(i), 0.0)
        with m.loop(cols) as j:
            m.put(total(i), op("abs", op("sub", A(*at(i, j)), high(i))), "add")

    with m.time(0.3):
        if dice.random() < 0.5:
            with m.loop(rows) as i:
                m.put(high(i), -1e3)
                with m.loop(cols) as j:
                    m.put(high(i), A(*at(i, j)), "max")
                rest(i)
        else:
            with m.loop(rows) as i:
                m.put(high(i), A(*at(i, Size.of(0))))
            with m.loop(rows) as i, m.loop(cols, 1) as j:
                m.put(high(i), A(*at(i, j)), dice.choice(["max", "min"]))
            with m.loop(rows) as i:
                rest(i)
        with m.loop(rows) as i, m.loop(cols) as j:
            m.put(O(*at(i, j)), op("div", A(*at(i, j)), op("add", 1.0, total(i))))
        if product:
            m.put(product(), 1.0)
            with m.loop(rows) as i:
                m.put(product(), op("add", 1.0, op("mul", 0.0625, op("maximum", -1.0, op("minimum", 1.0, high(i))))), "mul")
    return m.finish("reductions")


def phases(dice: Random) -> Nest:
    """Several loops over iterations one after the other, with two counts, around sweeps of a shared state."""
    m, n = Maker(dice), 7
    A, B = m.array("A", n + 2), m.array("B", n + 2)
    trace = m.array("trace", "K")
    for count in dice.choice([["K", "L"], ["K", "K"], ["L", "K", "L"]]):
        with m.loop(count, prefix="t") as t:
            first, second = dice.choice([(A, B), (B, A)])
            with m.loop(n) as i:
                m.put(first(i + 1), mixed(dice, [second(i + dice.randint(0, 2)), first(i + 1 + dice.choice([-1, 0, 1]))]))
            if count == "K":
                m.put(trace(t), op("mul", 0.5, first(n // 2)))
            if dice.random() < 0.5:
                with m.loop(n) as i:
                    m.put(second(i + 1), op("mul", 0.5, first(i + dice.randint(0, 2))))
    return m.finish("phases")


#: class -> generator
CLASSES: dict[str, Callable[[Random], Nest]] = {
    f.__name__: f for f in (statements, stencil, contraction, solve, chain, unrolled, reductions, phases)
}


def random_nest(dice: Random, kind: str = "") -> Nest:
    """A nest of a class, or of any."""
    return CLASSES[kind or dice.choice(list(CLASSES))](dice)


def random_arrays(nest: Nest, seed: int, integers: dict[str, int]) -> list[np.ndarray]:
    """Values for the inputs and outputs of a nest, in the order in which kernels take them."""
    g = np.random.default_rng(seed)
    outside = [a for scope in ("input", "output") for a in nest.arrays if a.scope == scope]
    return [np.asarray(g.uniform(-1, 1, tuple(s.evaluate(integers) for s in a.shape))) for a in outside]
