"""How to draw plausible arguments for every step: a row for each in ``ARGUMENTS``, or the tests fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from random import Random
from typing import TypeVar

from unspool.compiler.loops.nest import Leaf, LoopOrder, Order, children, loop_path, loops_of
from unspool.compiler.loops.nest import Sequence as SequenceOrder
from unspool.compiler.loops.schedule import Step
from unspool.compiler.loops.scheduled import Scheduled
from unspool.compiler.loops.steps.omit import can_omit
from unspool.compiler.loops.steps.pack import buffer_name
from unspool.compiler.loops.steps.presum import can_presum

T = TypeVar("T")
Args = tuple[str | int, ...]
#: Arguments for a step in a program, or None where there is nothing that it could be tried on.
Draw = Callable[[Scheduled, Random], Args | None]


def one_of(dice: Random, options: Sequence[T]) -> T | None:
    """One of them, if there is any."""
    return dice.choice(options) if options else None


def loop(scheduled: Scheduled, dice: Random) -> Args | None:
    """Any loop."""
    return one_of(dice, [(name,) for name in scheduled.loops])


def innermost(scheduled: Scheduled, dice: Random) -> Args | None:
    """A loop with none inside, mostly."""
    inner = [(o.name,) for o in scheduled.loops.values() if not any(True for _ in loops_of(o.body))]
    return one_of(dice, inner) if dice.random() < 0.9 else loop(scheduled, dice)


def sequences(order: Order) -> list[SequenceOrder]:
    """Every sequence under an order."""
    if isinstance(order, SequenceOrder):
        return [order, *(s for c in order.children for s in sequences(c))]
    return sequences(order.body) if isinstance(order, LoopOrder) else []


def siblings(scheduled: Scheduled, dice: Random) -> Args | None:
    """Two loops of one sequence, the first first."""
    pairs = []
    for s in sequences(scheduled.nest.order):
        names = [c.name for c in s.children if isinstance(c, LoopOrder)]
        pairs += [(a, b) for n, a in enumerate(names) for b in names[n + 1 :]]
    return one_of(dice, pairs)


def nested(scheduled: Scheduled, dice: Random) -> Args | None:
    """Two loops, one directly inside the other, outer one first."""
    return one_of(dice, [(o.name, o.body.name) for o in scheduled.loops.values() if isinstance(o.body, LoopOrder)])


def inside(scheduled: Scheduled, dice: Random) -> Args | None:
    """A loop and one around it."""
    return one_of(dice, [(i.name, o.name) for o in scheduled.loops.values() for i in loops_of(o.body)])


def factor(dice: Random) -> int:
    """A small number that is not 0."""
    return dice.choice([-2, -1, 1, 1, 2])


def distribute(scheduled: Scheduled, dice: Random) -> Args | None:
    """A loop around a sequence and the first statement of a part that is not its first."""
    cuts: list[Args] = []
    for o in scheduled.loops.values():
        if isinstance(o.body, SequenceOrder):
            cuts += [(o.name, next(iter(_leaves(c)))) for c in o.body.children[1:]]
    return one_of(dice, cuts)


def _leaves(order: Order) -> list[str]:
    if isinstance(order, Leaf):
        return [order.statement]
    children = order.children if isinstance(order, SequenceOrder) else [order.body]
    return [s for c in children for s in _leaves(c)]


def retime(scheduled: Scheduled, dice: Random) -> Args | None:
    """A statement of one part of a loop's body, the loop, and a statement of another part."""
    pairs: list[Args] = []
    for o in scheduled.loops.values():
        if isinstance(o.body, SequenceOrder):
            first = [_leaves(c)[0] for c in o.body.children]
            pairs += [(a, o.name, b) for a in first for b in first if a != b]
    return one_of(dice, pairs)


def bands(scheduled: Scheduled) -> list[list[LoopOrder]]:
    """Every run of loops, one directly inside the other."""
    found = []
    for o in scheduled.loops.values():
        run = [o]
        found.append(list(run))
        while isinstance(run[-1].body, LoopOrder):
            run.append(run[-1].body)
            found.append(list(run))
    return found


def tile(scheduled: Scheduled, dice: Random) -> Args | None:
    """A band and block sizes."""
    band = one_of(dice, [b for b in bands(scheduled) if len(b) <= 3 and not any(o.name.endswith(("_o", "_i")) for o in b)])
    return None if band is None else (*(o.name for o in band), *(dice.choice([2, 3, 4]) for _ in band))


