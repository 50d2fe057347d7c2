"""DuckDB three times: with the product's SQL, with SQL written for DuckDB, and merely decoding the columns used."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import duckdb
import polars as pl

from pipeline.orchestration.resources.warehouse import MEMORY_BYTES
from tests.acceptance.bench.limits import THREADS
from tests.acceptance.bench.peers.engine import Computations, Engine
from tests.acceptance.bench.peers.facts import ALL_DAYS, REDUCTIONS, TABLES, columns_used, parquet, product_sql

OWN_SQL = Path(__file__).parent / "sql"
FUNCTIONS = """
CREATE MACRO whole(number, divisor) AS number // divisor;
CREATE MACRO month_of(moment_us) AS strftime(make_timestamp(moment_us), '%Y-%m');
"""


@contextmanager
def _views(facts: Path, schema: str) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": THREADS, "memory_limit": f"{MEMORY_BYTES}B"}) as connection:
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}; SET preserve_insertion_order = false;")
        for table in TABLES:
            connection.execute(f"CREATE VIEW {schema}.{table} AS FROM '{parquet(facts, table)}'")
        yield connection


@contextmanager
def _product(facts: Path) -> Iterator[Computations]:
    with _views(facts, "core") as connection:
        yield {name: partial(_frame, connection, product_sql(name), ALL_DAYS) for name in REDUCTIONS}


@contextmanager
def _native(facts: Path) -> Iterator[Computations]:
    with _views(facts, "main") as connection:
        connection.execute(FUNCTIONS)
        yield {name: partial(_frame, connection, (OWN_SQL / f"{name}.sql").read_text()) for name in REDUCTIONS}


@contextmanager
def _decoding(facts: Path) -> Iterator[Computations]:
    # The last value costs next to nothing, but is known only when all have been decoded.
    with _views(facts, "main") as connection:
        yield {
            name: partial(_decode, connection, dict(columns_used(product_sql(name)))) for name in REDUCTIONS
        }  # fmt: skip


def _frame(connection: duckdb.DuckDBPyConnection, sql: str, arguments: dict | None = None) -> pl.DataFrame:
    return connection.sql(sql, params=arguments).pl()


def _decode(connection: duckdb.DuckDBPyConnection, used: dict[str, list[str]]) -> pl.DataFrame:
    for table, columns in used.items():
        connection.execute(f"SELECT {', '.join(f'last({column})' for column in columns)} FROM {table}").fetchall()
    return pl.DataFrame()


PRODUCT = Engine("ours", _product, lambda frame: frame)
NATIVE = Engine("DuckDB", _native, lambda frame: frame)
DECODING = Engine("decoding", _decoding, lambda frame: frame)
