"""The programs of the suite as one writes them elsewhere when speed matters: torch, torch.compile, JAX, Numba."""
