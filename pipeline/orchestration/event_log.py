"""Dagster's SQLite event log with connections that stay open, and one transaction for the results of a step.

Dagster's own class opens and closes a connection for each of the thousands of statements of a nightly, compiles each
statement anew, and looks up for each event which tables and columns there are. That was the larger part of a nightly's
fixed cost (`make bench`, the row of Dagster's share). The files are the same: either class reads what the other wrote.
"""

import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from dagster import AssetKey, EventLogEntry, EventLogRecord
from dagster._core.events import ASSET_CHECK_EVENTS, ASSET_EVENTS, EVENT_TYPE_TO_PIPELINE_RUN_STATUS
from dagster._core.storage.event_log.schema import AssetKeyTable, SqlEventLogStorageTable
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME, SqliteEventLogStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData, deserialize_value
from sqlalchemy.dialects.sqlite import Insert, insert

# One file holds what all runs share, and each run has a file of its own. A process writes one run at a time.
MOST_OPEN_RUNS = 4
# SQLAlchemy compiles a statement once if its values are given beside it.
INSERT_EVENT = SqlEventLogStorageTable.insert()
INSERT_NUMBERED_EVENT = INSERT_EVENT.returning(SqlEventLogStorageTable.c.id, sort_by_parameter_order=True)
INSERT_ASSET = insert(AssetKeyTable)
COMMON = {*ASSET_EVENTS, *ASSET_CHECK_EVENTS, *EVENT_TYPE_TO_PIPELINE_RUN_STATUS}
"""The events that Dagster also keeps in the file that all runs share."""


class OpenSqliteStorage(DagsterSqliteStorage):
    """Dagster's storage in SQLite files below `base_dir`. `dagster.yaml` names this class."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(base_dir, inst_data)
        self._event_log_storage = _OpenEventLog(str(Path(base_dir, "history", "runs")))

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "OpenSqliteStorage":
        """The storage that `dagster.yaml` describes."""
        return cls.from_local(inst_data=inst_data, **config_value)


class _OpenEventLog(SqliteEventLogStorage):
    def __init__(self, base_dir: str) -> None:
        self._open: dict[str, sa.Connection] = {}
        self._found: set[str] = set()
        super().__init__(base_dir)
        self._db_lock = threading.RLock()  # type: ignore[assignment]  # transactions here hold other ones

    def store_event(self, event: EventLogEntry) -> None:
        """Store an event in the file of its run, and in the common file if it is about assets or the whole run."""
        self.store_event_batch([event])

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store events of one run. Each file is written in one transaction."""
        rows = [(event, self._event_to_row(event)) for event in events]
        with self.run_connection(events[0].run_id) as connection:
            connection.execute(INSERT_EVENT, [row for _, row in rows])
        common = [(event, row) for event, row in rows if event.dagster_event and event.dagster_event_type in COMMON]
        if common:
            with self.index_connection() as connection:
                numbers = connection.scalars(INSERT_NUMBERED_EVENT, [row for _, row in common]).all()
                self._store_in_common(connection, [event for event, _ in common], numbers)

    def _store_in_common(
        self, connection: sa.Connection, events: Sequence[EventLogEntry], numbers: Sequence[int]
    ) -> None:
        has_columns = self._has_asset_key_index_cols_on_connection(connection)
        assets: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
        for event, number in zip(events, numbers, strict=True):
            if event.dagster_event_type in ASSET_EVENTS:
                self._store_asset_event_tags(connection, [event], [number])
                values = self._get_asset_entry_values(event, number, has_columns)
                if values and event.dagster_event and event.dagster_event.asset_key:
                    assets[tuple(values)].append({"asset_key": event.dagster_event.asset_key.to_string(), **values})
            elif event.dagster_event_type in ASSET_CHECK_EVENTS:
                self.store_asset_check_event(event, number)
        for columns, rows in assets.items():
            connection.execute(_upsert_asset(columns), rows)

    def _get_latest_materialization_records(
        self, raw_asset_rows: Sequence[Mapping[str, Any]]
    ) -> Mapping[AssetKey, EventLogRecord | None]:
        # Each step asks for those of all assets that it reads. Dagster reads each of them anew, and always looks for
        # forms of older releases too.
        records = {key: _record(row) for row in raw_asset_rows if (key := AssetKey.from_db_string(row["asset_key"]))}
        if all(records.values()):
            return records
        return super()._get_latest_materialization_records(raw_asset_rows)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[sa.Connection]:
        # Dagster reads and writes the log from several threads.
        with self._db_lock:
            connection = self._connection(shard)
            if connection.in_transaction():
                yield connection
            else:
                with connection.begin():
                    yield connection

    def _connection(self, shard: str) -> sa.Connection:
        if shard not in self._open:
            self._close(keep=MOST_OPEN_RUNS)
            engine = sa.create_engine(
                self.conn_string_for_shard(shard),
                poolclass=sa.NullPool,
                connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
            )
            # In the mode of write-ahead logging this loses at most the last events of a power cut, and no file.
            sa.event.listen(engine, "connect", lambda opened, _: opened.execute("PRAGMA synchronous = NORMAL"))
            self._initdb(engine)
            self._open[shard] = engine.connect()
        return self._open[shard]

    def has_table(self, table_name: str) -> bool:
        """Whether the log has a table. Its tables and their columns change only when Dagster migrates the file."""
        if table_name not in self._found:
            if not super().has_table(table_name):
                return False
            self._found.add(table_name)
        return True

    def _has_asset_key_col_on_connection(self, conn: sa.Connection, column_name: str) -> bool:
        if column_name not in self._found:
            if not super()._has_asset_key_col_on_connection(conn, column_name):
                return False
            self._found.add(column_name)
        return True

    def has_secondary_index(self, name: str) -> bool:
        """Whether a migration of the log has been made. None is undone."""
        if name not in self._found:
            if not super().has_secondary_index(name):
                return False
            self._found.add(name)
        return True

    def wipe(self) -> None:
        """Forget every run. The files that are open are closed before they are removed."""
        self._close(keep=0)
        self._found.clear()
        super().wipe()

    def dispose(self) -> None:
        """Close every file."""
        super().dispose()
        self._close(keep=0)
        if INDEX_SHARD_NAME in self._open:
            self._open.pop(INDEX_SHARD_NAME).close()

    def _close(self, keep: int) -> None:
        runs = [shard for shard in self._open if shard != INDEX_SHARD_NAME]
        for shard in runs[: max(0, len(runs) - keep)]:
            self._open.pop(shard).close()


@cache
def _upsert_asset(columns: tuple[str, ...]) -> Insert:
    # Dagster tries to insert the asset, and updates it after the error that all nights but the first meet.
    new = {column: INSERT_ASSET.excluded[column] for column in columns}
    return INSERT_ASSET.on_conflict_do_update(index_elements=["asset_key"], set_=new)


def _record(row: Mapping[str, Any]) -> EventLogRecord | None:
    """The latest materialization of an asset, if the row says it alone: a wiped asset has details."""
    record = _read(row["last_materialization"]) if row["last_materialization"] and not row["asset_details"] else None
    return record if isinstance(record, EventLogRecord) else None


@lru_cache(maxsize=1000)
def _read(text: str) -> object:
    return deserialize_value(text)
