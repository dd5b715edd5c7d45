"""The options of ``build``, of ``compile``, of a plain call and of the command line: each is declared here, once.

A field of :class:`CompileOptions` carries what Python checks and what ``dsl`` prints as help (see :mod:`.flags`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from ..compiler.diagnostics import DataError
from ..compiler.graph.types import REALS
from ..compiler.options import SCHEDULERS

if TYPE_CHECKING:
    from ..backends.executor import Settings

_TORCH = {"torch.float16": "f16", "torch.bfloat16": "bf16", "torch.float32": "f32", "torch.float64": "f64"}


def dtype_name(dtype: Any) -> str | None:
    """``"f64"`` from ``"f64"`` or ``torch.float64``. Raises DataError for what is no floating dtype."""
    if dtype is None or (isinstance(dtype, str) and dtype in REALS):
        return dtype
    found = _TORCH.get(str(dtype))
    if found is None:
        raise DataError(f"dtype is one of {', '.join(REALS)} or a floating torch.dtype, not {_shown(dtype)}{_same_dtype(dtype)}")
    return found


def _same_dtype(dtype: Any) -> str:
    """What a name of a precision elsewhere is here, to end a message with."""
    from .other_words import TYPES

    found = TYPES.get(str(dtype))
    return f"; did you mean {found!r}?" if found in REALS else ""


def _text(name: str, what: str) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if value is not None and not isinstance(value, str):
            raise DataError(f"{name} is {what}, not {_shown(value)}")
        return value

    return check


def _numerics(value: Any) -> Any:
    if value is None:
        return "default"
    if value not in ("default", "strict", "tf32"):
        raise DataError(f'numerics is "default", "strict" or "tf32", not {_shown(value)}')
    return value


def _backward(value: Any) -> Any:
    if value is None:
        return "unrolled"
    if not isinstance(value, str) or not re.fullmatch(r"unrolled|implicit|truncated:[1-9][0-9]{0,8}", value):
        raise DataError(f'backward is "unrolled", "implicit" or "truncated:N" with N from 1 on, not {_shown(value)}')
    return value


_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(s|min|h)?")
#: Seconds of measuring for each kernel where none are named.
TUNE_SECONDS = 30.0


def duration(value: Any, name: str = "tune") -> float:
    """Seconds, of a number or of a text with a unit: ``30``, ``"30s"``, ``"2min"``, ``"1.5h"``. Raises DataError."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf:
        return float(value)
    found = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is not None and float(found[1]) > 0:
        return float(found[1]) * {"s": 1, "min": 60, "h": 3600}[found[2] or "s"]
    raise DataError(f'{name} is a time, a number of seconds or a text like "30s" or "2min", not {_shown(value)}')


def _tune(value: Any) -> float | None:
    return None if value is None or value is False else TUNE_SECONDS if value is True else duration(value)


def _scheduler(value: Any) -> str:
    if value is None:
        return "default"
    if value not in SCHEDULERS:
        raise DataError(f'scheduler is "default", "analytic" or "learned", not {_shown(value)}')
    return str(value)


def _debug(value: Any) -> bool:
    if value is not None and not isinstance(value, bool):
        raise DataError(f"debug is True or False, not {_shown(value)}")
    return bool(value)


_MEMORY = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*([KMGT]?)(i?)B?", re.IGNORECASE)


def _memory(value: Any) -> int | None:
    """Bytes, of a number or of a text with a unit: kB is 1000 bytes, KiB 1024."""
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        return value
    found = _MEMORY.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is not None:
        number, prefix, binary = found.groups()
        size = int(float(number) * (1024 if binary else 1000) ** " KMGT".index(prefix.upper() or " "))
        if size > 0 and (prefix or not binary):
            return size
    raise DataError(f'memory is a number of bytes, or a text like "64MiB" or "1.5GB", not {_shown(value)}')


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, (str, int, float)) or str(value).startswith("torch.") else f"a {type(value).__name__}"


