"""Algorithms and operators written in the language (``*.us``)."""
