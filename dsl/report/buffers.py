"""Every array of the kernels: how large it is, and where it lives."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ...compiler.target import Machine
from .section import Section, render
from .subject import Subject


def section(subject: Subject) -> Section | None:
    """A table for each kernel, and one for its batch tile."""
    found = []
    for part, kernel in zip(subject.parts, subject.explained["kernels"], strict=True):
        machine = part.compiled.target.capabilities.machine
        for body in [kernel, *([kernel["batch_tile"]] if "batch_tile" in kernel else [])]:
            name = part.name if body is kernel else f"{part.name}, {body['problems']} problems side by side"
            if body["buffers"]:
                found.append((name, _rows(body["buffers"], machine), _marks(body["buffers"], machine)))
    return Section("buffers", "Buffers", render("buffers.html", kernels=found)) if found else None


def _scale(buffers: list[Mapping[str, Any]], machine: Machine) -> float:
    """The logarithm of the largest size."""
    return math.log2(max(4.0, 2.0 * machine.l3, *(float(b["bytes"]) for b in buffers)))


def _rows(buffers: list[Mapping[str, Any]], machine: Machine) -> list[dict[str, Any]]:
    most = _scale(buffers, machine)
    return [
        {
            "array": b["array"], "type": f"{b['dtype']}[{', '.join(b['shape'])}]", "bytes": b["bytes"], "place": b["place"],
            "fits": "" if b["place"].startswith("register") else b["fits"], "share": 100 * math.log2(max(1, b["bytes"])) / most,
        }
        for b in buffers
    ]  # fmt: skip


def _marks(buffers: list[Mapping[str, Any]], machine: Machine) -> list[tuple[str, int, float]]:
    """The caches: their sizes, and where these are on the scale."""
    most = _scale(buffers, machine)
    return [
        (name, size, 100 * math.log2(size) / most)
        for name, size in (("L1", machine.l1), ("L2", machine.l2), ("L3", machine.l3))
        if size
    ]
