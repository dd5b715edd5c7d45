"""What happens between two stages of the compiler: override, verify, compare, dump, show, time.

The stages know nothing of it. Dumps are numbered (``ista-04-schedule.nest``); an edited dump in the folder of
``UNSPOOL_OVERRIDE`` takes the place of that stage's result.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from . import options
from .diagnostics import UnspoolError

T = TypeVar("T")


class StageError(UnspoolError):
    """A stage made something wrong, or a switch asks for what cannot be done or to stop there. Nothing takes over."""


@dataclass(frozen=True)
class Form(Generic[T]):
    """How an IR prints (``suffix`` names its dumps), reads back (raising ValueError), and what makes it well formed.

    ``compare`` raises UnspoolError if an IR does not compute what the one before its pass computes.
    """

    suffix: str
    show: Callable[[T], str]
    read: Callable[[str], T] | None = None
    verify: Callable[[T], None] | None = None
    compare: Callable[[T, T], None] | None = None


@dataclass
class Stages:
    """The stages one kernel went through, with the time each took in seconds (what led to it since the last one included)."""

    name: str
    times: list[tuple[str, float]] = field(default_factory=list)
    _start: float = field(default_factory=time.perf_counter)

    def run(self, stage: str, form: Form[T], produce: Callable[[], T], *, before: T | None = None) -> T:
        """One stage: its result, checked and shown as the switches ask; ``before`` is the IR it started from, if of the same form.

        Raises StageError after the stage that ``UNSPOOL_STOP`` names, and for an edited dump that cannot be read.
        """
        switches = options.current
        result = produce()
        self.times.append((stage, time.perf_counter() - self._start))
        file = f"{self.name}-{len(self.times):02d}-{stage}.{form.suffix}"
        if switches.override and form.read and (switches.override / file).is_file():
            result = _edited(switches.override / file, form.read)
        if switches.verify >= 1 and form.verify:
            form.verify(result)
        if switches.verify >= 2:
            if form.read and form.read(form.show(result)) != result:
                raise StageError(f"internal error: what stage {stage} of {self.name} made does not read back equal")
            if before is not None and form.compare:
                form.compare(before, result)
        if switches.dump:
            _write(switches.dump / file, form.show(result))
        self._report(stage, form, result)
        self._start = time.perf_counter()
        return result

    def last(self, stage: str, produce: Callable[[], T]) -> T:
        """The stage that leaves the compiler: what it makes has no text. Raises StageError if ``UNSPOOL_STOP`` names no stage."""
        result = produce()
        self.times.append((stage, time.perf_counter() - self._start))
        self._report(stage, None, result)
        if options.current.stop:
            known = ", ".join(s for s, _ in self.times)
            raise StageError(f"UNSPOOL_STOP={options.current.stop} names no stage of {self.name}; there are {known}")
        return result

    def _report(self, stage: str, form: Form[T] | None, result: T) -> None:
        switches = options.current
        if switches.debug >= 1:
            print(f"unspool: {self.name}: {stage} {1e3 * self.times[-1][1]:.1f} ms", file=sys.stderr)
        if form is not None and (switches.debug >= 4 or (switches.debug >= 3 and stage == "emit")):
            print(form.show(result), file=sys.stderr)
        if switches.stop == stage:
            raise StageError(f"stopped after {stage}, as UNSPOOL_STOP asks")


def _edited(path: Path, read: Callable[[str], T]) -> T:
    try:
        return read(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StageError(f"cannot read the dump {path}: {error.strerror}") from None
    except ValueError as error:
        raise StageError(f"the edited dump {path} cannot be read: {error}") from None


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StageError(f"cannot write the dump {path}: {error.strerror}") from None
