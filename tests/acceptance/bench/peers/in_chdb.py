"""ClickHouse inside the process, by chdb, which `make peers` installs beside the product."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from tests.acceptance.bench.limits import THREADS
from tests.acceptance.bench.peers.engine import PEERS, Computations, Engine
from tests.acceptance.bench.peers.facts import REDUCTIONS, TABLES, parquet
from tests.acceptance.bench.peers.in_duckdb import OWN_SQL

FUNCTIONS = (
    "CREATE FUNCTION whole AS (number, divisor) -> intDiv(number, divisor)",
    "CREATE FUNCTION month_of AS (moment_us) -> formatDateTime(toDateTime(intDiv(moment_us, 1000000), 'UTC'), '%Y-%m')",
)


def missing() -> str | None:
    """Why it cannot run here; none if it can."""
    return None if _packages() else "chdb is not installed: make peers"


def _packages() -> list[Path]:
    return [folder for folder in PEERS.glob("lib/python*/site-packages") if (folder / "chdb").exists()]


@contextmanager
def _opened(facts: Path) -> Iterator[Computations]:
    # At the end, so that the product's own packages stay what they are.
    sys.path.extend(str(folder) for folder in _packages())
    from chdb.session import Session

    with TemporaryDirectory() as folder, Session(folder) as session:
        session.query(f"SET max_threads = {THREADS}")
        for function in FUNCTIONS:
            session.query(function)
        session.query("CREATE DATABASE facts")
        for table in TABLES:
            session.query(f"CREATE VIEW facts.{table} AS SELECT * FROM file('{parquet(facts, table)}', Parquet)")
        session.query("USE facts")
        yield {
            name: partial(session.query, (OWN_SQL / f"{name}.sql").read_text(), "ArrowTable") for name in REDUCTIONS
        }  # fmt: skip


ENGINE = Engine("chdb", _opened, pl.from_arrow, missing)
