"""Programs made ugly without changing them: blanks, line breaks, comments, empty lines and needless parentheses at random;
and random programs to do it to."""

from __future__ import annotations

from random import Random

from lark import Token, Tree

from unspool.dsl.parse import token_tree

_EXPRESSIONS = frozenset(
    "name number none string call index attribute array binary unary compare parenthesis parenthesis_tuple empty_tuple".split()
)
_OPERATORS = ["+", "-", "*", "/", "//", "%", "@", "**", "and", "or", "<", "=="]


def mangle(text: str, rng: Random, comments: float = 0.05, breaks: float = 0.15, parentheses: float = 0.05) -> str:
    """Another text of the same program; the numbers are how likely each kind of change is at a place."""
    return _Mangler(rng, comments, breaks, parentheses).run(token_tree(text))


class _Mangler:
    def __init__(self, rng: Random, comments: float, breaks: float, parentheses: float) -> None:
        self.rng, self.comments, self.breaks, self.parentheses = rng, comments, breaks, parentheses
        self.out: list[str] = []
        self.depth = 0  # of brackets
        self.indents = [0]
        self.at_start = True
        self.count = 0

    def run(self, tree: Tree[Token]) -> str:
        self.between_lines()
        self.tree(tree)
        text = "".join(self.out)
        return text.rstrip("\n") if self.rng.random() < 0.2 else text

    def comment(self) -> str:
        self.count += 1
        return self.rng.choice(["# {}", "#{}", "#  (({}", "# '{}", "##{} = [", "# {}  ", "#{}\t"]).format(self.count)

    def tree(self, node: Tree[Token] | Token | None) -> None:
        if isinstance(node, Tree):
            if node.data in _EXPRESSIONS and self.rng.random() < self.parentheses:
                self.word("(")
                self.tree_children(node)
                self.word(")")
            else:
                self.tree_children(node)
        elif node is not None:
            self.token(node)

    def tree_children(self, node: Tree[Token]) -> None:
        inline = node.data == "block_inline" and self.rng.random() < 0.5
        if inline:
            self.indents.append(self.indents[-1] + self.rng.randint(1, 6))
            self.newline()
        for child in node.children:
            self.tree(child)
        if inline:
            self.indents.pop()

    def token(self, token: Token) -> None:
        if token.type == "_NL":
            if not self.at_start:
                self.newline()
        elif token.type == "_INDENT":
            self.indents.append(self.indents[-1] + self.rng.randint(1, 6))
        elif token.type == "_DEDENT":
            self.indents.pop()
        else:
            self.word(str(token))

    def newline(self) -> None:
        if self.rng.random() < self.comments:
            self.out.append(self.rng.choice(["", " ", "   "]) + self.comment())
        self.out.append("\n")
        self.at_start = True
        self.between_lines()

    def between_lines(self) -> None:
        while self.rng.random() < 0.3:
            if self.rng.random() < 2 * self.comments:
                self.out.append(" " * self.rng.choice([0, 2, 4, self.indents[-1], 12]) + self.comment())
            self.out.append("\n" if self.rng.random() < 0.8 else "  \n")

    def word(self, text: str) -> None:
        if text in (")", "]"):
            self.space(text)
            self.depth -= 1
        elif self.at_start:
            self.out.append(" " * self.indents[-1])
        else:
            self.space(text)
        self.out.append(text)
        self.at_start = False
        self.depth += text in ("(", "[")

    def space(self, text: str) -> None:
        before = self.out[-1][-1:]
        loose = text in ("(", ")", "[", "]", ",", ":") or before in tuple("()[],:")
        kind = self.rng.random()
        if self.depth and kind < self.comments:
            self.out.append(self.rng.choice(["", "  ", "\n", "\n\n "]) + self.comment() + "\n" + " " * self.rng.randint(0, 30))
        elif self.depth and kind < self.comments + self.breaks:
            self.out.append(self.rng.choice(["\n", "\n\n", " \n  \n\n"]) + " " * self.rng.randint(0, 30))
        else:
            self.out.append(self.rng.choice(["", " ", " ", "  ", "\t"]) if loose else self.rng.choice([" ", " ", "   "]))


def random_program(rng: Random) -> str:
    """Definitions that parse; they need not mean anything."""
    return "".join(rng.choice([_fn, _fn_block, _algorithm, _use])(rng) for _ in range(rng.randint(1, 4)))


def _name(rng: Random) -> str:
    return rng.choice(["x", "A", "step", "λ", "a_long_name", "an_even_longer_name_of_an_operand", "n", "K"])


