"""Unspool: a small language and a compiler for unrolled iterative algorithms."""

from pathlib import Path as _Path

_root = _Path(__file__).resolve().parents[1]
if (_root / "pyproject.toml").is_file():  # a source checkout: dsl/, compiler/, ... lie beside this folder
    __path__.insert(0, str(_root))

from importlib import import_module as _import_module  # noqa: E402
from typing import TYPE_CHECKING  # noqa: E402
from typing import Any as _Any  # noqa: E402

from .compiler.version import VERSION as __version__  # noqa: E402

#: Public names and the modules they come from, loaded on first use: `import unspool` is cheap.
_PUBLIC = {
    "load": "dsl.api",
    "loads": "dsl.api",
    "load_kernel": "backends.artifact",
    "Program": "dsl.api",
    "algorithm": "dsl.decorator",
    "fn": "dsl.decorator",
    "Layer": "backends.module",
    "evolve": "backends.learning.evolve",
    "fit": "backends.learning.fit",
    "plot_parameters": "backends.learning.plots",
    "plot_curves": "backends.learning.plots",
    "UnspoolError": "compiler.diagnostics",
    "ProgramError": "compiler.diagnostics",
    "DataError": "compiler.diagnostics",
    "CompileError": "compiler.diagnostics",
    "options": "compiler.options",
    "stdlib": "stdlib",
}
_MODULES = ("options", "stdlib")

#: Words of the language that a star import brings; the others would hide functions of Python, such as ``sum``.
_WORDS = ("given", "iterations", "key", "module", "objective", "param")

__all__ = [*sorted((*_PUBLIC, *_WORDS)), "__version__"]

if TYPE_CHECKING:
    from . import stdlib as stdlib
    from .backends.artifact import load_kernel as load_kernel
    from .backends.learning.evolve import evolve as evolve
    from .backends.learning.fit import fit as fit
    from .backends.learning.plots import plot_curves as plot_curves
    from .backends.learning.plots import plot_parameters as plot_parameters
    from .backends.module import Layer as Layer
    from .compiler import options as options
    from .compiler.diagnostics import CompileError as CompileError
    from .compiler.diagnostics import DataError as DataError
    from .compiler.diagnostics import ProgramError as ProgramError
    from .compiler.diagnostics import UnspoolError as UnspoolError
    from .dsl.api import Program as Program
    from .dsl.api import load as load
    from .dsl.api import loads as loads
    from .dsl.decorator import algorithm as algorithm
    from .dsl.decorator import fn as fn
    from .dsl.words import KeyWord as _KeyWord
    from .dsl.words import given as given
    from .dsl.words import iterations as iterations
    from .dsl.words import module as module
    from .dsl.words import objective as objective
    from .dsl.words import param as param

    key: _KeyWord


def __getattr__(name: str) -> _Any:
    if name in _PUBLIC:
        source = _import_module(f".{_PUBLIC[name]}", __name__)
        found = source if name in _MODULES else getattr(source, name)
    else:
        found = None if name.startswith("_") else _import_module(".dsl.words", __name__).find(name)
        if found is None:
            raise AttributeError(f"module 'unspool' has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC, *_import_module(".dsl.words", __name__).names()})
