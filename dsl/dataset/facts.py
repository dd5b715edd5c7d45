"""The machine that measures, as a record."""

from __future__ import annotations

from dataclasses import asdict
from hashlib import sha256

from ...backends.build import find_compiler, identity, machine
from ...backends.roofline import roofline
from ...backends.tuning.identity import machine_id
from ...compiler.search.dataset.records import MachineFacts
from ..timing import machine as described


def machine_facts() -> MachineFacts:
    """This machine with its limits, which are measured the first time. Raises CompileError without a C compiler."""
    limits = asdict(roofline())
    name = sha256(f"{machine_id()}; {identity(find_compiler())}".encode()).hexdigest()[:16]
    return MachineFacts(name, {**described(), "machine": asdict(machine()), "limits": limits})
