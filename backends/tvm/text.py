"""Indented lines of TVMScript, as generated for TVM."""

from __future__ import annotations

from ..numba_text import PythonText

#: What stands for the type of a complex value: two values, not one.
PAIR = "pair"


class ScriptText(PythonText):
    """Collects lines of TVMScript. ``for`` counts in 64 bits."""

    def count(self, variable: str, lower: str, upper: str, step: int = 1) -> None:
        """Start a loop over ``lower``, ``lower + step``, ... below ``upper``."""
        bounds = [lower, upper, str(step)] if step > 1 else [lower, upper]
        self._begin(f"for {variable} in us_range({', '.join(bounds)})", "")

    def let(self, type: str, name: str, value: str) -> None:
        """A named value."""
        self.line(f"{name} = us_{type or 'value'}({value})")

    def close(self, tail: str = "") -> None:
        """End a block."""
        begun = self._open[-1]
        if begun is not None and len(self.lines) == begun[0]:
            self.line("T.evaluate(0)")
        super().close(tail)
