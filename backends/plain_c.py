"""The untransformed program as plain C, for other compilers: loops in program order over arrays with their own axes.

The file stands alone. ``void NAME(...)`` takes the arrays in the order of the algorithm's inputs and results and holds the loops
between ``#pragma scop`` and ``#pragma endscop``, as Pluto, Polly, Graphite and pet read them (their variables are ``int``, unless
some index needs 64 bits); with ``-DUNSPOOL_MAIN`` a ``main`` fills the inputs with numbers that a seed fixes, times the function, and
prints the seconds and a checksum. The diagonals of square matrices outweigh their rows, so that factorizations and solvers have
something to work on.
"""

from __future__ import annotations

import re
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

#: Names that start with ``us_`` are no program's.
_MAIN = """
#ifdef UNSPOOL_MAIN
#include <stdio.h>
#include <time.h>
static double us_next(uint64_t *us_state) {  // uniform in 0.05 .. 1.05, a 64-bit linear congruential generator
  *us_state = *us_state * 6364136223846793005u + 1442695040888963407u;
  return 0.05 + (double)(*us_state >> 11) / 9007199254740992.0;
}
int main(int argc, char **argv) {
$held
  const int us_repeats = argc > 1 ? argv[1][0] - '0' : 1;
  uint64_t us_state = 1;
  double us_best = 1e30, us_sum = 0;
  for (int us_r = 0; us_r < us_repeats; us_r++) {
    us_state = 1;
$fill
    struct timespec us_start, us_end;
    timespec_get(&us_start, TIME_UTC);
    $call;
    timespec_get(&us_end, TIME_UTC);
    const double us_seconds = (double)(us_end.tv_sec - us_start.tv_sec) + 1e-9 * (double)(us_end.tv_nsec - us_start.tv_nsec);
    if (us_seconds < us_best) us_best = us_seconds;
  }
$sum
  printf("%.9f %.9g\\n", us_best, us_sum);
  return 0;
}
#endif
"""

#: Compilers that know nothing of scops would warn of every one.
_PRAGMAS = '#pragma GCC diagnostic ignored "-Wunknown-pragmas"\n'
#: What the headers of the timed main declare: no algorithm can be called so.
_DECLARED = frozenset(
    """printf fprintf sprintf snprintf scanf puts gets putc getc putchar getchar remove rename perror stdin stdout stderr
    time clock clock_gettime ctime gmtime localtime mktime strftime difftime asctime timespec_get nanosleep timezone daylight""".split()
)


class _Printer(Printer):
    """Elements with an index for every axis."""

    reserved = Printer.reserved | _DECLARED

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
        body += [f"  static {self.declaration(a, self.printer.names.get('array', a.name))};" for a in own]
        body += [f"  (void){n};" for n in self.unused(passed)]
        body += ["#pragma scop", *self.lines.lines, "#pragma endscop", "}"]
        text = "\n".join([*counts, "", *body]) + "\n"
        return prelude(text) + "\n" + _PRAGMAS + text + self.main(name, passed)

    def unused(self, passed: list[Array]) -> list[str]:
        """Parameters that the loops do not name."""
        named = set(re.findall(r"\w+", "\n".join(self.lines.lines)))
        return [n for n in (self.printer.names.get("array", a.name) for a in passed) if n not in named]

    def parameter(self, a: Array) -> str:
        """An array as a parameter."""
        const = "const " if a.scope == "input" else ""
        if not a.shape:
            return f"{const}{C_TYPES[a.dtype]} *restrict {self.printer.names.get('array', a.name)}"
        first, *rest = map(self.printer.int, a.shape)
        axes = "".join(f"[{s}]" for s in rest)
        return f"{const}{C_TYPES[a.dtype]} {self.printer.names.get('array', a.name)}[restrict {first}]{axes}"

    def declaration(self, a: Array, name: str) -> str:
        """An array under a name."""
        axes = "".join(f"[{self.printer.int(s)}]" for s in a.shape)
        return f"{C_TYPES[a.dtype]} {name}{axes}"

    def extent(self, a: Array, axis: int) -> str:
        """The length of an axis."""
        return self.printer.int(a.shape[axis])

    def main(self, name: str, passed: list[Array]) -> str:
        """The timed ``main``; its arrays have names of its own."""
        if any(a.dtype in ("c64", "c128", "key", "bool") for a in passed):
            return ""
        held, fill, total, args = [], [], [], []
        for number, a in enumerate(passed):
            own, kind = f"us_{number}", C_TYPES[a.dtype]
            held.append(f"  static {self.declaration(a, own)};")
            args.append(own if a.shape else f"&{own}")
            pointer, count = f"({kind} *)&{own}", f"sizeof {own} / sizeof({kind})"
            value = f"({kind})us_next(&us_state)" if a.scope == "input" else "0"
            fill.append(f"    for (size_t i = 0; i < {count}; i++) ({pointer})[i] = {value};")
            if a.scope == "input" and a.dtype in ("f32", "f64") and len(a.shape) == 2 and self.extent(a, 0) == self.extent(a, 1):
                n = self.extent(a, 0)
                fill.append(f"    for (size_t i = 0; i < {n}; i++) ({pointer})[i * ({n} + 1)] += ({kind})(1.1 * {n});")
            if a.scope == "output":
                total.append(f"  for (size_t i = 0; i < {count}; i++) us_sum += (double)({pointer})[i];")
        parts = {"$held": held, "$fill": fill, "$sum": total, "$call": [f"{name}({', '.join(args)})"]}
        text = _MAIN
        for key, lines in parts.items():
            text = text.replace(key, "\n".join(lines))
        return text

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
            for test, leave in ((tree.until, True), (tree.unless, False)):
                if test is not None:
                    self.lines.line(f"if ({strip(self.printer.value(test))}) {'break' if leave else 'continue'};")
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
