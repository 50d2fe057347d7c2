"""Which days of a model are touched by new lake files: the queries of `sql/touched`.

`sql/touched/SCHEMA/TABLE.sql` lists the days of a model. It may read `new.X` (rows of the new files of lake table X),
`around.X` (rows of all files in day partitions with a new file), `lake.X` as the model itself reads it, and
`touched.NAME`, the result of the query `sql/touched/named/NAME.sql`. What was known before the new files stands in the
facts. These queries run on DuckDB only, so they may leave the portable subset.
"""

from pathlib import Path

import duckdb

from pipeline.engine.model import Model, tables_read
from pipeline.engine.reach import in_reach
from pipeline.engine.state import State
from pipeline.engine.views import Files, create_view
from pipeline.engine.windows import EVERYTHING


class TouchedDays:
    """Runs the queries of one folder. For one set of new files each named query runs once."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, folder: Path, state: State) -> None:
        self._connection = connection
        self._folder = folder
        self._state = state
        connection.execute("CREATE SCHEMA IF NOT EXISTS touched")
        self._fresh: Files | None = None
        self._made: set[str] = set()

    def text(self, model: Model) -> str:
        """All SQL that finds the days of a model. Empty if only other models make its days due."""
        return "\n".join(query.read_text() for query in self._queries(model))

    def of(self, model: Model) -> list[int]:
        """The days that the rows of the files touch which the model has not seen."""
        queries = self._queries(model)
        fresh = self._state.new_files(model.name)
        if not fresh or not queries:
            return []
        if fresh != self._fresh:
            self._fresh, self._made = fresh, set()
        # A query comes before those that it reads.
        for query in reversed(queries[1:]):
            if query.stem not in self._made:
                self._create_views(model, query, fresh)
                self._connection.execute(f"CREATE OR REPLACE TABLE touched.{query.stem} AS {query.read_text()}")
                self._made.add(query.stem)
        self._create_views(model, queries[0], fresh)
        return [day for (day,) in self._connection.execute(queries[0].read_text()).fetchall()]

    def _create_views(self, model: Model, query: Path, fresh: Files) -> None:
        for name in tables_read(query.read_text()):
            schema, _, table = name.partition(".")
            if schema in ("new", "around", "lake"):
                create_view(self._connection, schema, table, self._shown(schema, table, model, fresh))

    def _shown(self, schema: str, table: str, model: Model, fresh: Files) -> Files:
        new = {file: footer for file, footer in fresh.items() if file.table == table}
        if schema == "new":
            return new
        files = self._state.files(table)
        if schema == "lake":
            return in_reach(files, model.name, table, EVERYTHING)
        days = {file.day for file in new}
        return {file: footer for file, footer in files.items() if file.day in days}

    def _queries(self, model: Model) -> list[Path]:
        """The model's query and the named queries. Each comes before the queries that it reads."""
        path = self._folder.joinpath(*model.name.split(".")).with_suffix(".sql")
        return self._with_named(path) if path.exists() else []

    def _with_named(self, path: Path) -> list[Path]:
        found = [path]
        for name in tables_read(path.read_text()):
            query = self._folder / "named" / f"{name.removeprefix('touched.')}.sql"
            if name.startswith("touched.") and query.exists():
                deeper = self._with_named(query)
                found = [*(known for known in found if known not in deeper), *deeper]
        return found
