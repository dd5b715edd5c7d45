"""The passes by which numba compiles generated functions: those of numba that such text needs, and no others.

Numba's own list looks for closures, comprehensions, constant branches and the like, none of which are generated, and puts names that are
assigned more than once into single assignments, in time that grows with their number times the length of the function. Here every
name has one type, and LLVM makes single assignments itself.
"""

from __future__ import annotations

from typing import Any

from numba.core.compiler import CompilerBase
from numba.core.compiler_machinery import PassManager
from numba.core.typed_passes import IRLegalization, NativeLowering, NoPythonBackend, NopythonTypeInference
from numba.core.untyped_passes import FixupArgs, IRProcessing, TranslateByteCode


class Pipeline(CompilerBase):  # type: ignore[misc]
    """Bytecode to types to LLVM."""

    def define_pipelines(self) -> list[Any]:
        """The one list of passes."""
        passes = PassManager("generated")
        for step, what in (
            (TranslateByteCode, "read the bytecode"),
            (FixupArgs, "arguments"),
            (IRProcessing, "process the IR"),
            (NopythonTypeInference, "types"),
            (IRLegalization, "legal to be lowered"),
            (NativeLowering, "LLVM"),
            (NoPythonBackend, "backend"),
        ):
            passes.add_pass(step, what)
        passes.finalize()
        return [passes]
