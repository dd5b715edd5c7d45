"""Why a kernel takes longer than the best tool, by kernel: what stands in the table beside a ratio below LOST."""

from __future__ import annotations

#: Our speed over the best of the five below which a kernel needs an explanation.
LOST = 0.9

WHY: dict[str, str] = {}
