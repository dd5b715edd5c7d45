"""The learned cost model against others on the same data."""
