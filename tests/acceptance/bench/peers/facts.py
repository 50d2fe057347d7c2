"""The facts that all engines read, as Parquet files, and the product's own SQL over them."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
from sqlglot import exp, parse_one
from sqlglot.optimizer.scope import traverse_scope

from pipeline.engine import EVERYTHING
from pipeline.settings import SQL_DIR

TABLES = (
    "messages", "step_entries", "arrivals", "conversions", "departures", "steps", "workflows", "subscribers",
)  # fmt: skip
REDUCTIONS = {
    "step_days": "daily metrics",
    "funnel_transitions": "funnel",
    "cohort_cells": "cohorts",
    "hours_of_week": "hour of week",
}
ALL_DAYS = {"first_day": EVERYTHING.first_day, "last_day": EVERYTHING.last_day}


def export(file: Path, folder: Path) -> None:
    """Write the facts of a working file as one Parquet file each."""
    folder.mkdir()
    with duckdb.connect(str(file), read_only=True) as connection:
        for table in TABLES:
            connection.execute(f"COPY core.{table} TO '{parquet(folder, table)}' (FORMAT parquet)")


def parquet(folder: Path, table: str) -> Path:
    """The file of a table."""
    return folder / f"{table}.parquet"


def product_sql(reduction: str) -> str:
    """The product's statement of a reduction."""
    return (SQL_DIR / "reductions" / f"{reduction}.sql").read_text()


def with_values(sql: str, dialect: str) -> str:
    """A product's statement over all days in another dialect, with the values of its parameters written into it."""
    statement = parse_one(sql, dialect="duckdb")
    for place in list(statement.find_all(exp.Placeholder, exp.Parameter)):
        place.replace(exp.Literal.number(ALL_DAYS[place.name]))
    return statement.sql(dialect=dialect, comments=False)


def columns_used(sql: str) -> Iterator[tuple[str, list[str]]]:
    """Each table that a statement reads, with the columns that it uses of it."""
    used: dict[str, set[str]] = {}
    for scope in traverse_scope(parse_one(sql, dialect="duckdb")):
        for alias, source in scope.sources.items():
            if isinstance(source, exp.Table):
                used.setdefault(source.name, set()).update(column.name for column in scope.source_columns(alias))
    return ((table, sorted(columns)) for table, columns in used.items())
