"""The run-time library of generated C: sections of the ``c_*.h`` files, printed only where they are used.

A section starts with ``//= name : dtypes x lanes``. Its text is a template in the dtype and the number of lanes; one
instance defines ``name_dtype`` (``us_maximum_f32``, ``us_load_f64x8``), and needs the instances that its text names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path

from ..compiler.graph.ops import random_bits
from ..compiler.graph.types import BYTES

FILES = ("c_base.h", "c_half.h", "c_special.h", "c_complex.h", "c_random.h", "c_select.h", "c_vector.h", "c_team.h", "c_debug.h")

#: C type of an element in memory and in expressions.
C_TYPES = {
    "f32": "float", "f64": "double", "c64": "us_c64", "c128": "us_c128", "i8": "int8_t", "i16": "int16_t", "i32": "int32_t",
    "i64": "int64_t", "key": "int64_t", "bool": "uint8_t", "f16": "uint16_t", "bf16": "uint16_t",
}  # fmt: skip
BITS = {dtype: 8 * BYTES[dtype] for dtype in C_TYPES}

#: Vector versions of the C library's functions in glibc's libmvec, by the version that brought them.
_LIBMVEC = {
    **dict.fromkeys(("exp", "log", "sin", "cos", "pow"), 22),
    **dict.fromkeys(("tan", "tanh", "atan2", "expm1", "log1p", "erf", "hypot"), 35),
}
_TWO_ARGUMENTS = {"pow", "atan2", "hypot"}

_WORD = re.compile(r"\bus_\w+")
_CALL = re.compile(rf"\b({'|'.join(_LIBMVEC)})(f?)\(")


def _substitute(text: str, dtype: str, lanes: int) -> str:
    real = {"c64": "f32", "c128": "f64"}.get(dtype, dtype)
    single = real == "f32"
    table = {
        "t": dtype, "T": C_TYPES.get(dtype, ""), "R": C_TYPES.get(real, ""), "U": "uint64_t" if dtype == "i64" else "uint32_t",
        "K": "int64_t" if BITS.get(dtype) == 64 else "int32_t",
        "f": "f" if single else "", "F": "F" if single else "", "b": str(BITS.get(dtype, 0)), "w": str(BYTES.get(dtype, 0)), "n": str(lanes),
        "h": str(lanes // 2),
        "s": "s" if single else "d", "xs": ", ".join(["x"] * lanes),
        "low": ", ".join(map(str, range(lanes // 2))), "high": ", ".join(map(str, range(lanes // 2, lanes))),
    }  # fmt: skip
    return re.sub(r"\$(xs|low|high|[a-zA-Z])", lambda m: table[m[1]], text)


def polynomials(text: str, word: str, step: Callable[[str, str, float], str]) -> str:
    """``$word(TABLE, z)``: a polynomial of ``random_bits`` in z by Horner's rule; ``step(p, z, c)`` is the text of p z + c."""

    def horner(m: re.Match[str]) -> str:
        *rest, last = getattr(random_bits, m[1])
        out = repr(last)
        for c in reversed(rest):
            out = step(out, m[2], c)
        return out

    return re.sub(rf"\${word}\((\w+), (\w+)\)", horner, text)


def _either(m: re.Match[str]) -> str:
    """One of two polynomials of as many terms, by a test: one chain of operations, whose constants are chosen."""
    pairs = zip(getattr(random_bits, m[2]), getattr(random_bits, m[3]), strict=True)
    last, *rest = [repr(a) if a == b else f"({m[1]} ? {a!r} : {b!r})" for a, b in reversed(list(pairs))]
    for c in rest:
        last = f"({last} * {m[4]} + {c})"
    return last


def random_constants(text: str) -> str:
    """The numbers of ``random_bits``: ``$tag(name)``, ``$horner(TABLE, z)``, ``$either(test, ONE, OTHER, z)``, ``$NAME``."""

    text = re.sub(r"\$tag\((\w+)\)", lambda m: str(random_bits.TAGS[m[1]]), text)
    text = re.sub(r"\$either\((\w+), (\w+), (\w+), (\w+)\)", _either, text)
    text = polynomials(text, "horner", lambda out, z, c: f"({out}) * {z} {'-' if c < 0 else '+'} {abs(c)!r}")
    return re.sub(r"\$(SQRT2|LN2|STEP|M0|M1|W0|W1)", lambda m: repr(getattr(random_bits, m[1])), text)


