"""Targets: writers of code for a loop tree, the build cache, the torch module."""
