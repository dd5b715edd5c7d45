"""What stands at a place: its declaration, its type and shape, what is written about it."""

from __future__ import annotations

from lsprotocol.types import Hover, MarkupContent, MarkupKind

from ...compiler.diagnostics import Span
from .. import syntax as s
from ..builtins.all import builtin_named
from .analysis import Analysis
from .names import Symbol
from .text import Text
from .vocabulary import ATTRIBUTES, CONSTRAINTS, KEYWORDS, TYPES
from .words import word_at

#: Characters of an expression that are shown.
_LONG = 200


def hover(found: Analysis, text: Text, line: int, column: int) -> Hover | None:
    """What to show at a place; None for blanks and comments."""
    use = found.names.at(line, column)
    if use is not None:
        span, symbol = use
        return _shown(text, span, [about(found, symbol, span)])
    word = word_at(found.source, line, column)
    nodes = [n for n in found.enclosing(line, column) if isinstance(n, s.Expr)]
    if word is not None:
        name = found.source.line(line)[word.column - 1 : word.end_column - 1]
        said = _word(found, name, word, nodes)
        if said:
            return _shown(text, word, said)
    for node in reversed(nodes):
        type = found.types.text(node.span)
        if type and not isinstance(node, (s.String, s.NoneLiteral)):
            return _shown(text, node.span, [code(f"{bare(written(node.span))}: {type}")])
    return None


def _word(found: Analysis, name: str, span: Span, nodes: list[s.Expr]) -> list[str]:
    """A builtin with what it gives here, a keyword, a type, a constraint, an attribute."""
    row = builtin_named(name)
    call = next((n for n in reversed(nodes) if isinstance(n, s.Call) and n.function.span == span), None)
    if row is not None and (call is not None or name not in KEYWORDS):
        return [code(row.signature), row.doc, *_gives(found, call)]
    attribute = next((n for n in reversed(nodes) if isinstance(n, s.Attribute) and n.name.span == span), None)
    if attribute is not None:
        type = found.types.text(attribute.span)
        return [code(f"{written(attribute.span)}: {type}")] * bool(type) + [ATTRIBUTES[name]] * (name in ATTRIBUTES)
    for words in (KEYWORDS, TYPES, CONSTRAINTS):
        if name in words:
            return [f"`{name}`: {words[name]}"]
    return []


def about(found: Analysis, symbol: Symbol, span: Span | None = None) -> str:
    """A symbol in Markdown; ``span`` is where it is used."""
    type = found.types.text(span) if span is not None else ""
    type = type or found.types.text(symbol.span)
    node = symbol.node
    match symbol.kind:
        case "fn" | "algorithm":
            call = _call_of(found, span) if span is not None else None
            return "\n\n".join([code(head(symbol)), *_comment(node.span), *_gives(found, call)])
        case "file":
            return "\n\n".join([f"`{symbol.name}`: {symbol.span.source.name}", *_first_comment(symbol)])
        case "input":
            return code(written(node.span)) + _type(found, symbol, written(node.span).partition(":")[2].strip(), type)
        case "param" | "module" | "iterations":
            return "\n\n".join([code(written(node.span)), *_iteration(found, symbol, type)])
        case "objective":
            return "\n\n".join([code(written(node.span)), KEYWORDS["objective"]])
        case "index":
            return code(f"for {written(node.span)}")
        case "size":
            return code(f"size {symbol.name}") + f"\n\nbound by `{written(node.span)}`"
        case "parameter" if isinstance(node, s.Fn):
            return code(f"{symbol.name}: {type}" if type else symbol.name) + f"\n\nparameter of `{head_of(node)}`" + ("" if type else UNKNOWN)
    return code(f"{symbol.name}: {type}" if type else symbol.name)


#: What is said of a function that nothing in the file uses.
UNKNOWN = ", which is typed where it is used: nothing in this file uses it"


def head(symbol: Symbol) -> str:
    """How a function or algorithm is written down, without its body."""
    assert isinstance(symbol.node, (s.Fn, s.AlgorithmDecl))
    return head_of(symbol.node)


def head_of(node: s.Fn | s.AlgorithmDecl) -> str:
    """See :func:`head`."""
    if isinstance(node, s.Fn):
        return f"fn {node.name.text}({', '.join(p.text for p in node.parameters)})"
    inputs = ", ".join(written(i.span) for i in node.inputs)
    results = ", ".join(written(t.span) for t in node.results)
    where = f" where {', '.join(written(c.span) for c in node.where)}" if node.where else ""
    return f"algorithm {node.name.text}({inputs}) -> {f'({results})' if len(node.results) > 1 else results}{where}"


