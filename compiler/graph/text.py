"""Text of a graph: typed, one node per line, and :func:`parse_graph` reads it back to an equal graph.

    graph ista(%y: f32[m], %A: f32[m, n]) {
      %v0 = const() {dtype='f32', value=0.0} : f32[]                 # ista.us:4:7
      %x = for(%v1) {index='k', ...} : f32[n] {
        (%c: f32[n])
        ...
        yield %v5
      }
      return %x
    }

Attributes are written as Python literals and calls of ``Size``, ``At``, ``Range``, ``Pick``, ``Type``.
Comments (``#``, the source spans) are not part of equality.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterable, Iterator
from typing import Any

from .graph import Graph, Node, Region, Value
from .types import At, Pick, Range, Size, Type, parse_size


def print_graph(graph: Graph, spans: bool = False) -> str:
    """The graph as text; with ``spans`` every line ends in a comment that says where it comes from."""
    return "".join(f"{line}\n" for line, _ in graph_lines(graph, spans))


def graph_lines(graph: Graph, spans: bool = False) -> Iterator[tuple[str, Node | None]]:
    """The lines of the text, each with the node it belongs to, an inner one before those around it."""
    yield f"graph {graph.name}({_values(graph.inputs)}) {{", None
    for node in graph.nodes:
        yield from _node_lines(node, 1, spans)
    yield f"  return {_names(graph.results)}", None
    yield "}", None


def print_node(node: Node) -> str:
    """The line of a node, without its regions."""
    return next(_node_lines(node, 0, False))[0].removesuffix(" {")


def _values(values: Iterable[Value]) -> str:
    return ", ".join(map(str, values))


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"%{n}" for n in names)


def _node_lines(node: Node, depth: int, spans: bool) -> Iterator[tuple[str, Node]]:
    pad = "  " * depth
    attrs = ", ".join(f"{k}={_attr(v)}" for k, v in node.attrs)
    types = ", ".join(str(v.type) for v in node.outputs)
    made = f"{_names(v.name for v in node.outputs)} = " if node.outputs else ""
    line = f"{pad}{made}{node.op}({_names(node.inputs)}) {{{attrs}}} : {types}"
    where = f"  # {node.span}" if spans and node.span else ""
    if not node.regions:
        yield line.rstrip() + where, node
        return
    yield f"{line} {{{where}", node
    for n, region in enumerate(node.regions):
        if n:
            yield f"{pad}}} {{", node
        yield f"{pad}  ({_values(region.args)})", node
        for inner in region.nodes:
            yield from _node_lines(inner, depth + 1, spans)
        yield f"{pad}  yield {_names(region.results)}".rstrip(), node
    yield f"{pad}}}", node


def _attr(value: Any) -> str:
    if isinstance(value, Size):
        return f"Size({str(value)!r})"
    if isinstance(value, At):
        return f"At({str(value.index)!r})"
    if isinstance(value, Range):
        return f"Range({str(value.start)!r}, {str(value.size)!r}, {value.step})"
    if isinstance(value, Pick):
        return f"Pick({value.operand})"
    if isinstance(value, Type):
        return f"Type({', '.join([repr(value.dtype), *(repr(str(s)) for s in value.shape)])})"
    if isinstance(value, tuple):
        return f"({', '.join(map(_attr, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, complex):
        return f"complex({value.real!r}, {value.imag!r})"
    return repr(value)


_CALLS: dict[str, Any] = {
    "Size": parse_size,
    "At": lambda i: At(parse_size(i)),
    "Range": lambda start, size, step: Range(parse_size(start), parse_size(size), step),
    "Pick": Pick,
    "Type": lambda dtype, *shape: Type(dtype, tuple(map(parse_size, shape))),
    "complex": complex,
}


def _evaluate(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id="inf" | "nan" as name):
            return math.inf if name == "inf" else math.nan
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_evaluate(operand)
        case ast.Tuple(elts=elements):
            return tuple(map(_evaluate, elements))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _CALLS:
            try:
                return _CALLS[name](*map(_evaluate, args))
            except TypeError:
                raise ValueError(f"not an attribute: {ast.unparse(node)}") from None
    raise ValueError(f"not an attribute: {ast.unparse(node)}")


_LINE = re.compile(
    r"^(?:(?P<outs>%[^\s,]+(?:, %[^\s,]+)*) = )?(?P<op>\w+)\((?P<ins>[^()]*)\)"
    r" \{(?P<attrs>.*)\} :(?P<types>[^{]*?)(?P<open> \{)?$"
)


def _split(text: str) -> list[str]:
    """Parts between commas outside brackets."""
    out, depth, start = [], 0, 0
    for n, c in enumerate(text):
        depth += (c in "([") - (c in ")]")
        if c == "," and depth == 0:
            out.append(text[start:n].strip())
            start = n + 1
    last = text[start:].strip()
    return [*out, last] if last else out


def _type(text: str) -> Type:
    dtype, _, shape = text.strip().partition("[")
    return Type(dtype, tuple(parse_size(s) for s in _split(shape.removesuffix("]"))))


def _value(text: str) -> Value:
    name, _, type = text.partition(": ")
    return Value(name.removeprefix("%"), _type(type))


def _refs(text: str) -> tuple[str, ...]:
    return tuple(n.strip().removeprefix("%") for n in text.split(",") if n.strip())


def _without_comment(line: str) -> str:
    end = line.find(" #", max(0, line.rfind("} :")))  # nothing before the types of a node is a comment
    return "" if line.lstrip().startswith("#") else line if end < 0 else line[:end].rstrip()


class _Lines:
    def __init__(self, text: str) -> None:
        self.lines = [x for x in map(_without_comment, text.splitlines()) if x.strip()]
        self.at = 0

    def peek(self) -> str:
        if self.at >= len(self.lines):
            raise ValueError("the text of the graph ends too early")
        return self.lines[self.at].strip()

    def take(self) -> str:
        line = self.peek()
        self.at += 1
        return line

    def nodes(self, stop: str) -> tuple[Node, ...]:
        out = []
        while not self.peek().startswith(stop):
            out.append(self.node())
        return tuple(out)

    def node(self) -> Node:
        line = self.take()
        found = _LINE.match(line)
        if not found:
            raise ValueError(f"not a node: {line}")
        try:
            call = ast.parse(f"f({found['attrs']})", mode="eval").body
        except SyntaxError:
            raise ValueError(f"not attributes: {found['attrs']}") from None
        assert isinstance(call, ast.Call)
        attrs = tuple((k.arg or "", _evaluate(k.value)) for k in call.keywords)
        types = [_type(t) for t in _split(found["types"])]
        outputs = tuple(Value(n, t) for n, t in zip(_refs(found["outs"] or ""), types, strict=True))
        regions = []
        while found["open"]:
            args = tuple(_value(v) for v in _split(self.take().removeprefix("(").removesuffix(")")))
            nodes = self.nodes("yield")
            regions.append(Region(args, nodes, _refs(self.take().removeprefix("yield"))))
            if self.take() == "}":
                break
        return Node(found["op"], _refs(found["ins"]), outputs, attrs, tuple(regions))


def parse_graph(text: str) -> Graph:
    """Read what :func:`print_graph` wrote. Raises ValueError."""
    lines = _Lines(text)
    head = lines.take()
    found = re.match(r"^graph ([^\s()]+)\((.*)\) \{$", head)
    if not found:
        raise ValueError(f"a graph starts with `graph NAME(inputs) {{`, not {head!r}")
    inputs = tuple(_value(v) for v in _split(found[2]))
    graph = Graph(found[1], inputs, lines.nodes("return"), _refs(lines.take().removeprefix("return")))
    if [lines.take(), *lines.lines[lines.at :]] != ["}"]:
        raise ValueError("a graph ends with `}` after what it returns")
    return graph
