"""Which days of a model are touched by new lake files: the queries of `sql/touched`.

`sql/touched/SCHEMA/TABLE.sql` lists the days of a model. It may read `new.X` (rows of the new files of lake table X),
`around.X` (rows of all files in day partitions with a new file), and `touched.NAME`, the result of the query
`sql/touched/named/NAME.sql`. These queries run on DuckDB only, so they may leave the portable subset.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb

from pipeline.engine.model import Model, parameters_of, tables_read
from pipeline.engine.views import LakeFile, create_views


class TouchedDays:
    """Runs the queries of one folder. For one set of new files each named query runs once."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, folder: Path, files: Sequence[LakeFile]) -> None:
        self._connection = connection
        self._folder = folder
        self._files = files
        connection.execute("CREATE SCHEMA IF NOT EXISTS touched")
        self._fresh: Sequence[LakeFile] | None = None
        self._made: set[str] = set()

    def text(self, model: Model) -> str:
        """All SQL that finds the days of a model. Empty if only other models make its days due."""
        return "\n".join(query.read_text() for query in self._queries(model))

    def of(self, model: Model, fresh: Sequence[LakeFile], parameters: Mapping[str, int | str]) -> list[int]:
        """The days that the rows of the files `fresh` touch."""
        queries = self._queries(model)
        if not fresh or not queries:
            return []
        self._prepare(queries[1:], fresh)
        sql = queries[0].read_text()
        arguments = {name: parameters[name] for name in parameters_of(sql)}
        return [day for (day,) in self._connection.execute(sql, arguments).fetchall()]

    def _prepare(self, named: Sequence[Path], fresh: Sequence[LakeFile]) -> None:
        if fresh != self._fresh:
            partitions = {file.path.parent for file in fresh}
            create_views(self._connection, "new", fresh)
            create_views(self._connection, "around", [file for file in self._files if file.path.parent in partitions])
            self._fresh, self._made = fresh, set()
        for query in reversed(named):
            if query.stem not in self._made:
                self._connection.execute(f"CREATE OR REPLACE TABLE touched.{query.stem} AS {query.read_text()}")
                self._made.add(query.stem)

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
