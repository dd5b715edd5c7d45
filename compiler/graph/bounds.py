"""The greatest value of a size over a range of an index."""

from __future__ import annotations

from .types import Size, SizeFn, size_fn


def greatest(size: Size, index: str, first: Size, last: Size) -> Size:
    """An upper bound of ``size`` for ``index`` between ``first`` and ``last``, whichever is larger, that does not name the index.

    Of a linear size the greatest value itself; of a minimum that is added, or a maximum that is subtracted, the least of the bounds with
    its parts; of a remainder by a literal that is added the literal less 1.

    >>> greatest(Size.of("n") - Size.of("i") % 2, "i", Size.of(1), Size.of("n") - 1)
    n
    """
    for monomial, c in size.terms:
        atom = monomial[0] if len(monomial) == 1 else ""
        if not isinstance(atom, SizeFn) or not any(index in a.names() for a in atom.args):
            continue
        rest = size - c * Size(((monomial, 1),))
        if atom.op in ("min", "max"):  # the least of several bounds where they are added, the greatest where they are subtracted
            found = [greatest(rest + c * a, index, first, last) for a in atom.args]
            return size_fn("min" if (atom.op == "min") == (c > 0) else "max", *found)
        inner, divisor = atom.args
        if atom.op == "%":
            extreme: Size = divisor - 1 if c > 0 else Size.of(0)
        elif c > 0:
            extreme = greatest(inner, index, first, last) // divisor
        else:
            extreme = -greatest(-inner, index, first, last) // divisor
        return greatest(rest + c * extreme, index, first, last)
    if index not in size.names():
        return size
    return size_fn("max", size.substitute({index: first}), size.substitute({index: last}))