def _size(rng: Random) -> str:
    return rng.choice(["n", "m", "n-1", "2 * n + 1", "K", "(n)", "min(m, n - 1)"])


def expression(rng: Random, depth: int = 3) -> str:
    """An expression with all that the grammar has."""
    if depth == 0 or rng.random() < 0.15:
        return rng.choice([_name(rng), _name(rng), "1", "1e-8", "0.5", "2j", "1_000", "True", "None", "'ij,jk->ik'", '"a\'b"'])

    def inner() -> str:
        return expression(rng, depth - 1)

    kind = rng.randrange(12)
    if kind < 4:
        return f" {rng.choice(_OPERATORS)} ".join(f"({inner()})" for _ in range(rng.randint(2, 5)))
    if kind == 4:
        return " + ".join(f"{_name(rng)} * {_name(rng)}" for _ in range(rng.randint(2, 9)))
    if kind == 5:
        return f"{rng.choice(['-', '+', 'not '])}({inner()})"
    if kind == 6:
        return f"sum({inner()} for i in 0..{_size(rng)}, j in {_size(rng)}..-1 by -1)"
    if kind == 7:
        return f"[{inner()} for i in 0..{_size(rng)}]"
    if kind == 8:
        items = ["...", "None", ":", "::2", f"({inner()}):-1", f"1:{_size(rng)}", _size(rng), f"({inner()})"]
        return f"{_name(rng)}[{', '.join(rng.choice(items) for _ in range(rng.randint(1, 3)))}{rng.choice(['', ','])}]"
    if kind == 9:
        return f"({', '.join(inner() for _ in range(rng.randint(2, 4)))})"
    if kind == 10:
        return f"({inner()}).T"
    keywords = [f"{_name(rng)}=({inner()})" for _ in range(rng.randint(0, 2))]
    return f"{_name(rng)}({', '.join([inner() for _ in range(rng.randint(0, 4))] + keywords)})"


def _use(rng: Random) -> str:
    return rng.choice(["use prox\n", "use prox: soft,hard\n", "use 'local/ops.us' : blur\n"])


def _fn(rng: Random) -> str:
    return f"fn {_name(rng)}({rng.choice(['', 'a', 'a,', 'a, b'])}) = {expression(rng)}{rng.choice(['', ', ' + _name(rng)])}\n"


def _fn_block(rng: Random) -> str:
    return f"fn {_name(rng)}(a, b):{_block(rng, 2)}"


def _algorithm(rng: Random) -> str:
    inputs = ", ".join(f"{rng.choice(['', 'given '])}{_name(rng)}: real[{_size(rng)}]" for _ in range(rng.randint(0, 7)))
    where = rng.choice(["", f" where ({expression(rng, 1)}), n >= 2"])
    return (
        f"algorithm {_name(rng)}({inputs}) -> {rng.choice(['real', '(real[n])', '(real, i32[n, m],)'])}{where}:{_block(rng, 3)}"
    )


def _block(rng: Random, depth: int) -> str:
    if rng.random() < 0.2:
        return f" x = {expression(rng)}\n"
    lines = "".join(_statement(rng, depth) for _ in range(rng.randint(1, 5)))
    return "\n" + "".join(f"    {line}\n" for line in lines.splitlines())


def _statement(rng: Random, depth: int) -> str:
    simple = [
        f"{_name(rng)} = {expression(rng)}", f"a, b = {expression(rng)}", f"(a, b) = ({expression(rng, 1)}, 1)",
        f"x[i, {_size(rng)}] += {expression(rng)}", f"t: real[{_size(rng)}] = {expression(rng, 2)}",
        f"assert ({expression(rng, 2)}), 'must be'", f"param {_name(rng)}[K, {_size(rng)}]: interval(0, 1) = {expression(rng)}",
        f"module f[K]: (real[n], {rng.choice(['real', 'f32[n-1]'])}) -> real[n]", f"iterations K = ({expression(rng, 1)})",
        f"objective J(u) = {expression(rng)}", f"return ({expression(rng)}), x", f"{_name(rng)},  = {expression(rng, 1)}",
    ]  # fmt: skip
    if depth and rng.random() < 0.3:
        until = rng.choice(["", f" until ({expression(rng, 2)})"])
        head = rng.choice([f"for i in 0..{_size(rng)}, j in i..(n):", f"for k in 0..K{until}:", f"if ({expression(rng, 2)}):"])
        text = head + _block(rng, depth - 1)
        if head.startswith("if") and rng.random() < 0.5:
            text += f"elif {expression(rng, 1)}:{_block(rng, depth - 1)}else:{_block(rng, 0)}"
        return text
    return rng.choice(simple) + "\n"
