"""Indented lines of TVMScript, as generated for TVM."""

from __future__ import annotations

from ..numba.text import PythonText

#: TVM's names of dtypes; those of unsigned integers occur in expressions alone.
KINDS = {
    "f32": "float32", "f64": "float64", "i8": "int8", "i16": "int16", "i32": "int32", "i64": "int64", "key": "int64", "bool": "bool",
    "u8": "uint8", "u16": "uint16", "u32": "uint32", "u64": "uint64",
}  # fmt: skip

#: What stands for the type of a complex value: two values, not one.
PAIR = "pair"


def stored(dtype: str) -> str:
    """What an element is in memory: bytes for truth values, the bits of half precision, parts of complex numbers."""
    table = {"bool": "u8", "f16": "u16", "bf16": "u16", "c64": "f32", "c128": "f64"}
    return table.get(dtype, dtype)


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
