"""Text of a loop tree: prints to a form a person can read and :func:`parse_tree` reads back to an equal function.

function us_ista [K]
array x: f32[500] problem
for c0 in 0 .. K serial:
    for c1 in 0 .. 500 parallel vector:
        x[c1] = mul.f32(x.f32[c1], step.f32[c0])

Expressions are Python's: ``op.dtype(...)`` is a call, ``A.dtype[i, j]`` an element, ``literal.dtype(v)`` a constant,
``index.dtype(i)`` an integer expression as a value.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from .tree import (
    Array,
    Barrier,
    Block,
    Call,
    Declare,
    Expr,
    FromInt,
    Function,
    If,
    Int,
    LibraryCall,
    Literal,
    Load,
    Loop,
    Single,
    Store,
    Tile,
    Tree,
)

_BINARY = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.FloorDiv: "//", ast.Mod: "%"}
_COMPARE = {ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
_CALLS = ("min", "max", "select")


def print_tree(function: Function) -> str:
    """The function as text."""
    return "\n".join(_function(function)) + "\n"


def _function(function: Function) -> Iterator[str]:
    blocks = f" on {function.blocks} blocks" if function.blocks != 1 else ""
    yield f"function {function.name} [{', '.join(function.integers)}]{blocks}"
    yield from (f"array {_array(a)}" for a in function.arrays)
    yield from _block(function.body, 0)
    if function.tile is not None:
        tile = function.tile
        least = f" from {tile.least}" if tile.least else ""
        yield f"tile {tile.size} {tile.lanes} [{', '.join(s or '-' for s in tile.strides)}]{least}"
        yield from _function(tile.function)


def _array(a: Array) -> str:
    return f"{a.name}: {a.dtype}[{', '.join(map(print_int, a.shape))}] {a.scope}"


def _block(block: Block, depth: int) -> Iterator[str]:
    for child in block.children:
        yield from ("    " * depth + line if n == 0 else line for n, line in enumerate(_tree(child, depth)))


def _tree(tree: Tree, depth: int) -> Iterator[str]:
    """Lines of one node; the first is not indented yet."""
    if isinstance(tree, Loop):
        step = f" by {tree.step}" if tree.step != 1 else ""
        tests = "".join(f" {word} {print_expr(e)}" for word, e in (("until", tree.until), ("unless", tree.unless)) if e is not None)
        share = f" share {tree.share}" if tree.share else ""
        yield f"for {tree.name} in {print_int(tree.lower)} .. {print_int(tree.upper)}{step} {tree.kind}{share}{tests}:"
        yield from _block(tree.body, depth + 1)
    elif isinstance(tree, If):
        yield f"if {print_int(tree.condition)}:"
        yield from _block(tree.then, depth + 1)
        if tree.orelse is not None:
            yield "    " * depth + "else:"
            yield from _block(tree.orelse, depth + 1)
    elif isinstance(tree, Single):
        yield "single:"
        yield from _block(tree.body, depth + 1)
    elif isinstance(tree, Declare):
        yield f"declare {_array(tree.array)}"
    elif isinstance(tree, Barrier):
        yield "barrier"
    elif isinstance(tree, LibraryCall):
        parts = (", ".join(map(print_expr, tree.outputs)), ", ".join(map(print_expr, tree.inputs)))
        yield f"call {tree.name}({'; '.join((*parts, ', '.join(map(print_int, tree.integers))))})"
    else:
        index = ", ".join(map(print_int, tree.index))
        yield f"{tree.array}[{index}] {tree.reduce}= {print_expr(tree.value)}"


def print_int(e: Int) -> str:
    """An integer expression; every operation but the outermost in brackets."""
    text = _int(e)
    return text[1:-1] if text.startswith("(") else text


def _int(e: Int) -> str:
    if e.op == "const":
        return str(e.value)
    if e.op == "name":
        return e.name
    args = [_int(a) for a in e.args]
    if e.op in _CALLS:
        return f"{e.op}({', '.join(args)})"
    if e.op == "not":
        return f"(not {args[0]})"
    return "(" + f" {e.op} ".join(args) + ")"


def print_expr(e: Expr) -> str:
    """A scalar expression."""
    if isinstance(e, Load):
        return f"{e.array}.{e.dtype}[{', '.join(map(print_int, e.index)) or '()'}]"
    if isinstance(e, Literal):
        return f"literal.{e.dtype}({e.value!r})"
    if isinstance(e, FromInt):
        return f"index.{e.dtype}({print_int(e.value)})"
    return f"{e.op if e.op.isidentifier() and e.op not in _WORDS else e.op + '_'}.{e.dtype}({', '.join(map(print_expr, e.args))})"


#: Ops whose names are words of Python; they get a trailing underscore.
_WORDS = {"and", "or", "not"}


# -- reading ---------------------------------------------------------------------------------------------------------


def parse_tree(text: str) -> Function:
    """Read what :func:`print_tree` wrote. Raises ValueError."""
    lines = [line for line in text.splitlines() if line.strip()]
    try:
        function, rest = _read_function(lines)
    except (SyntaxError, IndexError, AttributeError, KeyError) as error:
        raise ValueError(f"not a loop tree: {error}") from None
    if rest:
        raise ValueError(f"unexpected text after the function: {rest[0]!r}")
    return function


def _read_function(lines: list[str]) -> tuple[Function, list[str]]:
    name, integers, blocks = _match(r"function (\w+) \[(.*)\](?: on (\d+) blocks)?", lines[0])
    lines = lines[1:]
    arrays = []
    while lines and lines[0].startswith("array "):
        arrays.append(_read_array(lines[0].removeprefix("array ")))
        lines = lines[1:]
    body, lines = _read_block(lines, 0)
    tile = None
    if lines and lines[0].startswith("tile "):
        size, lanes, strides, least = _match(r"tile (\d+) (\w+) \[(.*)\](?: from (\d+))?", lines[0])
        function, lines = _read_function(lines[1:])
        tile = Tile(int(size), lanes, tuple("" if s == "-" else s for s in _items(strides)), function, int(least or 0))
    return Function(name, tuple(_items(integers)), tuple(arrays), body, tile, int(blocks or 1)), lines


def _match(pattern: str, line: str) -> tuple[str, ...]:
    found = re.fullmatch(pattern, line)
    if found is None:
        raise ValueError(f"not a line of a loop tree: {line!r}")
    return tuple(g or "" for g in found.groups())


def _items(text: str) -> list[str]:
    return text.split(", ") if text else []


def _read_array(text: str) -> Array:
    name, dtype, shape, scope = _match(r"(\w+): (\w+)\[(.*)\] (\w+)", text)
    return Array(name, dtype, _ints(shape), scope)


def _read_block(lines: list[str], depth: int) -> tuple[Block, list[str]]:
    children: list[Tree] = []
    while lines and not lines[0].startswith(("tile ", "function ")) and len(lines[0]) - len(lines[0].lstrip()) == 4 * depth:
        line, lines = lines[0].strip(), lines[1:]
        if line == "else:":
            orelse, lines = _read_block(lines, depth + 1)
            before = children[-1]
            assert isinstance(before, If)
            children[-1] = If(before.condition, before.then, orelse)
        elif line.endswith(":"):
            body, lines = _read_block(lines, depth + 1)
            children.append(_headed(line, body))
        else:
            children.append(_single_line(line))
    return Block(tuple(children)), lines


def _headed(line: str, body: Block) -> Tree:
    if line == "single:":
        return Single(body)
    if line.startswith("if "):
        return If(parse_int(line[3:-1]), body)
    name, lower, upper, step, kind, share, until, unless = _match(
        r"for (\w+) in (.*) \.\. (.*?)(?: by (\d+))? ((?:(?:serial|parallel|vector|block|thread|by\d+|lane\d+|staged\d+|tensor) ?)+?)"
        r"(?: share (\d+))?(?: until (.*?))?(?: unless (.*))?:",
        line,
    )
    ends, passes = (_expr(ast.parse(e, mode="eval").body) if e else None for e in (until, unless))
    return Loop(name, parse_int(lower), parse_int(upper), int(step or 1), body, kind, ends, passes, int(share or 0))


def _single_line(line: str) -> Tree:
    if line == "barrier":
        return Barrier()
    if line.startswith("declare "):
        return Declare(_read_array(line.removeprefix("declare ")))
    if line.startswith("call "):
        name, outputs, inputs, integers = _match(r"call (\w+)\((.*); (.*); (.*)\)", line)
        return LibraryCall(name, _loads(outputs), _loads(inputs), _ints(integers))
    array, index, reduce, value = _match(r"(\w+)\[(.*?)\] (\w*)= (.*)", line)
    return Store(array, _ints(index), _expr(ast.parse(value, mode="eval").body), reduce)


def _loads(text: str) -> tuple[Load, ...]:
    found = [_expr(n) for n in _tuple(text)]
    return tuple(x for x in found if isinstance(x, Load))


def _tuple(text: str) -> list[ast.expr]:
    node = ast.parse(f"({text},)" if text else "()", mode="eval").body
    assert isinstance(node, ast.Tuple)
    return node.elts


def _ints(text: str) -> tuple[Int, ...]:
    return tuple(map(_read_int, _tuple(text)))


def parse_int(text: str) -> Int:
    """What ``print_int`` printed."""
    return _read_int(ast.parse(text, mode="eval").body)


def _read_int(node: ast.expr) -> Int:
    match node:
        case ast.Constant(value=int(value)):
            return Int("const", value=value)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int(value))):
            return Int("const", value=-value)
        case ast.Name(id=name):
            return Int("name", name=name)
        case ast.BinOp(left=left, op=op, right=right):
            return Int(_BINARY[type(op)], (_read_int(left), _read_int(right)))
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            return Int(_COMPARE[type(op)], (_read_int(left), _read_int(right)))
        case ast.BoolOp(op=op, values=values):
            return Int("and" if isinstance(op, ast.And) else "or", tuple(map(_read_int, values)))
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return Int("not", (_read_int(operand),))
        case ast.Call(func=ast.Name(id=op), args=args) if op in _CALLS:
            return Int(op, tuple(map(_read_int, args)))
    raise ValueError(f"not an integer expression: {ast.unparse(node)}")


def _expr(node: ast.expr) -> Expr:
    match node:
        case ast.Subscript(value=ast.Attribute(value=ast.Name(id=array), attr=dtype), slice=index):
            items = index.elts if isinstance(index, ast.Tuple) else [index]
            return Load(array, tuple(map(_read_int, items)), dtype)
        case ast.Call(func=ast.Attribute(value=ast.Name(id="literal"), attr=dtype), args=[value]):
            return Literal(_number(value), dtype)
        case ast.Call(func=ast.Attribute(value=ast.Name(id="index"), attr=dtype), args=[value]):
            return FromInt(_read_int(value), dtype)
        case ast.Call(func=ast.Attribute(value=ast.Name(id=op), attr=dtype), args=args):
            return Call(op[:-1] if op[:-1] in _WORDS else op, tuple(map(_expr, args)), dtype)
    raise ValueError(f"not an expression: {ast.unparse(node)}")


def _number(node: ast.expr) -> complex:
    text = ast.unparse(node)
    found: complex = float(text) if text.lstrip("-") in ("inf", "nan") else ast.literal_eval(node)
    return found