def contract(scheduled: Scheduled, dice: Random) -> Args | None:
    """A scratch array and a loop around all that touches it, mostly."""
    pairs: list[Args] = []
    for a in scheduled.nest.arrays:
        users = {s.name for s in scheduled.nest.statements if a.name in s.arrays()}
        around = [o.name for o in scheduled.loops.values() if users <= {s for s, _ in o.values}]
        pairs += [(a.name, name) for name in (around if a.temporary and a.scope == "problem" else around[:1])]
    return one_of(dice, pairs)


def permute(scheduled: Scheduled, dice: Random) -> Args | None:
    """A band in another order."""
    band = one_of(dice, [b for b in bands(scheduled) if len(b) > 1])
    return None if band is None else tuple(dice.sample([o.name for o in band], len(band)))


def expand(scheduled: Scheduled, dice: Random) -> Args | None:
    """A scratch array and one or two loops around all that touches it."""
    pair = contract(scheduled, dice)
    if pair is None:
        return None
    around = [o.name for o in scheduled.outer(str(pair[1]))]
    return (pair[0], *(around[-1:] if dice.random() < 0.3 else []), pair[1])


def pack(scheduled: Scheduled, dice: Random) -> Args | None:
    """What a statement reads along one of its dims, copied once or in every iteration of a loop around."""
    options: list[Args] = []
    for s in scheduled.nest.statements:
        around = [o.name for o in scheduled.loops.values() if s.name in dict(o.values)]
        for r in s.reads():
            for d in s.dims:
                if any(d.name in i.names() for i in r.index):
                    options += [(r.array, s.name, d.name), *((r.array, s.name, d.name, name) for name in around)]
    drawn = one_of(dice, options)
    return None if drawn is None else (*drawn[:3], dice.choice([2, 3, 4]), *drawn[3:])


def pad(scheduled: Scheduled, dice: Random) -> Args | None:
    """Blocks of dims of a statement that fills a scratch array."""
    table = scheduled.nest.array_table
    filled = [s for s in scheduled.nest.statements if table[s.write.array].temporary and s.dims]
    s = one_of(dice, filled)
    if s is None:
        return None
    chosen = dice.sample([d.name for d in s.dims], dice.randint(1, min(2, len(s.dims))))
    return (s.name, *(x for d in chosen for x in (d, dice.choice([2, 3, 4]))))


def privatise(scheduled: Scheduled, dice: Random) -> Args | None:
    """What statements reduce into and a loop around one of them, mostly a short one."""
    pairs: list[Args] = []
    for s in scheduled.nest.statements:
        around = [o for o in scheduled.loops.values() if s.reduce and s.name in dict(o.values)]
        blocks = [o for o in around if o.name.endswith("_o")]
        pairs += [(s.write.array, o.name) for o in (blocks if blocks and dice.random() < 0.8 else around)]
    return one_of(dice, pairs)


def rename(scheduled: Scheduled, dice: Random) -> Args | None:
    """A scratch array and a loop around some of what touches it."""
    pairs: list[Args] = []
    for a in scheduled.nest.arrays:
        users = {s.name for s in scheduled.nest.statements if a.name in s.arrays()}
        some = [o.name for o in scheduled.loops.values() if users & {s for s, _ in o.values} and a.temporary]
        pairs += [(a.name, name) for name in some]
    return one_of(dice, pairs)


def layout(scheduled: Scheduled, dice: Random) -> Args | None:
    """A scratch array and its axes in some order."""
    a = one_of(dice, [a for a in scheduled.nest.arrays if len(a.shape) > 1 and (a.temporary or dice.random() < 0.1)])
    return None if a is None else (a.name, *dice.sample(range(len(a.shape)), len(a.shape)))


def fold(scheduled: Scheduled, dice: Random) -> Args | None:
    """A scratch array and one of its axes, sometimes with a number of places."""
    a = one_of(dice, [a for a in scheduled.nest.arrays if a.shape and (a.scope == "problem" or dice.random() < 0.1)])
    if a is None:
        return None
    return (a.name, dice.randrange(len(a.shape)), *([dice.randint(1, 4)] if dice.random() < 0.3 else []))


def unroll(scheduled: Scheduled, dice: Random) -> Args | None:
    """A loop, whole or by blocks."""
    args = loop(scheduled, dice)
    blocks = args is not None and not str(args[0]).endswith(("_o", "_i")) and dice.random() < 0.7
    return (*args, dice.choice([2, 3, 4])) if args is not None and blocks else args


