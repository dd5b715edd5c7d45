"""Which products of a host program are calls of torch: large ones of two matrices, which its library takes in blocks that fit registers and caches.

    kernel{u = relu(c); v = W u; s = relu(v + a)}      -->      kernel{u = relu(c)}; v = W u; kernel{s = relu(v + a)}

A kernel keeps what stands around a product in registers, which is worth more where the product is small; and its gradient makes a product
again that it needs, where torch has kept it. Loops that are kernels as a whole keep their products.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from .graph import Node
from .ops.contract import letter_sizes, split_spec
from .types import HALF, Type
from .work import extent, operations

#: Operations of one problem from which on a call pays: kernels and library take a tenth of a millisecond then.
LEAST = 1 << 22
#: Rows, columns and terms of the sums are at least so many: with fewer a product moves more than it computes.
SIDE = 16


def is_large_product(node: Node, types: Mapping[str, Type]) -> bool:
    """Whether a node is a product of two matrices, each of whose axes may be several, that is worth a call of the library."""
    if node.op != "einsum" or len(node.inputs) != 2 or node.output.type.dtype in HALF:
        return False
    (left, right), result = split_spec(node.attr("spec"))
    sizes = {c: extent(s, {}) for c, s in letter_sizes(node.attr("spec"), [types[n] for n in node.inputs]).items()}
    rows, columns, summed = set(left) - set(right), set(right) - set(left), set(left) & set(right)
    if not rows | columns <= set(result):  # a sum over one operand alone
        return False
    sides = (rows, columns, summed - set(result))
    return all(prod(sizes[c] for c in side) >= SIDE for side in sides) and operations([node], types, {}) >= LEAST
