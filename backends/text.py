"""Indented lines of C."""

from __future__ import annotations


class Text:
    """Collects lines; blocks open and close around what is written between."""

    def __init__(self, depth: int = 0) -> None:
        self.lines: list[str] = []
        self.depth = depth

    def line(self, text: str) -> None:
        """One line at the current depth (preprocessor lines stay at it too)."""
        self.lines.append("  " * self.depth + text if text else "")

    def open(self, head: str) -> None:
        """Start a block; ``head`` may be empty."""
        self.line(f"{head} {{" if head else "{")
        self.depth += 1

    def close(self, tail: str = "") -> None:
        """End a block."""
        self.depth -= 1
        self.line("}" + tail)

    def __str__(self) -> str:
        return "".join(line + "\n" for line in self.lines)