def unroll_jam(scheduled: Scheduled, dice: Random) -> Args | None:
    """A loop around another, by blocks."""
    args = nested(scheduled, dice)
    return None if args is None or str(args[0]).endswith(("_o", "_i")) else (args[0], dice.choice([2, 3, 4]))


def sink(scheduled: Scheduled, dice: Random) -> Args | None:
    """A statement beside a loop, that loop, and an iteration: that of a loop around, or one by number."""
    cuts: list[Args] = []
    for s in sequences(scheduled.nest.order):
        loops = [c for c in s.children if isinstance(c, LoopOrder)]
        for into in loops:
            outer = [o.name for o in scheduled.outer(into.name)]
            value = dice.choice([*outer, *(f"{o}+1" for o in outer), 0, 3])
            cuts += [(_leaves(c)[0], into.name, value) for c in s.children if c is not into]
    return one_of(dice, cuts)


def enclose(scheduled: Scheduled, dice: Random) -> Args | None:
    """A statement, a loop around it, and an iteration."""
    pairs = [(s, o.name) for o in scheduled.loops.values() for s, _ in o.values]
    drawn = one_of(dice, pairs)
    return None if drawn is None else (*drawn, dice.choice([drawn[1], f"{drawn[1]}+1", 0, 3]))


def fission(scheduled: Scheduled, dice: Random) -> Args | None:
    """A loop and some of its statements."""
    wide = [o for o in scheduled.loops.values() if len(o.values) > 1]
    if not wide:
        return None
    o = dice.choice(wide)
    names = [s for s, _ in o.values]
    return (o.name, *dice.sample(names, dice.randrange(1, len(names))))


def split(scheduled: Scheduled, dice: Random) -> Args | None:
    """A statement and a condition on its dims."""
    s = dice.choice(scheduled.nest.statements)
    if not s.dims:
        return None
    left, op = dice.choice(s.dims).name, dice.choice(["<", "<=", ">", ">=", "=="])
    right = dice.choice(["1", "2", "3", *(d.name for d in s.dims if d.name != left)])
    return (s.name, f"{left}{op}{right}")


def reindex(scheduled: Scheduled, dice: Random) -> Args | None:
    """A statement and as many loops around it as it has indices, in some order."""
    options: list[Args] = []
    for s in scheduled.nest.statements:
        around = [o.name for o in scheduled.loops.values() if s.name in dict(o.values)]
        if s.dims and len(around) >= len(s.dims):
            options.append((s.name, *dice.sample(around, len(s.dims))))
    return one_of(dice, options)


def accumulate(scheduled: Scheduled, dice: Random) -> Args | None:
    """A sum and a loop that holds nothing else, mostly one that it sums over."""
    table = scheduled.nest.statement_table
    alone = [(next(iter(o.values))[0], o) for o in scheduled.loops.values() if len(o.values) == 1]
    sums: list[Args] = [(s, o.name) for s, o in alone if table[s].reduce]
    fitting: list[Args] = [
        (s, o.name)
        for s, o in alone
        if table[s].reduce and not any(o.value(s).names() & i.names() for i in table[s].write.index)
    ]
    return one_of(dice, fitting if fitting and dice.random() < 0.9 else sums)


def omit(scheduled: Scheduled, dice: Random) -> Args | None:
    """A statement, mostly one that is not needed if there is any."""
    names = [(s.name,) for s in scheduled.nest.statements]
    idle = [args for args in names if can_omit(scheduled, *args) is None] if dice.random() < 0.9 else []
    return one_of(dice, idle or names)


def drop(scheduled: Scheduled, dice: Random) -> Args | None:
    """A loop, one that counts as one around it does if there is any."""
    twice = [
        (o.name,)
        for o in scheduled.loops.values()
        if any({(v - around.value(s)).constant for s, v in o.values} == {0} for around in scheduled.outer(o.name))
    ]
    return one_of(dice, twice) if twice and dice.random() < 0.9 else loop(scheduled, dice)


def shifted(draw: Draw) -> Draw:
    """What ``draw`` gives, and a small number."""

    def both(scheduled: Scheduled, dice: Random) -> Args | None:
        args = draw(scheduled, dice)
        return None if args is None else (*args, factor(dice))

    return both


def or_solved(draw: Draw) -> Draw:
    """What ``draw`` gives, half of the time without its number, so that the step solves for it."""

    def both(scheduled: Scheduled, dice: Random) -> Args | None:
        args = draw(scheduled, dice)
        return args[:-1] if args is not None and dice.random() < 0.5 else args

    return both


