"""Timings of the library against its peers and against hand-written limits. See README.md here."""
