"""CUDA C++: loop trees as text, compiled and launched on a GPU, or run on the processor."""
