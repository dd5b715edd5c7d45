"""The run-time library of generated CUDA: that of C where it is plain arithmetic, and the sections of ``base.h``."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from ..c_runtime import instances, needed_of, polynomials, random_constants

#: Files of C sections that CUDA has, too. Those of ``base.h`` come instead of what has their name there.
_SHARED = ("c_base.h", "c_special.h", "c_complex.h", "c_random.h", "c_select.h")
_OWN = "base.h"
#: What on_cpu.h has for the processor.
_DEVICE = "mma.cuh"

#: Words of C that CUDA C++ has other words for, or none.
_WORDS = (
    (re.compile(r"\bstatic inline\b"), "US_FUNCTION"),
    (re.compile(r"^static (?=void|int)", re.M), "US_FUNCTION "),
    (re.compile(r"\brestrict\b"), "__restrict__"),
    (re.compile(r"__builtin_is(inf|finite)"), r"is\1"),
)


def _exact(text: str) -> str:
    """``$exact(TABLE, z)``: a polynomial of ``random_bits`` in operations that are never fused."""
    return polynomials(text, "exact", lambda out, z, c: f"__dadd_rn(__dmul_rn({out}, {z}), {c!r})")


@lru_cache(maxsize=1)
def sections() -> dict[str, str]:
    """The text of every instance of every section, by name, in the order they must be printed."""
    folder = Path(__file__).parents[1]
    own = instances(random_constants(_exact((Path(__file__).parent / _OWN).read_text(encoding="utf-8"))))
    found: dict[str, str] = {"us_prologue": own.pop("us_prologue")}
    for name, text in instances((Path(__file__).parent / _DEVICE).read_text(encoding="utf-8")).items():
        found[name] = f"#ifndef US_ON_CPU\n{text}#endif\n"
    for file in _SHARED:
        for name, text in instances(random_constants((folder / file).read_text(encoding="utf-8"))).items():
            for word, other in _WORDS:
                text = word.sub(other, text)
            found[name] = own.pop(name, text)
    return {**found, **own}


def prelude(source: str) -> str:
    """What must stand before ``source``: declarations, and what it uses of the library, in an order in which all is declared before use."""
    table = sections()
    used = needed_of(table, source)
    done: list[str] = ["us_prologue"]

    def add(name: str) -> None:
        if name in done:
            return
        for other in needed_of(table, table[name], direct=True):
            if other != name:
                add(other)
        done.append(name)

    for name in used:
        add(name)
    return "".join(table[name] + "\n" for name in done)
