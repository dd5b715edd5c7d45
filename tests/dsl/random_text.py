"""Random ``.us`` programs, well typed by construction: declarations, loops, branches, slices, index sums, functions, derivatives."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

Shape = tuple[str, ...]
_UNARY = ["abs", "tanh", "exp", "sign", "sigmoid", "-", "relu"]
_BINARY = ["+", "-", "*", "/"]
HEAD = "fn soft(v, t) = sign(v) * max(abs(v) - t, 0)\nfn loss(w, S):\n    r = S @ w\n    return sum(r * r) + norm(w)\n"


class _Maker:
    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.lines: list[str] = []
        self.names: dict[str, Shape] = {"x": ("n",), "y": ("m",), "A": ("m", "n"), "S": ("n", "n"), "t": ()}
        self.indices: list[tuple[str, str]] = []  # (index, size below which it stays)
        self.fresh = 0

    def one(self, items: Sequence[str]) -> str:
        return self.draw(st.sampled_from(list(items)))

    def number(self) -> str:
        return self.one(["0", "1", "2", "0.5", "1e-3", "2.25", "1_0"])

    def name(self, stem: str) -> str:
        self.fresh += 1
        return f"{stem}_{self.fresh}"

    # -- expressions

    def expr(self, shape: Shape, depth: int) -> str:
        known = [n for n, s in self.names.items() if s == shape]
        kinds = ["name"] if depth <= 0 else ["name", "unary", "binary", "binary", "special", "special", "where", "scalar"]
        match self.one(kinds):
            case "unary":
                f = self.one(_UNARY)
                inner = self.expr(shape, depth - 1)
                return f"-({inner})" if f == "-" else f"{f}({inner})"
            case "binary":
                other = self.expr(shape if self.draw(st.booleans()) else (), depth - 1)
                return f"({self.expr(shape, depth - 1)} {self.one(_BINARY)} {other})"
            case "where":
                return f"where({self.condition(depth - 1)}, {self.expr(shape, depth - 1)}, {self.expr(shape, depth - 1)})"
            case "scalar":
                return f"({self.expr(shape, depth - 1)} {self.one(_BINARY)} {self.number()})"
            case "special":
                return self.special(shape, depth - 1)
        if known and self.draw(st.booleans()):
            return self.one(known)
        return self.made(shape) if not known else self.one(known)

    def made(self, shape: Shape) -> str:
        if not shape:
            return self.number()
        return self.one([f"zeros({', '.join(shape)})", f"full({self.number()}, {', '.join(shape)})"])

    def special(self, shape: Shape, depth: int) -> str:
        if shape == ():
            vector = (self.one(["n", "m"]),)
            f = self.one(["sum", "norm", "mean", "max", "index", "element", "loss", "axis"])
            if f == "index":
                i = self.name("i")
                self.indices.append((i, vector[0]))
                body = self.expr((), depth)
                self.indices.pop()
                return f"{self.one(['sum', 'max', 'prod'])}({body} for {i} in 0..{vector[0]})"
            if f == "element":
                return self.element()
            if f == "loss":
                return f"loss({self.expr(('n',), depth)}, S)"
            return f"sum({self.expr(vector, depth)}, axis=-1)" if f == "axis" else f"{f}({self.expr(vector, depth)})"
        if len(shape) == 1:
            f = self.one(["matvec", "soft", "comprehension", "softmax", "row", "column", "grad"])
            if f == "matvec" and shape == ("m",):
                return f"(A @ {self.expr(('n',), depth)})"
            if f == "matvec":
                return f"(A.T @ {self.expr(('m',), depth)})"
            if f == "soft":
                return f"soft({self.expr(shape, depth)}, {self.expr((), depth)})"
            if f == "comprehension":
                i = self.name("i")
                self.indices.append((i, shape[0]))
                body = self.expr((), depth)
                self.indices.pop()
                return f"[{body} for {i} in 0..{shape[0]}]"
            if f == "softmax":
                return f"softmax({self.expr(shape, depth)}, axis=0)"
            if f == "grad" and shape == ("n",):
                return f"grad(loss, w)({self.expr(shape, depth)}, {self.expr(('n', 'n'), 0)})"
            return "A[0]" if shape == ("n",) else "A[:, -1]"
        if shape == ("n", "n"):
            return self.one(["(A.T @ A)", "eye(n)", "S.T", f"outer({self.expr(('n',), depth)}, x)"])
        return self.one(["A", "(A @ S)", f"(A * {self.expr(('n',), depth)})", f"(A - {self.expr(('m',), depth)}[:, None])"])

    def element(self) -> str:
        fitting = [(i, size, n) for i, size in self.indices for n, s in self.names.items() if s == (size,)]
        if fitting:
            i, _, n = self.draw(st.sampled_from(fitting))
            return f"{n}[{i}]"
        return self.one(["x[0]", "y[-1]", "A[0, 1]", "S[n-1, 0]"])

    def condition(self, depth: int) -> str:
        simple = f"{self.expr((), depth)} {self.one(['<', '>', '<=', '!='])} {self.number()}"
        return self.one([simple, f"not ({simple})", f"({simple} and t > 0)", f"(t < 0 or {simple})"])

    # -- statements

    def block(self, indent: str, count: int, depth: int) -> None:
        for _ in range(count):
            self.statement(indent, depth)

    def vectors(self) -> list[str]:
        return [n for n, s in self.names.items() if len(s) == 1]

    def statement(self, indent: str, depth: int) -> None:
        kinds = ["assign", "assign", "augment", "slice", "tuple", "assert", "typed"] + (
            ["for", "index", "if", "until"] if depth else []
        )
        match self.one(kinds):
            case "assign":
                shape = self.draw(st.sampled_from([(), ("n",), ("m",), ("n", "n"), ("m", "n")]))
                known = [n for n, s in self.names.items() if s == shape]
                value = self.expr(shape, 2)
                target = self.one(known) if known and (depth < 2 or self.draw(st.booleans())) else ""
                if not target:
                    target, value = self.name("v"), f"{value} + t" if not shape else value
                    self.names[target] = shape
                self.lines.append(f"{indent}{target} = {value}")
            case "augment":
                name = self.one([*self.vectors(), "t"])
                self.lines.append(f"{indent}{name} {self.one(_BINARY)}= {self.expr(self.names[name], 1)}")
            case "slice":
                name = self.one(self.vectors())
                left, right = self.one(["1: :-1", ":-1 1:", "::2 ::2", ": :"]).split()
                self.lines.append(f"{indent}{name}[{left}] {self.one(['=', '+=', '-='])} {name}[{right}] * {self.expr((), 1)}")
            case "tuple":
                a, b = self.one(["x", "y", "t"]), self.one(["A", "S"])
                self.lines.append(f"{indent}{a}, {b} = {self.expr(self.names[a], 1)}, {self.expr(self.names[b], 1)}")
            case "assert":
                self.lines.append(f'{indent}assert {self.condition(1)}, "{self.one(["fits", "is so"])}"')
            case "typed":
                name = self.name("u")
                value = self.expr((), 1)
                self.names[name] = ("n",)
                self.lines.append(f"{indent}{name}: real[n] = {value}")
            case "for":
                self.inner(f"{indent}for {self.name('k')} in {self.one(['0..K', '1..K', '0..3', '5..0 by -2'])}:", indent, depth)
            case "until":
                self.inner(f"{indent}for {self.name('k')} in 0..K until {self.condition(1)}:", indent, depth)
            case "index":
                i, j, size = self.name("i"), self.name("j"), self.one(["n", "m"])
                several = self.draw(st.booleans()) and size == "n"
                second = f", {j} in {self.one([f'0..{i}+1', f'{i}..n', '0..min(n, 3)'])}" if several else ""
                self.indices += [(i, size)] + ([(j, "n")] if several else [])
                target = f"S[{i}, {j}]" if several else f"{'x' if size == 'n' else 'y'}[{i}]"
                head = f"{indent}for {i} in {self.one([f'0..{size}', f'{size}-1..-1 by -1', f'0..{size} by 2'])}{second}:"
                self.lines += [head, f"{indent}    {target} {self.one(['=', '+=', '*='])} {self.expr((), 2)}"]
                if self.draw(st.booleans()):
                    self.lines += [f"{indent}    if {i} >= 1:", f"{indent}        {target} = {self.element()}"]
                del self.indices[-2 if several else -1 :]
            case "if":
                name = self.one(["x", "y", "t", "S"])
                self.lines.append(f"{indent}if {self.condition(1)}:")
                self.lines.append(f"{indent}    {name} = {self.expr(self.names[name], 2)}")
                if self.draw(st.booleans()):
                    self.lines += [f"{indent}elif t > 1:", f"{indent}    {name} = {self.expr(self.names[name], 1)}"]
                if self.draw(st.booleans()):
                    self.lines.append(f"{indent}else:")
                    self.inner("", indent, depth)

    def inner(self, head: str, indent: str, depth: int) -> None:
        """A block whose own names end with it."""
        before = dict(self.names)
        self.lines += [head] if head else []
        self.block(indent + "    ", self.draw(st.integers(1, 3)), depth - 1)
        self.names = before


@st.composite
def program_texts(draw: st.DrawFn) -> str:
    """A program with two functions and one algorithm of vectors, matrices and numbers."""
    m = _Maker(draw)
    declared = ["    iterations K = 4", "    param step[K]: positive = 0.5"]
    if draw(st.booleans()):
        declared.append("    param W[K, n]: interval(-1, 1) = sum(G, axis=0) / (1 + norm2(G))")
    if draw(st.booleans()):
        declared += ["    param bias[d]: nonneg", "    module f: (real[n]) -> real[n]"]
        m.lines.append("    x = f(x) + sum(bias)")
    if draw(st.booleans()):
        declared.append("    objective J(a, b) = sum((A @ a - y)**2) + b * step[0]")
    m.block("    ", draw(st.integers(3, 7)), 2)
    head = (
        "algorithm program(given G: real[m, n], A: real[m, n], S: real[n, n], x: real[n], y: real[m], t: real) "
        "-> (real[n], real) where n >= 3, m >= 3:\n"
    )
    result = f"    return {m.expr(('n',), 2)}, {m.expr((), 2)} + t\n"
    return HEAD + head + "\n".join([*declared, *m.lines]) + "\n" + result
