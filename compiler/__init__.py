"""From a checked program to a scheduled loop tree."""
