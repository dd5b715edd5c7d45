"""Pictures of how the algorithms of the standard library converge, of real runs.

A module for each program of the library, in it a function for each algorithm, which runs it and gives the figure. Its docstring is
the caption: the problem and its sizes. The SVG carries it as its description, and the page of the program shows it
(``docs/stdlib_pages.py``).
"""
