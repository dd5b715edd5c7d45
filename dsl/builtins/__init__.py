"""The builtin functions of the language, each written in terms of graph ops."""
