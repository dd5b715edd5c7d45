"""When two programs are the same to a model: their nests differ in names, numbers and the dtype of what is real."""

from __future__ import annotations

import re
from hashlib import sha256

from ...loops.nest import Nest
from ...loops.text import print_nest

#: What stays of a text: words, numbers with a point, integers, signs.
_TOKEN = re.compile(r"[A-Za-z_]\w*|\d+\.\d*(?:e[+-]?\d+)?|\d+|[^\s\w]")
#: Integers from here on are sizes; smaller ones say which neighbour is read.
_SIZE = 16
_DTYPES = {"f32": "real", "f64": "real", "c64": "complex", "c128": "complex"}
_WORDS = frozenset("nest array order for serial input output problem kept min max".split())


def structure(nest: Nest) -> str:
    """The hash of a nest without its names and its numbers."""
    names: dict[str, str] = {}
    ops = {e for line in print_nest(nest).splitlines() for e in re.findall(r"(\w+):\w+\(", line)}

    def plain(token: str) -> str:
        if token[0].isdigit():
            return token if token.isdigit() and int(token) < _SIZE else "#"
        if token in _DTYPES or token in _WORDS or token in ops or not (token[0].isalpha() or token[0] == "_"):
            return _DTYPES.get(token, token)
        return names.setdefault(token, f"v{len(names)}")

    return sha256(" ".join(map(plain, _TOKEN.findall(print_nest(nest)))).encode()).hexdigest()[:16]
