"""A product as a person would write it: ``A.T @ A`` for ``einsum(%A, %A) {spec='ab,ac->bc'}``."""

from __future__ import annotations

from collections.abc import Mapping

from ..graph import Node
from ..ops.contract import split_spec

#: Ops nested deeper than this are written by the name of their value.
DEPTH = 3


def phrase(name: str, producers: Mapping[str, Node], depth: int = DEPTH) -> str:
    """A value by the names of the program, as far as they are few."""
    node = producers.get(name)
    if node is None or not depth or not (name[:1].isdigit() or name.startswith("product")):
        return name
    parts = [phrase(n, producers, depth - 1) for n in node.inputs]
    if node.op == "permute" and node.attr("axes") == (-1, -2):
        return _transposed(parts[0])
    if node.op == "einsum" and len(parts) == 2:
        return _product(node, parts)
    if node.op == "reshape":
        return parts[0]
    known = {"mul": " * ", "div": " / ", "add": " + ", "sub": " - "}
    return f"({known[node.op].join(parts)})" if node.op in known else name if node.op != "const" else f"{node.attr('value'):g}"


def _transposed(text: str) -> str:
    return text[:-2] if text.endswith(".T") else f"{text}.T" if text.isidentifier() else f"({text}).T"


def _product(node: Node, parts: list[str]) -> str:
    spec = node.attr("spec")
    (a, b), out = split_spec(spec)
    summed = [c for c in dict.fromkeys(a + b) if c not in out]
    left, right = parts
    if len(summed) == 1 and max(len(a), len(b)) <= 2 and len(out) == len(a) + len(b) - 2 and summed[0] in a and summed[0] in b:
        if out and out[0] in b:
            (a, b), (left, right) = (b, a), (right, left)
        left = _transposed(left) if len(a) == 2 and a[0] == summed[0] else left
        right = _transposed(right) if len(b) == 2 and b[1] == summed[0] else right
        left, right = (f"({t})" if "@" in t and not t.startswith("(") else t for t in (left, right))
        return f"{left} @ {right}"
    return f"einsum('{spec}', {left}, {right})"
