"""Which statements of a nest the lines of a source are printed for.

    for (int64_t c0 = 0; c0 < 500; c0++) {        S7 S9
      r[c0] = 0;                                  S7
      x[c0] = r[c0] * 2;                          S9
    }                                             S7 S9

Targets that take graphs print for no statement.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..compiler.driver import Compiled
from .base_target import TreeTarget
from .text import MARK, marking


@dataclass(frozen=True)
class Line:
    """A line of a source and the statements it is printed for, each as (function, statement): a batch tile is a function of its own. ``inside``:
    they are those of the lines within the block that it opens or closes."""

    text: str
    statements: tuple[tuple[str, str], ...]
    inside: bool = False


def lines_of(compiled: Compiled) -> list[Line]:
    """The source of a kernel, line by line."""
    target = compiled.target
    if compiled.problem is not None or not isinstance(target, TreeTarget):
        return [Line(text, ()) for text in compiled.source.splitlines()]
    with marking():
        marked = target.source(compiled.tree).text
    parts = [line.partition(MARK) for line in marked.splitlines()]
    if [text for text, _, _ in parts] != compiled.source.splitlines():  # an edited dump is not what is printed
        return [Line(text, ()) for text in compiled.source.splitlines()]
    found = [Line(text, tuple(_pair(word) for word in names.split())) for text, _, names in parts]
    return _with_blocks(found)


def _pair(word: str) -> tuple[str, str]:
    function, _, statement = word.rpartition(":")
    return function, statement


@dataclass
class _Block:
    depth: int
    line: int
    inside: dict[tuple[str, str], None]


def _with_blocks(lines: list[Line]) -> list[Line]:
    """Lines that are printed for no statement themselves get those of the block that they open or close, as the indentation says."""
    out = list(lines)
    around: list[_Block] = []

    def leave() -> None:
        block = around.pop()
        own = lines[block.line].statements
        if block.inside and not own:
            out[block.line] = Line(lines[block.line].text, tuple(block.inside), True)
        if around:
            around[-1].inside.update(dict.fromkeys([*own, *block.inside]))

    for n, line in enumerate(lines):
        text = line.text.lstrip()
        if not text:
            continue
        depth = len(line.text) - len(text)
        while around and around[-1].depth > depth:
            leave()
        closed: dict[tuple[str, str], None] = {}
        if around and around[-1].depth == depth:
            closed = around[-1].inside if text.startswith("}") else {}
            leave()
        around.append(_Block(depth, n, dict(closed)))
    while around:
        leave()
    return out
