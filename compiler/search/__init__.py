"""The choice of a schedule: proposers draft candidates, an analytic model of the machine picks one."""
