"""Scan a scheduled nest: isl's AST of the order becomes the loop tree, with storage and synchronisation in place.

A sweep whose loop is parallel is split over the team and followed by a barrier; work outside parallel loops
is repeated by every thread if it only fills locals, else done by one. Barriers stay where threads need what others have made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from typing import Any

from ..diagnostics import CompileError
from ..graph.types import Atom, Size, SizeFn
from . import isl
from .assigned import unassigned
from .barriers import synchronise
from .needless import without_needless
from .nest import (
    Access,
    Apply,
    ArrayInfo,
    Expr,
    Leaf,
    LoopOrder,
    Nest,
    Order,
    SizeValue,
    Statement,
    Whole,
    exits,
    loop_path,
)
from .nest import Sequence as SequenceOrder
from .scheduled import HELD, Scheduled, block_of, extent
from .scopes import apart, beside, by_one, settle, strayed
from .steps.unroll import MOST, can_unroll
from .touching import Place, Touching
from .tree import (
    DEALT,
    Array,
    Block,
    Call,
    Declare,
    FromInt,
    Function,
    If,
    Int,
    LibraryCall,
    Load,
    Loop,
    Origin,
    Store,
    Tree,
)
from .tree import Expr as TreeExpr
from .tree_walk import walk


def const(value: int) -> Int:
    """An integer literal."""
    return Int("const", value=value)


def name(text: str) -> Int:
    """A variable."""
    return Int("name", name=text)


def int_of(size: Size, env: Mapping[Atom, Int]) -> Int:
    """A size as an integer expression, atoms replaced by ``env`` (else names by variables of that name)."""
    total: Int | None = None
    for monomial, c in size.terms:
        term: Int | None = None
        for atom in monomial:
            factor = _atom(atom, env)
            term = factor if term is None else Int("*", (term, factor))
        if term is None:
            term = const(c)
        elif c != 1:
            term = Int("*", (const(c), term))
        total = term if total is None else Int("+", (total, term))
    return total or const(0)


def _atom(atom: Atom, env: Mapping[Atom, Int]) -> Int:
    if atom in env:
        return env[atom]
    if isinstance(atom, str):
        return name(atom)
    block = SizeFn("//", atom.args)
    if atom.op == "%" and env.get(block) == const(0):
        return int_of(atom.args[0], env)
    if atom.op == "%" and block in env:  # the place in a block whose number is a loop variable
        return Int("-", (int_of(atom.args[0], env), Int("*", (int_of(atom.args[1], env), env[block]))))
    args = [int_of(a, env) for a in atom.args]
    out = args[0]
    for arg in args[1:]:
        out = Int(atom.op, (out, arg))
    return out


@dataclass
class Scope:
    """The part of the code in which locals of several elements are declared, and the statements in it."""

    arrays: set[str]
    statements: set[str] = field(default_factory=set)


@dataclass
class _Scan:
    scheduled: Scheduled
    statements: Mapping[str, Statement]
    locals: dict[str, list[ArrayInfo]]  # loop -> arrays that live in one iteration
    shared: set[str]  # loops around which these are declared, not inside
    arrays: frozenset[str]  # of these, the ones of several elements
    around: list[tuple[str, Int]] = field(default_factory=list)  # loops entered, with their variables, or the only values these have
    scopes: list[Scope] = field(default_factory=list)  # entered
    torn: set[str] = field(default_factory=set)  # arrays of several elements that have a scope without all of their statements
    single: tuple[str, ...] = ()  # loops with an exit of which a single iteration is written out here
    places: dict[int, Place] = field(default_factory=dict)  # of assignments, by id

    def tree(self, node: Any, mark: str = "") -> list[Tree]:
        """The code of an AST node; ``mark`` is the loop that the next ``for`` belongs to."""
        kind = isl.ast_kind(node)
        if mark and not _has_for(node):
            with self.alone(mark):
                return self.once(partial(self.tree, node), mark)
        if kind == "mark":
            name_of = node.mark_get_id().get_name()
            if name_of not in self.shared:
                return self.tree(node.mark_get_node(), name_of)
            self.shared = self.shared - {name_of}
            with self.scope(name_of) as declares:
                kept, self.locals = self.locals, {n: a for n, a in self.locals.items() if n != name_of}
                code = self.tree(node.mark_get_node(), name_of)
                self.locals, self.shared = kept, self.shared | {name_of}
            return [If(const(1), Block((*declares, *code)))]
        if kind == "block":
            return self.pieces(_parts(node), mark) if mark else self.sequence(_parts(node))
        if kind == "if":
            orelse = Block(tuple(self.tree(node.if_get_else_node(), mark))) if node.if_has_else_node() else None
            return [If(isl.int_expr(node.if_get_cond()), Block(tuple(self.tree(node.if_get_then_node(), mark))), orelse)]
        if kind == "for":
            return self.loop(node, mark)
        return [self.instance(node.user_get_expr())]

    @contextmanager
    def alone(self, mark: str) -> Iterator[None]:
        """Single iterations of a loop whose iterations depend on data: every assignment looks whether it is to be."""
        before = self.single
        if self.scheduled.loop(mark).exit is not None:
            self.single = (*before, mark)
        yield
        self.single = before

    def pieces(self, nodes: list[Any], mark: str) -> list[Tree]:
        """A block: runs of code that isl peeled off the loop ``mark`` share one scope."""
        out: list[Tree] = []
        if len(nodes) > 1 and self.scheduled.loop(mark).exit is not None:
            raise CompileError(f"the loop {mark} ends by data, and cannot be taken apart")
        for peeled, run in groupby(nodes, lambda n: not _has_for(n)):
            parts = list(run)
            out += self.once(partial(self.sequence, parts), mark) if peeled else [t for n in parts for t in self.tree(n, mark)]
        return out

    def sequence(self, nodes: list[Any]) -> list[Tree]:
        """Nodes in a row. Around the statements of a loop of one iteration isl may repeat its mark: they share one scope."""
        out: list[Tree] = []
        for loop, run in groupby(nodes, _only_iteration):
            if loop:
                inside = [part for n in run for part in _parts(n.mark_get_node())]
                out += self.once(partial(self.sequence, inside), loop)
            else:
                out += [t for n in run for t in self.tree(n)]
        return out

    def once(self, make: Callable[[], list[Tree]], mark: str) -> list[Tree]:
        """Code of single iterations of a loop, with the loop's locals around it."""
        span = extent(self.scheduled, self.scheduled.loop(mark))
        only = [(mark, const(span[0]))] if span is not None and span[0] == span[1] else []
        self.around += only
        with self.scope(mark) as declares:
            code = make()
        del self.around[len(self.around) - len(only) :]
        return [If(const(1), Block((*declares, *code)))] if code and declares else code

    def loop(self, node: Any, mark: str) -> list[Tree]:
        iterator = node.for_get_iterator().get_id().get_name()
        self.around.append((mark, name(iterator)))
        with self.scope(mark) as declares:
            body = [*declares, *self.tree(node.for_get_body())]
        self.around.pop()
        lower = isl.int_expr(node.for_get_init())
        if node.for_is_degenerate():
            kind = self.scheduled.loop(mark).kind if mark and self.scheduled.loop(mark).numbered else "serial"
            return [Loop(iterator, lower, Int("+", (lower, const(1))), 1, Block(tuple(body)), kind)]
        test = isl.int_expr(node.for_get_cond())
        assert test.op in ("<", "<="), f"unexpected loop condition {test}"
        assert test.args[0] == name(iterator), f"unexpected loop condition {test}"
        upper = test.args[1] if test.op == "<" else plus_one(test.args[1])
        kind = self.scheduled.loop(mark).kind.replace("unroll", "serial") if mark else "serial"
        tests = self.tests(mark, {mark: name(iterator)})
        return [Loop(iterator, lower, upper, node.for_get_inc().get_val().to_python(), Block(tuple(body)), kind, *tests)]

    def tests(self, mark: str, env: Mapping[Atom, Int]) -> tuple[TreeExpr | None, TreeExpr | None]:
        """What ends a loop, and what passes over an iteration of it."""
        exit = self.scheduled.loop(mark).exit if mark else None
        if exit is None:
            return None, None
        test = tree_expr(exit.test, env)
        return (test, None) if exit.leaves else (None, test)

    @contextmanager
    def scope(self, mark: str) -> Iterator[list[Tree]]:
        """An iteration of a loop: the declarations of its locals. Those that not all of their statements are in are torn apart."""
        mine = Scope({a.name for a in self.locals.get(mark, ()) if a.shape})
        self.torn |= mine.arrays & set[str]().union(*(s.arrays for s in self.scopes))
        self.scopes.append(mine)
        yield [Declare(_array(a)) for a in self.locals.get(mark, ())]
        self.scopes.pop()
        for s in self.statements.values() if mine.arrays and mine.statements else ():
            if s.name not in mine.statements:
                self.torn |= mine.arrays & set(s.arrays())

    def instance(self, expr: Any) -> Tree:
        statement = self.statements[expr.op_get_arg(0).get_id().get_name()]
        for scope in self.scopes:
            scope.statements.add(statement.name)
        inside = set[str]().union(*(scope.arrays for scope in self.scopes))
        self.torn |= {a for a in statement.arrays() if a in self.arrays and a not in inside}
        args = [isl.int_expr(expr.op_get_arg(i)) for i in range(1, expr.op_get_n_arg())]
        env: dict[Atom, Int] = {d.name: a for d, a in zip(statement.dims, args, strict=True)}
        for mark, variable in self.around:  # numbers of blocks are loop variables: no divisions
            value = self.scheduled.loop(mark).value(statement.name).terms if mark else ()
            if len(value) == 1 and value[0][1] == 1 and len(value[0][0]) == 1 and isinstance(value[0][0][0], SizeFn):
                env[value[0][0][0]] = variable
        if statement.routine:
            outputs, inputs = (tuple(_block(w, env) for w in part) for part in (statement.outputs, statement.inputs))
            integers = tuple(int_of(i, env) for i in statement.integers)
            return self.tested(statement, env, LibraryCall(statement.routine, outputs, inputs, integers, statement.name))
        index = tuple(int_of(i, env) for i in statement.write.index)
        origin = None
        if statement.around is not None:
            around = tuple((n, int_of(i, env)) for n, i in statement.around)
            origin = Origin(statement.span, around, tuple(tree_expr(t, env) for t in statement.tests))
        stored = tree_expr(statement.value, env)
        return self.tested(statement, env, Store(statement.write.array, index, stored, statement.reduce, statement.name, origin))

    def tested(self, statement: Statement, env: Mapping[Atom, Int], tree: Tree) -> Tree:
        """An assignment, if the iterations that it is written out of are to be: each test is a loop of one iteration."""
        self.places[id(tree)] = Place(statement, {v.name: self.scheduled.loop(mark) for mark, v in self.around if mark and v.op == "name"})
        for mark in self.single:
            here = int_of(self.scheduled.loop(mark).value(statement.name), env)
            until, unless = self.tests(mark, {mark: here})
            tree = Loop(f"{mark}_{statement.name}", const(0), const(1), 1, Block((tree,)), unless=until or unless)
        return tree


