"""``dsl report``: what a program becomes, as one HTML file that loads nothing; and what notebooks show of algorithms and kernels.

A file per section: each makes a :class:`~.section.Section` of a :class:`~.subject.Subject`, or None where there is nothing to show.
Everything that comes from a program is escaped where it enters a template of ``templates/``.
"""
