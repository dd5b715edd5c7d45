"""What can be learned of an algorithm, in words: a row for each parameter and learned operator."""

from __future__ import annotations

from ..compiler.graph.algorithm import Algorithm, Constraint, Param

#: What a parameter starts from where the program does not say.
_STARTS = {"free": "0", "nonneg": "0", "positive": "1", "unit": "1/2", "interval": "the middle", "simplex": "uniform"}


def parameter_rows(algorithm: Algorithm) -> list[tuple[str, str, str, str]]:
    """Name, type, constraint, and what it starts from."""
    rows = [(p.name, str(p.type), _constraint(p.constraint), _start(p)) for p in algorithm.params]
    for m in algorithm.modules:
        shown = f"({', '.join(map(str, m.arguments))}) -> {', '.join(map(str, m.results))}"
        rows.append((f"{m.name}{'' if m.count is None else f'[{m.count}]'}", shown, "a learned operator", "comes from Python"))
    return rows


def _constraint(c: Constraint) -> str:
    return f"in [{c.lower:g}, {c.upper:g}]" if c.kind == "interval" else c.kind


def _start(p: Param) -> str:
    if p.init is None:
        return f"starts at {_STARTS[p.constraint.kind]}"
    inputs = ", ".join(v.name for v in p.init.inputs)
    line = "" if p.span is None else p.span.source.line(p.span.line).partition("=")[2].strip()
    return f"starts at {line}" if line else f"starts from {inputs}" if inputs else "starts at a constant"