def _parts(node: Any) -> list[Any]:
    """A node as a sequence: blocks within blocks opened."""
    if isl.ast_kind(node) != "block":
        return [node]
    children = node.block_get_children()
    return [part for i in range(children.n_ast_node()) for part in _parts(children.get_ast_node(i))]


def _only_iteration(node: Any) -> str:
    """The loop that a mark names, if no ``for`` of it is left."""
    if isl.ast_kind(node) != "mark" or _has_for(node.mark_get_node()):
        return ""
    found: str = node.mark_get_id().get_name()
    return found


def _has_for(node: Any) -> bool:
    """Whether a loop of the mark being generated is below, not behind another mark."""
    kind = isl.ast_kind(node)
    if kind == "for":
        return True
    if kind == "block":
        children = node.block_get_children()
        return any(_has_for(children.get_ast_node(i)) for i in range(children.n_ast_node()))
    if kind == "if":
        return _has_for(node.if_get_then_node()) or (node.if_has_else_node() and _has_for(node.if_get_else_node()))
    return False


def plus_one(value: Int) -> Int:
    """``value + 1``, folded where it ends in a literal."""
    if value.op == "const":
        return const(value.value + 1)
    if value.op == "-" and value.args[1] == const(1):
        return value.args[0]
    if value.op == "min":
        return Int("min", tuple(plus_one(a) for a in value.args))
    return Int("+", (value, const(1)))


