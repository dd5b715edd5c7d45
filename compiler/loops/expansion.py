"""The table of expansions: how each op of the graph becomes expressions and statements.

A rule takes the lowering and a node and binds the node's outputs. An op without a rule is a library call and stays with the host.
The rules are in :mod:`.expand` (values), :mod:`.expand_reduce` (sums and contractions) and :mod:`.expand_control`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..graph.graph import Node

if TYPE_CHECKING:
    from .lower import Lowering

Rule = Callable[["Lowering", Node], None]
EXPANSIONS: dict[str, Rule] = {}


def expansion(*ops: str) -> Callable[[Rule], Rule]:
    """Register a rule for ops."""

    def add(rule: Rule) -> Rule:
        EXPANSIONS.update(dict.fromkeys(ops, rule))
        return rule

    return add
