"""A real publication of a made-up account: DuckDB file, Parquet and manifest."""

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from pipeline.orchestration.resources.warehouse import session
from pipeline.published.manifest import Manifest
from pipeline.published.snapshot import publish
from pipeline.schemas.base import empty, identity, tables_of
from tests.worlds.published import TONIGHT


def publish_all(data_dir: Path, rows: Mapping[str, pl.DataFrame]) -> Path:
    """Publish every mart, with the given rows and no others; returns the folder of the publication."""
    folder = data_dir / "published"
    with session(data_dir / "working.duckdb") as connection:
        connection.execute("CREATE SCHEMA marts")
        for model in tables_of("marts"):
            name = identity(model).name
            connection.register("given", rows.get(name, empty(model)).to_arrow())
            connection.execute(f"CREATE TABLE marts.{name} AS FROM given")
        publish(connection, folder, Manifest.of(connection, "run", TONIGHT), keep=1)
    return folder
