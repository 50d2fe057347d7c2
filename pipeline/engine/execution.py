"""What an engine must be able to do: compute the rows of one window of a model, and insert them into its table.

Which windows are due, their replacement and the memory of it are the runner's and the same for every engine. So is the
working file: whichever engine computes a row, DuckDB keeps it.
"""

from collections.abc import Mapping
from typing import Protocol

import duckdb

from pipeline.engine.model import Model
from pipeline.engine.views import Files, create_view

Arguments = Mapping[str, int | str]


class Execution(Protocol):
    """Computes models. It runs inside the runner's transaction on the working file."""

    def insert(self, model: Model, arguments: Arguments, lake: Mapping[str, Files]) -> int:
        """Insert the rows that the model's SQL gives for these arguments into its table, and return their number.

        Args:
            model: what to compute.
            arguments: the values of its parameters.
            lake: for every table of the lake that it reads the files that can hold its rows.
        """


class DuckDBExecution:
    """Computes models in the process that keeps the working file."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def insert(self, model: Model, arguments: Arguments, lake: Mapping[str, Files]) -> int:
        """As `Execution.insert`."""
        for table, files in lake.items():
            create_view(self._connection, "lake", table, files)
        return rows_of(self._connection.execute(f"INSERT INTO {model.name} BY NAME {model.sql}", arguments))


def rows_of(result: duckdb.DuckDBPyConnection) -> int:
    """The number in the only row of a result: what a statement inserted, deleted or counted."""
    row = result.fetchone()
    return int(row[0]) if row else 0
