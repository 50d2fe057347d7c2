"""The runner: it recomputes windows of days of a model and replaces the rows of these days, in one transaction.

Nightly, late data, backfill and full rebuild all take this one path. They differ only in the windows.
"""

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb

from pipeline.engine.changes import observe_dimensions
from pipeline.engine.execution import DuckDBExecution, Execution, rows_of
from pipeline.engine.model import Model, models
from pipeline.engine.spark import Cluster, SparkExecution
from pipeline.engine.state import State
from pipeline.engine.touched import TouchedDays
from pipeline.engine.views import column_types, create_views, list_files
from pipeline.engine.windows import EVERYTHING, Window, coalesce, cut
from pipeline.schemas.base import identity, tables_of

# If days of a table are recomputed, the same days of these models become due, by the named column of the table. For
# any other table that a model reads, the queries of `sql/touched` find the days.
INHERITED_DAYS: Mapping[str, Mapping[str, str]] = {
    "core.engagements": {"core.sends": "day"},
    "core.messages": {"core.sends": "day", "core.engagements": "day"},
    "core.arrivals": {"core.sends": "day"},
    "core.departures": {"core.sends": "day"},
    "core.step_entries": {"core.arrivals": "day"},
    "core.credits": {"core.conversions": "day"},
    "reductions.step_days": {"core.messages": "day"},
    "reductions.link_days": {"core.messages": "day", "core.engagements": "day"},
    "reductions.frequency_days": {"core.sends": "day", "core.messages": "day"},
    "reductions.hours_of_week": {"core.messages": "day"},
    "reductions.subscriber_hours": {"core.messages": "day", "core.engagements": "day", "core.conversions": "day"},
    "reductions.credit_days": {"core.credits": "message_day"},
    "reductions.entry_days": {"core.step_entries": "day"},
    "reductions.funnel_transitions": {"core.step_entries": "day"},
    "reductions.transition_hours": {"core.step_entries": "day"},
    "reductions.exit_days": {"core.step_entries": "day"},
    "reductions.cohort_cells": {"core.step_entries": "day"},
    "reductions.assigned_delays": {"core.step_entries": "day"},
}

# A model that looks back on earlier days of a table: so many days after a recomputed day become due, too.
DAYS_LOOKED_BACK: Mapping[str, Mapping[str, int]] = {"reductions.frequency_days": {"core.sends": 28}}


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
        days_per_piece: int | None = None,
        cluster: Cluster | None = None,
    ) -> None:
        """Make the views of the lake as it is now, and every table that is missing.

        Args:
            connection: a writable connection without an open transaction.
            sql_dir: folder with `core`, `reductions` and `touched`.
            lake_root: folder of the lake.
            parameters: values of the models' parameters: `currency`, `shared_ip_recipients`, `default_grace_hours`.
            days_per_piece: days of data that a full rebuild computes at once, to bound memory. None = all.
            cluster: the Spark cluster that computes the models. None = DuckDB computes them.
        """
        self.models = {model.name: model for model in models(sql_dir)}
        self._connection = connection
        self._parameters = dict(parameters)
        self._days_per_piece = days_per_piece
        self._files = list_files(lake_root)
        self._state = State(connection, lake_root, self._files)
        self._touched = TouchedDays(connection, sql_dir / "touched", self._files)
        self._execution: Execution = (
            DuckDBExecution(connection) if cluster is None else SparkExecution(connection, cluster, self._files)
        )
        self._is_observed = False
        # Most files of a lake are older than most windows. With this their footers are read only once.
        connection.execute("SET parquet_metadata_cache = true")
        create_views(connection, "lake", self._files)
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
        days = self._touched.of(model, self._state.new_files(model.name), self._parameters)
        return coalesce([*windows, *(Window(day, day) for day in days)])

    def _replace(self, model: Model, windows: list[Window]) -> RunResult:
        started = time.perf_counter()
        deleted = inserted = 0
        with self._state.transaction():
            for window in windows:
                self._hand_on(model, window)
                deleted += self._delete(model, window)
                for piece in self._pieces(window):
                    inserted += self._insert(model, piece)
                self._hand_on(model, window)
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
        return self._execution.insert(model, arguments)

    def _hand_on(self, model: Model, window: Window) -> None:
        for dependent in self.models.values():
            if model.name not in dependent.depends_on:
                continue
            column = INHERITED_DAYS.get(dependent.name, {}).get(model.name)
            if window.is_everything:
                self._state.add_pending(dependent.name, [window])
            elif column == "day":
                later = DAYS_LOOKED_BACK.get(dependent.name, {}).get(model.name, 0)
                self._state.add_pending(dependent.name, [Window(window.first_day, window.last_day + later)])
            elif column is not None:
                sql = f"SELECT DISTINCT {column} FROM {model.name} WHERE day BETWEEN ? AND ?"
                days = self._connection.execute(sql, [window.first_day, window.last_day]).fetchall()
                self._state.add_pending(dependent.name, [Window(day, day) for (day,) in days])

    def _pieces(self, window: Window) -> list[Window]:
        if self._days_per_piece is None or not self._files:
            return [window]
        days = [file.day for file in self._files]
        return cut(window, min(days), max(days), self._days_per_piece)

    def _fingerprint(self, model: Model) -> str:
        settings = [f"{name}={self._parameters[name]}" for name in model.parameters if name in self._parameters]
        columns = [f"{name} {kind}" for name, kind in column_types(model.schema).items()]
        text = "\n".join([model.sql, self._touched.text(model), *settings, *columns])
        return hashlib.sha256(text.encode()).hexdigest()


def _create_table(connection: duckdb.DuckDBPyConnection, name: str, types: Mapping[str, str]) -> None:
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {name.partition('.')[0]}")
    columns = ", ".join(f"{column} {kind}" for column, kind in types.items())
    connection.execute(f"CREATE TABLE IF NOT EXISTS {name} ({columns})")
