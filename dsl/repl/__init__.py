"""``dsl repl``: look at what a program becomes, and schedule it step by step.

A :class:`~.state.State` never changes; a verb of :mod:`.verbs` is a function from a session and words to a reply, which may hold
the state from there on. Nothing here loads torch before it is needed: the first prompt does not wait for it.
"""
