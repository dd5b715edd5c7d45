"""The words of the language as Python objects, for functions decorated with ``@us.algorithm`` and ``@us.fn``.

Types (``us.real["m", "n"]``) work as annotations. Everything else is only read, never run: called from Python it raises.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from ..compiler.diagnostics import UnspoolError
from .syntax import TYPE_NAMES

if TYPE_CHECKING:
    import torch

Function = TypeVar("Function", bound=Callable[..., Any])


class Word:
    """A word of the language; ``name`` is how a program writes it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"us.{self.name}"

    def __reduce__(self) -> Any:
        return find, (self.name,)

    def __call__(self, *args: Any, **named: Any) -> Any:
        """Raises UnspoolError: a word is read, not run."""
        outside(self.name)


def outside(name: str) -> NoReturn:
    """Raises UnspoolError for a word that is used from Python."""
    raise UnspoolError(
        f"us.{name} is a word of the language: it means something inside a function decorated with @us.algorithm or @us.fn, "
        "and cannot be called from Python"
    )


class BuiltinWord(Word):
    """A builtin: ``us.norm2``."""

    def __init__(self, name: str, doc: str) -> None:
        super().__init__(name)
        self.__doc__ = doc


class TypeWord(Word):
    """A type: ``us.real``, and with sizes ``us.real["m", "n"]``."""

    def __getitem__(self, sizes: Any) -> TypeNote:
        return TypeNote(self.name, sizes if isinstance(sizes, tuple) else (sizes,))


class WeightsWord(TypeWord):
    """The type of the weights of a module: ``us.weights("f")``."""

    def __call__(self, module: str) -> TypeNote:
        """The type of the weights of the module with this name."""
        return TypeNote(self.name, (), module)


class KeyWord(TypeWord):
    """``us.key(seed)`` makes a random-number key, ``us.key(seed, shape)`` a batch of different ones.

    As an annotation it is the type of a key: ``rng: us.key``.
    """

    def __call__(self, seed: int, shape: int | Sequence[int] = ()) -> torch.Tensor:
        """A key, or an array of different ones: int64 tensors of the 64 bits of each.

        Raises DataError for a seed that is not a 64-bit integer.
        """
        from ..backends.keys import key as make

        return make(seed, shape)


@dataclass(frozen=True)
class TypeNote:
    """A type with sizes, as an annotation holds it: sizes are strings (``"n-1"``) or integers; ``of`` is a module's name."""

    name: str
    sizes: tuple[Any, ...] = ()
    of: str | None = None
    given: bool = False

    def __repr__(self) -> str:
        inside = repr(self.of).join("()") if self.of else ", ".join(map(repr, self.sizes)).join("[]") if self.sizes else ""
        return f"us.given(us.{self.name}{inside})" if self.given else f"us.{self.name}{inside}"


# -- declarations --------------------------------------------------------------------------------------------------


def given(type: Any) -> Any:
    """Annotation of an input that is fixed when the algorithm is built: ``A: us.given(us.real["m", "n"])``."""
    if isinstance(type, TypeNote):
        return TypeNote(type.name, type.sizes, type.of, True)
    return TypeNote(type.name, (), None, True) if isinstance(type, TypeWord) else type


def iterations(default: int) -> Any:
    """``K = us.iterations(16)`` declares an iteration count with its default, a literal integer."""
    outside("iterations")


def param(*sizes: Any, constraint: str = "free", init: Any = None) -> Any:
    """``step = us.param(K, constraint="positive", init=1 / us.norm2(A) ** 2)`` declares a learnable parameter.

    ``constraint`` is "free", "positive", "nonneg", "unit", "interval(a, b)" or "simplex"; ``init`` what a user sees before
    training, made of given inputs.
    """
    outside("param")


def module(types: str, *, count: Any = None) -> Any:
    """``f = us.module("(real[n]) -> real[n]")`` declares a learned operator; ``count=K`` makes it one per iteration, ``f[k](x)``."""
    outside("module")


def objective(function: Function) -> Function:
    """Decorates an inner function: what the algorithm minimizes, as a function of its results."""
    outside("objective")


DECLARATIONS: dict[str, Callable[..., Any]] = {word.__name__: word for word in (given, iterations, param, module, objective)}

# -- looking words up ----------------------------------------------------------------------------------------------

_TYPES: dict[str, TypeWord] = {
    name: {"key": KeyWord, "weights": WeightsWord}.get(name, TypeWord)(name) for name in sorted(TYPE_NAMES)
}
_FOUND: dict[str, BuiltinWord] = {}


def find(name: str) -> Any:
    """The object for a word of the language, always the same one; None if there is no such word."""
    if name in _TYPES:
        return _TYPES[name]
    return DECLARATIONS[name] if name in DECLARATIONS else _builtins().get(name)


def names() -> list[str]:
    """Every word."""
    return sorted({*_TYPES, *DECLARATIONS, *_builtins()})


def _builtins() -> dict[str, BuiltinWord]:
    if not _FOUND:
        from .builtins.all import BUILTINS

        _FOUND.update({row.name: BuiltinWord(row.name, f"{row.signature}\n\n{row.doc}") for row in BUILTINS.values()})
    return _FOUND
