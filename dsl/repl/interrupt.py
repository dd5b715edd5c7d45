"""A measurement that Ctrl-C ends at once: it runs beside the thread that waits for it, and stops between two calls.

A call in machine code cannot be broken off. It ends by itself, unseen, while the prompt is there again; the next measurement waits for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from ...compiler.diagnostics import UnspoolError

T = TypeVar("T")
#: Seconds between two looks whether Ctrl-C was pressed.
LOOK = 0.05
#: One measurement at a time, so that none disturbs another.
_alone = threading.Lock()


class Measurement:
    """Work that calls :meth:`stoppable` functions, run once by :meth:`result`."""

    def __init__(self) -> None:
        self._stopped = threading.Event()
        self._found: list[Any] = []

    def stoppable(self, function: Callable[[], T]) -> Callable[[], T]:
        """A function that is not called any more once Ctrl-C was pressed."""

        def call() -> T:
            if self._stopped.is_set():
                raise UnspoolError("stopped")
            return function()

        return call

    def result(self, work: Callable[[], T]) -> T:
        """What the work gives. Raises what it raises, and UnspoolError after Ctrl-C."""
        thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        thread.start()
        try:
            while thread.is_alive():
                thread.join(LOOK)
        except KeyboardInterrupt:
            self._stopped.set()
            raise UnspoolError("the measurement was stopped") from None
        (found,) = self._found
        if isinstance(found, BaseException):
            raise found
        value: T = found
        return value

    def _run(self, work: Callable[[], Any]) -> None:
        with _alone:
            try:
                self._found.append(work())
            except BaseException as error:  # raised again by the thread that waits
                self._found.append(error)
