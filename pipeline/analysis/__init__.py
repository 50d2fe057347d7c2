"""Statistics: pure functions that make the published tables from reductions, dimensions and tonight's date.

They take Polars frames and return Polars frames, and know nothing of Dagster, files, databases and clocks.
"""

import polars as pl

FAULTS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, pl.exceptions.PolarsError)
"""What a fault in an analysis raises. Disks, sources, definitions and damaged files raise other errors."""
