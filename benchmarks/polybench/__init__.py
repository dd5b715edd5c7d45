"""Twenty kernels of PolyBench as programs of the language, with NumPy references, data and sizes."""
