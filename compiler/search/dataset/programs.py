"""Random programs, in the language, each made from one number. Whoever measures them reads them like any other program.

A family says what kind of program it is; what is drawn is everything else: ranks, radii, shapes of domains, operators, sizes. Sizes follow from two
numbers that are drawn first: how often the innermost statements run together (so that programs take a fraction of a millisecond to some tens of
milliseconds), and, where a program repeats itself, how much of that is due to repetition: the arrays lie anywhere between the nearest
cache and memory.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from .families import FAMILIES
from .writing import Text

#: How often the innermost statements of a program run, least and most.
LEAST, MOST = 1.5e6, 5.0e7


@dataclass(frozen=True)
class Drawn:
    """A program: its text, its sizes, its iteration counts, and the dtype of what is real."""

    family: str
    source: str
    sizes: Mapping[str, int]
    counts: Mapping[str, int]
    dtype: str


def draw(seed: int) -> Drawn:
    """The program of a seed; the same on every machine."""
    random = Random(seed)
    family = random.choices(list(FAMILIES), weights=[weight for _, weight in FAMILIES.values()])[0]
    work = math.exp(random.uniform(math.log(LEAST), math.log(MOST)))
    text = Text(random, work)
    FAMILIES[family][0](text)
    return Drawn(family, text.source(f"{family}_{seed}"), dict(text.sizes), dict(text.counts), random.choice(("f32", "f64")))
