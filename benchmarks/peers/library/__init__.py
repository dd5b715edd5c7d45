"""Programs of the standard library in torch, as one writes them, a module for each of the library's.

Operands are the inputs and then the parameters, in the program's order. Leading dimensions are a batch.
"""
