"""What a run of the suite includes: how large, against whom, with how many threads."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from . import limits
from .contest import PEERS, Contestant
from .peers import torch_compiled, torch_eager

T = TypeVar("T")
SCALES = ("quick", "default", "full")
#: What ``--peers`` takes besides the peers themselves.
GROUPS = {"torch": ("eager", "compile"), "all": tuple(PEERS)}


@dataclass(frozen=True)
class Plan:
    """``scale`` is one of SCALES; ``peers`` are keys of PEERS that are installed. On a ``gpu`` only those take part who move there."""

    scale: str = "default"
    peers: frozenset[str] = frozenset(PEERS)
    threads: int = 2
    gpu: bool = False

    def pick(self, quick: T, default: T, full: T) -> T:
        """What belongs to the scale."""
        return {"quick": quick, "default": default, "full": full}[self.scale]

    def having(self, contestants: Iterable[Contestant]) -> list[Contestant]:
        """Those who take part; ours always do."""
        found = [c for c in contestants if c.peer in self.peers or c.peer not in PEERS]
        return [c for c in found if c.moves] if self.gpu else found

    def compiled(
        self,
        by: Callable[[str, str, Callable[[], Callable[..., Any]]], Contestant],
        name: str,
        variant: str = "",
        *,
        whole: bool = True,
        one: bool = True,
    ) -> list[Contestant]:
        """A program of ``torch_eager`` under torch.compile: ``one`` iteration, and as a ``whole`` where that takes bearable
        time; at full scale also with autotuning, on a GPU with nothing but that (as a whole with CUDA graphs). ``by`` is
        ``Problem.torch`` or ``Problem.torch_gradient``."""
        if "compile" not in self.peers:
            return []
        suffix = f", {variant}" if variant else ""
        function = getattr(torch_eager, name)
        found = []
        if self.gpu:
            tuned = {"mode": "max-autotune-no-cudagraphs"}
            if one:
                found.append(by(f"torch.compile, one iteration{suffix}", "compile", lambda: torch_compiled.by_step(name, **tuned)))
            if whole and self.scale != "quick":
                made = f"torch.compile, whole loop, CUDA graphs{suffix}"
                found.append(by(made, "compile", lambda: torch_compiled.whole(function, mode="max-autotune")))
            return found
        if one:
            found.append(by(f"torch.compile, one iteration{suffix}", "compile", lambda: torch_compiled.by_step(name)))
        if whole and self.scale != "quick":
            found.append(by(f"torch.compile, whole loop{suffix}", "compile", lambda: torch_compiled.whole(function)))
            if self.scale == "full":
                tuned = f"torch.compile, whole loop, max-autotune{suffix}"
                found.append(by(tuned, "compile", lambda: torch_compiled.whole(function, mode="max-autotune")))
        return found


def chosen(words: Iterable[str]) -> tuple[frozenset[str], list[str]]:
    """The peers that words name, without those that cannot run here, and a line for each of these.

    Raises ValueError for a word that names nobody.
    """
    wanted: set[str] = set()
    for word in words:
        if word not in PEERS and word not in GROUPS:
            raise ValueError(f"{word!r} is none of {', '.join([*PEERS, *GROUPS])}")
        wanted.update(GROUPS.get(word, (word,)))
    absent = {p: reason for p in wanted if (reason := missing(p))}
    return frozenset(wanted - absent.keys()), [f"left out: {reason}" for _, reason in sorted(absent.items())]


def missing(peer: str) -> str:
    """Why a peer cannot run here; empty if it can."""
    if peer in ("jax", "numba"):
        return "" if importlib.util.find_spec(peer) else f"{PEERS[peer]} is not installed (pip install {peer})"
    if peer == "compile":
        return _no_inductor()
    return limits.missing() if peer == "limit" else ""


def _no_inductor() -> str:
    """Why torch.compile cannot generate code here."""
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        return "torch.compile needs a C++ compiler (g++ or clang++)"
    return ""


def forget_compiled(plan: Plan) -> None:
    """What torch.compile made for the contest before does not count against its limit of recompilations."""
    if "compile" in plan.peers:
        import torch._dynamo

        torch._dynamo.reset()
