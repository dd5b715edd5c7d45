"""``ptx``: what the kernel becomes on an NVIDIA GPU."""

from __future__ import annotations

from collections.abc import Sequence

from ..command import Command, Reply
from ..session import Session
from .source import for_target


def run(session: Session, words: Sequence[str]) -> Reply:
    """Raises CompileError where CUDA cannot be compiled; a GPU is not needed."""
    return Reply(session.bench.kernel(for_target(session.state, "cuda")).asm.rstrip("\n"), "ptx")


COMMAND = Command("ptx", "ptx", "The PTX of the kernel by target cuda; it takes NVRTC or nvcc, and no GPU.", "ptx", run)
