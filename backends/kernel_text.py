"""The frame of a kernel: the function of one problem, the loop over problems, scratch memory and threads."""

from __future__ import annotations

from ..compiler.loops.tree import Array, Function, Int
from .affine import const, simple
from .c_runtime import BITS, C_TYPES
from .expressions import Printer


def kernel_text(function: Function, printer: Printer, scratch: list[Array], body: list[str]) -> str:
    """The C functions around the lines of a body. ``scratch`` are locals that live in a thread's memory."""
    return _Frame(function, printer, scratch, body).text()


class _Frame:
    def __init__(self, function: Function, printer: Printer, scratch: list[Array], body: list[str]) -> None:
        self.printer = printer
        self.name = function.name
        self.body = body
        self.integers = [printer.names.get("variable", n) for n in function.integers]
        self.passed = [a for a in function.arrays if a.scope in ("input", "output")]
        self.problem = [a for a in function.arrays if a.scope == "problem"]
        self.thread = [a for a in function.arrays if a.scope == "thread"] + scratch
        self.meets = any("us_barrier(" in line for line in body)

    def text(self) -> str:
        """All of it."""
        return "\n".join([*self._problem(), *self._scratch(), *self._run(), *self._entry()]) + "\n"

    def _array(self, a: Array) -> str:
        return self.printer.names.get("array", a.name)

    def _type(self, a: Array) -> str:
        return f"{'const ' if a.scope == 'input' else ''}{C_TYPES[a.dtype]} *"

    def _bytes(self, a: Array) -> str:
        total: Int = const(BITS[a.dtype] // 8)
        for extent in a.shape:
            total = Int("*", (total, extent))
        return f"us_room({self.printer.int(simple(total))})"

    def _bind(self) -> list[str]:
        return [f"  const int64_t {n} = integers[{i}];" for i, n in enumerate(self.integers)]

    def _problem(self) -> list[str]:
        params = ["const int64_t member", "const int64_t team_size", "int *failed"]
        params += ["us_team *team"] if self.meets else []
        params += [f"const int64_t {n}" for n in self.integers]
        out = ["// One problem, by member `member` of a team of `team_size` threads.", f"static void {self.name}_problem("]
        lines = [(f"    {p}", "") for p in params]
        for a in (*self.passed, *self.problem, *self.thread):
            shape = ", ".join(self.printer.int(s) for s in a.shape)
            lines.append((f"    {self._type(a)}restrict {self._array(a)}", f"  // {a.dtype}[{shape}] {a.scope}"))
        out += [head + ("," if n + 1 < len(lines) else ")") + note for n, (head, note) in enumerate(lines)]
        return [*out, "{", *self.body, "}", ""]

    def _scratch(self) -> list[str]:
        out = []
        for what, arrays in (("problem", self.problem), ("thread", self.thread)):
            out += [f"static int64_t {self.name}_{what}_bytes(const int64_t *integers) {{", *self._bind()]
            out += [f"  return {' + '.join(self._bytes(a) for a in arrays) or '0'};", "}", ""]
        team = " + teams * (int64_t)sizeof(us_team)" if self.meets else ""
        out += [
            "// Bytes of scratch memory that a call needs.",
            f"int64_t {self.name}_workspace(int64_t teams, int64_t team_size, const int64_t *integers) {{",
            f"  return 64{team} + teams * {self.name}_problem_bytes(integers) + teams * team_size * {self.name}_thread_bytes(integers);",
            "}",
            "",
        ]
        return out

    def _run(self) -> list[str]:
        out = [
            "// The problems of one team, as seen by one of its threads. Returns the number of a failed check, or 0.",
            f"static int {self.name}_run(int64_t batch, int64_t team_number, int64_t member, int64_t teams, int64_t team_size,",
            "    void *const *pointers, const int64_t *batch_strides, const int64_t *team_strides, const int64_t *integers, char *workspace) {",
            *self._bind(),
            "  int failed = 0;",
        ]
        if self.meets:
            out += [
                "  us_team *meeting = (us_team *)workspace + team_number;",
                "  workspace += teams * (int64_t)sizeof(us_team);",
            ]
        if self.problem:
            out.append(f"  char *shared = workspace + team_number * {self.name}_problem_bytes(integers);")
        if self.thread:
            out.append(f"  char *own = workspace + teams * {self.name}_problem_bytes(integers)")
            out.append(f"    + (team_number * team_size + member) * {self.name}_thread_bytes(integers);")
        for base, arrays in (("shared", self.problem), ("own", self.thread)):
            for n, a in enumerate(arrays):
                out.append(f"  {self._type(a)}{self._array(a)} = ({self._type(a)}){base};")
                if n + 1 < len(arrays):
                    out.append(f"  {base} += {self._bytes(a)};")
        for n, a in enumerate(self.passed):
            out.append(f"  {self._type(a)}{self._array(a)} = ({self._type(a)})pointers[{n}] + team_number * team_strides[{n}];")
        args = ["member", "team_size", "&failed", *(["meeting"] if self.meets else []), *self.integers]
        args += [f"{self._array(a)} + problem * batch_strides[{n}]" for n, a in enumerate(self.passed)]
        args += [self._array(a) for a in (*self.problem, *self.thread)]
        out += [
            "  const int64_t last = batch * (team_number + 1) / teams;",
            "  for (int64_t problem = batch * team_number / teams; problem < last; problem++) {",
        ]
        if self.meets:
            out.append("    if (problem > batch * team_number / teams) us_barrier(meeting, team_size);")
        return [*out, f"    {self.name}_problem({', '.join(args)});", "  }", "  return failed;", "}", ""]

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
            "#pragma omp parallel num_threads((int)(teams * team_size))",
            "  {  // fewer threads than asked for may come",
            "    const int64_t came = omp_get_num_threads(), thread = omp_get_thread_num();",
            "    const int64_t count = came < teams ? came : teams, size = came / count < team_size ? came / count : team_size;",
            f"    const int failed = thread < count * size ? {self.name}_run({passed}) : 0;",
            "    if (failed) {",
            "#pragma omp atomic write",
            "      status = failed;",
            "    }",
            "  }",
            "  return status;",
            "#else",
            f"  {alone}",
            "#endif",
            "}",
        ]
