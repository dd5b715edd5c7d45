"""Numba: loop trees as Python, compiled by numba and LLVM."""
