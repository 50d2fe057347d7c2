"""The columns from which each column of a model is computed, read from its SQL."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from sqlglot import exp
from sqlglot.lineage import Node, lineage

from pipeline.engine.model import Model
from pipeline.schemas.base import identity, polars_schema, tables_of


@dataclass(frozen=True, order=True)
class ColumnSource:
    """One column of a table that a model reads."""

    table: str
    column: str


@cache
def column_lineage(model: Model) -> dict[str, Sequence[ColumnSource]]:
    """For every column of the model the columns from which it is computed, in alphabetical order."""
    # If no column is named, sqlglot resolves the statement once for all columns.
    roots = lineage(None, model.sql, schema=_schema(), dialect="duckdb", trim_selects=False)
    assert isinstance(roots, dict)
    return {column: _sources(roots[column]) for column in model.columns}


def _sources(root: Node) -> list[ColumnSource]:
    return sorted({_source(node) for node in root.walk() if isinstance(node.expression, exp.Table)})


def _source(node: Node) -> ColumnSource:
    table = node.expression
    assert isinstance(table, exp.Table)
    return ColumnSource(f"{table.db}.{table.name}", node.name.rpartition(".")[2].strip('"'))


@cache
def _schema() -> dict[str, dict[str, dict[str, str]]]:
    rooms: dict[str, dict[str, dict[str, str]]] = {}
    for room in ("lake", "core", "reductions"):
        rooms[room] = {
            identity(model).name: {name: str(dtype) for name, dtype in polars_schema(model).items()}
            for model in tables_of(room)
        }
    return rooms
