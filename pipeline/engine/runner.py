"""The runner: it recomputes windows of days of a model and replaces the rows of these days, in one transaction.

Nightly, late data, backfill and full rebuild all take this one path. They differ only in the windows.
"""

import hashlib
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb

from pipeline.common.words import PROGRESS, minutes_left
from pipeline.engine.changes import observe_dimensions
from pipeline.engine.execution import DuckDBExecution, Execution, rows_of
from pipeline.engine.inheritance import Inheritance
from pipeline.engine.model import Model, models
from pipeline.engine.reach import in_reach
from pipeline.engine.spark import Cluster, SparkExecution
from pipeline.engine.state import State
from pipeline.engine.touched import TouchedDays
from pipeline.engine.views import column_types, list_files
from pipeline.engine.windows import EVERYTHING, Window, coalesce, cut
from pipeline.schemas.base import identity, tables_of


@dataclass(frozen=True)
class RunResult:
    """What building one model did: the windows it recomputed, rows deleted and inserted, and seconds it took."""

    model: str
    windows: tuple[Window, ...]
    rows_deleted: int
    rows_inserted: int
    seconds: float


class Engine:
    """Builds core facts and reductions on one DuckDB connection, which the caller configures and closes.

    The dimensions (`core.workflows`, `steps`, `edges`, `zone_offsets`, `subscribers`) must be written before the first
    `build`. Schema `engine` of the same file remembers what each model has seen. It is updated in the transaction that
    replaces the rows, so that the next run completes an interrupted one.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        sql_dir: Path,
        lake_root: Path,
        parameters: Mapping[str, int | str],
        memory_bytes: int,
        cluster: Cluster | None = None,
    ) -> None:
        """Read which files the lake has now, and make every table that is missing.

        Args:
            connection: a writable connection without an open transaction.
            sql_dir: folder with `core`, `reductions`, `touched` and `changed`.
            lake_root: folder of the lake.
            parameters: values of the models' parameters: `currency`, `shared_ip_recipients`, `default_grace_hours`.
            memory_bytes: memory that the connection may use. Long windows are computed in pieces that fit into it.
            cluster: the Spark cluster that computes the models. None = DuckDB computes them.
        """
        self.models = {model.name: model for model in models(sql_dir)}
        self._connection = connection
        self._parameters = dict(parameters)
        self._memory_bytes = memory_bytes
        self._lake_tables = {name: _lake_tables_of(model) for name, model in self.models.items()}
        tables = sorted({table for read in self._lake_tables.values() for table in read})
        files = list_files(lake_root, tables)
        self._bytes_by_day: Counter[int] = Counter()
        for file in files:
            self._bytes_by_day[file.day] += file.size
        self._state = State(connection, lake_root, files, tables)
        self._touched = TouchedDays(connection, sql_dir / "touched", self._state)
        self._inheritance = Inheritance(connection, self._state, self.models, sql_dir / "changed", parameters)
        self._execution: Execution = (
            DuckDBExecution(connection) if cluster is None else SparkExecution(connection, cluster)
        )
        self._is_observed = False
        # Several models read the same files. With this their footers are read only once.
        connection.execute("SET parquet_metadata_cache = true")
        for table in (*tables_of("core"), *tables_of("reductions")):
            _create_table(connection, identity(table).qualified_name, column_types(table))

    def build(self, model_name: str) -> RunResult:
        """Recompute the windows of one model that new lake files, changed dimensions, settings or SQL make due.

        The models that it reads must have been built before. `self.models` has such an order.
        """
        self._observe_once()
        model = self.models[model_name]
        return self._replace(model, self._due_windows(model))

    def touch(self, window: Window = EVERYTHING) -> None:
        """Make these days of every model due: a backfill, or a full rebuild."""
        with self._state.transaction():
            for name in self.models:
                self._state.add_pending(name, [window])

    def _observe_once(self) -> None:
        if not self._is_observed:
            with self._state.transaction():
                observe_dimensions(self._connection, self._state, list(self.models))
            self._is_observed = True

    def _due_windows(self, model: Model) -> list[Window]:
        if self._state.fingerprint(model.name) != self._fingerprint(model):
            return [EVERYTHING]
        windows = self._state.pending(model.name)
        if any(window.is_everything for window in windows):
            return [EVERYTHING]
        days = self._touched.of(model)
        return coalesce([*windows, *(Window(day, day) for day in days)])

    def _replace(self, model: Model, windows: list[Window]) -> RunResult:
        started = time.perf_counter()
        deleted = inserted = 0
        with self._state.transaction():
            for window in windows:
                self._inheritance.remember(model, window)
                deleted += self._delete(model, window)
                pieces = cut(window, self._bytes_by_day, self._memory_bytes)
                for place, piece in enumerate(pieces, 1):
                    inserted += self._insert(model, piece)
                    _tell(model, place, len(pieces), inserted, time.perf_counter() - started)
                self._inheritance.hand_on(model, window)
            sources = [name for name in model.depends_on if name in self.models]
            self._state.acknowledge(model.name, sources, self._fingerprint(model))
        return RunResult(model.name, tuple(windows), deleted, inserted, time.perf_counter() - started)

    def _delete(self, model: Model, window: Window) -> int:
        if window.is_everything:
            # The table is created again, so that a table of an older release gets today's columns.
            deleted = rows_of(self._connection.execute(f"SELECT COUNT(*) FROM {model.name}"))
            self._connection.execute(f"DROP TABLE {model.name}")
            _create_table(self._connection, model.name, column_types(model.schema))
            return deleted
        sql = f"DELETE FROM {model.name} WHERE day BETWEEN $first_day AND $last_day"
        return rows_of(self._connection.execute(sql, {"first_day": window.first_day, "last_day": window.last_day}))

    def _insert(self, model: Model, window: Window) -> int:
        days = {"first_day": window.first_day, "last_day": window.last_day}
        arguments = {name: {**self._parameters, **days}[name] for name in model.parameters}
        lake = {
            table: in_reach(self._state.files(table), model.name, table, window)
            for table in self._lake_tables[model.name]
        }
        return self._execution.insert(model, arguments, lake)

    def _fingerprint(self, model: Model) -> str:
        settings = [f"{name}={self._parameters[name]}" for name in model.parameters if name in self._parameters]
        columns = [f"{name} {kind}" for name, kind in column_types(model.schema).items()]
        text = "\n".join([model.sql, self._touched.text(model), self._inheritance.text(model), *settings, *columns])
        return hashlib.sha256(text.encode()).hexdigest()


def _tell(model: Model, done: int, pieces: int, rows: int, seconds: float) -> None:
    """How far a window has come that is computed in pieces. These hold about as much of the lake each."""
    if done < pieces:
        left = minutes_left(done, pieces, seconds)
        PROGRESS.info("%s: %s rows, %s of %s pieces, %s", model.name, f"{rows:,}", done, pieces, left)


def _lake_tables_of(model: Model) -> list[str]:
    return [name.removeprefix("lake.") for name in model.depends_on if name.startswith("lake.")]


def _create_table(connection: duckdb.DuckDBPyConnection, name: str, types: Mapping[str, str]) -> None:
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {name.partition('.')[0]}")
    columns = ", ".join(f"{column} {kind}" for column, kind in types.items())
    connection.execute(f"CREATE TABLE IF NOT EXISTS {name} ({columns})")
