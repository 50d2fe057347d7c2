"""Dagster's SQLite event log with connections that stay open.

Dagster's own class opens and closes a connection for each of the thousands of statements of a nightly, compiles each
statement anew, and looks up for each event which tables and columns there are. That was the larger part of a nightly's
fixed cost (`make bench`, the row of Dagster's share). The files are the same: either class reads what the other wrote.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME, SqliteEventLogStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData

# One file holds what all runs share, and each run has a file of its own. A process writes one run at a time.
MOST_OPEN_RUNS = 4


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
        self._engines: dict[str, sa.Engine] = {}
        self._found: set[str] = set()
        super().__init__(base_dir)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[sa.Connection]:
        # Dagster reads and writes the log from several threads.
        with self._db_lock, self._engine(shard).begin() as connection:
            yield connection

    def _engine(self, shard: str) -> sa.Engine:
        if shard not in self._engines:
            self._close(keep=MOST_OPEN_RUNS)
            engine = sa.create_engine(
                self.conn_string_for_shard(shard),
                poolclass=sa.StaticPool,
                connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
            )
            # In the mode of write-ahead logging this loses at most the last events of a power cut, and no file.
            sa.event.listen(engine, "connect", lambda opened, _: opened.execute("PRAGMA synchronous = NORMAL"))
            self._initdb(engine)
            self._engines[shard] = engine
        return self._engines[shard]

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

    def wipe(self) -> None:
        """Forget every run. The files that are open are closed before they are removed."""
        self._close(keep=0)
        super().wipe()

    def dispose(self) -> None:
        """Close every file."""
        super().dispose()
        self._close(keep=0)
        self._engines.pop(INDEX_SHARD_NAME, None)

    def _close(self, keep: int) -> None:
        runs = [shard for shard in self._engines if shard != INDEX_SHARD_NAME]
        for shard in runs[: max(0, len(runs) - keep)]:
            self._engines.pop(shard).dispose()
