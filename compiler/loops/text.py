"""Text of a nest: prints to a form a person can read and :func:`parse_nest` reads back to an equal nest.

nest tv [K]
array p: f32[427, 640] problem
S1 { t0: 0..K, i0: 0..426 } p[i0] add= mul:f32(x[i0]:f32, 2.0:f32)
order
  for t0 serial (S1: t0)
    S1
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from typing import TypeVar

from ..graph.types import Size, parse_size
from .nest import (
    Access,
    Apply,
    ArrayInfo,
    Dim,
    Exit,
    Expr,
    Guard,
    Leaf,
    LoopOrder,
    Nest,
    Order,
    Sequence,
    SizeValue,
    Statement,
    Whole,
    sequence,
)
from .tree import Literal

T = TypeVar("T")


def print_nest(nest: Nest) -> str:
    """The nest as text."""
    out = [f"nest {nest.name} [{', '.join(nest.params)}]"]
    out += [f"array {a.name}: {a.dtype}[{', '.join(map(str, a.shape))}] {a.scope}" for a in nest.arrays]
    out += [print_statement(s) for s in nest.statements]
    out.append("order")
    out += _order_lines(nest.order, 1)
    return "\n".join(out) + "\n"


def print_statement(s: Statement) -> str:
    """One statement: its domain and what it does."""
    parts = [f"{d.name}: {d.lower}..{d.upper}" for d in s.dims] + [f"{g.size} {g.op} 0" for g in s.guards]
    head = f"{s.name} {{ {', '.join(parts)} }} "
    if s.routine:
        blocks = "; ".join(", ".join(map(_access, part)) for part in (s.outputs, s.inputs))
        return f"{head}call {s.routine}({blocks}; {', '.join(f'<{i}>' for i in s.integers)})"
    return f"{head}{_access(s.write)} {s.reduce}= {print_expr(s.value)}"


def _access(a: Access | Whole) -> str:
    return f"{a.array}[{', '.join(map(str, a.index))}]:{a.dtype}"


def print_expr(e: Expr) -> str:
    """An expression with the dtype of every part."""
    if isinstance(e, Access):
        return _access(e)
    if isinstance(e, SizeValue):
        return f"<{e.size}>:{e.dtype}"
    if isinstance(e, Literal):
        return f"{e.value!r}:{e.dtype}"
    return f"{e.op}:{e.dtype}({', '.join(map(print_expr, e.args))})"


def _order_lines(order: Order, depth: int) -> list[str]:
    pad = "  " * depth
    if isinstance(order, Leaf):
        return [pad + order.statement]
    if isinstance(order, Sequence):
        return [line for c in order.children for line in _order_lines(c, depth)]
    values = ", ".join(f"{s}: {v}" for s, v in order.values)
    last = f" {'until' if order.exit.leaves else 'unless'} {print_expr(order.exit.test)}" if order.exit else ""
    return [f"{pad}for {order.name} {order.kind} ({values}){last}", *_order_lines(order.body, depth + 1)]


def print_order(order: Order) -> str:
    """An order as it stands in the text of a nest, without its margin."""
    return "\n".join(_order_lines(order, 0))


class _Reader:
    """A cursor over the tokens of one line."""

    TOKEN = re.compile(r"\s*(<[^<>=][^<>]*>|\.\.|//|[><=!]=|\d+(?:\.\d+)?(?:e[+-]?\d+)?j?|\w+|\S)")

    def __init__(self, line: str) -> None:
        self.tokens = self.TOKEN.findall(line)
        self.at = 0

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self, expected: str = "") -> str:
        token = self.peek()
        if not token or (expected and token != expected):
            raise ValueError(f"found {token or 'the end of the line'!r}, expected {expected or 'more'!r}")
        self.at += 1
        return token

    def until(self, *stops: str) -> str:
        """The text up to one of ``stops`` at bracket depth 0."""
        out, depth = [], 0
        while depth or self.peek() not in stops:
            token = self.take()
            depth += (token in "([{") - (token in ")]}")
            out.append(token)
        return " ".join(out)

    def sizes(self, close: str) -> tuple[Size, ...]:
        found = []
        while self.peek() != close:
            found.append(parse_size(self.until(",", close)))
            if self.peek() == ",":
                self.take()
        self.take(close)
        return tuple(found)

    def access(self) -> Access:
        array = self.take()
        self.take("[")
        index = self.sizes("]")
        self.take(":")
        return Access(array, index, self.take())

    def expr(self) -> Expr:
        token = self.peek()
        if token.startswith("<"):
            self.take()
            self.take(":")
            return SizeValue(parse_size(token[1:-1]), self.take())
        if self.at + 1 < len(self.tokens) and self.tokens[self.at + 1] == "[":
            return self.access()
        text = self.until(":")
        self.take(":")
        dtype = self.take()
        if self.peek() != "(":
            return Literal(_number(text.replace(" ", "")), dtype)
        return Apply(text, self.list(self.expr, "(", ")"), dtype)

    def list(self, item: Callable[[], T], opening: str, close: str) -> tuple[T, ...]:
        self.take(opening)
        found: list[T] = []
        while self.peek() != close:
            found.append(item())
            if self.peek() == ",":
                self.take()
        self.take(close)
        return tuple(found)


def _number(text: str) -> complex:
    if text.lstrip("-") in ("inf", "nan"):
        return float(text)
    try:
        number: complex = ast.literal_eval(text)
    except SyntaxError:
        raise ValueError(f"{text!r} is no number") from None
    return number


def _parse_array(line: str) -> ArrayInfo:
    r = _Reader(line)
    r.take("array")
    name = r.take()
    r.take(":")
    dtype = r.take()
    r.take("[")
    shape = r.sizes("]")
    return ArrayInfo(name, dtype, shape, " ".join(r.tokens[r.at :]))


def _parse_statement(line: str) -> Statement:
    r = _Reader(line)
    name = r.take()
    dims: list[Dim] = []
    guards: list[Guard] = []

    def part() -> None:
        if r.at + 1 < len(r.tokens) and r.tokens[r.at + 1] == ":":
            dim = r.take()
            r.take(":")
            lower = parse_size(r.until(".."))
            r.take("..")
            dims.append(Dim(dim, parse_size(r.until(",", "}")), lower))
        else:
            size = parse_size(r.until(">=", "==", "!="))
            guards.append(Guard(size, r.take()))
            r.take("0")

    r.list(part, "{", "}")
    if r.peek() == "call":
        r.take()
        routine = r.take()
        outputs = r.list(r.access, "(", ";")
        r.at -= 1
        inputs = r.list(r.access, ";", ";")
        r.at -= 1
        integers = tuple(parse_size(t[1:-1]) for t in r.list(r.take, ";", ")"))
        first, value = outputs[0], Literal(0, outputs[0].dtype)
        return Statement(name, tuple(dims), first, value, "", tuple(guards), routine, _blocks(outputs), _blocks(inputs), integers)
    write = r.access()
    reduce = "" if r.peek() == "=" else r.take()
    r.take("=")
    return Statement(name, tuple(dims), write, r.expr(), reduce, tuple(guards))


def _blocks(found: tuple[Access, ...]) -> tuple[Whole, ...]:
    return tuple(Whole(a.array, a.index, a.dtype) for a in found)


def _parse_loop(r: _Reader) -> tuple[str, str, tuple[tuple[str, Size], ...], Exit | None]:
    def value() -> tuple[str, Size]:
        statement = r.take()
        r.take(":")
        return statement, parse_size(r.until(",", ")"))

    r.take("for")
    name, kind = r.take(), r.until("(")
    values = r.list(value, "(", ")")
    if not r.peek():
        return name, kind, values, None
    leaves = r.take() == "until"
    return name, kind, values, Exit(r.expr(), leaves)


def _parse_order(lines: list[str], depth: int) -> tuple[Order, list[str]]:
    children: list[Order] = []
    while lines and len(lines[0]) - len(lines[0].lstrip()) == 2 * depth:
        line, lines = lines[0].strip(), lines[1:]
        if not line.startswith("for "):
            children.append(Leaf(line))
            continue
        name, kind, values, exit = _parse_loop(_Reader(line))
        body, lines = _parse_order(lines, depth + 1)
        children.append(LoopOrder(name, values, body, kind, exit))
    return sequence(children), lines


def parse_nest(text: str) -> Nest:
    """Read what :func:`print_nest` wrote. Raises ValueError."""
    head, found, tail = text.partition("\norder\n")
    lines = head.splitlines()
    if not found or not lines[0].startswith("nest "):
        raise ValueError("a nest starts with `nest NAME [params]` and has an `order`")
    name, _, rest = lines[0].removeprefix("nest ").partition(" [")
    params = tuple(p for p in rest.rstrip("]").split(", ") if p)
    arrays = tuple(_parse_array(x) for x in lines[1:] if x.startswith("array "))
    statements = tuple(_parse_statement(x) for x in lines[1:] if not x.startswith("array "))
    order, left = _parse_order([x for x in tail.splitlines() if x.strip()], 1)
    if left:
        raise ValueError(f"unexpected text after the order: {left[0]!r}")
    return Nest(name, params, arrays, statements, order)
