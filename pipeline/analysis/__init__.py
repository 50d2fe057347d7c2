"""Statistics: pure functions that make the published tables from reductions, dimensions and tonight's date.

They take Polars frames and return Polars frames, and know nothing of Dagster, files, databases and clocks.
"""
