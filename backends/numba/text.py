"""Indented lines of Python, as generated for numba."""

from __future__ import annotations

from ..text import Text


class PythonText(Text):
    """Collects lines of Python. A scope needs no block; names are unique in a function anyway."""

    def __init__(self, depth: int = 0) -> None:
        super().__init__(depth)
        self._open: list[tuple[int, str] | None] = []  # where each block began and its last line; None for a scope

    def line(self, text: str) -> None:
        """One line at the current depth."""
        self.lines.append(f"{'    ' * self.depth}{text}{self.mark}" if text else "")

    def comment(self, text: str) -> None:
        """A comment line."""
        self.line(f"# {text}")

    def open(self, head: str) -> None:
        """Start a block."""
        self._begin(head, "")

    def _begin(self, head: str, last: str) -> None:
        self.line(f"{head}:")
        self.depth += 1
        self._open.append((len(self.lines), last))

    def close(self, tail: str = "") -> None:
        """End a block."""
        begun = self._open.pop()
        if begun is None:
            return
        start, last = begun
        if last:
            self.line(last)
        elif len(self.lines) == start:
            self.line("pass")
        self.depth -= 1

    def scope(self) -> None:
        """Start a block of its own names."""
        self._open.append(None)

    def if_(self, condition: str) -> None:
        """Start what runs under a condition."""
        self._begin(f"if {condition}", "")

    def otherwise(self) -> None:
        """End the block of an ``if`` and start that of its ``else``."""
        self.close()
        self._begin("else", "")

    def count(self, variable: str, lower: str, upper: str, step: int = 1) -> None:
        """Start a loop over ``lower``, ``lower + step``, ... below ``upper``."""
        bounds = [lower, upper, str(step)] if step > 1 else [lower, upper] if lower != "0" else [upper]
        self._begin(f"for {variable} in range({', '.join(bounds)})", "")

    def advance(self, variable: str, upper: str, step: int) -> None:
        """Start a loop that moves a variable on while a whole step fits below ``upper``."""
        fits = f"{variable} + {step} <= {upper}" if step > 1 else f"{variable} < {upper}"
        self._begin(f"while {fits}", f"{variable} += {step}")

    def let(self, type: str, name: str, value: str) -> None:
        """A named value."""
        self.line(f"{name} = {value}")

    def variable(self, type: str, name: str, value: str) -> None:
        """A variable and its first value."""
        self.line(f"{name} = {value}")

    def assign(self, place: str, value: str) -> None:
        """``place = value``."""
        self.line(f"{place} = {value}")

    def add(self, place: str, value: str) -> None:
        """``place += value``."""
        self.line(f"{place} += {value}")

    def call(self, text: str) -> None:
        """A call for its effect."""
        self.line(text)

    def leave(self) -> None:
        """End the loop around."""
        self.line("break")

    def pass_over(self) -> None:
        """Go on with the next iteration."""
        self.line("continue")
