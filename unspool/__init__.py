"""Unspool: a small language and a compiler for unrolled iterative algorithms."""

from pathlib import Path as _Path

_root = _Path(__file__).resolve().parents[1]
if (_root / "pyproject.toml").is_file():  # a source checkout: dsl/, compiler/, ... lie beside this folder
    __path__.insert(0, str(_root))
