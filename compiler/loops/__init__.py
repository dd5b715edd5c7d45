"""The polyhedral level: statements over integer sets, schedules, the loop tree."""