def _block(whole: Whole, env: Mapping[Atom, Int]) -> Load:
    return Load(whole.array, tuple(int_of(i, env) for i in whole.index), whole.dtype)


def tree_expr(value: Expr, env: Mapping[Atom, Int]) -> TreeExpr:
    """An expression of a statement at one instance."""
    if isinstance(value, Access):
        return Load(value.array, tuple(int_of(i, env) for i in value.index), value.dtype)
    if isinstance(value, SizeValue):
        return FromInt(int_of(value.size, env), value.dtype)
    if isinstance(value, Apply):
        return Call(value.op, tuple(tree_expr(a, env) for a in value.args), value.dtype, value.span)
    return value


def _array(info: ArrayInfo) -> Array:
    scope = "problem" if info.scope == "kept" else "held" if info.scope.endswith(HELD) else info.scope.split()[0]
    return Array(info.name, info.dtype, tuple(int_of(s, {}) for s in info.shape), scope)


# -- synchronisation -------------------------------------------------------------------------------------------------


def _dealt_once(order: Order, around: frozenset[str] = frozenset(), above: LoopOrder | None = None) -> Order:
    """A team is split once: loops inside one that is dealt out run as the others do. Threads of blocks are split once more, and loops that are
    dealt to threads may be directly inside of each other. ``around``: what the loops around are; ``above``: the one directly above."""
    if isinstance(order, Leaf):
        return order
    if isinstance(order, SequenceOrder):
        return SequenceOrder(tuple(_dealt_once(c, around) for c in order.children))
    barred = set[str]()
    if around:
        barred = {"parallel", "block"} if around <= {"block"} else set(DEALT)
        if above is not None and "thread" in above.kind:
            barred = {"parallel", "block"}
        elif above is not None and above.kind == "block":
            barred = {"parallel"}
    kept = [k for k in order.kind.split() if k not in barred and not ("thread" in barred and k.startswith("by"))]
    made = replace(order, kind=" ".join(kept) or "serial")
    return replace(made, body=_dealt_once(order.body, around | (DEALT & set(kept)), made if made.dealt else None))


