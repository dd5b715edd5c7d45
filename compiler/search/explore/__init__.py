"""Search among schedules: from what the proposers make, by edits, with a cost model as guide and measurements as judge."""