def shift(scheduled: Scheduled, dice: Random) -> Args | None:
    """A loop and by how much, or its earlier sibling."""
    pair = siblings(scheduled, dice)
    return pair[::-1] if pair is not None and dice.random() < 0.3 else shifted(loop)(scheduled, dice)


def trapezoid(scheduled: Scheduled, dice: Random) -> Args | None:
    """A loop around others, and what is directly inside."""
    options: list[Args] = []
    for o in scheduled.loops.values():
        inner = o.body.children if isinstance(o.body, SequenceOrder) else [o.body]
        if all(isinstance(c, LoopOrder) for c in inner) and not o.name.endswith(("_o", "_i")):
            options.append((o.name, *(c.name for c in inner if isinstance(c, LoopOrder))))
    found = one_of(dice, options)
    return None if found is None else (found[0], dice.choice([1, 2, 3]), dice.choice([1, 2, 3]), *found[1:])


def overlap(scheduled: Scheduled, dice: Random) -> Args | None:
    """A loop that is in no other around others, what is directly inside or one further in, and small blocks and tiles."""
    drawn = trapezoid(scheduled, dice)
    if drawn is None:
        return None
    inner = [scheduled.loop(str(name)).body for name in drawn[3:]]
    if dice.random() < 0.3 and all(isinstance(o, LoopOrder) for o in inner):
        drawn = (*drawn[:3], *(o.name for o in inner if isinstance(o, LoopOrder)))
    return (drawn[0], dice.choice([1, 2, 3]), dice.choice([2, 3, 5]), *drawn[3:])


def presum(scheduled: Scheduled, dice: Random) -> Args | None:
    """A statement alone in a loop, one with a recurrence mostly."""
    pairs: list[Args] = [(o.body.statement, o.name) for o in scheduled.loops.values() if isinstance(o.body, Leaf)]
    able = [pair for pair in pairs if can_presum(scheduled, *map(str, pair)) is None]
    return one_of(dice, able if able and dice.random() < 0.9 else pairs)


def fusion(scheduled: Scheduled, dice: Random) -> Args | None:
    """How far components are joined; once in a program, and seldom: isl takes longer than all other steps together."""
    if len(scheduled.nest.statements) > 4 or "b0" in scheduled.loops or dice.random() < 0.5:
        return None
    return one_of(dice, [("min",), ("min",), (), ("smart",), ("max",)] if len(scheduled.nest.statements) < 3 else [("min",)])


def lane(scheduled: Scheduled, dice: Random) -> Args | None:
    """An innermost loop and a number of lanes, mostly one that there is."""
    found = innermost(scheduled, dice)
    return found and (*found, dice.choice([2, 4, 8, 32, 3]))


def dealt(scheduled: Scheduled, dice: Random) -> Args | None:
    """A loop; now and then a number of threads."""
    found = loop(scheduled, dice)
    return found and ((*found, dice.choice([1, 2, 4, 5])) if dice.random() < 0.3 else found)


def tensor(scheduled: Scheduled, dice: Random) -> Args | None:
    """Two innermost loops, or three."""
    pairs = [(o.name, o.body.name) for o in scheduled.loops.values() if isinstance(o.body, LoopOrder)]
    triples = [(first[0], *second) for first in pairs for second in pairs if first[1] == second[0]]
    return one_of(dice, [*pairs, *triples])


def inline(scheduled: Scheduled, dice: Random) -> Args | None:
    """A scratch array."""
    return one_of(dice, [(a.name,) for a in scheduled.nest.arrays if a.temporary])


def shared(scheduled: Scheduled, dice: Random) -> Args | None:
    """A scratch array, mostly."""
    arrays = scheduled.nest.arrays
    return one_of(dice, [(a.name,) for a in arrays if a.scope == "problem"] or [(a.name,) for a in arrays])


#: step name -> how its arguments are drawn
ARGUMENTS: dict[str, Draw] = {
    "fuse": siblings,
    "distribute": distribute,
    "interchange": nested,
    "shift": shift,
    "retime": retime,
    "reverse": loop,
    "skew": or_solved(shifted(inside)),
    "wavefront": nested,
    "tile": tile,
    "presum": presum,
    "trapezoid": trapezoid,
    "overlap": overlap,
    "parallel": loop,
    "vector": innermost,
    "contract": contract,
    "permute": permute,
    "expand": expand,
    "pack": pack,
    "pad": pad,
    "rename": rename,
    "layout": layout,
    "privatise": privatise,
    "unroll": unroll,
    "unroll_jam": unroll_jam,
    "sink": sink,
    "enclose": enclose,
    "fission": fission,
    "split": split,
    "reindex": reindex,
    "accumulate": accumulate,
    "drop": drop,
    "omit": omit,
    "isl": fusion,
    "fold": fold,
    "block": loop,
    "thread": dealt,
    "lane": lane,
    "shared": shared,
    "register": contract,
    "stage": loop,
    "tensor": tensor,
    "inline": inline,
}

