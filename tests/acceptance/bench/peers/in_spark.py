"""The product's SQL on Spark, through Spark Connect: in one process of two cores, and on a cluster of two workers."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from pipeline.engine.spark import spark_sql
from pipeline.engine.spark.dialect import view_name
from tests.acceptance.bench.peers.engine import Computations, Engine
from tests.acceptance.bench.peers.facts import ALL_DAYS, REDUCTIONS, TABLES, parquet, product_sql
from tests.acceptance.spark_server import missing, spark_server, standalone_cluster


@contextmanager
def _local(facts: Path) -> Iterator[Computations]:
    with TemporaryDirectory() as folder, _opened(facts, Path(folder), nullcontext("local[2]")) as computations:
        yield computations


@contextmanager
def _cluster(facts: Path) -> Iterator[Computations]:
    with TemporaryDirectory() as folder:
        cluster = standalone_cluster(Path(folder))
        with _opened(facts, Path(folder), cluster) as computations:
            yield computations


@contextmanager
def _opened(facts: Path, folder: Path, started: AbstractContextManager[str]) -> Iterator[Computations]:
    from pyspark.sql.connect.session import SparkSession

    with started as master, spark_server(folder, master) as address:
        session = SparkSession.builder.remote(address).create()
        for table in TABLES:
            rows = session.read.parquet(f"file://{parquet(facts, table).resolve()}")
            rows.createOrReplaceTempView(view_name(f"core.{table}"))
        yield {name: partial(_compute, session, spark_sql(product_sql(name))) for name in REDUCTIONS}
        session.stop()


def _compute(session: Any, sql: str) -> Any:
    return session.sql(sql, args=ALL_DAYS).toArrow()


LOCAL = Engine("Spark local[2], warm", _local, pl.from_arrow, missing, most_events=10_000_000)
CLUSTER = Engine(
    "Spark on a standalone cluster of two workers", _cluster, pl.from_arrow, missing, most_events=10_000_000
)
