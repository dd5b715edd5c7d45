"""Collecting a dataset: random programs and schedules, compiled and measured."""
