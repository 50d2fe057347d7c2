"""Reads the working file while no nightly runs, and tells whether it is damaged."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb
import polars as pl

from pipeline.common.errors import SourceError

WORKING_FILE_DAMAGED = "working.duckdb is damaged. Run driptune repair: everything in it is rebuilt from the lake."
# What DuckDB says of a file that is cut, empty, of another kind, of a later version, or has a wrong checksum.
_DAMAGE = ("not a valid DuckDB", "Corrupt database", "Could not read enough bytes", "checksum", "version number")


def read_tables(working_file: Path, names: Sequence[str], subscriber_key: int | None = None) -> list[pl.DataFrame]:
    """The tables of the working file with the given qualified names, in the given order.

    Args:
        working_file: the file.
        names: names of tables with their schema, such as 'core.messages'.
        subscriber_key: the only subscriber whose rows are read. None = all rows.

    Raises:
        SourceError: if the file cannot be read, for example because a nightly is writing it.
    """
    where = "" if subscriber_key is None else f" WHERE subscriber_key = {subscriber_key:d}"
    with _reading(working_file) as connection:
        return [connection.sql(f"FROM {name}{where}").pl() for name in names]


def read_column(working_file: Path, name: str, column: str) -> pl.Series:
    """One column of a table of the working file.

    Raises:
        SourceError: as `read_tables`.
    """
    with _reading(working_file) as connection:
        rows: pl.DataFrame = connection.sql(f"SELECT {column} FROM {name}").pl()
    return rows.to_series()


@contextmanager
def _reading(working_file: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    try:
        with duckdb.connect(str(working_file), read_only=True) as connection:
            yield connection
    except duckdb.IOException as error:
        raise SourceError("the working file", "cannot be read now", "Wait for the nightly to end.") from error


def is_damage(error: duckdb.Error) -> bool:
    """Whether DuckDB refused a file for what stands in it, and not for its permissions, the disk or another process."""
    return isinstance(error, (duckdb.SerializationException, duckdb.InternalException)) or tells_damage(str(error))


def tells_damage(message: str) -> bool:
    """Whether a message of DuckDB says that a database file is damaged."""
    return any(words in message for words in _DAMAGE)


def is_damaged(working_file: Path) -> bool:
    """Whether a table of the working file cannot be read to its last row; not if it cannot be opened now."""
    if not working_file.exists():
        return False
    try:
        with duckdb.connect(str(working_file), read_only=True) as connection:
            query = "SELECT database_name, schema_name, table_name FROM duckdb_tables() WHERE NOT internal"
            for place in connection.execute(query).fetchall():
                name = ".".join(f'"{part}"' for part in place)
                columns = [column for column, *_ in connection.execute(f"DESCRIBE {name}").fetchall()]
                # Every block has a checksum, which is compared when a value of it is read.
                hashes = ", ".join(f'bit_xor(hash("{column}"))' for column in columns)
                connection.execute(f"SELECT {hashes} FROM {name}").fetchall()
    except duckdb.Error as error:
        return is_damage(error)
    return False
