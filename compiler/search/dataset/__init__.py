"""Measured schedules of random programs, which the learned cost model is trained on."""
