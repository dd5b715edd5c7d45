"""What native code asks of a machine: the system, the architecture, and the instructions its processor has."""

from __future__ import annotations

import platform
import struct
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from ..compiler.diagnostics import DataError
from .build import machine, processor

#: Words of an x86 processor's list that stand for instructions a compiler may use; the others are about the system.
_X86 = frozenset(
    "mmx sse sse2 pni ssse3 sse4_1 sse4_2 sse4a popcnt cx16 lahf_lm movbe abm bmi1 bmi2 tbm adx lzcnt aes pclmulqdq sha_ni sm3 sm4 "
    "sha512 vaes vpclmulqdq gfni rdrand rdseed rdpid avx avx2 fma fma4 xop f16c avx_vnni avx_ifma avx_ne_convert avx_vnni_int8 "
    "avx_vnni_int16 3dnowprefetch clflushopt clwb clzero fsgsbase serialize movdiri movdir64b enqcmd cldemote waitpkg wbnoinvd xsave "
    "xsaveopt xsavec xsaves amx_tile amx_int8 amx_bf16 amx_fp16".split()
)


@lru_cache(maxsize=1)
def features() -> tuple[str, ...]:
    """The instruction sets of this processor by the names that the system gives them, sorted; none if it does not tell."""
    words = set(processor().replace(":", " ").replace(";", " ").split())
    if platform.machine() in ("x86_64", "AMD64"):
        return tuple(sorted(w for w in words if w in _X86 or w.startswith("avx512")))
    listed = processor().partition("Features: ")[2].partition(";")[0].split()
    return tuple(sorted(set(listed) - {"evtstrm", "cpuid"}))


def describe() -> dict[str, Any]:
    """This machine, for a manifest."""
    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "pointer": 8 * struct.calcsize("P"),
        "vector_bytes": machine().vector_bytes,
        "features": list(features()),
        "processor": processor(),
    }


def check(built_on: Mapping[str, Any], name: str) -> None:
    """Raises DataError if this machine cannot run code made for ``built_on``, naming what it lacks."""
    here = describe()
    for key, what in (("system", "system"), ("architecture", "architecture"), ("pointer", "bits of a pointer")):
        if built_on[key] != here[key]:
            raise DataError(
                f"{name} was compiled for the {what} {built_on[key]}, and this is {here[key]}: compile the program again here"
            )
    lacking = [f for f in built_on["features"] if f not in here["features"]]
    if lacking:
        raise DataError(
            f"{name} was compiled for a processor with {', '.join(map(str, lacking))}, which this one has not: compile the program "
            "again here"
        )
    if built_on["vector_bytes"] > here["vector_bytes"]:
        raise DataError(
            f"{name} was compiled for vectors of {built_on['vector_bytes']} bytes, and those here have {here['vector_bytes']}: "
            "compile the program again here"
        )
    if not built_on["features"] and built_on["processor"] != here["processor"]:
        raise DataError(f"{name} was compiled for another processor ({built_on['processor']}): compile the program again here")
