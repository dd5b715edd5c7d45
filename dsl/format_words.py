"""A program as the words that the formatter sets: tokens in lines, with what may stand between two of them.

``x = (f(a)) + b[i - 1]`` becomes one line of words ``x = f ( a ) + b [ i - 1 ]``: parentheses that group nothing are
gone, each word knows whether a blank goes before and after it, whether a line may break before it, and
the comments that the author wrote in front of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from lark import Token, Tree

# How early a line breaks before a word, the loosest first: after a comma, before `for`, before an operator.
_COMMA, _FOR, _GENERATOR, _COMPARE = 0, 1, 2, 5
_LEVELS = {"or": 3, "and": 4, "+": 6, "-": 6, "*": 7, "/": 7, "//": 7, "%": 7, "@": 7}
_ARITHMETIC = frozenset(["+", "-", "*", "/", "//", "%"])
_LISTS = frozenset(["parameters", "inputs", "type_list", "sizes", "arguments", "items"])
_ATOMS = frozenset(
    ["name", "number", "none", "string", "call", "index", "attribute", "array", "list_display",
     "parenthesis", "parenthesis_tuple", "empty_tuple"]
)  # fmt: skip
_OWN_BRACKETS = frozenset(["parenthesis", "parenthesis_tuple", "empty_tuple", "array", "list_display", "result"])
#: Where a tuple needs no parentheses, and what may be put in parentheses to break it: rule -> positions in it.
_BARE_TUPLES = {
    "assign": (0, 2),
    "typed_assign": (4,),
    "augment": (2,),
    "return_line": (1,),
    "fn_expression": (1,),
    "expression": (0,),
}
_VALUES = {
    "assign": (2,), "typed_assign": (4,), "augment": (2,), "return_line": (1,), "fn_expression": (1,), "iterations": (3,),
    "param": (8,), "assert_line": (1,), "if_block": (1,), "elif_branch": (1,), "until": (1,),
}  # fmt: skip


@dataclass(frozen=True)
class Comment:
    """``own``: it stands alone on its line; ``column``: where; ``blank``: so many empty lines are above it."""

    text: str
    own: bool
    column: int
    blank: int


@dataclass
class Gap:
    """What the author has between two words."""

    comments: list[Comment] = field(default_factory=list)
    newline: bool = False
    blank: int = 0  # empty lines after the comments

    def take(self, later: Gap) -> None:
        """Everything of the gap after this one, moved here."""
        self.comments += later.comments
        self.newline |= later.newline
        self.blank = max(self.blank, later.blank)
        later.comments, later.newline, later.blank = [], False, 0


@dataclass
class Word:
    """A token. ``level``: how early a line may break before it, None for never; ``leads``: an operator, which
    a broken line begins with; ``optional``: a comma that is there if the bracket's end has its own line."""

    text: str
    start: int
    end: int
    tight_before: bool = False
    tight_after: bool = False
    level: int | None = None
    leads: bool = False
    optional: bool = False
    opens: bool = False
    closes: bool = False
    gap: Gap = field(default_factory=Gap)


@dataclass
class Line:
    """A logical line; the words ``value[0]`` to ``value[1]`` may be put in parentheses."""

    level: int
    words: list[Word] = field(default_factory=list)
    value: tuple[int, int] | None = None
    pairs: list[_Pair] = field(default_factory=list)
    column: int | None = None  # where the author began it; None if not at the start of a line
    block: bool = False  # indented lines follow


class _Chain:
    """Parentheses around nothing but parentheses, ``((a + b))``; one pair that stays is enough."""

    kept = False


@dataclass
class _Pair:
    """Parentheses that may go: ``need`` says when the innermost of a chain has to stay."""

    chain: _Chain
    need: str  # "nothing", "one" (of the chain, around an operand), "itself" (a tuple), "bare" (a tuple that needs none)
    open: Word | None = None
    close: Word | None = None


@dataclass(frozen=True)
class _Visit:
    node: Tree[Token] | Token
    parent: str = ""
    position: int = 0
    tight: bool = False
    pair: _Pair | None = None
    chain: _Chain | None = None


_Step = _Visit | tuple[str, int]


def read_lines(tree: Tree[Token], text: str) -> list[Line]:
    """The lines of a program. ``tree`` is what ``parse.token_tree(text)`` gave."""
    lines = _Reader().read(tree)
    shifted = "\n" + text + "\n"
    for line in lines:
        _fill_gaps(line.words, shifted)
        _drop_parentheses(line)
        begin = shifted.rfind("\n", 0, line.words[0].start) + 1
        line.column = line.words[0].start - begin if not shifted[begin : line.words[0].start].strip() else None
    return lines