def written(span: Span) -> str:
    """The text of a span in one line, cut where it is long."""
    if span.line == span.end_line:
        text = span.source.line(span.line)[span.column - 1 : span.end_column - 1]
    else:
        lines = [span.source.line(span.line)[span.column - 1 :], *(span.source.line(n) for n in range(span.line + 1, span.end_line))]
        text = " ".join(line.strip() for line in [*lines, span.source.line(span.end_line)[: span.end_column - 1]])
    return text if len(text) <= _LONG else text[: _LONG - 4] + " ..."


def bare(text: str) -> str:
    """An expression without the parentheses around all of it, which belong to its place; those of a tuple stay."""
    depth = 0
    for n, character in enumerate(text):
        depth += (character in "([") - (character in ")]")
        if depth == 0 and n + 1 < len(text):
            return text  # the first bracket ends before
        if depth == 1 and character == ",":
            return text
    return text[1:-1] if text.startswith("(") and text.endswith(")") else text


def code(text: str) -> str:
    """A block of code of the language."""
    return f"```us\n{text}\n```"


def _shown(text: Text, span: Span, parts: list[str]) -> Hover:
    return Hover(MarkupContent(MarkupKind.Markdown, "\n\n".join(parts)), text.range(span))


def _type(found: Analysis, symbol: Symbol, declared: str, type: str) -> str:
    return f"\n\n`{type}` here" if type and type != declared else ""


def _gives(found: Analysis, call: s.Call | None) -> list[str]:
    """What a call is given and gives."""
    type = found.types.text(call.span) if call is not None else ""
    if call is None or not type:
        return []
    arguments = ", ".join(found.types.text(a.value.span) or written(a.value.span) for a in call.arguments if a.name is None)
    return [f"here `({arguments}) -> {type}`"]


def _call_of(found: Analysis, span: Span) -> s.Call | None:
    """The call of a name at a span."""
    nodes = found.enclosing(span.line, span.column)
    return next((n for n in reversed(nodes) if isinstance(n, s.Call) and _last(n.function) == span), None)


def _last(function: s.Expr) -> Span:
    return function.name.span if isinstance(function, s.Attribute) else function.span


def _iteration(found: Analysis, symbol: Symbol, type: str) -> list[str]:
    """The type of a parameter or module, and whether it is one for each iteration."""
    if symbol.kind == "iterations":
        return ["an iteration count, which the caller may set"]
    node = symbol.node
    counts = {n.name.text for item in found.program.items if isinstance(item, s.AlgorithmDecl) for n in item.body if isinstance(n, s.Iterations)}
    first = node.sizes[0] if isinstance(node, s.ParamDecl) and node.sizes else node.count if isinstance(node, s.ModuleDecl) else None
    each = f", one for each of the {first.text} iterations" if isinstance(first, s.Name) and first.text in counts else ""
    return [f"`{type}`{each}"] if type else []


def _comment(span: Span) -> list[str]:
    """The lines of comment right above a definition, as text."""
    lines: list[str] = []
    for n in range(span.line - 1, 0, -1):
        line = span.source.line(n)
        if not line.startswith("#"):
            break
        lines.insert(0, line)
    return _prose(lines)


def _first_comment(symbol: Symbol) -> list[str]:
    """What a file says of itself: its first lines of comment."""
    lines = []
    for n in range(1, symbol.span.source.text.count("\n") + 2):
        line = symbol.span.source.line(n)
        if not line.startswith("#"):
            break
        lines.append(line)
    return _prose(lines)


def _prose(lines: list[str]) -> list[str]:
    """Comments in Markdown: indented lines, which are formulas, stay as they are."""
    text = [line.lstrip("#").removeprefix(" ").rstrip() for line in lines]
    paragraphs: list[str] = []
    formula: list[str] = []
    for line in [*text, ""]:
        if line.startswith(" "):
            formula.append(line.removeprefix("  "))
            continue
        if formula:
            paragraphs.append("```text\n" + "\n".join(formula) + "\n```")
            formula = []
        paragraphs.append(line)
    joined = "\n".join(paragraphs).strip()
    return [joined] if joined else []
