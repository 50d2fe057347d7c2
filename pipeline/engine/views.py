"""Views of the lake's Parquet files: of all files, or of some. Files are only listed here, never written."""

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path

import duckdb

from pipeline.common.time import day_number
from pipeline.schemas.base import Table, identity, polars_schema, tables_of

DUCKDB_TYPES = {"Int64": "BIGINT", "Float64": "DOUBLE", "String": "VARCHAR", "Boolean": "BOOLEAN"}
# SQL must not see this table: it holds addresses.
PRIVATE_TABLES = frozenset({"addresses"})


@dataclass(frozen=True)
class LakeFile:
    """One file of the lake. A file that was rewritten, because a person was forgotten, counts as another file."""

    table: str
    path: Path
    size: int
    modified_ns: int

    @property
    def day(self) -> int:
        """The day of its partition, as days since 1970-01-01."""
        return day_number(date.fromisoformat(self.path.parent.name.removeprefix("day=")))


@cache
def lake_tables() -> dict[str, type[Table]]:
    """The lake tables that SQL may read, by name."""
    found = {identity(model).name: model for model in tables_of("lake")}
    return {name: model for name, model in found.items() if name not in PRIVATE_TABLES}


def list_files(lake_root: Path) -> list[LakeFile]:
    """Every file of the lake as it is now."""
    files = []
    for name in lake_tables():
        for path in sorted((lake_root / name).glob("day=*/*.parquet")):
            stat = path.stat()
            files.append(LakeFile(name, path, stat.st_size, stat.st_mtime_ns))
    return files


def create_views(connection: duckdb.DuckDBPyConnection, schema: str, files: Sequence[LakeFile]) -> None:
    """Make a view `SCHEMA.TABLE` of every lake table, over its own files among `files`. Without any it is empty."""
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
    for name in lake_tables():
        create_view(connection, schema, name, files)


def create_view(connection: duckdb.DuckDBPyConnection, schema: str, name: str, files: Sequence[LakeFile]) -> None:
    """Make the view `SCHEMA.NAME` of one lake table."""
    paths = [str(file.path) for file in files if file.table == name]
    connection.execute(f"CREATE OR REPLACE VIEW {schema}.{name} AS {_select(connection, lake_tables()[name], paths)}")


def column_types(model: type[Table]) -> dict[str, str]:
    """DuckDB type of every column of a table."""
    return {name: DUCKDB_TYPES[str(dtype)] for name, dtype in polars_schema(model).items()}


def _select(connection: duckdb.DuckDBPyConnection, model: type[Table], paths: list[str]) -> str:
    types = column_types(model)
    if not paths:
        columns = ", ".join(f"CAST(NULL AS {kind}) AS {name}" for name, kind in types.items())
        return f"SELECT {columns} WHERE FALSE"
    # DuckDB takes every path for a pattern.
    listed = ", ".join("'" + glob.escape(path).replace("'", "''") + "'" for path in paths)
    rows = f"FROM read_parquet([{listed}], hive_partitioning = false, union_by_name = true)"
    # Files of an older release may lack a column, and after an upgrade all of them may.
    held = {name for name, *_ in connection.execute(f"DESCRIBE SELECT * {rows}").fetchall()}
    columns = ", ".join(name if name in held else f"CAST(NULL AS {kind}) AS {name}" for name, kind in types.items())
    return f"SELECT {columns} {rows}"
