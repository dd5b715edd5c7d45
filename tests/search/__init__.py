"""Tests of compiler/search/."""
