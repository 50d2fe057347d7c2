"""The working DuckDB file of a run: one connection under a file lock, and its tables as Polars frames.

What the tables hold is said in `pipeline/schemas`. How they are published is said in `pipeline/published`.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import duckdb
import polars as pl
from dagster_duckdb import DuckDBResource
from polars.io.plugins import register_io_source

from pipeline.common.errors import DriptuneError
from pipeline.common.lock import DEFAULT_WAIT_SECONDS, POLL_SECONDS, WarehouseBusyError, exclusive, holders
from pipeline.engine.reading import WORKING_FILE_DAMAGED, is_damage
from pipeline.published.snapshot import SNAPSHOT_NAME
from pipeline.schemas.base import Table, conform, empty, identity

# What DuckDB may use for itself when a night is computed. The process takes about half a GiB more.
MEMORY_BYTES = 7 * 2**28
# A command that reads the working file has it open for seconds. Whoever holds it longer is told of.
OPEN_ELSEWHERE_SECONDS = 30.0

# The engine makes the tables of the other schemas.
WRITTEN_SCHEMAS = ("core", "marts")


class WarehouseDamagedError(DriptuneError):
    """The working file cannot be opened."""


class WorkingFile(DuckDBResource):
    """Dagster's DuckDB resource, which says what is damaged and who has the file open, and closes what failed."""

    @contextmanager
    def get_connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """The connection to the file.

        Raises:
            WarehouseBusyError: if another program has the file open for longer than a command that reads it needs.
            WarehouseDamagedError: if the file is no database any more.
        """
        with closing(self._connect()) as connection:
            yield connection

    def _connect(self) -> duckdb.DuckDBPyConnection:
        file = Path(self.database)
        deadline = time.monotonic() + OPEN_ELSEWHERE_SECONDS
        while True:
            try:
                return duckdb.connect(self.database, config=self.connection_config)
            except duckdb.Error as error:
                if is_damage(error):
                    raise WarehouseDamagedError(WORKING_FILE_DAMAGED) from error
                if "Could not set lock" not in str(error):
                    raise
                if time.monotonic() >= deadline:
                    raise WarehouseBusyError(
                        f"{file.name} is open elsewhere{holders(file)}. Only a nightly may use this file. Close the "
                        f"other program, and let it read published/{SNAPSHOT_NAME}. Then start again."
                    ) from error
            time.sleep(POLL_SECONDS)


class Warehouse:
    """The tables of the private working file, while a run holds its lock.

    Attributes:
        failures: the kind of error of each analysis that failed in this run, by the name of the table that stays.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection
        self.failures: dict[str, str] = {}

    def read(self, model: type[Table]) -> pl.DataFrame:
        """The rows of the model's table. A table that was never written has no rows."""
        place = identity(model)
        try:
            rows: pl.DataFrame = self.connection.sql(f"SELECT * FROM {place.qualified_name}").pl()
        except duckdb.CatalogException:
            return empty(model)
        return rows

    def scan(self, model: type[Table]) -> pl.LazyFrame:
        """The rows of the model's table as in `read`, but read only when they are asked for.

        DuckDB reads only the columns that are asked for, and only the rows that meet comparisons of columns with
        values. Other conditions are applied to each batch of rows as it comes.
        """
        table = identity(model).qualified_name
        try:
            schema = self.connection.sql(f"SELECT * FROM {table} LIMIT 0").pl().schema
        except duckdb.CatalogException:
            return empty(model).lazy()

        def read(
            columns: list[str] | None, condition: pl.Expr | None, most: int | None, _: int | None
        ) -> Iterator[pl.DataFrame]:
            # A query may read several tables, or one of them twice, and each reading needs a connection of its own.
            with closing(self.connection.cursor()) as cursor:
                if condition is None:
                    selected = "*" if columns is None else ", ".join(f'"{name}"' for name in columns)
                    limit = "" if most is None else f" LIMIT {most}"
                    rows = cursor.sql(f"SELECT {selected} FROM {table}{limit}").to_arrow_reader()
                    yield from map(pl.DataFrame, rows)
                else:
                    met = cursor.sql(f"SELECT * FROM {table}").pl(lazy=True).filter(condition)
                    chosen = met if columns is None else met.select(columns)
                    yield from (chosen if most is None else chosen.head(most)).collect_batches()

        return register_io_source(read, schema=schema, is_pure=True)

    def replace(self, model: type[Table], frame: pl.DataFrame) -> int:
        """Put the frame's rows in place of the model's table, and return their number.

        Raises:
            pandera.errors.SchemaErrors: if the frame breaks the model. The table then stays as it was.
        """
        self._create(model, conform(frame, model))
        return frame.height

    def keep(self, model: type[Table], error: Exception) -> pl.LazyFrame:
        """Note that the model's table stays as it was because of an error, and return its rows."""
        place = identity(model)
        self.failures[place.name] = type(error).__name__
        self._insert(f"CREATE TABLE IF NOT EXISTS {place.qualified_name} AS", empty(model))
        return self.scan(model)

    @contextmanager
    def replacing(self, *models: type[Table]) -> Iterator[Callable[[type[Table], pl.DataFrame], None]]:
        """Put blocks of rows in place of the models' tables, which are replaced whole when the block of code ends.

        Yields a function that adds a frame to the new table of a model. After an error all tables stay as they were.

        Raises:
            pandera.errors.SchemaErrors: if a frame breaks its model.
        """
        self.connection.execute("BEGIN")
        try:
            for model in models:
                self._create(model, empty(model))
            yield lambda model, rows: self._insert(
                f"INSERT INTO {identity(model).qualified_name}", conform(rows, model)
            )
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")

    def _create(self, model: type[Table], rows: pl.DataFrame) -> None:
        self._insert(f"CREATE OR REPLACE TABLE {identity(model).qualified_name} AS", rows)

    def _insert(self, statement: str, rows: pl.DataFrame) -> None:
        # DuckDB finds the variable by its name. To register it would be a view for each table, made and dropped.
        incoming = rows.to_arrow()
        self.connection.execute(f"{statement} SELECT * FROM incoming")
        del incoming


@contextmanager
def open_warehouse(working_file: Path) -> Iterator[Warehouse]:
    """The warehouse of a run, for as long as the block lasts.

    Raises:
        WarehouseBusyError: if another process holds the file for longer than the run may wait.
        WarehouseDamagedError: if the file is no database any more.
    """
    with session(working_file) as connection:
        for schema in WRITTEN_SCHEMAS:
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        yield Warehouse(connection)


@contextmanager
def session(working_file: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """The only connection to a working file, under the file's lock.

    Raises:
        WarehouseBusyError: as `open_warehouse`.
        WarehouseDamagedError: as `open_warehouse`.
    """
    database = WorkingFile(database=str(working_file), connection_config={"memory_limit": f"{MEMORY_BYTES}B"})
    with (
        exclusive(working_file.with_suffix(".lock"), DEFAULT_WAIT_SECONDS),
        database.get_connection() as connection,
    ):
        os.chmod(working_file, 0o600)
        # The order of rows has no meaning in any table, and keeping it costs memory.
        connection.execute("SET preserve_insertion_order = false")
        connection.execute("SET TimeZone = 'UTC'")
        yield connection
