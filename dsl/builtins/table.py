"""The table of builtin functions and how one is declared.

    @builtin("reductions", "sum(x, *, axis=None, keepdims=False)", example="sum(A, axis=0)")
    def sum_(call: Call) -> Value:
        "The docstring is the builtin's sentence in the reference."

The signature is Python's notation. It is what the user reads, what calls are checked against, and
where defaults come from.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any, Union

from ...compiler.graph.graph import Value
from ..operand import Array, Builtin, Lowering, Operand
from .call import Call, Signature

Result = Union[Value, Operand, "tuple[Value | Operand, ...]"]
Body = Callable[[Call], Result]

#: Every builtin by name. Importing :mod:`dsl.builtins.all` fills it.
BUILTINS: dict[str, Builtin] = {}
#: An expression that uses each builtin (see ``docs/reference.md``).
EXAMPLES: dict[str, str] = {}


def builtin(family: str, signature: str, *, example: str, names: tuple[int, ...] = ()) -> Callable[[Body], Body]:
    """Declare a builtin: the decorated function's docstring is its description.

    Raises ValueError for a name that is taken.
    """
    parsed = parse_signature(signature)

    def declare(body: Body) -> Body:
        declare_builtin(family, parsed, signature, body, " ".join((body.__doc__ or "").split()), example, names)
        return body

    return declare


def declare_builtin(
    family: str, parsed: Signature, signature: str, body: Body, doc: str, example: str, names: tuple[int, ...] = ()
) -> None:
    """Add a row to the table. Raises ValueError for a name that is taken."""
    if parsed.name in BUILTINS:
        raise ValueError(f"builtin {parsed.name} is declared twice")

    def lower(ctx: Lowering, args: tuple[Operand, ...], kwargs: dict[str, Operand]) -> Operand | tuple[Operand, ...]:
        result = body(Call.bind(ctx, parsed, args, kwargs))
        if isinstance(result, tuple):
            return tuple(_operand(r) for r in result)
        return _operand(result)

    BUILTINS[parsed.name] = Builtin(parsed.name, lower, doc, shown(signature), names, family)
    EXAMPLES[parsed.name] = example


def _operand(result: Value | Operand) -> Operand:
    return Array(result) if isinstance(result, Value) else result


def parse_signature(text: str) -> Signature:
    """Read ``name(a, b=1, *rest, key=None)``. Raises ValueError if it is not one."""
    try:
        (function,) = ast.parse(f"def {text}: pass").body
    except SyntaxError:
        raise ValueError(f"not a signature: {text!r}") from None
    assert isinstance(function, ast.FunctionDef)
    a = function.args
    positional = tuple(p.arg for p in (*a.posonlyargs, *a.args))
    defaults: dict[str, Any] = {
        name: _default(node) for name, node in zip(positional[len(positional) - len(a.defaults) :], a.defaults, strict=True)
    }
    defaults.update((k.arg, _default(node)) for k, node in zip(a.kwonlyargs, a.kw_defaults, strict=True) if node is not None)
    return Signature(function.name, positional, a.vararg.arg if a.vararg else None, tuple(k.arg for k in a.kwonlyargs), defaults)


def _default(node: ast.expr) -> Any:
    return node.id if isinstance(node, ast.Name) else ast.literal_eval(node)


def shown(signature: str) -> str:
    """The signature as the language page writes it: ``softmax(x, axis=)`` needs ``axis`` by keyword."""
    head, star, keywords = signature.partition("*, ")
    if not star:
        return signature
    return head + ", ".join(part if "=" in part else f"{part}=" for part in keywords[:-1].split(", ")) + ")"