class _Reader:
    """Walks the tree, outer rules first, without recursion."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.line = Line(0)
        self.level = 0
        self.pending: int | None = None  # the level of the next word

    def read(self, tree: Tree[Token]) -> list[Line]:
        stack: list[_Step] = [_Visit(tree)]
        while stack:
            step = stack.pop()
            if isinstance(step, tuple):
                self.act(*step)
            elif isinstance(step.node, Token):
                self.token(step.node, step)
            else:
                stack.extend(reversed(list(self.children(step.node, step))))
        return self.lines

    def act(self, name: str, value: int) -> None:
        words = self.line.words
        if name == "pending":
            self.pending = value
        elif name == "value":
            self.line.value = (len(words), len(words))
        elif name == "value end":
            assert self.line.value is not None
            self.line.value = (self.line.value[0], len(words))
        elif name == "comma":
            end = words[-1].end
            words.append(Word(",", end, end, tight_before=True, optional=True))
        elif name == "block":
            self.finish(block=True)
            self.level += value

    def finish(self, block: bool = False) -> None:
        if self.line.words:
            self.line.level, self.line.block = self.level, block
            self.lines.append(self.line)
        self.line = Line(0)

    def children(self, node: Tree[Token], visit: _Visit) -> Iterator[_Step]:
        rule = str(node.data)
        children = [(n, child) for n, child in enumerate(node.children) if child is not None]
        listed = rule in _LISTS or (rule in ("several", "parenthesis_tuple") and _items(node) > 1)
        ends = [")", None] if listed else []  # a comma before these adds nothing
        after = [child for _, child in children[1:]] + [None]
        tight = _is_tight(rule, visit)
        chain = _Chain()
        if rule in ("parenthesis", "parenthesis_tuple") or (rule == "result" and len(node.children) == 3):
            chain, pair = self.pair(node, visit)
        else:
            pair = None
        if rule == "block_inline":
            yield ("block", 1)
        for (n, child), following in zip(children, after, strict=True):
            if child == "," and following in ends:
                continue
            value = n in _VALUES.get(rule, ())
            if value:
                yield ("value", 0)
            if rule == "parenthesis_tuple" and listed and child == ")":
                yield ("comma", 0)
            if rule == "parenthesis" and isinstance(child, Tree):  # what is inside stands where the parentheses stand
                yield _Visit(child, visit.parent, visit.position, tight, None, chain)
            else:
                yield _Visit(child, rule, n, tight or (rule == "module" and n == 3), pair)
            if value:
                yield ("value end", 0)
            if child == ",":
                yield ("pending", _GENERATOR if rule == "generators" else _COMMA)
        if rule in _LISTS and not _is_generator(node):
            yield ("comma", 0)
        if rule == "block_inline":
            yield ("block", -1)

    def pair(self, node: Tree[Token], visit: _Visit) -> tuple[_Chain, _Pair]:
        """The parentheses of a node, and when they may go."""
        chain = visit.chain or _Chain()
        inner = node.children[1]
        kind = str(inner.data) if isinstance(inner, Tree) else ""
        if node.data == "result":
            assert isinstance(inner, Tree)
            need = "nothing" if _items(inner) == 1 else "itself"
        elif node.data == "parenthesis_tuple":
            bare = visit.position in _BARE_TUPLES.get(visit.parent, ()) and _items(node) > 1
            need = "bare" if bare else "itself"
        elif kind in ("parenthesis", "parenthesis_tuple", "empty_tuple"):
            need = "nothing"
        elif visit.parent in ("binary", "unary", "compare"):
            need = "nothing" if kind in _ATOMS else "one"
        elif visit.parent in ("call", "index", "attribute") and visit.position == 0:
            need = "nothing" if kind in _ATOMS and not (kind == "number" and visit.parent == "attribute") else "one"
        else:
            need = "nothing"
        pair = _Pair(chain, need)
        self.line.pairs.append(pair)
        return chain, pair

    def token(self, token: Token, visit: _Visit) -> None:
        if token.type == "_NL":
            self.finish()
            return
        if token.type in ("_INDENT", "_DEDENT"):
            self.level += 1 if token.type == "_INDENT" else -1
            if token.type == "_INDENT" and self.lines:
                self.lines[-1].block = True
            return
        assert token.start_pos is not None
        assert token.end_pos is not None
        word = Word(_spelled(token), token.start_pos, token.end_pos, level=self.pending)
        self.pending = None
        words = self.line.words
        text, rule = str(token), visit.parent
        word.opens, word.closes = text in ("(", "["), text in (")", "]")
        if text == "," or word.closes:
            word.tight_before = True
        elif text == ":" and rule == "slice_item":
            word.tight_before, word.tight_after = words[-1].text != ",", True
        elif text in (".", "..") or (text == "=" and rule == "keyword"):
            word.tight_before = word.tight_after = True
        elif text == ":":
            word.tight_before = True
        elif word.opens:
            word.tight_after = True
            word.tight_before = not (rule in _OWN_BRACKETS or (rule == "module" and text == "("))
        elif rule == "unary":
            word.tight_after = text != "not"
        elif rule == "binary":
            word.tight_before = word.tight_after = text == "**" or (visit.tight and text in _ARITHMETIC)
            if not word.tight_before:
                word.level, word.leads = _LEVELS[text], True
        elif rule == "comparator":
            word.level, word.leads = _COMPARE, True
        elif rule == "comprehension":
            word.level, word.leads = _FOR, True
        if visit.pair is not None:
            if word.opens:
                visit.pair.open = word
            elif word.closes:
                visit.pair.close = word
        words.append(word)


def _items(node: Tree[Token]) -> int:
    return sum(isinstance(child, Tree) for child in node.children)


def _is_tight(rule: str, visit: _Visit) -> bool:
    """Whether arithmetic stands without blanks: in indices, ranges and sizes."""
    if rule in ("items", "index_range"):
        return True
    if rule == "sizes":
        return visit.parent in ("type_array", "param")
    return visit.tight and rule not in ("arguments", "array", "list_display")


def _is_generator(node: Tree[Token]) -> bool:
    """Whether these are the arguments of ``sum(e for i in 0..n)``, which take no comma."""
    first = node.children[0]
    return (
        node.data == "arguments"
        and isinstance(first, Tree)
        and any(isinstance(c, Tree) and c.data == "comprehension" for c in first.children)
    )


def _spelled(token: Token) -> str:
    text = str(token)
    return f'"{text[1:-1]}"' if token.type == "STRING" and '"' not in text else text


def read_gap(text: str, column: int) -> Gap:
    """The comments and newlines of a text between two words; ``column`` is where it starts in its line."""
    gap = Gap()
    rows = text.split("\n")
    empty = 0
    for n, row in enumerate(rows):
        at = row.find("#")
        if at >= 0:
            gap.comments.append(Comment(row[at:].rstrip(), n > 0, at + (column if n == 0 else 0), empty))
            empty = 0
        elif 0 < n < len(rows) - 1:
            empty += 1
    gap.newline, gap.blank = len(rows) > 1, empty
    return gap


def _fill_gaps(words: list[Word], text: str) -> None:
    for before, word in pairwise(words):
        if before.end < word.start:
            line = text.rfind("\n", 0, before.end) + 1
            word.gap = read_gap(text[before.end : word.start], before.end - line)
    for n, word in enumerate(words[:-1]):  # lines break after commas, and before operators
        if word.text == "," and not word.optional:
            moved, word.gap = word.gap, Gap()
            moved.take(words[n + 1].gap)
            words[n + 1].gap = moved
    for n, word in enumerate(words[:-1]):
        if word.leads:
            word.gap.take(words[n + 1].gap)


def _drop_parentheses(line: Line) -> None:
    """Parentheses that group nothing go, unless the author broke the line or wrote a comment in them."""
    broken: set[int] = set()  # brackets with a comment or a break directly in them, by their opening word
    stack: list[Word] = []
    for n, word in enumerate(line.words):
        if stack:
            first = line.words[n - 1] is stack[-1]
            breaks = word.gap.newline and not word.closes and (first or word.level is not None)
            if breaks or word.gap.comments:
                broken.add(id(stack[-1]))
        if word.opens:
            stack.append(word)
        elif word.closes:
            stack.pop()
    gone: set[int] = set()
    for pair in line.pairs:
        assert pair.open is not None
        assert pair.close is not None
        needed = {"nothing": False, "one": not pair.chain.kept, "itself": True, "bare": pair.chain.kept}[pair.need]
        if needed or id(pair.open) in broken:
            pair.chain.kept = True
        else:
            gone |= {id(pair.open), id(pair.close)}
    _remove(line, gone)


def _remove(line: Line, gone: set[int]) -> None:
    kept: list[Word] = []
    inherited: list[Word] = []  # opening words gone since the last one that stays
    start, end = line.value or (0, 0)
    value = [0, 0]
    for n, word in enumerate(line.words):
        if line.value is not None and n == start:
            value[0] = len(kept)
        follows = line.words[n + 1] if n + 1 < len(line.words) else None
        if id(word) in gone:
            if word.opens:
                inherited.append(word)
        elif word.optional and follows is not None and id(follows) in gone:
            pass
        else:
            if inherited:
                word.gap, word.level = inherited[0].gap, inherited[0].level
                inherited = []
            kept.append(word)
        if line.value is not None and n == end - 1:
            value[1] = len(kept)
    line.words = kept
    if line.value is not None:
        line.value = (value[0], value[1])
