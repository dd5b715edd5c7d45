"""The passes by which numba compiles generated functions: those of numba that such text needs, and no others.

Numba's own list looks for closures, comprehensions, constant branches and the like, none of which are generated, and puts names that are
assigned more than once into single assignments, in time that grows with their number times the length of the function. Here every
name has one type, and LLVM makes single assignments itself.

Nor is machine code made of each function: numba would load it, for Python to call. What is wanted is LLVM's text of a whole kernel.
And what an operator means for operands of some types, numba looks for wherever it stands, among all that NumPy has: here, once a kernel.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase
from numba.core.compiler_machinery import PassManager, register_pass
from numba.core.typed_passes import IRLegalization, NativeLowering, NoPythonBackend, NopythonTypeInference
from numba.core.types import BaseFunction
from numba.core.untyped_passes import FixupArgs, IRProcessing, TranslateByteCode

_OPERATORS = {value for value in vars(operator).values() if callable(value)}


@contextmanager
def resolved_once() -> Iterator[None]:
    """While this holds, equal questions what an operator is for operands of some types get the first one's answer. Under numba's lock."""
    find: Callable[..., Any] = BaseFunction.get_call_type
    found: dict[tuple[Any, tuple[Any, ...]], Any] = {}

    def get_call_type(self: Any, context: Any, args: Any, kws: Any) -> Any:
        if kws or self.typing_key not in _OPERATORS:
            return find(self, context, args, kws)
        question = (self, tuple(args))
        if question not in found:
            found[question] = find(self, context, args, kws)
        return found[question]

    BaseFunction.get_call_type = get_call_type
    try:
        yield
    finally:
        BaseFunction.get_call_type = find


class _Text(JITCodeLibrary):  # type: ignore[misc]
    """The text of one function, to be linked into others; no engine gets it, so it has no address, and no place for globals of Python."""

    def _finalize_final_module(self) -> None:
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        self._ensure_finalized()
        return 0

    @property
    def codegen(self) -> Any:
        return self

    def set_env(self, name: str, environment: Any) -> None:
        """Generated functions look nothing up while they run."""


@register_pass(mutates_CFG=True, analysis_only=False)
class _Lowering(NativeLowering):  # type: ignore[misc]
    _name = "lowering_to_text"

    def run_pass(self, state: Any) -> bool:
        """Types to LLVM's text."""
        state.library = _Text(state.targetctx.codegen(), state.func_id.func_qualname)
        return bool(super().run_pass(state))


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
            (_Lowering, "LLVM"),
            (NoPythonBackend, "backend"),
        ):
            passes.add_pass(step, what)
        passes.finalize()
        return [passes]
