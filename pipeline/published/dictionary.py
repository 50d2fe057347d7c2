"""The data dictionary: every column of every published table, from the registered models."""

from collections.abc import Sequence

import polars as pl

from pipeline.schemas import performance
from pipeline.schemas.base import Table, conform, describe_columns, identity, polars_schema

DUCKDB_TYPES = {
    pl.Int64: "BIGINT",
    pl.Float64: "DOUBLE",
    pl.String: "VARCHAR",
    pl.Boolean: "BOOLEAN",
    pl.Date: "DATE",
    pl.Datetime: "TIMESTAMP",
}


def data_dictionary(models: Sequence[type[Table]]) -> pl.DataFrame:
    """Rows of `marts.data_dictionary` for the given models: table, column, position, type, unit and meaning."""
    rows = [
        {
            "table": identity(model).name,
            "column": name,
            "position": position,
            "type": duckdb_type(polars_schema(model)[name]),
            "unit": unit,
            "meaning": meaning,
        }
        for model in models
        for position, (name, _, unit, meaning) in enumerate(describe_columns(model), 1)
    ]
    columns = polars_schema(performance.DataDictionary)
    return conform(pl.DataFrame(rows, schema=columns).sort("table", "position"), performance.DataDictionary)


def duckdb_type(dtype: pl.DataType) -> str:
    """The DuckDB name of a mart's column type.

    Raises:
        KeyError: if marts must not hold that type.
    """
    if isinstance(dtype, pl.Decimal):
        return f"DECIMAL({dtype.precision},{dtype.scale})"
    return DUCKDB_TYPES[dtype.base_type()]
