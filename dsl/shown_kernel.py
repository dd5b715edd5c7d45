"""The kernel that ``compile`` gives, which notebooks show with the program that it comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..backends.kernel import Kernel

if TYPE_CHECKING:
    from .api import AlgorithmHandle


class ShownKernel(Kernel):
    """A kernel that knows the algorithm it was made of."""

    def __init__(self, handle: AlgorithmHandle, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._handle = handle

    def _repr_html_(self) -> str:
        """What a notebook shows: the stages, linked."""
        from .report.notebook import kernel_html

        return kernel_html(self._handle, self)
