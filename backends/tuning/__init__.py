"""Schedules chosen by measuring, and the file that remembers them."""
