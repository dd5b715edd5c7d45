"""How many cores this process may use, and how large their data caches are, as the system tells."""

from __future__ import annotations

import os
from pathlib import Path

_SYSTEM = Path("/sys/devices/system/cpu")
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def usable_cores() -> int:
    """Cores that this process may run on: as bound to, where the system knows of binding."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def cache_sizes() -> dict[int, int]:
    """Bytes of the data caches by level, of those that the system tells: ``{1: 32768, 2: 1048576, 3: 33554432}``."""
    found = _listed(_SYSTEM / "cpu0" / "cache")
    for level in (1, 2, 3):
        if level not in found and (size := _configured(level)):
            found[level] = size
    return found


def _listed(folder: Path) -> dict[int, int]:
    """From Linux's list of the caches of a core."""
    found: dict[int, int] = {}
    for index in sorted(folder.glob("index*")):
        try:
            kind, level, size = ((index / part).read_text(encoding="ascii").strip() for part in ("type", "level", "size"))
            count, unit = int(size.rstrip("KMG")), size[-1:]
            if kind in ("Data", "Unified") and count > 0:
                found[int(level)] = count * _UNITS.get(unit, 1)
        except (OSError, ValueError):
            continue  # a system that does not tell, or in other words
    return found


def _configured(level: int) -> int:
    """From the C library, which says 0 for what it does not know."""
    name = f"SC_LEVEL{level}_{'DCACHE' if level == 1 else 'CACHE'}_SIZE"
    if not hasattr(os, "sysconf") or name not in os.sysconf_names:
        return 0
    try:
        return max(0, os.sysconf(name))
    except (OSError, ValueError):
        return 0