def scan(scheduled: Scheduled, function_name: str) -> Function:
    """The loop tree of a scheduled nest."""
    scheduled = scheduled.with_order(_dealt_once(scheduled.nest.order))
    scattered: frozenset[str] = frozenset()
    alone: frozenset[str] = frozenset()
    while True:
        made, torn, touching = _scan(scheduled, function_name, scattered, alone)
        if missed := by_one(made.body) - alone:
            alone |= missed
            continue
        if missed := strayed(scheduled, made.body) - scattered:
            scattered |= missed
            continue
        variables = {n.array.name for n in walk(made.body) if isinstance(n, Declare) and not n.array.shape}
        torn |= unassigned(made.body, variables)
        split = beside(made.body, {a.name for a in made.arrays if a.scope == "thread"})
        if not torn and not split:
            own = frozenset(a.name for a in touching.nest.arrays if a.scope.startswith("local"))
            return replace(made, body=without_needless(made.body, own, touching))
        around = {a.scope.split()[1] for a in scheduled.nest.arrays if a.name in torn | split and a.scope.startswith("local")}
        users = [s.name for s in scheduled.nest.statements if s.arrays() & split]
        around |= {o.name for s in users for o in loop_path(scheduled.nest.order, s)}  # one of them has lost iterations to the side
        scheduled = scheduled.with_order(_mark(scheduled.nest.order, {n for n in around if scheduled.loop(n).at_once}, "serial"))
        scattered |= torn | split