#: Steps for the threads of a processor, and those for a GPU: a schedule has marks of one kind.
PROCESSOR, GPU = frozenset({"parallel", "vector"}), frozenset({"block", "thread", "lane", "shared", "register", "stage", "tensor"})


def mangled(order: Order, dice: Random) -> Order:
    """The order with one thing wrong, as it were: parts swapped, or a loop turned round, moved for one statement, or swapped."""
    if isinstance(order, Leaf):
        return order
    if isinstance(order, SequenceOrder):
        children = list(order.children)
        n = dice.randrange(len(children))
        if dice.random() < 0.5:
            children[n] = mangled(children[n], dice)
        else:
            m = dice.randrange(len(children))
            children[n], children[m] = children[m], children[n]
        return SequenceOrder(tuple(children))
    kind, values, body = dice.randrange(6), list(order.values), order.body
    if kind == 0:
        return replace(order, values=tuple((s, -v) for s, v in values))
    if kind == 1:
        n = dice.randrange(len(values))
        values[n] = (values[n][0], values[n][1] + factor(dice))
        return replace(order, values=tuple(values))
    if kind == 2 and isinstance(body, LoopOrder):
        return replace(body, body=replace(order, body=body.body))
    return replace(order, body=mangled(body, dice))


def _align(scheduled: Scheduled, dice: Random) -> list[Step]:
    """Two sweeps at other positions made one."""
    pair = siblings(scheduled, dice)
    return [] if pair is None else [Step("shift", (pair[1], factor(dice))), Step("fuse", pair)]


def _skew_tile(scheduled: Scheduled, dice: Random) -> list[Step]:
    """Time tiles: the inner loop of a pair skewed, both cut into blocks."""
    pair = nested(scheduled, dice)
    if pair is None:
        return []
    return [
        Step("skew", (pair[1], pair[0], dice.choice([1, 2]))),
        Step("tile", (*pair, dice.choice([2, 3]), dice.choice([2, 3, 4]))),
    ]


def _wavefront(scheduled: Scheduled, dice: Random) -> list[Step]:
    """A pair skewed and swapped, so that the inner loop is parallel."""
    pair = nested(scheduled, dice)
    if pair is None:
        return []
    return [Step("skew", (pair[1], pair[0], dice.choice([1, 2, 3]))), Step("interchange", pair), Step("parallel", (pair[0],))]


def _strip_out(scheduled: Scheduled, dice: Random) -> list[Step]:
    """A loop cut into blocks, the blocks moved outwards."""
    pair = nested(scheduled, dice)
    if pair is None:
        return []
    outer, inner = (str(a) for a in pair)
    return [Step("tile", (inner, dice.choice([2, 3]))), Step("interchange", (outer, f"{inner}_o"))]


def _partial_sums(scheduled: Scheduled, dice: Random) -> list[Step]:
    """A reduction by blocks, each with a copy of its own."""
    pair = privatise(scheduled, dice)
    if pair is None or str(pair[1]).endswith(("_o", "_i")):
        return []
    array, name = pair
    blocks = f"{name}_o"
    return [Step("tile", (name, dice.choice([2, 3]))), Step("privatise", (array, blocks)), Step("parallel", (blocks,))]


def _enter_and_leave(scheduled: Scheduled, dice: Random) -> list[Step]:
    """A statement enters the loop beside it and is taken out again, in a loop of one iteration, which goes away."""
    options: list[list[Step]] = []
    for s in sequences(scheduled.nest.order):
        for at, into in enumerate(s.children):
            around = scheduled.outer(into.name)[-1:] if isinstance(into, LoopOrder) else ()
            for n, c in enumerate(s.children if around else ()):
                if isinstance(c, Leaf) and isinstance(into, LoopOrder):
                    first, last = ([c.statement], into.name) if n < at else (_leaves(into), f"{into.name}_b")
                    steps = (("sink", (c.statement, into.name, around[0].name)), ("fission", (into.name, *first)), ("drop", (last,)))
                    options.append([Step(name, args) for name, args in steps])
    return one_of(dice, options) or []


