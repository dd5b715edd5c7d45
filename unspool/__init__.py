"""Unspool: a small language and a compiler for unrolled iterative algorithms."""

from pathlib import Path as _Path

_root = _Path(__file__).resolve().parents[1]
if (_root / "pyproject.toml").is_file():  # a source checkout: dsl/, compiler/, ... lie beside this folder
    __path__.insert(0, str(_root))

from importlib import import_module as _import_module  # noqa: E402
from typing import TYPE_CHECKING  # noqa: E402
from typing import Any as _Any  # noqa: E402

__version__ = "0.1.0"

#: Public names and the modules they come from, loaded on first use: `import unspool` is cheap.
_PUBLIC = {
    "load": "dsl.api",
    "loads": "dsl.api",
    "Program": "dsl.api",
    "key": "backends.keys",
    "Layer": "backends.module",
    "UnspoolError": "compiler.diagnostics",
    "ProgramError": "compiler.diagnostics",
    "DataError": "compiler.diagnostics",
    "CompileError": "compiler.diagnostics",
    "options": "compiler.options",
    "stdlib": "stdlib",
}
_MODULES = ("options", "stdlib")

__all__ = [*sorted(_PUBLIC), "__version__"]

if TYPE_CHECKING:
    from . import stdlib as stdlib
    from .backends.keys import key as key
    from .backends.module import Layer as Layer
    from .compiler import options as options
    from .compiler.diagnostics import CompileError as CompileError
    from .compiler.diagnostics import DataError as DataError
    from .compiler.diagnostics import ProgramError as ProgramError
    from .compiler.diagnostics import UnspoolError as UnspoolError
    from .dsl.api import Program as Program
    from .dsl.api import load as load
    from .dsl.api import loads as loads


def __getattr__(name: str) -> _Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'unspool' has no attribute {name!r}")
    module = _import_module(f".{_PUBLIC[name]}", __name__)
    found = module if name in _MODULES else getattr(module, name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
