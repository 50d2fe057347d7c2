"""Which days of a model new lake files touch: the queries of `sql/touched`.

`sql/touched/SCHEMA.TABLE.sql` lists the days of a model. It may read `new.X` (rows of the new files of lake table X),
`around.X` (rows of all files in the day partitions that hold a new one), and the named queries that stand beside it as
`sql/touched/NAME.sql`, as `new.NAME`. These run on DuckDB only, so they may leave the portable subset.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb

from pipeline.engine.model import Model, parameters_of, tables_read
from pipeline.engine.views import LakeFile, create_view, lake_tables


class TouchedDays:
    """Runs the queries of one folder."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, folder: Path, files: Sequence[LakeFile]) -> None:
        self._connection = connection
        self._folder = folder
        self._files = files
        for schema in ("new", "around"):
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")

    def text(self, model: Model) -> str:
        """All SQL that decides on the days of a model; empty if only other models make them due."""
        return "\n".join(query.read_text() for query in self._queries(model))

    def lake_tables(self, model: Model) -> set[str]:
        """Lake tables whose new files may touch the model: those that it or its query reads."""
        names = {*model.depends_on}.union(*(tables_read(query.read_text()) for query in self._queries(model)))
        return {name.partition(".")[2] for name in names} & lake_tables().keys()

    def of(self, model: Model, fresh: Sequence[LakeFile], parameters: Mapping[str, int | str]) -> list[int]:
        """Days that the rows of the files `fresh` touch."""
        queries = self._queries(model)
        if not fresh or not queries:
            return []
        self._create_views(queries, fresh)
        sql = queries[0].read_text()
        arguments = {name: parameters[name] for name in parameters_of(sql)}
        return [day for (day,) in self._connection.execute(sql, arguments).fetchall()]

    def _create_views(self, queries: Sequence[Path], fresh: Sequence[LakeFile]) -> None:
        partitions = {file.path.parent for file in fresh}
        around = [file for file in self._files if file.path.parent in partitions]
        for name in {name for query in queries for name in tables_read(query.read_text())}:
            schema, _, table = name.partition(".")
            if schema in ("new", "around") and table in lake_tables():
                create_view(self._connection, schema, table, fresh if schema == "new" else around)
        for query in reversed(queries[1:]):
            self._connection.execute(f"CREATE OR REPLACE VIEW new.{query.stem} AS {query.read_text()}")

    def _queries(self, model: Model) -> list[Path]:
        """The model's query and the named ones, each before those that it reads itself."""
        path = self._folder / f"{model.name}.sql"
        return self._with_named(path) if path.exists() else []

    def _with_named(self, path: Path) -> list[Path]:
        found = [path]
        for name in tables_read(path.read_text()):
            query = self._folder / f"{name.removeprefix('new.')}.sql"
            if name.startswith("new.") and query.exists():
                deeper = self._with_named(query)
                found = [*(known for known in found if known not in deeper), *deeper]
        return found
