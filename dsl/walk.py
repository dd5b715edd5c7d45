"""Walking the syntax tree: the nodes inside a node, and the names that statements change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields, replace
from typing import Any

from ..compiler.diagnostics import Span
from .syntax import Assign, Augment, Expr, For, If, Index, Name, Node, Statement

#: The names of the fields of each kind of node.
_FIELDS: dict[type[Node], tuple[str, ...]] = {}


def children(node: Node) -> Iterator[Node]:
    """The nodes directly inside a node, in the order of the fields."""
    kind = type(node)
    if kind not in _FIELDS:
        _FIELDS[kind] = tuple(f.name for f in fields(kind))
    for name in _FIELDS[kind]:
        value = getattr(node, name)
        if isinstance(value, Node):
            yield value
        elif isinstance(value, tuple):
            yield from (v for v in value if isinstance(v, Node))


def descend(node: Node) -> Iterator[Node]:
    """The node and all nodes inside it, outer ones first; does not recurse."""
    stack = [node]
    while stack:
        top = stack.pop()
        yield top
        stack.extend(reversed(list(children(top))))


def assigned_names(statements: Iterable[Statement]) -> dict[str, Span]:
    """Names that statements bind or update, those in inner blocks too, with the place where they first do."""
    found: dict[str, Span] = {}
    for statement in statements:
        match statement:
            case Assign(targets=targets):
                for target in targets:
                    name = base_name(target)
                    if name is not None:
                        found.setdefault(name.text, name.span)
            case Augment(target=target):
                name = base_name(target)
                if name is not None:
                    found.setdefault(name.text, name.span)
            case For(body=body):
                for text, span in assigned_names(body).items():
                    found.setdefault(text, span)
            case If(branches=branches, orelse=orelse):
                for inner in (*(b.body for b in branches), orelse):
                    for text, span in assigned_names(inner).items():
                        found.setdefault(text, span)
    return found


def base_name(target: Expr) -> Name | None:
    """The name that an assignment changes: ``A`` of ``A[i, j]``."""
    while isinstance(target, Index):
        target = target.value
    return target if isinstance(target, Name) else None


def exchanged(tree: Any, old: Node, new: Node) -> Any:
    """A tree with one of its nodes exchanged, found by identity."""
    if tree is old:
        return new
    if isinstance(tree, tuple):
        return tuple(exchanged(item, old, new) for item in tree)
    if not isinstance(tree, Node):
        return tree
    inner = {f.name: getattr(tree, f.name) for f in fields(tree)}
    return replace(
        tree, **{name: exchanged(value, old, new) for name, value in inner.items() if isinstance(value, (Node, tuple))}
    )
