"""What the engine remembers between runs, in schema `engine` of the working file: files seen and windows due."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from pipeline.engine.views import Files, Footer, LakeFile, read_footers
from pipeline.engine.windows import Window

FILE_COLUMNS = ("file_no", "file", "size", "modified_ns", "columns", "first_night", "last_night")
TABLES = """
CREATE SCHEMA IF NOT EXISTS engine;
CREATE TABLE IF NOT EXISTS engine.files (
  file_no BIGINT, file VARCHAR, size BIGINT, modified_ns BIGINT, columns VARCHAR, first_night BIGINT, last_night BIGINT
);
CREATE TABLE IF NOT EXISTS engine.built (model VARCHAR, fingerprint VARCHAR, last_file_no BIGINT);
CREATE TABLE IF NOT EXISTS engine.pending (model VARCHAR, first_day BIGINT, last_day BIGINT);
"""


class State:
    """The lake's files, numbered in order of appearance, and for each model what it has seen and what is due."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, lake_root: Path, files: Collection[LakeFile], tables: Sequence[str]
    ) -> None:
        """Number the files that are new. If a file is gone or was rewritten, every model is to be built again.

        Args:
            connection: of the working file.
            lake_root: folder of the lake.
            files: its files as they are now.
            tables: the lake tables that SQL reads.
        """
        self._connection = connection
        self._drop_files_of_older_release()
        connection.execute(TABLES)
        root = str(lake_root)
        present = {(file.path.removeprefix(root).lstrip("/"), file.size, file.modified_ns): file for file in files}
        known = self._known()
        if known.keys() - present.keys():
            with self.transaction():
                connection.execute("DELETE FROM engine.built")
                connection.execute("DELETE FROM engine.files")
            known = {}
        first_no = max((number for number, _ in known.values()), default=0) + 1
        fresh = sorted(present.keys() - known.keys())
        footers = read_footers(connection, [present[identity] for identity in fresh])
        added = {
            identity: (number, footers[present[identity]]) for number, identity in enumerate(fresh, start=first_no)
        }
        rows = [
            (number, *identity, ",".join(sorted(footer.columns)), footer.first_night, footer.last_night)
            for identity, (number, footer) in added.items()
        ]
        self._insert("files", FILE_COLUMNS, rows)
        self._files = {number: (present[identity], footer) for identity, (number, footer) in (known | added).items()}
        self._tables: dict[str, dict[LakeFile, Footer]] = {name: {} for name in tables}
        for file, footer in self._files.values():
            self._tables[file.table][file] = footer

    def files(self, table: str) -> Files:
        """Every file of a lake table."""
        return self._tables[table]

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """A block whose statements all take effect, or none of them."""
        self._connection.execute("BEGIN")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def new_files(self, model: str) -> Files:
        """The files that the model has not seen."""
        last = self.last_file_no(model)
        return {file: footer for number, (file, footer) in self._files.items() if number > last}

    def last_file_no(self, model: str) -> int:
        """The number of the last file that the model has seen. 0 before it was built."""
        sql = "SELECT last_file_no FROM engine.built WHERE model = ?"
        row = self._connection.execute(sql, [model]).fetchone()
        return int(row[0]) if row else 0

    def fingerprint(self, model: str) -> str | None:
        """The fingerprint with which the model was last built. None before it was built."""
        row = self._connection.execute("SELECT fingerprint FROM engine.built WHERE model = ?", [model]).fetchone()
        return str(row[0]) if row else None

    def pending(self, model: str) -> list[Window]:
        """The windows that other models, changed dimensions or a backfill made due."""
        sql = "SELECT DISTINCT first_day, last_day FROM engine.pending WHERE model = ?"
        return [Window(first, last) for first, last in self._connection.execute(sql, [model]).fetchall()]

    def add_pending(self, model: str, windows: Sequence[Window]) -> None:
        """Make windows of a model due."""
        rows = [(model, window.first_day, window.last_day) for window in windows]
        self._insert("pending", ("model", "first_day", "last_day"), rows)

    def add_pending_days(self, model: str, days: str, parameters: Mapping[str, int | str] | None = None) -> None:
        """Make days of a model due: those in column `day` of a query."""
        sql = f"INSERT INTO engine.pending SELECT DISTINCT $model, due.day, due.day FROM ({days}\n) AS due"
        self._connection.execute(sql, {"model": model, **(parameters or {})})

    def acknowledge(self, model: str, sources: Sequence[str], fingerprint: str) -> None:
        """Note that nothing is due for the model: it has seen every file that the models it reads have seen."""
        last = min([max(self._files, default=0), *(self.last_file_no(source) for source in sources)])
        for table in ("built", "pending"):
            self._connection.execute(f"DELETE FROM engine.{table} WHERE model = ?", [model])
        self._connection.execute("INSERT INTO engine.built VALUES (?, ?, ?)", [model, fingerprint, last])

    def _known(self) -> dict[tuple[str, int, int], tuple[int, Footer]]:
        rows = self._connection.execute(f"SELECT {', '.join(FILE_COLUMNS)} FROM engine.files").fetchall()
        return {
            (file, size, modified_ns): (number, Footer(frozenset(filter(None, columns.split(","))), first, last))
            for number, file, size, modified_ns, columns, first, last in rows
        }

    def _drop_files_of_older_release(self) -> None:
        columns = self._connection.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = 'engine' AND table_name = 'files'"
        ).fetchall()
        if columns and {name for (name,) in columns} != set(FILE_COLUMNS):
            self._connection.execute("DROP TABLE engine.files; DROP TABLE engine.built")

    def _insert(self, table: str, columns: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> None:
        # One statement for all rows: thousands of single statements would take longer than the models.
        if len(rows) > 1:
            frame = pl.DataFrame(rows, schema=columns, orient="row")
            self._connection.register("engine_rows", frame)
            self._connection.execute(f"INSERT INTO engine.{table} BY NAME SELECT * FROM engine_rows")
            self._connection.unregister("engine_rows")
        elif rows:
            self._connection.execute(f"INSERT INTO engine.{table} VALUES ({', '.join('?' * len(columns))})", rows[0])
