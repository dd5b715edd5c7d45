"""Scalar expressions of the loop tree as CUDA C++: what differs from C (:mod:`.expressions`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ...compiler.loops.tree import Array, Call, Int, Load
from ..expressions import Printer as CPrinter
from ..printer import COMPLEXES, REALS, strip

#: Words that no variable may have: of C++, of CUDA, of the code around a kernel.
_WORDS = """
    and and_eq alignas alignof bitand bitor catch class compl concept constexpr const_cast consteval constinit decltype delete dynamic_cast
    explicit export friend mutable namespace new noexcept not not_eq nullptr operator or or_eq private protected public reinterpret_cast
    requires static_assert static_cast template this thread_local throw try typeid typename using virtual wchar_t xor xor_eq
    threadIdx blockIdx blockDim gridDim warpSize dim3 int2 int4 float2 float4 double2 min max isnan isinf isfinite
    call blocks scratch lane lanes group groups thread threads counter shared own block grid memory member team team_size
    sinh cosh asinh acosh atanh acos asin atan cbrt exp2 exp10 log2 log10 log logb j0 j1 jn y0 y1 yn rsqrt rcbrt sincos signbit
""".split()


class CudaPrinter(CPrinter):
    """Prints expressions as CUDA C++; with ``strict`` products and sums are never fused."""

    target = "cuda"
    reserved = CPrinter.reserved | frozenset(_WORDS) | frozenset(w + "f" for w in _WORDS)

    def __init__(self, arrays: Mapping[str, Array], checks: list[str] | None = None, *, strict: bool = False) -> None:
        super().__init__(arrays, checks)
        self.strict = strict
        self.loaded: dict[tuple[str, tuple[Int, ...]], str] = {}  # elements that vector loads have brought, by place

    def value_type(self, dtype: str, lanes: int = 1) -> str:
        """The type of a named value."""
        return "bool" if dtype == "bool" else self.storage_type(dtype)

    def read(self, array: str, index: Iterable[Int]) -> str:
        """The value of one element."""
        place = array, tuple(index)
        return self.loaded.get(place) or super().read(*place)

    def real_function(self, op: str, dtype: str) -> str | None:
        """The name of the function that computes an op of real numbers; None if there is none."""
        return f"us_isfinite_{dtype}" if op == "isfinite" else super().real_function(op, dtype)

    def _real(self, e: Call, args: list[str], dtype: str) -> str | None:
        if self.strict and e.op in ("add", "sub", "mul"):
            if e.op == "mul":
                return f"us_mul_rn_{dtype}({strip(args[0])}, {strip(args[1])})"
            return f"us_add_rn_{dtype}({strip(args[0])}, {'-' * (e.op == 'sub')}{args[1]})"
        return super()._real(e, args, dtype)

    def _complex(self, e: Call, args: list[str], dtype: str) -> str | None:
        if e.op in ("re", "im"):
            return f"us_{'real' if e.op == 're' else 'imag'}_{dtype}({strip(args[0])})"
        return super()._complex(e, args, dtype)

    def cast(self, text: str, source: str, dtype: str) -> str:
        """A value in another dtype."""
        if source in COMPLEXES and source != dtype:
            parts = "f32" if source == "c64" else "f64"
            real, imag = f"us_real_{source}({strip(text)})", f"us_imag_{source}({strip(text)})"
            if dtype in COMPLEXES:
                kind = "float" if dtype == "c64" else "double"
                return f"us_make_{dtype}(({kind}){real}, ({kind}){imag})"
            return f"({real} != 0 || {imag} != 0)" if dtype == "bool" else self.cast(real, parts, dtype)
        if source in REALS and dtype not in (*REALS, *COMPLEXES, "bool", source) and dtype[0] == "i":
            return f"(({self.storage_type(dtype)}){text})"
        return super().cast(text, source, dtype)

    def address(self, load: Load) -> str:
        """The address of the first element of a block."""
        text = super().address(load)
        return text if text.startswith("&") else f"&{text}[0]"
