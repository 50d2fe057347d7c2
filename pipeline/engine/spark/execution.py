"""Models on Spark: the cluster reads the lake's files and copies of the core tables; DuckDB keeps what it computed."""

import glob
import shutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import duckdb

from pipeline.common.quoting import literal
from pipeline.engine.execution import Arguments, rows_of
from pipeline.engine.model import Model
from pipeline.engine.spark.cluster import Cluster
from pipeline.engine.spark.dialect import spark_columns, spark_sql, view_name
from pipeline.engine.views import Files, lake_tables
from pipeline.schemas.base import Table, identity, tables_of


class SparkExecution:
    """Computes models on a cluster. A table is shown to the cluster when a model first reads it after it changed."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, cluster: Cluster) -> None:
        self._connection = connection
        self._cluster = cluster
        self._lake: dict[str, list[Path]] = {}
        self._copies: dict[str, Path] = {}

    def insert(self, model: Model, arguments: Arguments, lake: Mapping[str, Files]) -> int:
        """As `Execution.insert`."""
        for table, files in lake.items():
            self._show_lake(table, [Path(file.path) for file, footer in files.items() if footer.columns])
        for name in model.depends_on:
            if name in _tables() and name not in self._copies:
                self._copies[name] = self._show_copy(name)
        folder = self._cluster.write(model.name, spark_sql(model.sql), arguments)
        rows = f"read_parquet({literal(f'{glob.escape(str(folder))}/*.parquet')}, hive_partitioning = false)"
        inserted = rows_of(self._connection.execute(f"INSERT INTO {model.name} BY NAME FROM {rows}"))
        shutil.rmtree(folder)
        if copy := self._copies.pop(model.name, None):
            copy.unlink()
        return inserted

    def _show_lake(self, table: str, paths: list[Path]) -> None:
        if self._lake.get(table) != paths:
            self._cluster.show(view_name(f"lake.{table}"), paths, spark_columns(lake_tables()[table]))
            self._lake[table] = paths

    def _show_copy(self, name: str) -> Path:
        copy = self._cluster.new_path()
        self._connection.execute(f"COPY {name} TO {literal(str(copy))} (FORMAT parquet)")
        self._cluster.show(view_name(name), [copy], spark_columns(_tables()[name]))
        return copy


@cache
def _tables() -> Mapping[str, type[Table]]:
    return {identity(model).qualified_name: model for model in tables_of("core")}
