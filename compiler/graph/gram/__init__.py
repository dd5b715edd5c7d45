"""Products of what a loop does not change, made before it (:mod:`.rewrite`), once they have been checked (:mod:`.check`)."""
