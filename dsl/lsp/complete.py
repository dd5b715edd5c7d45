"""What may be typed next: names in scope, builtins, keywords, types, files; and the parameters of the call that is being written."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from lsprotocol import types as lsp

from ...compiler.diagnostics import Source
from .. import syntax as s
from ..builtins.all import BUILTINS, builtin_named
from ..operand import BuiltinError, ModuleOperand, Operand, StructOperand
from ..uses import STDLIB, FileScope
from .analysis import Analysis
from .hover import about, head
from .names import Symbol
from .types import type_text
from .vocabulary import ATTRIBUTES, CONSTRAINTS, KEYWORDS, TYPES
from .words import OpenCall, call_at

_KINDS = {
    "fn": lsp.CompletionItemKind.Function,
    "algorithm": lsp.CompletionItemKind.Class,
    "file": lsp.CompletionItemKind.Module,
    "param": lsp.CompletionItemKind.Property,
    "module": lsp.CompletionItemKind.Interface,
    "size": lsp.CompletionItemKind.Constant,
    "iterations": lsp.CompletionItemKind.Constant,
    "objective": lsp.CompletionItemKind.Function,
}
_TOP = ("use", "fn", "algorithm")
_STATEMENTS = ("for", "if", "elif", "else", "return", "assert", "iterations", "param", "module", "objective")
_INSIDE = ("and", "or", "not", "for", "in", "by", "until", "where", "True", "False", "None")
#: Signatures are Python's notation: the parameters of ``softmax(x, axis=)``.
_PARAMETER = re.compile(r"[(,]\s*(\*?[^\W\d]\w*)")


def completions(found: Analysis, folder: Path | None, line: int, column: int) -> list[lsp.CompletionItem]:
    """What fits at a place; the editor narrows it down to what was typed."""
    before = found.source.line(line)[: column - 1]
    if _in_text(before):
        return [] if re.match(r"use\b", before) is None else [_item(name, lsp.CompletionItemKind.File) for name in _beside(folder, found.source)]
    typed = re.search(r"[^\W\d]?\w*$", before)
    assert typed is not None
    head_ = before[: typed.start()]
    if used := re.match(r"use\s+(?P<file>\"[^\"]*\"|'[^']*'|\w+)\s*:", head_):
        return _offered(found, used["file"], folder)
    if re.match(r"use\s+$", head_):
        return [_item(name, lsp.CompletionItemKind.Module, detail="standard library") for name in stdlib_files()]
    if owner := re.search(r"([^\W\d]\w*)((?:\[[^\[\]]*\]|\([^()]*\))*)\.$", head_):
        return list(_members(found, owner[1], owner[2], line, column))
    if not head_.strip():
        words = _TOP if not head_ else _STATEMENTS
        return [*_words(words, KEYWORDS), *(_values(found, line, column) if head_ else ())]
    if re.match(r"\s*param\b[^:=]*:\s*$", head_):
        return _words(CONSTRAINTS, CONSTRAINTS, lsp.CompletionItemKind.EnumMember)
    if _wants_type(head_):
        return _words(TYPES, TYPES, lsp.CompletionItemKind.TypeParameter)
    start = found.source.text.split("\n")[max(line - 40, 0) : line - 1]
    call = call_at("\n".join([*start, before]))
    return [*(_keywords(found, call, line, column) if call else ()), *_values(found, line, column), *_words(_INSIDE, KEYWORDS)]


def signature(found: Analysis, line: int, column: int) -> lsp.SignatureHelp | None:
    """The call that is being written at a place, and which of its parameters."""
    start = found.source.text.split("\n")[max(line - 40, 0) : line - 1]
    call = call_at("\n".join([*start, found.source.line(line)[: column - 1]]))
    shown = _signature(found, call, line, column) if call else None
    if call is None or shown is None:
        return None
    label, doc, names = shown
    at = names.index(call.keyword) if call.keyword in names else call.place
    if names and at >= len(names) and names[-1].startswith("*"):
        at = len(names) - 1
    parameters = [lsp.ParameterInformation(name) for name in names]
    information = lsp.SignatureInformation(label, lsp.MarkupContent(lsp.MarkupKind.Markdown, doc) if doc else None, parameters)
    return lsp.SignatureHelp([information], 0, at if at < len(names) else None)


def _signature(found: Analysis, call: OpenCall, line: int, column: int) -> tuple[str, str, list[str]] | None:
    """How what is called is written, what it does, and its parameters."""
    symbol = _called(found, call.name, line, column)
    if symbol is not None and isinstance(symbol.node, s.Fn):
        return head(symbol), "", [p.text for p in symbol.node.parameters]
    if symbol is not None and isinstance(symbol.node, s.AlgorithmDecl):
        return head(symbol), "", [i.name.text for i in symbol.node.inputs]
    row = builtin_named(call.name) if symbol is None else None
    if row is None:
        return None
    return row.signature, row.doc, _PARAMETER.findall(row.signature)


def _called(found: Analysis, name: str, line: int, column: int) -> Symbol | None:
    file, dot, inner = name.partition(".")
    symbol = found.names.visible(line, column).get(file)
    if dot and symbol is not None and file in found.scope.files:
        return found.names.inside(found.scope.files[file]).get(inner)
    return None if dot else symbol


def _keywords(found: Analysis, call: OpenCall, line: int, column: int) -> Iterator[lsp.CompletionItem]:
    """``axis=`` and the like, which are not given yet."""
    shown = _signature(found, call, line, column)
    for name in shown[2] if shown is not None and call.keyword is None else []:
        if not name.startswith("*") and name not in call.given:
            yield _item(f"{name}=", lsp.CompletionItemKind.Field, detail=shown[0] if shown else "", first="0")


def _values(found: Analysis, line: int, column: int) -> Iterator[lsp.CompletionItem]:
    """Names in scope, then builtins."""
    visible = found.names.visible(line, column)
    for name, symbol in visible.items():
        kind = _KINDS.get(symbol.kind, lsp.CompletionItemKind.Variable)
        if symbol.kind in ("fn", "algorithm"):
            detail = head(symbol)
        else:
            detail = found.types.text(symbol.span) or symbol.kind
        yield _item(name, kind, detail=detail, doc=about(found, symbol), first="1" if symbol.kind not in ("fn", "algorithm", "file") else "2")
    for name, row in BUILTINS.items():
        if name not in visible:
            yield _item(name, lsp.CompletionItemKind.Function, detail=row.signature, doc=row.doc, first="3")


def _members(found: Analysis, name: str, behind: str, line: int, column: int) -> Iterator[lsp.CompletionItem]:
    """What goes behind a point: definitions of a file, fields of a result, or ``T``, ``H``, ``weights``."""
    symbol = found.names.visible(line, column).get(name)
    if symbol is not None and symbol.kind == "file" and name in found.scope.files and not behind:
        for inner in found.names.inside(found.scope.files[name]).values():
            yield _item(inner.name, _KINDS[inner.kind], detail=head(inner), doc=about(found, inner))
        return
    operands: list[Operand] = found.types.at(symbol.span) if symbol is not None else []
    fields = operands[0].fields if operands and isinstance(operands[0], StructOperand) else {}
    if name == "topk" and symbol is None:
        fields = {"values": BuiltinError(""), "indices": BuiltinError(""), "mask": BuiltinError("")}
    for field, value in fields.items():
        yield _item(field, lsp.CompletionItemKind.Field, detail="" if isinstance(value, BuiltinError) else type_text(value))
    if not fields:
        module = bool(operands) and isinstance(operands[0], ModuleOperand) and (not behind or behind.startswith("["))
        for attribute in ("weights",) if module else ("T", "H"):
            yield _item(attribute, lsp.CompletionItemKind.Property, doc=ATTRIBUTES[attribute])


# -- files ---------------------------------------------------------------------------------------------------------


def stdlib_files() -> list[str]:
    """The files of the standard library, as ``use`` names them."""
    return sorted(path.stem for path in STDLIB.glob("*.us"))


def _beside(folder: Path | None, source: Source) -> list[str]:
    """Programs beside this one, and in folders beside it."""
    if folder is None:
        return []
    own = Path(source.name).name
    return sorted([p.name for p in folder.glob("*.us") if p.name != own] + [f"{p.parent.name}/{p.name}" for p in folder.glob("[!.]*/*.us")])


def _offered(found: Analysis, file: str, folder: Path | None) -> list[lsp.CompletionItem]:
    """What a file in use defines."""
    from ...compiler.diagnostics import ProgramError
    from ..recover import recover
    from ..uses import read_source

    path = STDLIB / f"{file}.us" if file[0] not in "\"'" else (folder or STDLIB) / file[1:-1]
    try:
        source = read_source(path)
    except ProgramError:  # the diagnostics say so
        return []
    scope = FileScope(source, recover(source).program, [])
    return [_item(symbol.name, _KINDS[symbol.kind], detail=head(symbol), doc=about(found, symbol)) for symbol in found.names.inside(scope).values()]


# -- items ---------------------------------------------------------------------------------------------------------


def _wants_type(before: str) -> bool:
    """Whether a type comes next: behind the colon of an input or a local, behind an arrow, in a cast."""
    declared = re.search(r"(:|->|->\s*\([^()]*)\s*$", before) and not re.match(r"\s*(for|if|elif|else)\b", before)
    return bool(declared or re.search(r"cast\([^()]*,\s*$", before))


def _in_text(before: str) -> bool:
    """Whether the place is in a string or a comment."""
    rest = re.sub(r"\"[^\"]*\"|'[^']*'", "", before)
    return any(mark in rest for mark in "\"'#")


def _words(
    words: Mapping[str, str] | tuple[str, ...], docs: Mapping[str, str], kind: lsp.CompletionItemKind = lsp.CompletionItemKind.Keyword
) -> list[lsp.CompletionItem]:
    return [_item(word, kind, doc=docs[word], first="4") for word in words]


def _item(label: str, kind: lsp.CompletionItemKind, *, detail: str = "", doc: str = "", first: str = "2") -> lsp.CompletionItem:
    shown = lsp.MarkupContent(lsp.MarkupKind.Markdown, doc) if doc else None
    return lsp.CompletionItem(label, kind=kind, detail=detail or None, documentation=shown, sort_text=f"{first}{label}")


