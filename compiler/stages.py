"""What happens between two stages of the compiler: verify, compare, override, dump, show, time.

The stages know nothing of it. Dumps are numbered (``03-schedule.nest``); an edited dump in the folder of
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
from .diagnostics import CompileError

T = TypeVar("T")


@dataclass(frozen=True)
class Form(Generic[T]):
    """How an IR prints (``suffix`` names its dumps), reads back, and what makes it well formed."""

    suffix: str
    show: Callable[[T], str]
    read: Callable[[str], T] | None = None
    verify: Callable[[T], None] | None = None


@dataclass
class Stages:
    """The stages one kernel went through, with the time each took in seconds."""

    name: str
    times: list[tuple[str, float]] = field(default_factory=list)

    def run(self, stage: str, form: Form[T], produce: Callable[[], T]) -> T:
        """One stage: its result, checked and shown as the switches ask.

        Raises CompileError after the stage that ``UNSPOOL_STOP`` names.
        """
        switches = options.current
        start = time.perf_counter()
        result = produce()
        self.times.append((stage, time.perf_counter() - start))
        file = f"{self.name}-{len(self.times):02d}-{stage}.{form.suffix}"
        if switches.override and form.read and (switches.override / file).is_file():
            result = form.read((switches.override / file).read_text(encoding="utf-8"))
        if switches.verify >= 1 and form.verify:
            form.verify(result)
        if switches.verify >= 2 and form.read and form.read(form.show(result)) != result:
            raise CompileError(f"internal error: what stage {stage} made does not read back equal")
        if switches.dump:
            _write(switches.dump / file, form.show(result))
        if switches.debug >= 1:
            print(f"unspool: {self.name}: {stage} {1e3 * self.times[-1][1]:.1f} ms", file=sys.stderr)
        if switches.debug >= 4 or (switches.debug >= 3 and stage == "emit"):
            print(form.show(result), file=sys.stderr)
        if switches.stop == stage:
            raise CompileError(f"stopped after {stage}, as UNSPOOL_STOP asks")
        return result


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CompileError(f"cannot write the dump {path}: {error.strerror}") from None
