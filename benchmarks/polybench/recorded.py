"""Times of tools that are not here: their ratio to gcc in ``recorded.tsv``, times gcc's time of this run."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

from unspool.dsl.timing import Timing

FILE = Path(__file__).parent / "recorded.tsv"
#: The tools of the file and their headings.
TOOLS = {"pluto": "Pluto", "graphite": "Graphite"}


@cache
def ratios() -> dict[str, dict[str, float]]:
    """Per kernel and tool, its time over gcc's."""
    lines = [line for line in FILE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return {row["kernel"]: {tool: float(row[tool]) for tool in TOOLS} for row in csv.DictReader(lines, delimiter="\t")}


def timing(kernel: str, tool: str, gcc: Timing) -> Timing:
    """What the tool would need here. Raises KeyError for a kernel or a tool that was not recorded."""
    factor = ratios()[kernel][tool]
    return Timing(gcc.median * factor, gcc.minimum * factor, 0, 0)
