"""The parts of a schedule's text: steps of one of several kernels, and steps for a tile of problems.

kernel em_0             # what follows is of this kernel
fuse i3 i7; parallel i3
batch 16                # what follows is of tiles of 16 problems (see :mod:`.batch_tile`)
parallel w0

Parts keep the lines they have in the whole text, so that an error names the line a user sees.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ..nearest import nearest
from .dependences import IllegalSchedule


def step_lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """The words of every step, with the number of its line (from 1)."""
    for number, line in enumerate(text.splitlines(), 1):
        for part in _parts(line):
            if part.split():
                yield number, part.split()


def _parts(line: str) -> list[str]:
    return line.split("#")[0].split(";")


def split_batch(text: str) -> tuple[str, int, str]:
    """The steps for one problem, the size of a batch tile (0: none), and the steps for a tile. Raises IllegalSchedule."""
    lines = text.splitlines()
    for n, line in enumerate(lines):
        for place, part in enumerate(parts := _parts(line)):
            words = part.split()
            if words[:1] != ["batch"]:
                continue
            if len(words) != 2 or not re.fullmatch("[0-9]{1,2}", words[1]) or not 2 <= int(words[1]) <= 64:
                said = f"line {n + 1} of the schedule: `{part.strip()}`"
                raise IllegalSchedule(f"{said}: a batch tile holds 2 to 64 problems, as in `batch 16`")
            before, behind = ";".join(parts[:place]), ";".join(parts[place + 1 :])
            return "\n".join([*lines[:n], before]), int(words[1]), "\n".join([*[""] * n, behind, *lines[n + 1 :]])
    return text, 0, ""


def split_kernels(text: str, names: Sequence[str]) -> dict[str, str]:
    """The schedules in a text, by the kernel they are of. Without a line ``kernel NAME`` a text is that of the only kernel, and one
    without steps is program order for all. Raises IllegalSchedule."""
    first = next(step_lines(text), None)
    if first is None:
        return dict.fromkeys(names, "")
    if first[1][0] != "kernel":
        if len(names) == 1:
            return {names[0]: text}
        known = ", ".join(names) or "none"
        raise IllegalSchedule(f"line {first[0]} of the schedule: begin with a line `kernel NAME`; the kernels are {known}")
    found: dict[str, list[str]] = {}
    part: list[str] = []
    for n, line in enumerate(text.splitlines()):
        words = line.split("#")[0].split()
        if words[:1] == ["kernel"]:
            part = found[_kernel(n + 1, " ".join(words[1:]), names, found)] = [""] * (n + 1)
        else:
            part.append(line)
    return {name: "\n".join(lines) for name, lines in found.items()}


def _kernel(line: int, name: str, names: Sequence[str], found: dict[str, list[str]]) -> str:
    if name in names and name not in found:
        return name
    near = nearest(name, names)
    known = f"did you mean `{near}`?" if near else f"the kernels are {', '.join(names) or 'none'}"
    said = f"a second part of kernel `{name}`" if name in found else f"there is no kernel `{name}`; {known}"
    raise IllegalSchedule(f"line {line} of the schedule: {said}")
