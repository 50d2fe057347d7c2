"""The lake's Parquet files as SQL sees them: which there are, what their footers say, and views of some of them.

Files are only read here, never written.
"""

import glob
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path

import duckdb

from pipeline.common.quoting import literal
from pipeline.common.time import day_number
from pipeline.engine.windows import FIRST_DAY, LAST_DAY
from pipeline.schemas.base import Table, identity, polars_schema, tables_of

DUCKDB_TYPES = {
    "Int64": "BIGINT",
    "Float64": "DOUBLE",
    "String": "VARCHAR",
    "Boolean": "BOOLEAN",
    "Decimal(precision=38, scale=0)": "DECIMAL(38, 0)",
}
# SQL must not see this table: it holds addresses.
PRIVATE_TABLES = frozenset({"addresses"})
# A file without statistics may hold rows of any night.
FOOTERS = f"""
SELECT
  file_name,
  string_agg(DISTINCT path_in_schema, ',') AS columns,
  MIN(CASE WHEN path_in_schema = 'as_of_day' THEN COALESCE(CAST(stats_min_value AS BIGINT), {FIRST_DAY}) END),
  MAX(CASE WHEN path_in_schema = 'as_of_day' THEN COALESCE(CAST(stats_max_value AS BIGINT), {LAST_DAY}) END)
FROM (
  SELECT
    file_name,
    path_in_schema,
    CASE WHEN path_in_schema = 'as_of_day' THEN stats_min_value END AS stats_min_value,
    CASE WHEN path_in_schema = 'as_of_day' THEN stats_max_value END AS stats_max_value
  FROM parquet_metadata(?)
)
GROUP BY file_name
"""


@dataclass(frozen=True, order=True)
class LakeFile:
    """One file of the lake. A file that was rewritten, because a person was forgotten, counts as another file."""

    table: str
    # Days since 1970-01-01.
    day: int
    path: str
    size: int
    modified_ns: int


@dataclass(frozen=True)
class Footer:
    """What the footer of a file says: its columns, and the first and the last night that told its rows."""

    columns: frozenset[str]
    first_night: int
    last_night: int


Files = Mapping[LakeFile, Footer]


@cache
def lake_tables() -> dict[str, type[Table]]:
    """The lake tables that SQL may read, by name."""
    found = {identity(model).name: model for model in tables_of("lake")}
    return {name: model for name, model in found.items() if name not in PRIVATE_TABLES}


def list_files(lake_root: Path, tables: Collection[str]) -> list[LakeFile]:
    """Every file of these tables as it is now."""
    return [file for name in tables for file in _list_table(lake_root, name)]


def read_footers(connection: duckdb.DuckDBPyConnection, files: Collection[LakeFile]) -> dict[LakeFile, Footer]:
    """The footers of these files. A file without any row has no columns."""
    if not files:
        return {}
    # DuckDB takes every path for a pattern.
    rows = connection.execute(FOOTERS, [[glob.escape(file.path) for file in files]]).fetchall()
    found = {path: Footer(frozenset(columns.split(",")), first, last) for path, columns, first, last in rows}
    return {file: found.get(file.path, Footer(frozenset(), FIRST_DAY, LAST_DAY)) for file in files}


def create_view(connection: duckdb.DuckDBPyConnection, schema: str, name: str, files: Files) -> None:
    """Make the view `SCHEMA.NAME` of one lake table, over these files of the table. Without any it is empty."""
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
    connection.execute(f"CREATE OR REPLACE VIEW {schema}.{name} AS {_select(lake_tables()[name], files)}")


def column_types(model: type[Table]) -> dict[str, str]:
    """DuckDB type of every column of a table."""
    return {name: DUCKDB_TYPES[str(dtype)] for name, dtype in polars_schema(model).items()}


def _list_table(lake_root: Path, name: str) -> Iterator[LakeFile]:
    folder = lake_root / name
    if not folder.exists():
        return
    for partition in sorted(entry.name for entry in os.scandir(folder) if entry.name.startswith("day=")):
        day = day_number(date.fromisoformat(partition.removeprefix("day=")))
        for entry in sorted(os.scandir(folder / partition), key=lambda entry: entry.name):
            if entry.name.endswith(".parquet"):
                stat = entry.stat()
                yield LakeFile(name, day, entry.path, stat.st_size, stat.st_mtime_ns)


def _select(model: type[Table], files: Files) -> str:
    types = column_types(model)
    alike: dict[frozenset[str], list[str]] = {}
    for file, footer in files.items():
        if footer.columns:
            # A file of an older release may lack a column.
            alike.setdefault(footer.columns.intersection(types), []).append(file.path)
    if not alike:
        alike[frozenset()] = []
    return " UNION ALL ".join(_select_alike(types, held, paths) for held, paths in alike.items())


def _select_alike(types: Mapping[str, str], held: frozenset[str], paths: list[str]) -> str:
    columns = ", ".join(name if name in held else f"CAST(NULL AS {kind}) AS {name}" for name, kind in types.items())
    if not paths:
        return f"SELECT {columns} WHERE FALSE"
    listed = ", ".join(literal(glob.escape(path)) for path in paths)
    return f"SELECT {columns} FROM read_parquet([{listed}], hive_partitioning = false)"
