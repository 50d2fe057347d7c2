"""Everything that Dagster needs to know: assets, checks, jobs, schedules, sensors, resources.

No statistics and no SQL text belong here.
"""