def _own_tiles(scheduled: Scheduled, dice: Random) -> list[Step]:
    """Overlapping tiles, in parallel, with one copy of a tile's data for each thread."""
    args = overlap(scheduled, dice)
    if args is None:
        return []
    outer, loops = str(args[0]), [scheduled.loop(str(name)) for name in args[3:]]
    written = {scheduled.nest.statement_table[s].write.array for o in loops for s, _ in o.values}
    local = [Step("contract", (f"{array}_{outer}", f"{outer}_tile")) for array in sorted(written)]
    return [Step("overlap", args), *(local if dice.random() < 0.7 else []), Step("parallel", (f"{outer}_tile",))]


def _take_turns(scheduled: Scheduled, dice: Random) -> list[Step]:
    """A scratch array with an element for every iteration, of which a few are kept."""
    args = expand(scheduled, dice)
    return [] if args is None else [Step("expand", args), Step("fold", (args[0], 0))]


def _in_registers(scheduled: Scheduled, dice: Random) -> list[Step]:
    """Two sweeps made one, dealt to threads, with what one leaves for the other in registers."""
    table, options = scheduled.nest.statement_table, list[list[Step]]()
    for s in sequences(scheduled.nest.order):
        for a, b in pairwise(s.children):
            if isinstance(a, LoopOrder) and isinstance(b, LoopOrder):
                written = {table[n].write.array for n, _ in a.values} & set[str]().union(*(table[n].arrays() for n, _ in b.values))
                between = [x.name for x in scheduled.nest.arrays if x.name in written and x.scope == "problem"]
                steps = [Step("fuse", (a.name, b.name)), Step("thread", (a.name,))]
                options += [[*steps, Step("register", (x, a.name))] for x in between]
    if pair := contract(scheduled, dice):
        options.append([Step("thread", pair[1:]), Step("register", pair)])
    return one_of(dice, options) or []


def _held(scheduled: Scheduled, dice: Random) -> list[Step]:
    """Sweeps inside of a loop dealt to threads by number, with what they leave for each other in registers."""
    options, count = list[list[Step]](), dice.choice([2, 3, 8])
    for o in scheduled.loops.values():
        inside = [c for c in children(o.body) if isinstance(c, LoopOrder)]
        for info in scheduled.nest.arrays:
            if info.scope == "problem" and len(inside) > 1:
                options.append([*(Step("thread", (c.name, count)) for c in inside), Step("register", (info.name, o.name))])
    return one_of(dice, options) or []


def _warps(scheduled: Scheduled, dice: Random) -> list[Step]:
    """Two loops in tiles that warps run."""
    pair = nested(scheduled, dice)
    if pair is None:
        return []
    i, j = pair
    steps = [Step("tile", (i, j, 16, 8)), Step("thread", (f"{i}_o", dice.choice([1, 2]))), Step("thread", (f"{j}_o", 2))]
    return [*steps, Step("tensor", (f"{i}_i", f"{j}_i"))]


def _copied_ahead(scheduled: Scheduled, dice: Random) -> list[Step]:
    """What iterations of a loop read is copied by threads at their start, and that ahead."""
    options = list[list[Step]]()
    for s in scheduled.nest.statements:
        for access in s.reads():
            for axis, index in enumerate(access.index):
                for around in loop_path(scheduled.nest.order, s.name):
                    if not index.is_name or index.names() & around.value(s.name).names():
                        continue
                    dim = next(iter(index.names()))
                    name = buffer_name(scheduled, access.array, s.name, dim)
                    loops = [f"{name}_o", *(f"{name}_{n}" for n in range(len(access.index)) if n != axis), f"{name}_i"]
                    steps = [Step("pack", (access.array, s.name, dim, dice.choice([2, 4]), around.name)), Step("contract", (name, around.name))]
                    options.append([*steps, *(Step("thread", (loop,)) for loop in loops), Step("stage", (around.name, dice.choice([2, 3])))])
    return one_of(dice, options) or []


#: Steps that are legal together more often than one by one.
RECIPES: tuple[Callable[[Scheduled, Random], list[Step]], ...] = (
    _align,
    _skew_tile,
    _wavefront,
    _strip_out,
    _partial_sums,
    _enter_and_leave,
    _own_tiles,
    _take_turns,
)
#: The same for a GPU.
GPU_RECIPES = (*RECIPES, *(3 * (_in_registers, _held, _copied_ahead, _warps)))
