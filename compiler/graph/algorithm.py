"""An algorithm as the rest of the compiler sees it: its graph and what surrounds it."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..diagnostics import Span
from .graph import Graph
from .types import Size, Type, weights_of


@dataclass(frozen=True)
class Input:
    """A declared input. ``given`` ones are fixed when the algorithm is built."""

    name: str
    type: Type
    given: bool = False
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Constraint:
    """``free``, ``positive``, ``nonneg``, ``unit``, ``interval`` (with bounds) or ``simplex``."""

    kind: str = "free"
    lower: float = 0.0
    upper: float = 1.0


@dataclass(frozen=True)
class Param:
    """A learnable parameter. ``init`` is a graph from the ``given`` inputs (by name) to one value
    that broadcasts to ``type``; None means the constraint's default.

    Default when None: zeros for ``free``, ``nonneg``; 1 for ``positive``; the middle for ``unit``
    and ``interval``; uniform for ``simplex``.
    """

    name: str
    type: Type
    constraint: Constraint
    init: Graph | None = None
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class ModuleInput:
    """A learned operator ``module f[K]: (types) -> types``; ``count`` is None for a shared one."""

    name: str
    arguments: tuple[Type, ...]
    results: tuple[Type, ...]
    count: Size | None = None
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Condition:
    """One comparison of a ``where`` clause: ``left op right`` with op in ``== != < <= > >=``."""

    left: Size
    op: str
    right: Size

    def __str__(self) -> str:
        return f"{self.left} {self.op} {self.right}"


@dataclass(frozen=True)
class Algorithm:
    """One algorithm, typed and lowered.

    ``graph`` inputs are: ``inputs`` in order, then ``params`` in order (constrained values).
    Size names of ``iterations`` and of inputs occur free in its types. ``objective`` has as inputs
    its own arguments (``objective_arguments``, in order), then the algorithm's ``inputs``, then ``params``.
    Params of an algorithm it calls appear under dotted names (``inner.step``).
    """

    name: str
    inputs: tuple[Input, ...]
    params: tuple[Param, ...]
    iterations: tuple[tuple[str, int], ...]
    modules: tuple[ModuleInput, ...]
    where: tuple[Condition, ...]
    graph: Graph
    results: tuple[Type, ...]
    objective: Graph | None = None
    objective_name: str = ""
    objective_arguments: tuple[str, ...] = ()
    span: Span | None = field(default=None, compare=False, repr=False)

    @property
    def size_names(self) -> tuple[str, ...]:
        """Names in the declared sizes of inputs, params and learned operators, iteration counts aside, in order of use."""
        types = [i.type for i in self.inputs if not weights_of(i.type)] + [p.type for p in self.params]
        types += [t for m in self.modules for t in (*m.arguments, *m.results)]
        counts = {n for n, _ in self.iterations}
        return tuple(dict.fromkeys(n for t in types for s in t.shape for n in sorted(s.names()) if n not in counts))
