"""What the engine remembers between runs, in schema `engine` of the working file: files seen and windows due."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from pipeline.engine.views import LakeFile
from pipeline.engine.windows import Window

TABLES = """
CREATE SCHEMA IF NOT EXISTS engine;
CREATE TABLE IF NOT EXISTS engine.files (file_no BIGINT, file VARCHAR, size BIGINT, modified_ns BIGINT);
CREATE TABLE IF NOT EXISTS engine.built (model VARCHAR, fingerprint VARCHAR, last_file_no BIGINT);
CREATE TABLE IF NOT EXISTS engine.pending (model VARCHAR, first_day BIGINT, last_day BIGINT);
"""


class State:
    """The lake's files, numbered in order of appearance, and for each model what it has seen and what is due."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, lake_root: Path, files: Sequence[LakeFile]) -> None:
        """Number the files that are new. If a file is gone or was rewritten, every model is to be built again."""
        self._connection = connection
        connection.execute(TABLES)
        present = {(file.path.relative_to(lake_root).as_posix(), file.size, file.modified_ns): file for file in files}
        known = self._known()
        if known.keys() - present.keys():
            with self.transaction():
                connection.execute("DELETE FROM engine.built")
                connection.execute("DELETE FROM engine.files")
            known = {}
        first_no = max(known.values(), default=0) + 1
        numbered = [
            (number, *identity) for number, identity in enumerate(sorted(present.keys() - known.keys()), first_no)
        ]
        self._insert("files", ("file_no", "file", "size", "modified_ns"), numbered)
        self._files = {number: present[identity] for identity, number in self._known().items()}

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

    def new_files(self, model: str) -> list[LakeFile]:
        """The files that the model has not seen."""
        last = self.last_file_no(model)
        return [file for number, file in sorted(self._files.items()) if number > last]

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

    def acknowledge(self, model: str, sources: Sequence[str], fingerprint: str) -> None:
        """Note that nothing is due for the model: it has seen every file that the models it reads have seen."""
        last = min([max(self._files, default=0), *(self.last_file_no(source) for source in sources)])
        for table in ("built", "pending"):
            self._connection.execute(f"DELETE FROM engine.{table} WHERE model = ?", [model])
        self._connection.execute("INSERT INTO engine.built VALUES (?, ?, ?)", [model, fingerprint, last])

    def _known(self) -> dict[tuple[str, int, int], int]:
        rows = self._connection.execute("SELECT file_no, file, size, modified_ns FROM engine.files").fetchall()
        return {(file, size, modified_ns): number for number, file, size, modified_ns in rows}

    def _insert(self, table: str, columns: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> None:
        # One statement for all rows: thousands of single statements would take longer than the models.
        if len(rows) > 1:
            frame = pl.DataFrame(rows, schema=columns, orient="row")
            self._connection.register("engine_rows", frame)
            self._connection.execute(f"INSERT INTO engine.{table} BY NAME SELECT * FROM engine_rows")
            self._connection.unregister("engine_rows")
        elif rows:
            self._connection.execute(f"INSERT INTO engine.{table} VALUES ({', '.join('?' * len(columns))})", rows[0])
