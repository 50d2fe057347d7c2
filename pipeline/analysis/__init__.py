"""Statistics: pure functions from reductions, dimensions and tonight to marts.

What belongs here takes Polars frames and returns Polars frames; Dagster, files, databases and clocks do not.
"""
