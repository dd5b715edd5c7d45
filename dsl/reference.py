"""``docs/reference.md``: every builtin and every graph op, from the two tables.

python -m unspool.dsl.reference > docs/reference.md
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from ..compiler.graph.ops.table import OPS, Op, lookup
from .builtins.all import BUILTINS, EXAMPLES, FAMILIES
from .operand import Builtin

_HEAD = """\
# Reference

Made from the tables of the compiler by `python -m unspool.dsl.reference > docs/reference.md`; do not edit.

## Builtins

What a builtin shares with NumPy in name it shares in meaning, else with PyTorch. In a signature `*sizes` stands for
any number of arguments, `name=value` for one that may be left out. Arguments after the first positional ones (`axis`,
`keepdims`, `dtype`, ...) go by keyword. Axes count those of one problem, never
those of a batch, and may be negative.
"""

_OPS_HEAD = """\
## Graph ops

What builtins and operators are made of; `dsl compile --emit graph` prints them. *Library* ops are called, all others become
loops. *Differentiable* ops have an adjoint in the table; loops, branches and `solve_cg` are differentiated through what is inside them; the
derivative of the others is zero.
"""


def reference() -> str:
    """The page."""
    lookup("add")  # loads the table
    parts = [_HEAD]
    order = {family: n for n, family in enumerate(FAMILIES)}
    rows = sorted(BUILTINS.values(), key=lambda row: order[row.family])
    for family, members in groupby(rows, key=lambda row: row.family):
        parts.append(f"### {family.capitalize()}\n")
        parts.append("\n".join(_entry(row) for row in members) + "\n")
    parts.append(_OPS_HEAD)
    by_family = sorted(OPS.values(), key=lambda op: op.family)
    for family, ops in groupby(by_family, key=lambda op: op.family):
        parts.append(f"### {family.capitalize()} ops\n")
        parts.append(_table(ops))
    return "\n".join(parts)


def _entry(row: Builtin) -> str:
    example = EXAMPLES[row.name]
    shown = f" For example `{example}`." if example != row.signature else ""
    return f"- **`{row.signature}`** {row.doc}{shown}"


def _table(ops: Iterable[Op]) -> str:
    lines = ["| op | what it computes | kind |", "| --- | --- | --- |"]
    for op in ops:
        kinds = [word for word, holds in (("differentiable", op.adjoint is not None), ("library", op.library)) if holds]
        lines.append(f"| `{op.name}` | {op.doc.replace('|', chr(92) + '|')} | {', '.join(kinds)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the page."""
    print(reference(), end="")


if __name__ == "__main__":
    main()