def instances(text: str) -> dict[str, str]:
    """The text of every instance of every section of a file, by name."""
    found: dict[str, str] = {}
    for part in re.split(r"^//= ", text, flags=re.M)[1:]:
        head, _, body = part.partition("\n")
        body = body.rstrip() + "\n"
        name, _, rest = head.partition(" : ")
        dtypes, _, lanes = rest.partition(" x ")
        for count in lanes.split() or ["0"]:
            for dtype in dtypes.split() or [""]:
                instance = f"{name}_{dtype}" if dtype else name
                if count != "0":
                    instance += f"x{count}"
                instance = re.sub(r"^us_vec_", "us_", instance)
                instance = re.sub(r"^us_\$t_", "us_", instance)
                found[instance] = _substitute(body, dtype, int(count))
    return found


@lru_cache(maxsize=1)
def sections() -> dict[str, str]:
    """The text of every instance of every section, by name, in the order they must be printed."""
    found: dict[str, str] = {}
    for file in FILES:
        found |= instances(random_constants((Path(__file__).parent / file).read_text(encoding="utf-8")))
    return found


def needed_of(table: Mapping[str, str], source: str, *, direct: bool = False) -> list[str]:
    """The sections a source uses, with all that they use (or ``direct`` ones alone), in the order of the table."""
    todo, seen = [source], set()
    while todo:
        for word in _WORD.findall(todo.pop()):
            if word in table and word not in seen:
                seen.add(word)
                todo += [] if direct else [table[word]]
    return [name for name in table if name in seen]


def needed(source: str) -> list[str]:
    """The sections a source uses, with all that they use, in printing order."""
    return needed_of(sections(), source)


def prelude(source: str) -> str:
    """Includes, declarations and run-time sections that must stand before ``source``."""
    parts = [sections()[name] for name in needed(source)]
    text = "".join(parts) + source
    headers = ["math.h", "stdint.h"]
    headers += ["complex.h"] if "_Complex" in text else []
    headers += ["sched.h", "stdatomic.h"] if "_Atomic" in text else []
    headers += ["string.h"] if "mem" in text else []
    out = "#define _GNU_SOURCE\n" if "sched_getcpu" in text else ""
    out += "".join(f"#include <{h}>\n" for h in sorted(headers))
    out += "#ifdef _OPENMP\n#include <omp.h>\n#endif\n"
    if "SYS_futex" in text:
        out += "#if defined(__linux__)\n#include <linux/futex.h>\n#include <sys/syscall.h>\n#include <unistd.h>\n#endif\n"
    if "__has_builtin" in text:
        out += "#ifndef __has_builtin\n#define __has_builtin(name) defined(__x86_64__)\n#endif\n"
    return out + _vector_functions(text) + "".join("\n" + p for p in parts)


def _vector_functions(text: str) -> str:
    """Declarations that let the compiler call libmvec from vector loops."""
    used = sorted(set(_CALL.findall(text)))
    out = ""
    for version in sorted(set(_LIBMVEC.values())):
        lines = ""
        for name, suffix in used:
            if _LIBMVEC[name] == version:
                real = "float" if suffix else "double"
                vector = '__attribute__((simd("notinbranch"), const, nothrow))'
                lines += f"{vector} {real} {name}{suffix}({real}{f', {real}' * (name in _TWO_ARGUMENTS)});\n"
                if (
                    name == "cos" and ("sin", suffix) in used
                ):  # else sin and cos of one value become one call, which has no vector form
                    lines += (
                        f'{vector} {real} us_cos{suffix}({real}) __asm__("cos{suffix}");\n#define cos{suffix} us_cos{suffix}\n'
                    )
        if lines:
            out += f"#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__clang__) && __GLIBC_PREREQ(2, {version})\n{lines}#endif\n"
    return "\n" + out if out else ""
