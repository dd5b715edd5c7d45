"""The frame of a kernel: the functions of one problem and of a tile of them, the loop over problems, scratch memory, threads."""

from __future__ import annotations

from dataclasses import dataclass

from ..compiler.loops.tree import Array, Function, Tile
from .c_runtime import C_TYPES
from .printer import Printer
from .rooms import bytes_of

#: A tile with fewer problems than its size over this runs them one at a time.
SPARSE = 4


@dataclass(frozen=True)
class Body:
    """A function and the lines of its body; ``scratch`` are locals that live in a thread's memory."""

    function: Function
    printer: Printer
    scratch: list[Array]
    lines: list[str]

    @property
    def meets(self) -> bool:
        """Whether threads of a team wait for each other."""
        return any("us_barrier(" in line for line in self.lines)

    @property
    def passed(self) -> list[Array]:
        """Inputs and outputs."""
        return [a for a in self.function.arrays if a.scope in ("input", "output")]

    @property
    def problem(self) -> list[Array]:
        """Scratch that a team shares."""
        return [a for a in self.function.arrays if a.scope == "problem"]

    @property
    def thread(self) -> list[Array]:
        """Scratch of one thread."""
        return [a for a in self.function.arrays if a.scope == "thread"] + self.scratch

    def array(self, a: Array) -> str:
        """The identifier of an array."""
        return self.printer.names.get("array", a.name)

    def integer(self, name: str) -> str:
        """The identifier of an integer argument."""
        return self.printer.names.get("variable", name)

    def type(self, a: Array) -> str:
        """The C type of a pointer to its elements."""
        return f"{'const ' if a.scope == 'input' else ''}{C_TYPES[a.dtype]} *"

    def bytes(self, a: Array) -> str:
        """The scratch memory an array takes."""
        return f"us_room({self.printer.int(bytes_of(a))})"


