"""The adjoint: a graph that computes gradients, by reverse mode, loops kept rolled.

    for k in 0..K carry x:                     for k in 0..K carry x: stack what the adjoint needs
        x = f(x, theta[k])         -->         for k in K-1..-1 by -1 carry dx, dtheta:
                                                   dx, dtheta[k] += (adjoint of f at the k-th row)(dx)

What the loop records for it is chosen in ``tape.py``. A loop with ``until`` also counts its iterations, and the reverse loop does
nothing for those that did not run (:mod:`.adjoint_until`). Only what lies between the wanted inputs and the results is differentiated.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf

from ..diagnostics import CompileError
from .activity import differentiable, useful, varied
from .adjoint_solve import SOLVE, reverse_solve
from .adjoint_until import counted, has_run, in_turns, is_implicit, number, row_of, settled, when, window
from .finished import Finished, finished
from .graph import Builder, Graph, LoopBody, Node, Region, Value, free_names, make_attrs, region_captures, walk
from .live import live
from .ops.table import lookup
from .segments import KEEP, NO_CALLS, Policy, unused
from .tape import SAVING, Tape, choose, from_state, never_negative, stack_length, steps, trip_count
from .types import At, Range, Size, Type, size_fn


def backward(
    graph: Graph, wrt: Sequence[int], given: Sequence[bool] | None = None, kept: Sequence[str] = (), policy: Policy = KEEP
) -> Graph:
    """From inputs and one cotangent ``d_RESULT`` per differentiable result to the cotangents of inputs ``wrt``.

    ``given`` says which results have a cotangent, if not all; those of the others are zero. Values ``kept`` of the ``recorded`` graph
    are inputs behind those of the graph; ``policy`` is that of the outermost loops' tapes.
    """
    b = Builder(f"{graph.name}_backward", graph.inputs)
    types = recorded(graph, wrt)[0].types if kept else {}
    known = {name: b.input(f"kept_{name}", types[name]) for name in kept}
    results = zip(graph.results, graph.result_types, given or [True] * len(graph.results), strict=True)
    cotangents = [b.input(f"d_{r}", t) if wanted and differentiable(t) else None for r, t, wanted in results]
    return b.finish(value_and_gradient(b, graph, graph.inputs, wrt, cotangents, known, policy)[1])


def recorded(graph: Graph, wrt: Sequence[int]) -> tuple[Graph, set[str]]:
    """The graph with all that its loops record for the gradient in inputs ``wrt``, and the names of the values that this gradient reads."""
    taper, nodes = _augmented(graph, wrt, graph.results, KEEP)
    sweep = taper.probe()
    for name, type in zip(graph.results, graph.result_types, strict=True):
        if differentiable(type):
            sweep.add(name, Value(f"{name}?", type))
    sweep.reverse(nodes)
    return replace(graph, nodes=nodes), sweep.reads([graph.inputs[i].name for i in wrt])


def _augmented(graph: Graph, wrt: Sequence[int], given: Iterable[str], policy: Policy) -> tuple[_Taper, tuple[Node, ...]]:
    """The nodes with recording loops, for cotangents of the results ``given``."""
    start = {graph.inputs[i].name for i in wrt if differentiable(graph.inputs[i].type)}
    taper = _Taper(dict(graph.types), varied(graph.nodes, start) & useful(graph.nodes, given), policy)
    return taper, taper.augment(graph.nodes, ())


def gradient(
    b: Builder, graph: Graph, args: Sequence[Value], wrt: Sequence[int], cotangents: Sequence[Value | None]
) -> list[Value]:
    """Append ``graph`` on ``args`` and its adjoint to ``b``; the cotangents of arguments ``wrt`` (zeros if none)."""
    return value_and_gradient(b, graph, args, wrt, cotangents)[1]


def value_and_gradient(
    b: Builder, graph: Graph, args: Sequence[Value], wrt: Sequence[int], cotangents: Sequence[Value | None],
    known: Mapping[str, Value] | None = None, policy: Policy = KEEP,
) -> tuple[list[Value], list[Value]]:  # fmt: skip
    """As :func:`gradient`, with the results of the graph first. Values that are ``known`` are not made again."""
    graph = policy.prepare(graph)
    given = {r for r, c in zip(graph.results, cotangents, strict=True) if c is not None or known}  # what is known serves all of them
    taper, nodes = _augmented(graph, wrt, given, policy)
    own = {v.name: a for v, a in zip(graph.inputs, args, strict=True)} | dict(known or {})
    sweep = _Sweep(b, taper, _Env(taper.types, own))
    sweep.emit(_without(nodes, known) if known else nodes)
    for name, cotangent in zip(graph.results, cotangents, strict=True):
        if cotangent is not None:
            sweep.add(name, cotangent)
    sweep.reverse(nodes)
    results = [sweep.env.value(r) for r in graph.results]
    return results, [sweep.cotangent(graph.inputs[i]) for i in wrt]


def _without(nodes: Sequence[Node], known: Collection[str]) -> list[Node]:
    """The nodes that are still needed and can be computed where values are ``known``: not those that make them, nor what follows from
    other values of these."""
    kept, missing = [], set[str]()
    for node in nodes:
        made = {v.name for v in node.outputs}
        if made & set(known) or free_names(node) & missing:
            missing |= made - set(known)
        else:
            kept.append(node)
    return kept


class _Env:
    """Values by the name they have in the primal graph; names that it lacks are the surrounding code's.

    What is not at hand anywhere goes by a name that no value has: only dead code, dropped at the end of its region, asks for it.
    """

    def __init__(self, types: Mapping[str, Type], own: Mapping[str, Value], around: _Env | None = None) -> None:
        self.types = types
        self.own = dict(own)
        self.around = around

    def value(self, name: str) -> Value:
        """The value that stands for a name here."""
        found = self.own.get(name)
        if found is not None:
            return found
        return self.around.value(name) if self.around is not None else Value(f"{name}?", self.types[name])


class _Probe(_Env):
    """Has every primal value, under its own name."""

    def value(self, name: str) -> Value:
        return self.own.get(name) or Value(name, self.types[name])


@dataclass(frozen=True)
class _Plan:
    """How the adjoint of one loop gets at the values of an iteration, and which outer values it reaches."""

    stacked: tuple[tuple[str, str, int], ...]  # body value -> array that has it in a row, how many rows behind that of the iteration
    recompute: tuple[Node, ...]  # what is computed again from them
    captured: tuple[Value, ...]  # outer values that get cotangents
    done: tuple[Finished, ...] = ()  # arrays whose rows, as far as they are read, stand in the loop's results
    ran: str = ""  # output that counts the iterations, of a loop with `until`
    last: int | None = None  # of these, only so many are gone through: their rows take turns in as many places
    implicit: bool = False  # the gradient is that of the fixed point: `recompute` makes an iteration from the final state


@dataclass
class _Taper:
    """Adds to every differentiated loop the stacks that its adjoint needs."""

    types: dict[str, Type]
    active: set[str]
    policy: Policy = KEEP

    def __post_init__(self) -> None:
        self.plans: dict[str, _Plan] = {}  # by the first output of the loop
        self.branches: dict[str, tuple[tuple[Node, ...], ...]] = {}  # augmented regions of an if or a solve, by the first output

    def augment(self, nodes: Sequence[Node], around: tuple[Node, ...]) -> tuple[Node, ...]:
        """The nodes with recording loops; ``around`` are the loops they stand in, outermost first."""
        out: list[Node] = []
        for node in nodes:
            reached = self.active & {v.name for v in node.outputs}
            if node.op == "for" and reached:
                out += self._loop(node, around)
                continue
            if node.op in ("if", SOLVE) and reached:
                self.branches[node.outputs[0].name] = tuple(self.augment(r.nodes, around) for r in node.regions)
            out.append(node)
        return tuple(out)

    def _loop(self, node: Node, around: tuple[Node, ...]) -> tuple[Node, ...]:
        first = node.outputs[0].name
        region = node.regions[0]
        body = self.augment(region.nodes, (*around, node))
        sweep = self.probe()
        for result in region.results:
            if result in self.active:
                sweep.add(result, Value(f"{result}?", self.types[result]))
        sweep.reverse(body)
        defined = {a.name for a in region.args} | {v.name for n in body for v in n.outputs}
        captured = tuple(Value(c, self.types[c]) for c in sorted(sweep.cotangents) if c not in defined and c in self.active)
        needed = sweep.reads([a.name for a in region.args] + [c.name for c in captured])
        own, saving = [a.name for a in region.args], self._saving(body, bool(around))
        done: list[Finished] = []
        if is_implicit(node):
            tape = from_state(own, body, needed)
        else:
            tape, done = self._tape(node, body, needed, saving)
        trip = stack_length(node, around)
        outputs, stacked, ends = list(node.outputs), [], []
        record = [n for n in tape.record if n not in {x for f in done for x in (f.name, f.value)}]
        after = {arg: result for result, arg in tape.following}
        for name in record:
            row = self.types[name]
            length = trip + 1 if name in after else trip
            stack = self.new(f"{name}_tape", row.with_shape(length, *row.shape))
            outputs.append(stack)
            if name in after:
                final = node.outputs[own.index(name)].name
                longer = self.new(f"{name}_tape", stack.type)
                ends.append(last_row(stack.name, final, longer, node))
                stacked.append((after[name], longer.name, 1))
                stack = longer
            stacked.append((name, stack.name, 0))
        self.plans[first] = _Plan(tuple(stacked), tape.recompute, captured, tuple(done))
        count = len(region.args) + node.attr("stacked", 0)
        attrs = dict(node.attrs) | {"stacked": node.attr("stacked", 0) + len(record)}
        if attrs["stacked"]:
            attrs["stack_size"] = trip
        whole = Region(region.args, body, (*region.results[:count], *record, *region.results[count:]))
        if not node.attr("until"):
            return replace(node, outputs=tuple(outputs), attrs=make_attrs(attrs), regions=(whole,)), *ends
        attrs["loose"] = node.attr("loose", 0) + len(record)  # nobody reads rows of iterations that did not run
        starts, node, ran = counted(replace(node, outputs=tuple(outputs), attrs=make_attrs(attrs), regions=(whole,)), self.new)
        if (last := window(node)) is not None:
            more, node = in_turns(node, len(record), last, self.new)
            starts += more
            self.types.update((v.name, v.type) for v in node.outputs)
        self.plans[first] = replace(self.plans[first], ran=ran, last=last, implicit=is_implicit(node))
        return *starts, node

    def _saving(self, body: Sequence[Node], inside: bool) -> float:
        """How many times smaller than what else would be recorded the state must be to stand in its place."""
        if self.policy == NO_CALLS:
            return inf if any(lookup(n.op).library for n in walk(body)) else SAVING
        return SAVING if inside or self.policy == KEEP else 1

    def _tape(self, node: Node, body: tuple[Node, ...], needed: set[str], saving: float) -> tuple[Tape, list[Finished]]:
        """The tape of a loop, and the arrays of it that need none: what the adjoint computes again reads no row before it is done."""
        own, done = [a.name for a in node.regions[0].args], finished(node, self.types)
        while True:
            free = {n for f in done for n in (f.name, f.value)}
            tape = choose(own, body, needed, self.types, node.attr("index"), saving, free, steps(node))
            again = {v.name for n in tape.recompute for v in n.outputs} | set(needed)
            kept = [f for f in done if not f.early & again - set(tape.record)]
            if kept == done:
                return tape, done
            done = kept

    def new(self, hint: str, type: Type) -> Value:
        """A value with a name of its own."""
        made = Value(self._name(hint), type)
        self.types[made.name] = type
        return made

    def probe(self) -> _Sweep:
        """A sweep for what it would emit: every primal value is at hand."""
        return _Sweep(Builder("probe", [Value(n, t) for n, t in self.types.items()]), self, _Probe(self.types, {}))

    def _name(self, hint: str) -> str:
        return unused(hint, self.types)


def last_row(stack: str, final: str, out: Value, loop: Node) -> Node:
    """The stack of a carried value of a loop with its ``final`` value as one more row, behind that of the last iteration."""
    count = trip_count(loop)
    attrs = {"items": row_items(out.type, count if never_negative(count) else size_fn("max", 0, count)), "mode": "set"}
    return Node("update", (stack, final), (out,), make_attrs(attrs), (), loop.span)


def row_items(type: Type, row: Size) -> tuple[At | Range, ...]:
    """Items that pick one row of a stack of ``type``."""
    return (At(row), *(Range(Size.of(0), s) for s in type.shape[1:]))


class _Sweep:
    """Emits code into a builder: copies of primal nodes, and their adjoints in reverse."""

    def __init__(self, b: Builder, taper: _Taper, env: _Env) -> None:
        self.b = b
        self.taper = taper
        self.env = env
        self.cotangents: dict[str, Value] = {}

    def emit(self, nodes: Sequence[Node]) -> None:
        """Copy primal nodes."""
        for node in nodes:
            names = {n: self.env.value(n).name for n in free_names(node)}
            copied = self.b.copy(node, names)
            self.b.append(copied)
            self.env.own.update({old.name: new for old, new in zip(node.outputs, copied.outputs, strict=True)})

    def zeros(self, type: Type) -> Value:
        """Zeros of a type."""
        zero: Value = self.b.op("const", value=0.0, dtype=type.dtype)
        out: Value = self.b.op("broadcast", zero, shape=type.shape) if type.shape else zero
        return out

    def cotangent(self, value: Value) -> Value:
        """The cotangent of a primal value, zeros if nothing reached it."""
        return self.cotangents[value.name] if value.name in self.cotangents else self.zeros(value.type)

    def add(self, name: str, value: Value) -> None:
        """Accumulate into a cotangent."""
        before = self.cotangents.get(name)
        self.cotangents[name] = value if before is None else self.b.op("add", before, value)

    def reverse(self, nodes: Sequence[Node]) -> None:
        """Adjoints of the nodes, last first."""
        for node in reversed(nodes):
            if not any(v.name in self.cotangents for v in node.outputs):
                continue
            self.b.span = node.span
            if node.op == "for":
                self._loop(node)
            elif node.op == "if":
                self._branch(node)
            elif node.op == SOLVE:
                if (operator := self.taper.branches.get(node.output.name)) is not None:
                    reverse_solve(self, node, operator[0])
            else:
                self._node(node)

    def reads(self, names: Iterable[str]) -> set[str]:
        """Outer values that the code emitted so far reads for the cotangents of ``names``."""
        graph = self.b.finish([self.cotangents[n] for n in names if n in self.cotangents])
        nodes = live(graph.nodes, set(graph.results))
        return set(region_captures(Region((), tuple(nodes), graph.results)))

    def _node(self, node: Node) -> None:
        given = tuple(self.cotangents.pop(v.name, None) for v in node.outputs)
        rule = lookup(node.op).adjoint
        if rule is None or not self.taper.active & set(node.inputs):
            return
        env = self.env
        if node.op == "slice" and given[0] is not None:  # into the cotangent there is, not into zeros to be added to it
            name = node.inputs[0]
            picks = [env.value(n) for n in node.inputs[1:]]
            base = self.cotangents.get(name) or self.zeros(self.taper.types[name])
            self.cotangents[name] = self.b.op("update", base, given[0], *picks, items=node.attr("items"), mode="add")
            return
        found = rule(self.b, node, given, lambda i: env.value(node.inputs[i]), lambda i: env.value(node.outputs[i].name))
        for name, value in zip(node.inputs, found, strict=True):
            if value is not None and name in self.taper.active:
                self.add(name, value)

    def _loop(self, node: Node) -> None:
        plan = self.taper.plans.get(node.outputs[0].name)
        if plan is None:
            return
        if plan.implicit:
            self._fixed_point(node, plan)
            return
        region, step, lower, index = node.regions[0], node.attr("step"), node.attr("lower"), node.attr("index")
        count = len(region.args)
        carried = [n for n, a in enumerate(region.args) if a.name in self.taper.active]
        total = len(node.outputs)
        stacks = [(r, self.cotangents.pop(v.name))
                  for r, v in zip(region.results[count:total], node.outputs[count:], strict=True) if v.name in self.cotangents]  # fmt: skip
        start = [self._taken(node.outputs[n].name, region.args[n].type) for n in carried]
        start += [self._taken(c.name, c.type) for c in plan.captured]
        row = row_of(node)
        kept = len(start)  # the rest: cotangents of rows after the last iteration, which are as that of the last one
        start += [self.zeros(self.taper.types[r]) for r, _ in stacks] if plan.ran else []

        def body(*values: Value) -> LoopBody:
            if not plan.ran:
                return LoopBody(tuple(reverse_iteration(values[:kept], [self._given(c, row) for _, c in stacks])))
            ran = self.env.value(plan.ran)
            rows = [self.b.op("add", w, self._given(c, row)) for w, (_, c) in zip(values[kept:], stacks, strict=True)]
            return LoopBody(
                when(
                    self.b,
                    has_run(self.b, row, ran, plan.last),
                    [v.type for v in values],
                    lambda: [*reverse_iteration(values[:kept], rows), *(self.zeros(r.type) for r in rows)],
                    lambda: [*values[:kept], *rows],
                )
            )

        def reverse_iteration(values: Sequence[Value], rows: Sequence[Value]) -> list[Value]:
            child = _Sweep(self.b, self.taper, _Env(self.taper.types, {}, self.env))
            for name, stack, behind in plan.stacked:
                place = row + behind if plan.last is None else row % plan.last
                child.env.own[name] = self._row(self.env.value(stack), place, self.taper.types[name])
            for array in plan.done:
                final = self.env.value(node.outputs[array.place].name)
                child.env.own[array.name] = final
                child.env.own[array.value] = self.b.op("slice", final, items=array.items)
            child.emit(plan.recompute)
            child.cotangents = {c.name: v for c, v in zip(plan.captured, values[len(carried) :], strict=True)}
            for n, value in zip(carried, values, strict=False):
                child.add(region.results[n], value)
            for (result, _), cotangent in zip(stacks, rows, strict=True):
                child.add(result, cotangent)
            child.reverse(region.nodes)
            ends = [child.cotangent(region.args[n]) for n in carried] + [child.cotangent(c) for c in plan.captured]
            self.b.keep(live, ends)
            return ends

        last = lower + (trip_count(node) - 1) * step
        end = lower - 1 if step > 0 else lower + 1
        finals = self.b.loop(index, last, end, start, body, step=-step)
        for c, value in zip(plan.captured, finals[len(carried) : kept], strict=True):
            self.cotangents[c.name] = value
        for n, value in zip(carried, finals, strict=False):
            if node.inputs[n] in self.taper.active:
                self.add(node.inputs[n], value if plan.last is None else self._if_few(plan.ran, plan.last, value))

    def _if_few(self, ran: str, most: int, value: Value) -> Value:
        """A cotangent where a loop ran at most so often, else zeros."""
        test: Value = self.b.op("le", self.env.value(ran), number(self.b, most))
        return when(self.b, test, [value.type], lambda: [value], lambda: [self.zeros(value.type)])[0]

    def _fixed_point(self, node: Node, plan: _Plan) -> None:
        """The adjoint of a loop that has stopped at a fixed point z = f(z, theta), of a cotangent w of z:

            u = w + (df/dz)^T u, by iteration;      dtheta += (df/dtheta)^T u

        f is the last iteration that ran. Source: Bai, Kolter, Koltun, NeurIPS 2019; Christianson, Optim. Methods Softw. 3, 1994.
        """
        region, index = node.regions[0], node.attr("index")
        carried = [n for n, a in enumerate(region.args) if a.name in self.taper.active]
        if any(v.name in self.cotangents for v in node.outputs[len(region.args) :]):
            raise CompileError('backward="implicit" gives no gradient of the states on the way: of the trace of a loop with `until`')
        given = [self._taken(node.outputs[n].name, region.args[n].type) for n in carried]
        start = [self._taken(c.name, c.type) for c in plan.captured]
        ran = self.env.value(plan.ran)

        def at_the_end() -> list[Value]:
            here = _Sweep(self.b, self.taper, _Env(self.taper.types, {}, self.env))
            here.env.own = {a.name: self.env.value(v.name) for a, v in zip(region.args, node.outputs, strict=False)}
            here.emit(plan.recompute)

            def pulled(values: Sequence[Value], outer: Sequence[Value]) -> _Sweep:
                child = _Sweep(self.b, self.taper, _Env(self.taper.types, {}, here.env))
                child.cotangents = {c.name: v for c, v in zip(plan.captured, outer, strict=False)}
                for n, value in zip(carried, values, strict=True):
                    child.add(region.results[n], value)
                child.reverse(region.nodes)
                return child

            def body(*values: Value) -> LoopBody:
                child = pulled(values, ())
                ends = [self.b.op("add", w, child.cotangent(region.args[n])) for n, w in zip(carried, given, strict=True)]
                self.b.keep(live, ends)
                return LoopBody(tuple(ends), until=settled(self.b, ends, values))

            found = self.b.loop(f"{index}_fixed", 0, trip_count(node), given, body)
            child = pulled(found, start)
            ends = [child.cotangent(c) for c in plan.captured]
            self.b.keep(live, ends)
            return ends

        def body(*values: Value) -> LoopBody:
            here: Value = self.b.op("size_value", value=row_of(node), dtype="i64")
            last = self.b.op("eq", here, self.b.op("sub", ran, number(self.b, 1)))
            return LoopBody(when(self.b, last, [v.type for v in values], at_the_end, lambda: list(values)))

        finals = self.b.loop(index, node.attr("lower"), node.attr("upper"), start, body, step=node.attr("step")) if start else ()
        for c, value in zip(plan.captured, finals, strict=True):
            self.cotangents[c.name] = value
        for n, value in zip(carried, given, strict=True):
            if node.inputs[n] in self.taper.active:
                self.add(node.inputs[n], self._if_few(plan.ran, 0, value))

    def _taken(self, name: str, type: Type) -> Value:
        return self.cotangents.pop(name) if name in self.cotangents else self.zeros(type)

    def _given(self, cotangent: Value, row: Size) -> Value:
        """The cotangent of one row of a stack."""
        out: Value = self.b.op("slice", cotangent, items=row_items(cotangent.type, row))
        return out

    def _row(self, stack: Value, row: Size, type: Type) -> Value:
        items = (At(row), *(Range(Size.of(0), s) for s in type.shape))
        out: Value = self.b.op("slice", stack, items=items)
        return out

    def _branch(self, node: Node) -> None:
        given = [self.cotangents.pop(v.name, None) for v in node.outputs]
        bodies = self.taper.branches.get(node.outputs[0].name)
        if bodies is None:
            return
        reached: dict[str, Value] = {}
        for region, nodes in zip(node.regions, bodies, strict=True):
            probe = self.taper.probe()
            probe.branch(region, nodes, given)
            inside = {v.name for n in nodes for v in n.outputs}
            reached |= {c: Value(c, self.taper.types[c]) for c in probe.cotangents if c not in inside and c in self.taper.active}
        wanted = [reached[c] for c in sorted(reached)]
        if not wanted:
            return

        def side(region: Region, nodes: Sequence[Node]) -> list[Value]:
            child = _Sweep(self.b, self.taper, _Env(self.taper.types, {}, self.env))
            child.emit(nodes)
            child.branch(region, nodes, given)
            ends = [child.cotangent(c) for c in wanted]
            self.b.keep(live, ends)
            return ends

        regions = tuple(self.b.region([], lambda r=r, n=n: side(r, n)) for r, n in zip(node.regions, bodies, strict=True))
        condition = self.env.value(node.inputs[0])
        found = self.b.op("if", condition, regions=regions, types=tuple(c.type for c in wanted))
        for c, value in zip(wanted, found if isinstance(found, tuple) else (found,), strict=True):
            self.add(c.name, value)

    def branch(self, region: Region, nodes: Sequence[Node], given: Sequence[Value | None]) -> None:
        """Adjoint of one side of an ``if`` for the cotangents of its results."""
        for result, cotangent in zip(region.results, given, strict=True):
            if cotangent is not None:
                self.add(result, cotangent)
        self.reverse(nodes)
