"""Programs on GPUs: on fake ones, whose kernels the emulator runs, and, marked ``gpu``, on a real one."""