def _scan(
    scheduled: Scheduled, function_name: str, scattered: frozenset[str], alone: frozenset[str]
) -> tuple[Function, set[str], Touching]:
    """The tree with a barrier wherever there may have to be one, the locals of several elements that isl has torn apart, and what touches what."""
    arrays = tuple(replace(a, scope="problem") if a.name in alone else a for a in settle(scheduled, scattered))
    nest: Nest = replace(scheduled.nest, arrays=arrays)
    scheduled = replace(scheduled, nest=nest)
    local: dict[str, list[ArrayInfo]] = {}
    for a in arrays:
        if a.scope.startswith("local") and not a.scope.endswith(HELD):
            local.setdefault(a.scope.split()[1], []).append(a)
    vectors = frozenset(n for n, loop in scheduled.loops.items() if "vector" in loop.kind)
    shared = _uneven(scheduled, local)
    several = frozenset(a.name for kept in local.values() for a in kept if a.shape)
    maker = _Scan(scheduled, nest.statement_table, local, shared, several)
    children: list[Tree] = []
    if nest.statements:
        unrolled, full = _written_out(scheduled)
        dealt = {n for n, loop in scheduled.loops.items() if {"block", "thread", "tensor"} & set(loop.kind.split())}
        whole = frozenset(exits(nest.order)) | dealt  # threads of a GPU go round, however ragged their part
        ast = isl.ast_of(nest.order, nest.statement_table, nest.params, vectors, unrolled, whole, full, _jammed(scheduled))
        children = maker.tree(ast)
    names = frozenset(a.name for a in arrays if a.scope.startswith("local"))
    body = Block(synchronise(tuple(children), names))
    scopes = ("input", "output", "problem", "kept", "shared", "block", "thread")
    kept = [_array(a) for scope in scopes for a in arrays if a.scope == scope]
    kept += [_array(a) for a in arrays if a.scope.endswith(HELD)]
    return Function(function_name, nest.params, tuple(kept), body), maker.torn, Touching(nest, maker.places)


def _written_out(scheduled: Scheduled) -> tuple[frozenset[str], dict[str, tuple[int, int]]]:
    """Loops that are written out, as later steps have left them short enough; and for the loops over their blocks the first and
    the last block that is full, if these are literals."""
    unrolled: set[str] = set()
    full: dict[str, tuple[int, int]] = {}
    for loop in scheduled.loops.values():
        if "unroll" not in loop.kind or can_unroll(scheduled, loop.name):
            continue
        unrolled.add(loop.name)
        span, block = extent(scheduled, loop), block_of(scheduled, loop)
        if span is not None and block is not None and not block[0].numbered:  # what one thread has in registers stays in one place
            around, size = block
            full[around.name] = (-(-span[0] // size), (span[1] + 1) // size - 1)
    return frozenset(unrolled), full


def _jammed(scheduled: Scheduled) -> dict[str, tuple[LoopOrder, int, int]]:
    """Loops around a short one, an innermost block of iterations of a loop further out, as :func:`~.isl.ast_of` wants them."""
    found: dict[str, tuple[LoopOrder, int, int]] = {}
    for loop in scheduled.loops.values():
        inner = loop.body
        if not isinstance(inner, LoopOrder) or not inner.innermost or not set(inner.kind.split()) & {"unroll", "vector"}:
            continue
        if "unroll" in loop.kind:
            continue  # isl writes it out, or splits it
        block, outer = block_of(scheduled, inner), scheduled.outer(loop.name)
        if block is not None and block[1] <= MOST and block[0].name in {o.name for o in outer}:
            found[loop.name] = inner, [o.name for o in outer].index(block[0].name), block[1]
    return found


def _uneven(scheduled: Scheduled, local: Mapping[str, list[ArrayInfo]]) -> set[str]:
    """Serial loops whose locals are used by statements that do not all run in the same iterations. isl may take an iteration of them
    apart, so their locals are declared around the loop."""
    found = set()
    for name, arrays in local.items():
        if scheduled.loop(name).at_once:
            continue
        path = (*scheduled.outer(name), scheduled.loop(name))
        if any(apart(scheduled, a.name, path) for a in arrays):
            found.add(name)
    return found


def _mark(order: Order, names: set[str], kind: str) -> Order:
    """The order with some loops of another kind."""
    if isinstance(order, Leaf):
        return order
    if isinstance(order, SequenceOrder):
        return SequenceOrder(tuple(_mark(c, names, kind) for c in order.children))
    return replace(order, kind=kind if order.name in names else order.kind, body=_mark(order.body, names, kind))
