"""What the papers behind the standard library claim, tried at a scale that two cores bear: ``python -m experiments``."""
