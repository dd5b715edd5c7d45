"""The untransformed program as plain C, for other compilers: loops in program order over arrays with their own axes.

The file stands alone. ``void NAME(...)`` takes the arrays in the order of the algorithm's inputs and results and holds the loops
between ``#pragma scop`` and ``#pragma endscop``, as Pluto, Polly, Graphite and pet read them (their variables are ``int``, unless
some index needs 64 bits); with ``-DUNSPOOL_MAIN`` a ``main`` fills the inputs with numbers that a seed fixes, times the function, and
prints the seconds and a checksum. The diagonals of square matrices outweigh their rows, so that factorizations and solvers have
something to work on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod

from ..compiler.diagnostics import CompileError
from ..compiler.loops.nest import Nest
from ..compiler.loops.scan import scan
from ..compiler.loops.scheduled import Scheduled
from ..compiler.loops.tree import (
    Array,
    Barrier,
    Block,
    Call,
    Declare,
    Expr,
    FromInt,
    Function,
    If,
    Int,
    LibraryCall,
    Load,
    Loop,
    Single,
    Store,
    Tree,
)
from .c_runtime import C_TYPES, prelude
from .emit import combine
from .expressions import Printer
from .printer import strip
from .text import Text

_MAIN = """
#ifdef UNSPOOL_MAIN
#include <stdio.h>
#include <time.h>
static double next(uint64_t *state) {  // uniform in 0.05 .. 1.05, a 64-bit linear congruential generator
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return 0.05 + (double)(*state >> 11) / 9007199254740992.0;
}
int main(int argc, char **argv) {
  const int repeats = argc > 1 ? argv[1][0] - '0' : 1;
  uint64_t state = 1;
  double best = 1e30;
  for (int r = 0; r < repeats; r++) {
    state = 1;
$fill
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    $call;
    clock_gettime(CLOCK_MONOTONIC, &b);
    const double seconds = (b.tv_sec - a.tv_sec) + 1e-9 * (b.tv_nsec - a.tv_nsec);
    if (seconds < best) best = seconds;
  }
  double sum = 0;
$sum
  printf("%.9f %.9g\\n", best, sum);
  return 0;
}
#endif
"""


class _Printer(Printer):
    """Elements with an index for every axis."""

    def element(self, array: str, index: Iterable[Int]) -> str:
        """One element as an lvalue; a scalar that the caller has is a pointer."""
        info, name = self.arrays[array], self.names.get("array", array)
        if not info.shape:
            return f"(*{name})" if info.scope in ("input", "output") else name
        return name + "".join(f"[{self.int(i)}]" for i in index)


def plain_c(nest: Nest, integers: Mapping[str, int]) -> str:
    """The C file of a nest in program order, with run-time integers (iteration counts) fixed. Raises CompileError for what has
    no loops: routines."""
    function = scan(Scheduled.start(nest), nest.name)
    return _Plain(function, integers).text()


def _largest(tree: Tree | Block, bounds: dict[str, int]) -> int:
    """No integer that the tree works out is larger than this, in magnitude; ``bounds`` are those of variables."""
    if isinstance(tree, Block):
        return max((_largest(c, bounds) for c in tree.children), default=0)
    if isinstance(tree, Loop):
        ends = [_bound(tree.lower, bounds), _bound(tree.upper, bounds)]
        return max(*ends, _largest(tree.body, {**bounds, tree.name: max(ends)}))
    if isinstance(tree, If):
        parts = [tree.then, *([tree.orelse] if tree.orelse else [])]
        return max(_bound(tree.condition, bounds), *(_largest(p, bounds) for p in parts))
    if isinstance(tree, Single):
        return _largest(tree.body, bounds)
    if isinstance(tree, Store):
        return max((_bound(i, bounds) for i in [*tree.index, *_integers(tree.value)]), default=0)
    return 0


def _integers(value: Expr) -> list[Int]:
    """The integer expressions in a value."""
    if isinstance(value, Load):
        return list(value.index)
    if isinstance(value, FromInt):
        return [value.value]
    return [i for a in value.args for i in _integers(a)] if isinstance(value, Call) else []


def _bound(e: Int, bounds: Mapping[str, int]) -> int:
    """No part of an integer expression is larger than this, in magnitude."""
    if e.op in ("const", "name"):
        return abs(e.value) if e.op == "const" else bounds[e.name]
    parts = [_bound(a, bounds) for a in e.args]
    return sum(parts) if e.op in ("+", "-") else prod(parts) if e.op == "*" else max(parts)


class _Plain:
    def __init__(self, function: Function, integers: Mapping[str, int]) -> None:
        self.function = function
        self.integers = integers
        self.printer = _Printer({a.name: a for a in function.arrays})
        self.lines = Text(1)
        self.index = "int" if _largest(function.body, dict(integers)) < 2**31 else "int64_t"
        for a in function.arrays:
            self.printer.check_dtype(a.dtype)

    def text(self) -> str:
        """The file."""
        counts = [f"enum {{ {self.printer.names.get('variable', n)} = {self.integers[n]} }};" for n in self.function.integers]
        self.block(self.function.body)
        if self.printer.checks:
            raise CompileError(f"plain C has no run-time checks, and this program needs one: {self.printer.checks[0]}")
        passed = [a for a in self.function.arrays if a.scope in ("input", "output")]
        own = [a for a in self.function.arrays if a.scope not in ("input", "output")]
        name = self.printer.names.get("function", self.function.name)
        body = [f"void {name}({', '.join(map(self.parameter, passed))})", "{"]
        body += ["#pragma scop", *self.lines.lines, "#pragma endscop", "}"]
        kept = [f"static {self.declaration(a)};" for a in own]
        text = "\n".join([*counts, *kept, "", *body]) + "\n"
        return prelude(text) + "\n" + text + self.main(name, passed)

    def parameter(self, a: Array) -> str:
        """An array as a parameter."""
        const = "const " if a.scope == "input" else ""
        if not a.shape:
            return f"{const}{C_TYPES[a.dtype]} *restrict {self.printer.names.get('array', a.name)}"
        first, *rest = map(self.printer.int, a.shape)
        axes = "".join(f"[{s}]" for s in rest)
        return f"{const}{C_TYPES[a.dtype]} {self.printer.names.get('array', a.name)}[restrict {first}]{axes}"

    def declaration(self, a: Array) -> str:
        """An array of its own."""
        axes = "".join(f"[{self.printer.int(s)}]" for s in a.shape)
        return f"{C_TYPES[a.dtype]} {self.printer.names.get('array', a.name)}{axes}"

    def extent(self, a: Array, axis: int) -> str:
        """The length of an axis."""
        return self.printer.int(a.shape[axis])

    def main(self, name: str, passed: list[Array]) -> str:
        """The timed ``main``."""
        if any(a.dtype in ("c64", "c128", "key", "bool") for a in passed):
            return ""
        held = [f"static {self.declaration(a)};" for a in passed]
        fill, total = [], []
        for a in passed:
            pointer = f"({C_TYPES[a.dtype]} *)&{self.printer.names.get('array', a.name)}"
            count = f"sizeof {self.printer.names.get('array', a.name)} / sizeof({C_TYPES[a.dtype]})"
            value = f"({C_TYPES[a.dtype]})next(&state)" if a.scope == "input" else "0"
            fill.append(f"    for (size_t i = 0; i < {count}; i++) ({pointer})[i] = {value};")
            if a.scope == "input" and a.dtype in ("f32", "f64") and len(a.shape) == 2 and self.extent(a, 0) == self.extent(a, 1):
                n = self.extent(a, 0)
                fill.append(f"    for (size_t i = 0; i < {n}; i++) ({pointer})[i * ({n} + 1)] += 1.1 * {n};")
            if a.scope == "output":
                total.append(f"  for (size_t i = 0; i < {count}; i++) sum += ({pointer})[i];")
        args = ", ".join(("" if a.shape else "&") + self.printer.names.get("array", a.name) for a in passed)
        text = _MAIN.replace("$fill", "\n".join(fill)).replace("$sum", "\n".join(total)).replace("$call", f"{name}({args})")
        return text.replace("int main(", "\n".join(held) + "\nint main(")

    # -- loops -------------------------------------------------------------------------------------------------------

    def block(self, block: Block) -> None:
        """Print a sequence."""
        for child in block.children:
            self.tree(child)

    def tree(self, tree: Tree) -> None:
        """Print one node; what concerns threads goes away."""
        if isinstance(tree, Loop):
            v = self.printer.names.get("variable", tree.name)
            step = f"{v} += {tree.step}" if tree.step != 1 else f"{v}++"
            self.lines.open(
                f"for ({self.index} {v} = {self.printer.int(tree.lower)}; {v} < {self.printer.int(tree.upper)}; {step})"
            )
            self.block(tree.body)
            self.lines.close()
        elif isinstance(tree, If):
            self.lines.open(f"if ({self.printer.int(tree.condition)})")
            self.block(tree.then)
            self.lines.close()
            if tree.orelse:
                self.lines.open("else")
                self.block(tree.orelse)
                self.lines.close()
        elif isinstance(tree, Single):
            self.block(tree.body)
        elif isinstance(tree, Store):
            place, dtype = self.printer.element(tree.array, tree.index), self.printer.arrays[tree.array].dtype
            self.lines.line(f"{place} = {combine(tree.reduce, place, strip(self.printer.value(tree.value)), dtype)};")
        elif isinstance(tree, LibraryCall):
            raise CompileError(f"plain C has no routine {tree.name}")
        else:
            assert isinstance(tree, (Barrier, Declare)), tree
