"""What a fault of our own computing raises, by which one analysis is told from the night that it is part of."""

import polars as pl

FAULTS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, pl.exceptions.PolarsError)
"""Disks, sources, definitions and damaged files raise other errors. Those end the night."""
