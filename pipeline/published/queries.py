"""Questions in SQL from people and programs that are not trusted with more than the published tables.

A query reads the published file and nothing else: no other file, no network, no extension, no setting. It ends after a
while, and gives up where it would need too much memory.
"""

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from pipeline.common.errors import DriptuneError
from pipeline.published.snapshot import SNAPSHOT_NAME

MOST_SECONDS = 20.0
MOST_CHARACTERS = 1_000
"""A text of a row is cut after this many: some cells hold whole documents."""
LIMITS: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "memory_limit": "1GB",
    "threads": 2,
    # What does not fit into memory must not fill the disk.
    "temp_directory": "",
}


class QueryRefusedError(DriptuneError):
    """A query that is not answered; the message says why and what to do."""


@dataclass(frozen=True)
class Answer:
    """The first rows of a query, as values that JSON knows, and whether there were more."""

    columns: list[str]
    rows: list[list[Any]]
    is_cut: bool


def ask(published_dir: Path, sql: str, *, most_rows: int, seconds: float = MOST_SECONDS) -> Answer:
    """Answer one SELECT from the published tables. Names without a schema are those of `marts`.

    Args:
        published_dir: where the publication stands.
        sql: the query.
        most_rows: rows that are given.
        seconds: how long it may take.

    Raises:
        QueryRefusedError: if it is no single SELECT, has a mistake, takes too long, or asks for more than the tables.
    """
    with _opened(published_dir) as connection:
        stopper = threading.Timer(seconds, connection.interrupt)
        stopper.start()
        try:
            statements = connection.extract_statements(sql)
            if len(statements) != 1 or statements[0].type is not duckdb.StatementType.SELECT:
                raise QueryRefusedError("Only a single SELECT is answered. The tables are read-only.")
            result = connection.execute(statements[0])
            columns = [str(column[0]) for column in result.description]
            rows = result.fetchmany(most_rows + 1)
        except duckdb.InterruptException:
            raise QueryRefusedError(f"The query took longer than {seconds:.0f} s. Filter or group more.") from None
        except duckdb.Error as error:
            raise QueryRefusedError(f"DuckDB says: {error}") from None
        finally:
            stopper.cancel()
    plain = [[_plain(value) for value in row] for row in rows[:most_rows]]
    return Answer(columns, plain, len(rows) > most_rows)


@contextmanager
def _opened(published_dir: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    file = published_dir / SNAPSHOT_NAME
    if not file.exists():
        raise QueryRefusedError("Nothing is published yet. Run driptune nightly first.")
    with duckdb.connect(str(file), read_only=True, config=LIMITS) as connection:
        connection.execute("USE marts")
        connection.execute("SET lock_configuration = true")
        yield connection


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= MOST_CHARACTERS else value[:MOST_CHARACTERS] + " ..."
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, date | datetime):
        return value.isoformat()
    return _plain(str(value))
