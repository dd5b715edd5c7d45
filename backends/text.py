"""Indented lines of generated source, and the statements that all target languages have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

#: What stands before the names of statements at the end of a line that is printed for them, where lines are marked.
MARK = "\x1f"
_marking: ContextVar[bool] = ContextVar("marking", default=False)


@contextmanager
def marking() -> Iterator[None]:
    """What is printed inside of the ``with`` block has at the end of its lines what they are printed for (see :meth:`Text.of`)."""
    token = _marking.set(True)
    try:
        yield
    finally:
        _marking.reset(token)


class Text:
    """Collects lines of C; blocks open and close around what is written between. Other languages override the statements."""

    def __init__(self, depth: int = 0) -> None:
        self.lines: list[str] = []
        self.depth = depth
        self.mark = ""

    def line(self, text: str) -> None:
        """One line at the current depth (preprocessor lines stay at it too)."""
        self.lines.append(f"{'  ' * self.depth}{text}{self.mark}" if text else "")

    @contextmanager
    def of(self, statements: Iterable[str]) -> Iterator[None]:
        """Print for some statements: lines say so if :func:`marking`."""
        before = self.mark
        if _marking.get():
            self.mark = MARK + " ".join(statements)
        yield
        self.mark = before

    def comment(self, text: str) -> None:
        """A comment line."""
        self.line(f"// {text}")

    # -- blocks ------------------------------------------------------------------------------------------------------

    def open(self, head: str) -> None:
        """Start a block; ``head`` may be empty."""
        self.line(f"{head} {{" if head else "{")
        self.depth += 1

    def close(self, tail: str = "") -> None:
        """End a block."""
        self.depth -= 1
        self.line("}" + tail)

    def scope(self) -> None:
        """Start a block of its own names."""
        self.open("")

    def if_(self, condition: str) -> None:
        """Start what runs under a condition."""
        self.open(f"if ({condition})")

    def otherwise(self) -> None:
        """End the block of an ``if`` and start that of its ``else``."""
        self.depth -= 1
        self.open("} else")

    def count(self, variable: str, lower: str, upper: str, step: int = 1) -> None:
        """Start a loop over ``lower``, ``lower + step``, ... below ``upper``."""
        move = f"{variable} += {step}" if step > 1 else f"{variable}++"
        self.open(f"for (int64_t {variable} = {lower}; {variable} < {upper}; {move})")

    def advance(self, variable: str, upper: str, step: int) -> None:
        """Start a loop that moves a variable on while a whole step fits below ``upper``."""
        move = f"{variable} += {step}" if step > 1 else f"{variable}++"
        fits = f"{variable} + {step} <= {upper}" if step > 1 else f"{variable} < {upper}"
        self.open(f"for (; {fits}; {move})")

    # -- statements --------------------------------------------------------------------------------------------------

    def let(self, type: str, name: str, value: str) -> None:
        """A named value."""
        self.line(f"const {type} {name} = {value};")

    def variable(self, type: str, name: str, value: str) -> None:
        """A variable and its first value."""
        self.line(f"{type} {name} = {value};")

    def assign(self, place: str, value: str) -> None:
        """``place = value``."""
        self.line(f"{place} = {value};")

    def add(self, place: str, value: str) -> None:
        """``place += value``."""
        self.line(f"{place} += {value};")

    def call(self, text: str) -> None:
        """A call for its effect."""
        self.line(f"{text};")

    def leave(self) -> None:
        """End the loop around."""
        self.line("break;")

    def pass_over(self) -> None:
        """Go on with the next iteration."""
        self.line("continue;")

    def __str__(self) -> str:
        return "".join(line + "\n" for line in self.lines)
