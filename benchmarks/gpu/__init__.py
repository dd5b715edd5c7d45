"""The unrolled suite on a GPU: see :mod:`.__main__`."""
