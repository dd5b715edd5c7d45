"""Whether the arguments of a step are of its kind, and which of them names nothing: the words for what a user mistyped."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence

from ..nearest import nearest
from .nest import Nest, loops_of

#: Parameters of steps that name something else than a loop; a choice between words names nothing.
_ROLES = {"array": "array", "statement": "statement", "before": "statement", "dim": "dim", "dims": "dim", "fusion": ""}
#: So many names are listed where none is near.
_LISTED = 12


def wrong_arguments(name: str, step: Callable[..., object], args: Sequence[str | int]) -> str | None:
    """Why the arguments do not fit a step's parameters (its names and integers), or None."""
    parameters = list(inspect.signature(step).parameters.values())[1:]
    own = [p for p in parameters if p.kind is not p.VAR_POSITIONAL]
    needed = [p for p in own if p.default is p.empty]
    shown = f"it is written `{usage(name, step)}`"
    if len(args) < len(needed) or (len(args) > len(own) and len(own) == len(parameters)):
        return f"wrong number of arguments: {shown}"
    for parameter, arg in zip(own, args):
        wanted = str(parameter.annotation)
        if wanted == "int" and not isinstance(arg, int):
            return f"{parameter.name} is an integer, not `{arg}`: {shown}"
        if wanted == "str" and not isinstance(arg, str):
            return f"{parameter.name} is a name, not {arg}: {shown}"
    return None


def usage(name: str, step: Callable[..., object]) -> str:
    """How a step is written: ``skew INNER OUTER FACTOR``."""
    words = [name]
    for p in list(inspect.signature(step).parameters.values())[1:]:
        word = p.name.upper()
        words.append("..." if p.kind is p.VAR_POSITIONAL else word if p.default is p.empty else f"[{word}]")
    return " ".join(words)


def role(step: Callable[..., object], place: int) -> str:
    """What the argument at a place names: ``loop``, ``array``, ``statement`` or ``dim`` (an index of a statement)."""
    parameters = [p.name for p in list(inspect.signature(step).parameters.values())[1:]]
    return _ROLES.get(parameters[min(place, len(parameters) - 1)], "loop")


def unknown_name(nest: Nest, step: Callable[..., object], args: Sequence[str | int], reason: str) -> str | None:
    """What to say in place of a step's reason if that is a name that the program does not have, or None."""
    names = {
        "loop": [loop.name for loop in loops_of(nest.order)],
        "array": [a.name for a in nest.arrays],
        "statement": [s.name for s in nest.statements],
        "dim": [d.name for s in nest.statements for d in s.dims],
    }
    for place, arg in enumerate(args):
        if not isinstance(arg, str) or not ("no such" in reason or re.search(rf"(?<!\w){re.escape(arg)}(?!\w)", reason)):
            continue
        wanted = role(step, place)
        if not wanted:
            continue
        kinds = [kind for kind, known in names.items() if arg in known]
        if wanted in kinds or (kinds and "no such" not in reason):
            continue
        if kinds:
            return f"`{arg}` is {_article(kinds[0])}, and this is the place of {_article(wanted)}"
        near = nearest(arg, names[wanted])
        listed = ", ".join(names[wanted][:_LISTED]) + (", ..." if len(names[wanted]) > _LISTED else "")
        return f"there is no {wanted} `{arg}`; " + (
            f"did you mean `{near}`?" if near else f"the {wanted}s are {listed or 'none'}"
        )
    return None


def _article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"
