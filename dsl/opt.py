"""What ``dsl opt`` does: read a dump, run the passes from one on, show what the last one makes."""

from __future__ import annotations

from pathlib import Path

from ..backends.registry import canonical
from ..backends.registry import target as target_of
from ..compiler.diagnostics import DataError
from ..compiler.nearest import did_you_mean
from ..compiler.resume import FORMS, PASSES, Setting, resume


def run(dump: Path, first: str | None, last: str, *, target: str | None, strict: bool, schedule: Path | None) -> str:
    """The text of what pass ``last`` makes; ``first`` is by default the first pass that takes such a dump. Raises UnspoolError."""
    form = dump.suffix.removeprefix(".")
    if form not in FORMS:
        raise DataError(f"{dump} is no dump of a graph, nest or tree: its name ends in {', '.join(f'.{f}' for f in FORMS)}")
    for name in (first, last):
        if name is not None and name not in PASSES:
            raise DataError(f"there is no pass {name!r}; there are {', '.join(PASSES)}{did_you_mean(name, PASSES)}")
    found = target_of(canonical(target), strict=strict)
    if found is None:
        raise DataError("the interpreter runs graphs as they are: name a target that compiles")
    return resume(_text(dump), form, first or FORMS[form][1][0], last, Setting(found, strict, None if schedule is None else _text(schedule)))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