def _option(default: Any, check: Callable[[Any], Any], help: str, **flag: Any) -> Any:
    return field(default=default, metadata={"check": check, "help": help, **flag})


@dataclass(frozen=True)
class CompileOptions:
    """How to compile. Making one checks every value and raises DataError naming the option.

    ``dtype``: what ``real`` is (``"f16"``, ``"bf16"``, ``"f32"``, ``"f64"`` or a floating ``torch.dtype``); None is f32 in
    ``build`` and ``compile``, and in a plain call the dtype of the arrays. ``target``: a name that ``dsl targets`` lists.
    ``numerics``: ``"strict"`` keeps the order of reductions and products; ``"tf32"`` lets a GPU round factors of f32 products to 10 bits
    behind the point, for its tensor cores. ``schedule``: the text of steps in place of our choice.
    ``memory``: what the scratch memory of a gradient may take, in bytes or as a text like ``"64MiB"``; more is computed a second time
    in place of being kept (see docs/torch.md). ``backward``: how gradients go through loops with ``until``: ``"unrolled"``, all
    iterations that ran; ``"truncated:5"``, the last five; ``"implicit"``, those of the fixed point at which the loop stops. ``tune``: for how
    long schedules of each kernel are searched and measured, in seconds or as a text like ``"30s"`` (True: 30 seconds); what is found is
    remembered on this machine, and used by later compiles without the option. ``scheduler``: who ranks schedules that are not measured:
    ``"analytic"``, an estimate by formulas; ``"learned"``, a model that was trained on measurements; by default the learned one where it has weights.
    ``debug``: every index and every result is checked, forward and backward, and the first fault is an error that names the place in the program and
    the iteration; slow (see docs/debugging.md).
    """

    dtype: Any = _option(None, dtype_name, "What `real` is: f16, bf16, f32 or f64.")  # noqa: RUF009
    target: str | None = _option(None, _text("target", "the name of a target"), "See `dsl targets`.", short="-t")
    numerics: str = _option(
        "default", _numerics, "default; strict: reductions and products keep their order; tf32: tensor cores may round factors of products."
    )
    memory: Any = _option(  # noqa: RUF009
        None, _memory, "What the scratch memory of a gradient may take: 64MiB, 1.5GB, a number of bytes."
    )
    backward: Any = _option(  # noqa: RUF009
        "unrolled",
        _backward,
        "Gradients of loops with until: unrolled, truncated:N (the last N iterations) or implicit (of the fixed point).",
    )
    tune: Any = _option(  # noqa: RUF009
        None, _tune, "Search and measure schedules of each kernel for so long: 30s, 2min."
    )
    scheduler: str = _option(
        "default", _scheduler, "Who ranks schedules: analytic, learned, or default: learned where it has weights."
    )
    schedule: str | None = _option(
        None,
        _text("schedule", "the text of a schedule's steps"),
        "A file of steps in place of our choice, or - for standard input; none: program order.",
    )
    debug: bool = _option(False, _debug, "Check every index and every result: where NaN and infinities begin. Slow.")

    def __post_init__(self) -> None:
        for option in fields(self):
            object.__setattr__(self, option.name, option.metadata["check"](getattr(self, option.name)))
        if self.debug and (self.schedule or self.tune):
            raise DataError(f"debug=True runs in program order: it takes no {'schedule' if self.schedule else 'tune'}")

    @property
    def settings(self) -> Settings:
        """What the back ends make of it, with the target's own name. Raises DataError for an unknown target."""
        from ..backends.executor import Settings
        from ..backends.registry import canonical
        from ..compiler import options

        follows = self.target is None and not options.current.target and not self.debug
        ranked = "" if self.scheduler == "default" else self.scheduler
        strict, tf32 = self.numerics == "strict", self.numerics == "tf32"
        return Settings(canonical(self.target), strict, self.schedule, self.memory, self.backward, follows, self.tune, tf32, ranked, self.debug)


#: The names of the options, in order.
NAMES = tuple(option.name for option in fields(CompileOptions))
