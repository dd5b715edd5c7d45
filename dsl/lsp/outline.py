"""The definitions of a file, and what algorithms declare, as a tree."""

from __future__ import annotations

from lsprotocol import types as lsp

from .. import syntax as s
from .analysis import Analysis
from .hover import head_of, written
from .text import Text

_KINDS: dict[type[s.Node], lsp.SymbolKind] = {
    s.InputDecl: lsp.SymbolKind.Variable,
    s.Iterations: lsp.SymbolKind.Constant,
    s.ParamDecl: lsp.SymbolKind.Property,
    s.ModuleDecl: lsp.SymbolKind.Interface,
    s.Objective: lsp.SymbolKind.Function,
}


def outline(found: Analysis, text: Text) -> list[lsp.DocumentSymbol]:
    """The symbols of a file, in order."""
    items = [item for item in found.program.items if not isinstance(item, s.Use)]
    starts = [item.span.line for item in found.program.items] + [found.source.text.count("\n") + 2]
    return [_definition(found, text, item, next(n for n in starts if n > item.span.line)) for item in items]


def _definition(found: Analysis, text: Text, item: s.Fn | s.AlgorithmDecl, end: int) -> lsp.DocumentSymbol:
    last = next((n for n in range(end - 1, item.span.line, -1) if found.source.line(n)[:1].isspace() and found.source.line(n).strip()), item.span.line)
    whole = lsp.Range(text.position(item.span.line, item.span.column), text.position(last, len(found.source.line(last)) + 1))
    inner: list[lsp.DocumentSymbol] = []
    if isinstance(item, s.AlgorithmDecl):
        for node in (*item.inputs, *(n for n in item.body if isinstance(n, s.DECLARATIONS))):
            shown = lsp.Range(text.position(node.span.line, node.span.column), text.range(node.span).end)
            name = text.range(node.name.span)
            if (shown.end.line, shown.end.character) < (name.end.line, name.end.character):
                shown = lsp.Range(shown.start, name.end)
            inner.append(lsp.DocumentSymbol(node.name.text, _KINDS[type(node)], shown, name, detail=written(node.span)))
    kind = lsp.SymbolKind.Function if isinstance(item, s.Fn) else lsp.SymbolKind.Class
    return lsp.DocumentSymbol(item.name.text, kind, whole, text.range(item.name.span), detail=head_of(item), children=inner)
