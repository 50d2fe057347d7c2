"""The working DuckDB file: one connection a run under a file lock, and the IO manager that reads and writes tables.

Which tables exist and what they hold is the schemas' business; how they are published is `publish.py`'s.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import polars as pl
from dagster._core.storage.db_io_manager import DbIOManager, DbTypeHandler, TableSlice
from dagster_duckdb import DuckDBIOManager
from dagster_duckdb.io_manager import DuckDbClient
from pydantic import PrivateAttr

from pipeline.common.lock import DEFAULT_WAIT_SECONDS, exclusive
from pipeline.schemas.base import Table, conform, empty, find, identity

# The full rebuild of 100 million events was measured to fit into less.
MEMORY_LIMIT = "3GiB"


@dataclass
class _Session:
    connection: duckdb.DuckDBPyConnection
    users: int = 0
    stack: ExitStack = field(default_factory=ExitStack)


_SESSIONS: dict[str, _Session] = {}


@contextmanager
def session(path: str, wait_seconds: float = DEFAULT_WAIT_SECONDS) -> Iterator[duckdb.DuckDBPyConnection]:
    """The process's one connection to a working file, under its lock; nested users share it, the last one closes it.

    Raises:
        WarehouseBusyError: if another process holds the file for longer than `wait_seconds`.
    """
    if path not in _SESSIONS:
        stack = ExitStack()
        stack.enter_context(exclusive(Path(path).with_suffix(".lock"), wait_seconds))
        connection = stack.enter_context(duckdb.connect(path, config={"memory_limit": MEMORY_LIMIT}))
        os.chmod(path, 0o600)
        # The order of rows has no meaning in any table, and keeping it costs memory.
        connection.execute("SET preserve_insertion_order = false")
        connection.execute("SET TimeZone = 'UTC'")
        _SESSIONS[path] = _Session(connection, stack=stack)
    current = _SESSIONS[path]
    current.users += 1
    try:
        yield current.connection
    finally:
        current.users -= 1
        if current.users == 0:
            del _SESSIONS[path]
            current.stack.close()


class Warehouse(dg.ConfigurableResource):
    """The private working file, opened once a run and closed at its end."""

    path: str
    wait_seconds: float = DEFAULT_WAIT_SECONDS
    _connection: duckdb.DuckDBPyConnection = PrivateAttr()

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["Warehouse"]:
        """Hold the lock and the connection for the run."""
        with session(self.path, self.wait_seconds) as connection:
            self._connection = connection
            yield self

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """The run's connection."""
        return self._connection

    def rows(self, name: str) -> int:
        """Number of rows of the table `schema.table`."""
        [(rows,)] = self._connection.execute(f"SELECT count(*) FROM {name}").fetchall()
        return int(rows)


class WarehouseIOManager(DuckDBIOManager):
    """Stores Polars frames as tables named by their asset key (`schema`, `table`), validated before they are written.

    Replaces dagster-duckdb's Polars handler, which inserts by position and empties a table before a failing insert.
    """

    @staticmethod
    def type_handlers() -> Sequence[DbTypeHandler]:
        """One handler for eager and lazy frames."""
        return [PolarsTableHandler()]

    @staticmethod
    def default_load_type() -> type | None:
        """An input without a type is an eager frame."""
        return pl.DataFrame

    def create_io_manager(self, context: dg.InitResourceContext) -> DbIOManager:
        """Bind the manager to the run's connection."""
        return DbIOManager(
            db_client=RunClient(self.database),
            database=self.database,
            schema=self.schema_,
            type_handlers=self.type_handlers(),
            default_load_type=self.default_load_type(),
            io_manager_name=type(self).__name__,
        )


class RunClient(DuckDbClient):
    """Gives every read and write the run's one connection, each inside one transaction."""

    def __init__(self, path: str) -> None:
        self._path = path

    @contextmanager
    def connect(self, context: Any, table_slice: TableSlice) -> Iterator[duckdb.DuckDBPyConnection]:  # type: ignore[override]
        """The connection, in a transaction that is rolled back when the block fails."""
        with session(self._path) as connection:
            connection.begin()
            try:
                yield connection
            except BaseException:
                connection.rollback()
                raise
            connection.commit()

    @staticmethod
    def delete_table_slice(context: dg.OutputContext, table_slice: TableSlice, connection: Any) -> None:
        """Nothing: the handler replaces the table once the new rows are known to be valid."""

    @staticmethod
    def get_table_name(table_slice: TableSlice) -> str:
        """The name as SQL writes it in the published file."""
        return f"{table_slice.schema}.{table_slice.table}"


class PolarsTableHandler(DbTypeHandler[pl.DataFrame | pl.LazyFrame]):
    """Polars frames in and out of DuckDB, checked against the registered model of the table."""

    def handle_output(
        self,
        context: dg.OutputContext,
        table_slice: TableSlice,
        obj: pl.DataFrame | pl.LazyFrame,
        connection: duckdb.DuckDBPyConnection,
    ) -> Mapping[str, Any]:
        """Validate and replace the whole table."""
        frame = obj.collect() if isinstance(obj, pl.LazyFrame) else obj
        rows = write_table(connection, find(table_slice.schema, table_slice.table), frame)
        return {"dagster/row_count": rows}

    def load_input(
        self, context: dg.InputContext, table_slice: TableSlice, connection: duckdb.DuckDBPyConnection
    ) -> pl.DataFrame | pl.LazyFrame:
        """The table as the input's type asks for it."""
        frame = read_table(connection, find(table_slice.schema, table_slice.table))
        return frame.lazy() if context.dagster_type.typing_type is pl.LazyFrame else frame

    @property
    def supported_types(self) -> Sequence[type[object]]:
        """Eager and lazy Polars frames."""
        return [pl.DataFrame, pl.LazyFrame]


def write_table(connection: duckdb.DuckDBPyConnection, model: type[Table], frame: pl.DataFrame) -> int:
    """Replace the model's table by the frame's rows and return how many they are.

    Raises:
        pandera.errors.SchemaErrors: if the frame breaks the model; the old table stays as it was.
    """
    name = identity(model).qualified_name
    valid = conform(frame, model)
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {identity(model).schema}")
    connection.register("incoming", valid.to_arrow())
    connection.execute(f"CREATE OR REPLACE TABLE {name} AS SELECT * FROM incoming")
    connection.unregister("incoming")
    return valid.height


def read_table(connection: duckdb.DuckDBPyConnection, model: type[Table]) -> pl.DataFrame:
    """The model's table; an empty frame with its columns if it was never written."""
    place = identity(model)
    exists = connection.execute(
        "SELECT count(*) FROM information_schema.tables WHERE table_schema = ? AND table_name = ?",
        [place.schema, place.name],
    ).fetchall()
    if exists == [(0,)]:
        return empty(model)
    return connection.sql(f"SELECT * FROM {place.qualified_name}").pl()
