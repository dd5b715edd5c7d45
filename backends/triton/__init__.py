"""Triton: graphs of dense tiles as kernels."""
