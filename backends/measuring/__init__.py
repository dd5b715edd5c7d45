"""How long schedules take: many are compiled together, then run one by one in a process of their own."""
