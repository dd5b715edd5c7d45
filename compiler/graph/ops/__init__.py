"""The op table: one row per op, in families."""

from importlib import import_module

_FAMILIES = (
    "elementwise", "binary", "shape", "index", "reduce", "contract", "select", "random", "linalg", "signal", "control",
)  # fmt: skip


def load_all() -> None:
    """Import every family, which fills ``table.OPS``."""
    for family in _FAMILIES:
        import_module(f"{__name__}.{family}")
