"""What is installed here, and which targets work: what ``dsl --version --verbose`` and ``dsl targets`` tell."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from dataclasses import fields

from ..backends.explain_text import table
from ..backends.registry import NAMES, availability, canonical
from ..compiler import options
from ..compiler.version import VERSION
from .timing import machine, version

#: Packages whose versions matter, those that need not be there behind.
PACKAGES = ("torch", "numpy", "islpy", "jinja2", "lark", "networkx", "safetensors", "typer", "rich", "prompt_toolkit", "pygments")
OPTIONAL = ("numba", "llvmlite", "triton", "apache-tvm", "cuda-bindings", "nvidia-cuda-nvrtc", "ray", "jax", "matplotlib", "pygls")


def targets() -> list[tuple[str, str, str]]:
    """Every target, whether it can be used here, and by what it runs or why it does not."""
    best = canonical(None)
    rows = []
    for found in map(availability, NAMES):
        name = found.name + (" (default)" if found.name == best else "")
        rows.append((name, "yes" if found.usable else "no", found.reason))
    return rows


def lines() -> Iterator[str]:
    """All of it."""
    facts = machine(())
    yield f"unspool {VERSION}"
    yield f"Python {platform.python_version()} ({sys.executable}), {platform.platform()}"
    yield f"{facts['processor']}, {facts['cores']} cores; {facts['compiler'] or 'no C compiler'}"
    yield "packages"
    yield from table([(name, version(name) or "not installed") for name in (*PACKAGES, *OPTIONAL)])
    yield "targets"
    yield from table(targets())
    yield "switches"
    default = options.Options()
    rows = []
    for switch in fields(options.Options):
        value = getattr(options.current, switch.name)
        if value != getattr(default, switch.name) or switch.name in ("cache", "tuned", "history"):
            rows.append((switch.metadata["env"], "off" if value is None else str(value)))
    yield from table(rows)
