"""Every switch, typed, documented and scoped. The environment is read here, once, and nowhere else.

>>> with scope(verify=2):
...     current.verify
2
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import platformdirs

from .nearest import did_you_mean


def _switch(default: Any, env: str, doc: str, parse: Callable[[str], Any]) -> Any:
    return field(default=default, metadata={"env": env, "doc": doc, "parse": parse})


def _integer(lower: int, upper: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = int(text)
        if not lower <= value <= upper:
            raise ValueError(text)
        return value

    parse.__doc__ = f"an integer in {lower}..{upper}"
    return parse


def _folder(text: str) -> Path:
    """a folder"""
    return Path(text).expanduser().resolve()


def _place(text: str) -> Path | None:
    """a path or `off`"""
    return None if text.lower() == "off" else _folder(text)


def _user_cache() -> Path | None:
    """The user's cache folder; None for a user without a home."""
    folder = Path(platformdirs.user_cache_dir("unspool", appauthor=False))
    return folder if folder.is_absolute() else None


def _user_data(name: str) -> Path | None:
    """A file in the user's data folder; None for a user without a home."""
    folder = Path(platformdirs.user_data_dir("unspool", appauthor=False))
    return folder / name if folder.is_absolute() else None


def _name(text: str) -> str:
    """a name"""
    return text


#: Who may rank schedules; ``default`` is the learned model where its weights are there.
SCHEDULERS = ("default", "analytic", "learned")


def _scheduler(text: str) -> str:
    """default, analytic or learned"""
    if text not in SCHEDULERS:
        raise ValueError(text)
    return text


@dataclass
class Options:
    """The switches with their defaults. One value, ``current``, is in force; change it with :func:`scope`."""

    debug: int = _switch(
        0,
        "UNSPOOL_DEBUG",
        "1 stages and times; 2 schedule; 3 generated source; 4 IR after each pass; 5 each rewrite",
        _integer(0, 5),
    )
    dump: Path | None = _switch(None, "UNSPOOL_DUMP", "write the IR after each stage into this folder", _folder)  # noqa: RUF009
    override: Path | None = _switch(  # noqa: RUF009
        None, "UNSPOOL_OVERRIDE", "take edited dumps from this folder in place of a stage's result", _folder
    )
    verify: int = _switch(
        0,
        "UNSPOOL_VERIFY",
        "1 verify after each pass; 2 also compare printed with parsed, and values on random data before and after",
        _integer(0, 2),
    )
    stop: str = _switch("", "UNSPOOL_STOP", "stop after the stage of this name", _name)
    seed: int = _switch(0, "UNSPOOL_SEED", "seed of the schedule search and of drawn data", _integer(0, 2**63 - 1))
    cache: Path | None = _switch(  # noqa: RUF009
        _user_cache(),
        "UNSPOOL_CACHE",
        "folder of compiled kernels, or `off`",
        _place,
    )
    tuned: Path | None = _switch(  # noqa: RUF009
        _user_data("tuned.jsonl"), "UNSPOOL_TUNED", "the file that remembers what tuning found, or `off`", _place
    )
    history: Path | None = _switch(  # noqa: RUF009
        _user_data("repl-history"), "UNSPOOL_HISTORY", "the file that remembers lines typed into `dsl repl`, or `off`", _place
    )
    scheduler: str = _switch(
        "default", "UNSPOOL_SCHEDULER", "who ranks schedules: analytic, learned, or default: learned where there are weights", _scheduler
    )
    weights: Path | None = _switch(  # noqa: RUF009
        Path(__file__).resolve().parents[1] / "stdlib" / "cost_model.safetensors",
        "UNSPOOL_WEIGHTS",
        "the file of the learned model, or `off`",
        _place,
    )
    compiler: str = _switch("", "CC", "the C compiler, a command; empty: cc, gcc or clang", _name)
    cxx: str = _switch("", "CXX", "the C++ compiler of target emulated, a command; empty: c++, g++ or clang++", _name)
    emulate: str = _switch("", "UNSPOOL_EMULATE", "how target emulated runs: `races`, and forward, reverse or random:SEED", _name)
    target: str = _switch("", "UNSPOOL_TARGET", "target by name; empty: the best one installed", _name)


def from_environment(environment: Mapping[str, str]) -> Options:
    """The switches as an environment sets them; a value that makes no sense, and a switch that there is not, is ignored with a warning."""
    found = Options()
    names = [switch.metadata["env"] for switch in fields(Options)]
    for name in environment:
        if name.startswith("UNSPOOL_") and name not in names:
            warnings.warn(f"{name} is no switch of unspool, and ignored{did_you_mean(name, names)}", stacklevel=2)
    for switch in fields(Options):
        text = environment.get(switch.metadata["env"], "")
        if not text:
            continue
        parse = switch.metadata["parse"]
        try:
            setattr(found, switch.name, parse(text))
        except ValueError:
            warnings.warn(f"{switch.metadata['env']}={text} is ignored: it takes {parse.__doc__}", stacklevel=2)
    return found


#: The switches in force.
current = from_environment(os.environ)


@contextmanager
def scope(**changes: Any) -> Iterator[Options]:
    """Change switches for the duration of a ``with`` block. Raises TypeError for an unknown name."""
    unknown = changes.keys() - {s.name for s in fields(Options)}
    if unknown:
        known = [s.name for s in fields(Options)]
        raise TypeError(f"no such switch: {', '.join(sorted(unknown))}{did_you_mean(min(unknown), known)}")
    before = {name: getattr(current, name) for name in changes}
    for name, value in changes.items():
        setattr(current, name, value)
    try:
        yield current
    finally:
        for name, value in before.items():
            setattr(current, name, value)


def stdlib_folder() -> Path:
    """The folder of the ``.us`` files that come with the library."""
    return Path(__file__).resolve().parents[1] / "stdlib"
