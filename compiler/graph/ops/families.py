"""The files of the op table."""

from importlib import import_module

FAMILIES = (
    "elementwise", "binary", "shape", "index", "reduce", "contract", "select", "random", "linalg", "signal", "control",
)  # fmt: skip


def load_all() -> None:
    """Import every family, which fills ``table.OPS``."""
    for family in FAMILIES:
        import_module(f"{__package__}.{family}")
