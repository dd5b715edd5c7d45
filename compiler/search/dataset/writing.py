"""A program of the language in the making: declarations, statements, sizes that make up a number of points, expressions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

_NAMES = "nmpq"


@dataclass
class Text:
    """A program in the making."""

    random: Random
    work: float
    sizes: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    inputs: list[str] = field(default_factory=list)
    head: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    results: list[tuple[str, str]] = field(default_factory=list)  # name and type
    names: int = 0
    depth: int = 0

    def source(self, name: str) -> str:
        """The text of the program."""
        types = ", ".join(t for _, t in self.results)
        types = f"({types})" if len(self.results) > 1 else types
        least = ", ".join(f"{n} >= {min(16, size)}" for n, size in self.sizes.items())
        body = [*self.head, *self.lines, f"return {', '.join(n for n, _ in self.results)}"]
        return "\n".join([f"algorithm {name}({', '.join(self.inputs)}) -> {types} where {least}:", *(f"    {b}" for b in body)]) + "\n"

    # -- what a program is made of -------------------------------------------------------------------------------

    def fresh(self, hint: str = "v") -> str:
        """A name that is not used."""
        self.names += 1
        return f"{hint}{self.names}"

    def input(self, *axes: str) -> str:
        """A new input of that shape."""
        name = self.fresh("x")
        self.inputs.append(f"{name}: {real(axes)}")
        return name

    def param(self) -> str:
        """A number for every iteration."""
        name = self.fresh("t")
        self.head.append(f"param {name}[K]: positive = 0.5")
        return f"{name}[k]"

    def say(self, line: str) -> None:
        """A statement."""
        self.lines.append("    " * self.depth + line)

    def begin(self, line: str) -> None:
        """A statement with others inside."""
        self.say(line)
        self.depth += 1

    def end(self, count: int = 1) -> None:
        """Their end."""
        self.depth -= count

    def result(self, name: str, *axes: str) -> None:
        """A result of that shape."""
        self.results.append((name, real(axes)))

    # -- sizes ---------------------------------------------------------------------------------------------------

    def axes(self, rank: int, points: float, square: bool = False) -> list[str]:
        """New sizes, together so many points."""
        each = [math.exp(self.random.uniform(-0.8, 0.8)) for _ in range(rank)]
        if square or self.random.random() < 0.3:
            each = [1.0] * rank
        unit = (points / math.prod(each)) ** (1 / rank)
        found: list[str] = []
        for part in each:
            size = max(16, round(unit * part))
            size = max(16, size // 16 * 16) if self.random.random() < 0.4 else size  # whole vectors, or anything
            if square and found:
                found.append(found[0])
                continue
            found.append(self.size(size))
        return found

    def size(self, value: int) -> str:
        """A new size."""
        name = _NAMES[len(self.sizes)] if len(self.sizes) < len(_NAMES) else f"n{len(self.sizes)}"
        self.sizes[name] = value
        return name

    def iterations(self, most: float = 100.0) -> float:
        """Draw an iteration count ``K``; what is left of the work for one iteration."""
        most = max(3.0, min(most, self.work / 500))
        self.counts["K"] = round(math.exp(self.random.uniform(math.log(3.0), math.log(most))))
        self.head.append(f"iterations K = {self.counts['K']}")
        return self.work / self.counts["K"]

    # -- expressions ---------------------------------------------------------------------------------------------

    def number(self) -> str:
        """A constant."""
        return f"{self.random.uniform(0.1, 0.9):.2f}"

    def pointwise(self, operands: Sequence[str]) -> str:
        """An elementwise expression of all operands; bounded if they are."""
        random = self.random
        found = operands[0]
        for other in operands[1:]:
            forms: tuple[str, ...] = ("{a} + {c} * {b}", "{a} * {b}", "{a} - {c} * {b}", "max({a}, {b})", "min({a}, {b})", "{a} / (1.5 + {b} * {b})")
            found = f"({random.choice(forms).format(a=found, b=other, c=self.number())})"
        if random.random() < 0.35:
            forms = ("tanh({a})", "abs({a})", "sqrt(abs({a}))", "relu({a})", "exp(-abs({a}))", "{a} * {a}", "sigmoid({a})", "max({a}, {c})")
            found = random.choice(forms).format(a=found, c=self.number())
        return found


def real(axes: Sequence[str]) -> str:
    """The type of an array."""
    return f"real[{', '.join(axes)}]" if axes else "real"
