"""Reads the working file while no nightly runs."""

from collections.abc import Sequence
from pathlib import Path

import duckdb
import polars as pl

from pipeline.common.errors import SourceError


def read_tables(working_file: Path, names: Sequence[str]) -> list[pl.DataFrame]:
    """The tables of the working file with the given qualified names, in the given order.

    Raises:
        SourceError: if the file cannot be read, for example because a nightly is writing it.
    """
    try:
        with duckdb.connect(str(working_file), read_only=True) as connection:
            return [connection.sql(f"FROM {name}").pl() for name in names]
    except duckdb.IOException as error:
        raise SourceError("the working file", "cannot be read now", "Wait for the nightly to end.") from error