def least(tile: Tile) -> int:
    """How many problems it takes to be run side by side."""
    return max(2, tile.size // SPARSE)


def conditions(function: Function, count: int, call: str = "") -> list[str]:
    """What must hold of a call for its batch tile: there are ``count`` problems, operands are shared as the tile takes them to be, and every problem
    has its own results. ``call`` stands before what a call gives."""
    assert function.tile is not None
    out = [f"{call}batch >= {count}"]
    passed = [a for a in function.arrays if a.scope in ("input", "output")]
    for n, (a, stride) in enumerate(zip(passed, function.tile.strides, strict=True)):
        if not stride:
            out.append(f"{call}batch_strides[{n}] == 0")
        elif a.scope == "output":
            out.append(f"{call}batch_strides[{n}] != 0")
    return out


def kernel_text(main: Body, tile: Body | None = None) -> str:
    """The C functions of a kernel around the lines of its bodies; ``tile`` is the body of a batch tile."""
    return _Frame(main, tile).text()


class _Frame:
    def __init__(self, main: Body, tile: Body | None) -> None:
        self.main = main
        self.tile = tile
        self.bodies = [main] if tile is None else [main, tile]
        self.name = main.function.name
        self.meets = any(b.meets for b in self.bodies)
        self.problem = any(b.problem for b in self.bodies)
        self.thread = any(b.thread for b in self.bodies)

    def text(self) -> str:
        """All of it."""
        functions = [line for b in self.bodies for line in self._function(b)]
        return "\n".join([*functions, *self._scratch(), *self._run(), *self._entry()]) + "\n"

    def _function(self, body: Body) -> list[str]:
        params = ["const int64_t member", "const int64_t team_size", "int *failed"]
        params += ["us_team *team"] if body.meets else []
        params += [f"const int64_t {body.integer(n)}" for n in body.function.integers]
        what = "One problem" if body is self.main else "Several problems side by side"
        suffix = "problem" if body is self.main else "tile"
        out = [f"// {what}, by member `member` of a team of `team_size` threads."]
        if body is self.main:  # gcc would compile it a second time, for a single thread, which gains nothing
            out.append("__attribute__((noclone))")
        out.append(f"static void {self.name}_{suffix}(")
        lines = [(f"    {p}", "") for p in params]
        for a in (*body.passed, *body.problem, *body.thread):
            shape = ", ".join(body.printer.int(s) for s in a.shape)
            lines.append((f"    {body.type(a)}restrict {body.array(a)}", f"  // {a.dtype}[{shape}] {a.scope}"))
        out += [head + ("," if n + 1 < len(lines) else ")") + note for n, (head, note) in enumerate(lines)]
        return [*out, "{", *body.lines, "}", ""]

    def _bind(self, body: Body, depth: int) -> list[str]:
        """The integers that kernel and body have in common."""
        known = self.main.function.integers
        named = [(body.integer(n), known.index(n)) for n in body.function.integers if n in known]
        return [f"{' ' * depth}const int64_t {text} = integers[{i}];" for text, i in named]

    def _scratch(self) -> list[str]:
        out = []
        for what in ("problem", "thread"):
            sums = [" + ".join(b.bytes(a) for a in getattr(b, what)) or "0" for b in self.bodies]
            tile = self.main.function.tile
            total = sums[0] if tile is None else f"batch < {least(tile)} ? {sums[0]} : us_imax({sums[0]}, {sums[1]})"
            out += [f"static int64_t {self.name}_{what}_bytes(int64_t batch, const int64_t *integers) {{", *self._bind(self.main, 2)]
            out += [f"  return {total};", "}", ""]
        team = " + teams * (int64_t)sizeof(us_team)" if self.meets else ""
        out += [
            "// Bytes of scratch memory that a call needs.",
            f"int64_t {self.name}_workspace(int64_t batch, int64_t teams, int64_t team_size, const int64_t *integers) {{",
            f"  return 64{team} + teams * {self.name}_problem_bytes(batch, integers)",
            f"    + teams * team_size * {self.name}_thread_bytes(batch, integers);",
            "}",
            "",
        ]
        return out

    def _run(self) -> list[str]:
        out = [
            "// The problems of one team, as seen by one of its threads. Returns the number of a failed check, or 0.",
            f"static int {self.name}_run(int64_t batch, int64_t team_number, int64_t member, int64_t teams, int64_t team_size,",
            "    void *const *pointers, const int64_t *batch_strides, const int64_t *team_strides, const int64_t *integers, char *workspace) {",
            "  int failed = 0;",
        ]
        if self.meets:
            out += [
                "  us_team *meeting = (us_team *)workspace + team_number;",
                "  workspace += teams * (int64_t)sizeof(us_team);",
            ]
        if self.problem:
            out.append(f"  char *shared = workspace + team_number * {self.name}_problem_bytes(batch, integers);")
        if self.thread:
            out.append(f"  char *own = workspace + teams * {self.name}_problem_bytes(batch, integers)")
            out.append(f"    + (team_number * team_size + member) * {self.name}_thread_bytes(batch, integers);")
        grain = "1"
        if self.tile is not None and self.main.function.tile is not None:
            out.append(f"  const int tiled = {' && '.join(conditions(self.main.function, least(self.main.function.tile)))};")
            grain = f"tiled ? {self.main.function.tile.size} : 1"
        out += [
            "  int64_t first, last;",
            f"  us_share(batch, {grain}, team_number, teams, &first, &last);",
            "  for (int64_t problem = first; problem < last;) {",
        ]
        if self.meets:
            out.append("    if (problem > first) us_barrier(meeting, team_size);")
        if self.tile is not None and self.main.function.tile is not None:
            out += [
                f"    if (tiled && last - problem >= {least(self.main.function.tile)}) {{",
                *self._tile_call(self.tile),
                "    }",
                "    else {",
            ]
            out += [*self._call(self.main), "      problem++;", "    }"]
        else:
            out += ["    {", *self._call(self.main), "    }", "    problem++;"]
        return [*out, "  }", "  return failed;", "}", ""]

    def _tile_call(self, body: Body) -> list[str]:
        tile = self.main.function.tile
        assert tile is not None
        lanes = body.integer(tile.lanes)
        out = [f"      const int64_t {lanes} = us_imin(last - problem, {tile.size});"]
        out += [
            f"      const int64_t {body.integer(s)} = batch_strides[{n}];"
            for n, s in enumerate(tile.strides)
            if s in body.function.integers
        ]
        return [*out, *self._call(body), f"      problem += {lanes};"]

    def _call(self, body: Body) -> list[str]:
        out = self._bind(body, 6)
        for base, arrays in (("shared", body.problem), ("own", body.thread)):
            at = f"at_{base}"
            if arrays:
                out.append(f"      char *{at} = {base};")
            for n, a in enumerate(arrays):
                out.append(f"      {body.type(a)}{body.array(a)} = ({body.type(a)}){at};")
                if n + 1 < len(arrays):
                    out.append(f"      {at} += {body.bytes(a)};")
        for n, a in enumerate(body.passed):
            place = f"team_number * team_strides[{n}] + problem * batch_strides[{n}]"
            out.append(f"      {body.type(a)}{body.array(a)} = ({body.type(a)})pointers[{n}] + {place};")
        args = ["member", "team_size", "&failed", *(["meeting"] if body.meets else [])]
        args += [body.integer(n) for n in body.function.integers]
        args += [body.array(a) for a in (*body.passed, *body.problem, *body.thread)]
        suffix = "problem" if body is self.main else "tile"
        return [*out, f"      {self.name}_{suffix}({', '.join(args)});"]

    def _entry(self) -> list[str]:
        passed = "batch, thread / size, thread % size, count, size, pointers, batch_strides, team_strides, integers, scratch"
        alone = f"return {self.name}_run(batch, 0, 0, 1, 1, pointers, batch_strides, team_strides, integers, scratch);"
        out = [
            f"int {self.name}(int64_t batch, int64_t teams, int64_t team_size, void *const *pointers, const int64_t *batch_strides,",
            "    const int64_t *team_strides, const int64_t *integers, void *workspace) {",
            "  char *scratch = (char *)(((uintptr_t)workspace + 63) / 64 * 64);",
        ]
        if self.meets:
            out.append("  memset(scratch, 0, (size_t)teams * sizeof(us_team));")
        return [
            *out,
            "#ifdef _OPENMP",
            f"  if (teams * team_size == 1) {alone}",
            "  int status = 0;",
            "  us_team end = {0};",
            "#pragma omp parallel num_threads((int)(teams * team_size))",
            "  {  // fewer threads than asked for may come",
            "    const int64_t came = omp_get_num_threads(), thread = omp_get_thread_num();",
            "    const int64_t count = came < teams ? came : teams, size = came / count < team_size ? came / count : team_size;",
            f"    const int failed = thread < count * size ? {self.name}_run({passed}) : 0;",
            "    if (failed) {",
            "#pragma omp atomic write",
            "      status = failed;",
            "    }",
            "    us_leave(&end, thread, came);",
            "  }",
            "  return status;",
            "#else",
            f"  {alone}",
            "#endif",
            "}",
        ]
