"""Reading the working file from outside of a nightly."""

from collections.abc import Sequence
from pathlib import Path

import duckdb
import polars as pl

from pipeline.common.errors import SourceError


def read_tables(working_file: Path, names: Sequence[str]) -> list[pl.DataFrame]:
    """The tables of the working file with the given qualified names, in their order.

    Raises:
        SourceError: if the file cannot be read now, as while a nightly writes it.
    """
    try:
        with duckdb.connect(str(working_file), read_only=True) as connection:
            return [connection.sql(f"FROM {name}").pl() for name in names]
    except duckdb.IOException as error:
        raise SourceError("the working file", "cannot be read now", "Wait for the nightly to end.") from error
