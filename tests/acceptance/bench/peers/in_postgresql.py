"""The product's SQL in PostgreSQL, whose server is started for this alone. Loading the facts is not counted."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import polars as pl
import psycopg

from tests.acceptance.bench.limits import THREADS
from tests.acceptance.bench.peers.engine import Computations, Engine
from tests.acceptance.bench.peers.facts import REDUCTIONS, TABLES, parquet, product_sql, with_values
from tests.postgres import missing, postgres_server

TYPES = {"BIGINT": "BIGINT", "VARCHAR": "TEXT", "BOOLEAN": "BOOLEAN"}
OPTIONS = {
    "shared_buffers": "1GB",
    "work_mem": "256MB",
    "max_parallel_workers_per_gather": THREADS,
    "max_wal_size": "4GB",
}


@contextmanager
def _opened(facts: Path) -> Iterator[Computations]:
    with (
        postgres_server(OPTIONS) as place,
        psycopg.connect(f"postgresql://{place}/postgres", autocommit=True) as server,
    ):
        server.execute("CREATE SCHEMA core")
        for table in TABLES:
            _load(server, table, parquet(facts, table))
        server.execute("VACUUM ANALYZE")
        yield {
            name: partial(server.execute, with_values(product_sql(name), "postgres")) for name in REDUCTIONS
        }  # fmt: skip


def _load(server: psycopg.Connection, table: str, file: Path) -> None:
    with TemporaryDirectory() as folder, duckdb.connect() as connection:
        columns = connection.execute(f"DESCRIBE FROM '{file}'").fetchall()
        declared = ", ".join(f"{name} {TYPES[kind]}" for name, kind, *_ in columns)
        server.execute(f"CREATE UNLOGGED TABLE core.{table} ({declared})")
        rows = Path(folder) / "rows.csv"
        connection.execute(f"COPY (FROM '{file}') TO '{rows}' (FORMAT csv, HEADER false)")
        with (
            rows.open("rb") as handle,
            server.cursor() as cursor,
            cursor.copy(f"COPY core.{table} FROM STDIN (FORMAT csv)") as copy,
        ):
            while block := handle.read(1 << 20):
                copy.write(block)


def _frame(cursor: psycopg.Cursor) -> pl.DataFrame:
    names = [column.name for column in cursor.description or ()]
    return pl.DataFrame(cursor.fetchall(), schema=names, orient="row", infer_schema_length=None)


ENGINE = Engine("PostgreSQL", _opened, _frame, missing, most_events=10_000_000)
