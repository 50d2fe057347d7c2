"""Parquet in the raw shape, whatever types its columns have: DuckDB reads them all and writes them as text or JSON.

A column that cannot be read is set aside with its reason, unless every event needs it.
"""

import io
from dataclasses import dataclass

import duckdb
import polars as pl

from pipeline.events.raw import RAW, REQUIRED, RawEvents, known_values, places_of
from pipeline.events.unpacking import PARQUET_MAGIC, UnreadableContent

INEXACT = "holds in revenue a 32-bit float, which is too large to tell a cent"
# From here on 32-bit floats lie so far apart that an amount is off by more than half a cent.
_FLOAT32_INEXACT_FROM = 2**17
_NUMBERS = ("tinyint", "smallint", "integer", "bigint", "utinyint", "usmallint", "uinteger", "ubigint", "hugeint")
# On damaged bytes a reader fails in every way.
_FAILURES = Exception
_QUOTE = "'"
_FLOATS = ("float", "double")
_NESTED = ("list", "array", "struct", "map", "union", "variant")


@dataclass(frozen=True)
class _Column:
    """A column of the file: its name, how SQL writes it, and what DuckDB calls its type."""

    name: str
    sql: str
    type_name: str


def read_parquet(content: bytes) -> RawEvents:
    """The rows of a Parquet file.

    Raises:
        UnreadableContent: if it is damaged, or lacks a column that every event has.
    """
    if not content:
        raise UnreadableContent("is empty")
    columns = _columns(content)
    try:
        return RawEvents(_rows(content, columns))
    except _FAILURES as error:
        broken = {column: failure for column in columns if (failure := _failure(content, column))}
        needed = [column.name for column in broken if column.name.strip() in REQUIRED]
        if needed or not broken:
            where = f" in {', '.join(needed)}" if needed else ""
            raise UnreadableContent(f"is no valid Parquet file ({type(error).__name__}{where})") from None
    rows = _rows(content, [column for column in columns if column not in broken])
    reasons = [(column.name.strip(), f"cannot be read ({failure})") for column, failure in broken.items()]
    return RawEvents(rows, tuple(reasons))


def _columns(content: bytes) -> list[_Column]:
    try:
        with _connect() as connection:
            table = connection.read_parquet(io.BytesIO(content))
            kinds = list(zip(table.columns, table.types, strict=True))
    except _FAILURES as error:
        is_cut = not content.endswith(PARQUET_MAGIC)
        what = "it is cut short or of another kind" if is_cut else type(error).__name__
        raise UnreadableContent(f"is no valid Parquet file ({what})") from None
    return [_Column(name, '"' + name.replace('"', '""') + '"', kind.id) for name, kind in kinds]


def _rows(content: bytes, columns: list[_Column]) -> pl.DataFrame:
    places = places_of([column.name for column in columns])
    known, contradiction = known_values(places)
    unknown = {name: columns[where[0]] for name, where in places.items() if name not in known}
    values = {str(place): _text(columns[place], name) for name in known for place in places[name]}
    if unknown:
        pairs = (f"'{name.replace(_QUOTE, _QUOTE * 2)}', {_json(column)}" for name, column in unknown.items())
        values["extra"] = f"json_object({', '.join(pairs)})::VARCHAR"
        known["extra"] = pl.col("extra")
    inexact = [
        f"abs({column.sql}) >= {_FLOAT32_INEXACT_FROM}"
        for column in (columns[place] for place in places.get("revenue", []))
        if column.type_name == "float"
    ]
    values["fault"] = f"CASE WHEN {' OR '.join([*inexact, 'FALSE'])} THEN '{INEXACT}' END"
    table = _select(content, [f'{value} AS "{name}"' for name, value in values.items()])
    row = pl.int_range(1, pl.len() + 1, dtype=pl.Int64)
    rows = table.select(row=row, fault=pl.coalesce("fault", contradiction), **known)
    return pl.concat([pl.DataFrame(schema=RAW), rows], how="diagonal")


def _failure(content: bytes, column: _Column) -> str | None:
    """What fails when this column is read; none if nothing does."""
    try:
        _select(content, [f"{_json(column)}::VARCHAR"])
    except _FAILURES as error:
        return type(error).__name__
    return None


def _select(content: bytes, expressions: list[str]) -> pl.DataFrame:
    with _connect() as connection:
        rows: pl.DataFrame = connection.read_parquet(io.BytesIO(content)).select(", ".join(expressions)).pl()
        return rows


def _connect() -> duckdb.DuckDBPyConnection:
    """A database of its own for each query: a damaged file can make one unusable."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def _text(column: _Column, name: str) -> str:
    """The value of a known column as text. What is no number is none, and bytes that are no text are written as hex."""
    if column.type_name == "blob":
        return f"coalesce(try(decode({column.sql})), lower(hex({column.sql})))"
    if column.type_name in _NESTED:
        return f"to_json({column.sql})::VARCHAR"
    text = f"{column.sql}::VARCHAR"
    if column.type_name in _FLOATS:
        text = f"CASE WHEN NOT isnan({column.sql}) THEN {text} END"
    # A number counts from 1970, as `instant_of` knows by the @.
    is_since_1970 = name == "occurred_at" and column.type_name in (*_NUMBERS, *_FLOATS, "decimal")
    return f"'@' || {text}" if is_since_1970 else text


def _json(column: _Column) -> str:
    """The value of an unknown column as JSON. What JSON has no type for becomes text, bytes in base64."""
    if column.type_name == "blob":
        return f"to_base64({column.sql})"
    if column.type_name in _FLOATS:
        return f"CASE WHEN isfinite({column.sql}) THEN {column.sql} END"
    if column.type_name in _NESTED:
        value = f"to_json({column.sql})"
        is_strict = f"NOT regexp_matches({value}::VARCHAR, 'NaN|Infinity')"
        return f"CASE WHEN {is_strict} THEN {value} ELSE to_json({column.sql}::VARCHAR) END"
    return column.sql
