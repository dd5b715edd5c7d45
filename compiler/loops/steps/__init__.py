"""The transformations: one idea a file, each a function with a ``can_`` twin that gives the reason why not."""
