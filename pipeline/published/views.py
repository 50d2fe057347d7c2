"""What a person finds in the published file besides tables: views with names joined, and a comment on everything.

The views stand in `sql/views`, one a file, whose first lines say what the view is for.
"""

import inspect
import re
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import duckdb

from pipeline.common.quoting import literal
from pipeline.engine.model import tables_read
from pipeline.schemas.base import describe_columns, identity, tables_of
from pipeline.settings import SQL_DIR

VIEWS = SQL_DIR / "views"
JOINED = {
    "workflow_name": "Name of the workflow, as people know it.",
    "workflow_kind": "What the workflow is: a flow of flows.yaml, an automation, a campaign.",
    "step_name": "Name of the step, as people know it. Null where the row is about the whole workflow.",
    "step_kind": "What the step does.",
    "step_position": "Place of the step in its workflow, to sort by.",
    "from_step_name": "Name of the step that people come from.",
    "to_step_name": "Name of the step that people go to.",
    "experiment_name": "Name of the test, or its id if it has none.",
}
"""Columns that views have under another name than their tables, and what they mean."""
UNITLESS = ("", "id", "name")
"""Units that add nothing to what a column means."""


class View(NamedTuple):
    """A view of the schema `marts`: its name, what it is for, the tables that it reads, and its query."""

    name: str
    meaning: str
    tables: tuple[str, ...]
    query: str


@cache
def published_views() -> tuple[View, ...]:
    """Every view, by name."""
    return tuple(_read(path) for path in sorted(VIEWS.glob("*.sql")))


def add_views_and_comments(connection: duckdb.DuckDBPyConnection, database: str, tables: Collection[str]) -> None:
    """Add every view whose tables are published, and a comment on each table, view and column.

    Args:
        connection: has the schema `marts` with the same tables.
        database: the attached database whose schema `marts` is published.
        tables: names of the published tables.
    """
    meanings = _meanings(tables)
    views = [view for view in published_views() if set(view.tables) <= set(tables)]
    statements = [f"CREATE VIEW {database}.marts.{view.name} AS {view.query}" for view in views]
    statements += [
        f"COMMENT ON TABLE {database}.marts.{identity(model).name} IS {literal(_first_sentences(model))}"
        for model in tables_of("marts")
        if identity(model).name in tables
    ]
    statements += [f"COMMENT ON VIEW {database}.marts.{view.name} IS {literal(view.meaning)}" for view in views]
    # One transaction: each of a thousand small ones would wait for the disk.
    connection.execute("BEGIN")
    try:
        connection.execute(";".join(statements))
        connection.execute(";".join(_on_columns(connection, database, {view.name: view for view in views}, meanings)))
    except duckdb.Error:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _on_columns(
    connection: duckdb.DuckDBPyConnection, database: str, views: dict[str, View], meanings: dict[str, dict[str, str]]
) -> Iterator[str]:
    held = connection.execute(
        "SELECT table_name, column_name FROM duckdb_columns() WHERE database_name = ? AND schema_name = 'marts'",
        [database],
    )
    for table, column in held.fetchall():
        sources = views[table].tables if table in views else (table,)
        known = [meanings[one][column] for one in sources if column in meanings[one]]
        told = JOINED.get(column) if table in views and column in JOINED else next(iter(known), None)
        if told:
            yield f'COMMENT ON COLUMN {database}.marts.{table}."{column}" IS {literal(told)}'


def _meanings(tables: Collection[str]) -> dict[str, dict[str, str]]:
    """For each table what its columns mean, with their units."""
    return {
        identity(model).name: {
            name: meaning if unit in UNITLESS else f"{meaning} Unit: {unit}."
            for name, _, unit, meaning in describe_columns(model)
        }
        for model in tables_of("marts")
        if identity(model).name in tables
    }


def _first_sentences(model: type) -> str:
    return " ".join((inspect.getdoc(model) or "").partition("\n\n")[0].split())


def _read(path: Path) -> View:
    text = path.read_text(encoding="utf-8")
    said = [line.removeprefix("-- ") for line in text.splitlines() if line.startswith("-- ")]
    query = "\n".join(line for line in text.splitlines() if not line.startswith("--"))
    [first] = re.findall(r"^FROM marts\.(\w+)", query, re.MULTILINE)
    names = [name.removeprefix("marts.") for name in tables_read(query)]
    # A column of several tables means what it means in the table that the view is about.
    return View(path.stem, " ".join(said), (first, *(name for name in names if name != first)), query)
