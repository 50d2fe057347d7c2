"""What the engine remembers between runs, in schema `engine` of the working file: files seen, windows still due."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb
import polars as pl

from pipeline.engine.views import LakeFile
from pipeline.engine.windows import Window, coalesce

TABLES = """
CREATE SCHEMA IF NOT EXISTS engine;
CREATE TABLE IF NOT EXISTS engine.models (model VARCHAR, fingerprint VARCHAR);
CREATE TABLE IF NOT EXISTS engine.batches (model VARCHAR, file VARCHAR, size BIGINT, modified_ns BIGINT);
CREATE TABLE IF NOT EXISTS engine.pending (model VARCHAR, first_day BIGINT, last_day BIGINT);
"""


class State:
    """Per model: the lake files it has seen, the fingerprint of its definition, and the windows still due."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, lake_root: Path) -> None:
        self._connection = connection
        self._lake_root = lake_root
        connection.execute(TABLES)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of the block, or nothing of it."""
        self._connection.execute("BEGIN")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def new_files(self, model: str, files: Sequence[LakeFile]) -> list[LakeFile] | None:
        """Those of `files` that the model has not seen; none if it has never been built or a seen file is gone."""
        if self.fingerprint(model) is None:
            return None
        seen = self._seen(model)
        present = {self._identify(file): file for file in files}
        if seen - present.keys():
            return None
        return [file for identity, file in present.items() if identity not in seen]

    def fingerprint(self, model: str) -> str | None:
        """Fingerprint of the definition the model was last built with."""
        row = self._connection.execute("SELECT fingerprint FROM engine.models WHERE model = ?", [model]).fetchone()
        return str(row[0]) if row else None

    def pending(self, model: str) -> list[Window]:
        """Windows that other models, changed dimensions or a backfill made due."""
        sql = "SELECT DISTINCT first_day, last_day FROM engine.pending WHERE model = ?"
        return [Window(first, last) for first, last in self._connection.execute(sql, [model]).fetchall()]

    def add_pending(self, model: str, windows: Sequence[Window]) -> None:
        """Make windows of a model due."""
        rows = [(model, window.first_day, window.last_day) for window in coalesce(windows)]
        self._insert("pending", ("model", "first_day", "last_day"), rows)

    def acknowledge(self, model: str, files: Sequence[LakeFile], fingerprint: str) -> None:
        """Nothing is due for the model any more; it has seen `files`."""
        for table in ("models", "pending"):
            self._connection.execute(f"DELETE FROM engine.{table} WHERE model = ?", [model])
        self._connection.execute("INSERT INTO engine.models VALUES (?, ?)", [model, fingerprint])
        present = {self._identify(file) for file in files}
        seen = self._seen(model)
        if seen - present:
            self._connection.execute("DELETE FROM engine.batches WHERE model = ?", [model])
            seen = set()
        rows = [(model, *file) for file in sorted(present - seen)]
        self._insert("batches", ("model", "file", "size", "modified_ns"), rows)

    def _seen(self, model: str) -> set[tuple[str, int, int]]:
        sql = "SELECT file, size, modified_ns FROM engine.batches WHERE model = ?"
        return set(self._connection.execute(sql, [model]).fetchall())

    def _insert(self, table: str, columns: tuple[str, ...], rows: Sequence[tuple]) -> None:
        # One statement for all rows: thousands of files one by one would take longer than the models.
        if rows:
            frame = pl.DataFrame(rows, schema=columns, orient="row")
            self._connection.register("engine_rows", frame)
            self._connection.execute(f"INSERT INTO engine.{table} BY NAME SELECT * FROM engine_rows")
            self._connection.unregister("engine_rows")

    def _identify(self, file: LakeFile) -> tuple[str, int, int]:
        return file.path.relative_to(self._lake_root).as_posix(), file.size, file.modified_ns
