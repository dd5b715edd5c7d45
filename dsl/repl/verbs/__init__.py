"""The verbs of the REPL, one a file: each has its ``COMMAND``."""
