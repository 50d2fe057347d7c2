"""Models on Spark: the cluster reads the lake's files and copies of the core tables; DuckDB keeps what it computed."""

import glob
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb

from pipeline.engine.execution import Arguments, rows_of
from pipeline.engine.model import Model
from pipeline.engine.spark.cluster import Cluster
from pipeline.engine.spark.dialect import spark_columns, spark_sql, view_name
from pipeline.engine.views import LakeFile, lake_tables
from pipeline.schemas.base import Table, identity, tables_of


class SparkExecution:
    """Computes models on a cluster. A table is shown to the cluster when a model first reads it after it changed."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, cluster: Cluster, files: Sequence[LakeFile]) -> None:
        self._connection = connection
        self._cluster = cluster
        self._files = files
        self._shown: dict[str, Path | None] = {}

    def insert(self, model: Model, arguments: Arguments) -> int:
        """As `Execution.insert`."""
        for name in model.depends_on:
            if name not in self._shown:
                self._show(name)
        folder = self._cluster.write(model.name, spark_sql(model.sql), arguments)
        rows = f"read_parquet('{_pattern(folder)}', hive_partitioning = false)"
        inserted = rows_of(self._connection.execute(f"INSERT INTO {model.name} BY NAME FROM {rows}"))
        shutil.rmtree(folder)
        self._forget(model.name)
        return inserted

    def _show(self, name: str) -> None:
        room, _, table = name.partition(".")
        if room == "lake":
            paths = [file.path for file in self._files if file.table == table]
            self._cluster.show(view_name(name), paths, spark_columns(lake_tables()[table]))
            self._shown[name] = None
        else:
            copy = self._cluster.new_path()
            self._connection.execute(f"COPY {name} TO '{_quoted(str(copy))}' (FORMAT parquet)")
            self._cluster.show(view_name(name), [copy], spark_columns(_tables()[name]))
            self._shown[name] = copy

    def _forget(self, name: str) -> None:
        copy = self._shown.pop(name, None)
        if copy is not None:
            copy.unlink()


def _tables() -> Mapping[str, type[Table]]:
    return {identity(model).qualified_name: model for model in tables_of("core")}


def _pattern(folder: Path) -> str:
    return _quoted(f"{glob.escape(str(folder))}/*.parquet")


def _quoted(text: str) -> str:
    return text.replace("'", "''")
