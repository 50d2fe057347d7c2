"""Parquet in the raw shape, whatever types its columns have: DuckDB reads them all and writes them as text or JSON.

A column that cannot be read is set aside with its reason, unless every event needs it.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import duckdb
import polars as pl

from pipeline.common.quoting import literal
from pipeline.events.raw import IDS, RAW, REQUIRED, RawEvents, column_name, known_values, places_of
from pipeline.events.unpacking import PARQUET_MAGIC, UnreadableContent

INEXACT = "holds in revenue a 32-bit float, which is too large to tell a cent"
# From here on 32-bit floats lie so far apart that an amount is off by more than half a cent.
_FLOAT32_INEXACT_FROM = 2**17
_NUMBERS = ("tinyint", "smallint", "integer", "bigint", "utinyint", "usmallint", "uinteger", "ubigint", "hugeint")
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
    with _open(content) as table:
        columns = [
            _Column(name, _identifier(name), kind.id) for name, kind in zip(table.columns, table.types, strict=True)
        ]
        places = places_of([column.name for column in columns])
        try:
            return RawEvents(_rows(table, columns, places))
        except Exception as error:  # on damaged bytes a reader fails in every way
            failed = type(error).__name__
    broken = {column: failure for column in columns if (failure := _failure(content, column))}
    needed = [column.name for column in broken if column_name(column.name) in REQUIRED]
    if needed or not broken:
        where = f" in {', '.join(needed)}" if needed else ""
        raise UnreadableContent(f"is no valid Parquet file ({failed}{where})")
    sound = [column for column in columns if column not in broken]
    reasons = tuple((column.name.strip(), f"cannot be read ({failure})") for column, failure in broken.items())
    with _open(content) as table:
        return RawEvents(_rows(table, sound, places_of([column.name for column in sound])), reasons)


@contextmanager
def _open(content: bytes) -> Iterator[duckdb.DuckDBPyRelation]:
    """The file as a table in a database of its own: a damaged file can make one unusable."""
    with duckdb.connect(config={"temp_directory": ""}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        try:
            table = connection.read_parquet(io.BytesIO(content))
        except Exception as error:  # on damaged bytes a reader fails in every way
            is_cut = not content.endswith(PARQUET_MAGIC)
            what = "it is cut short or of another kind" if is_cut else type(error).__name__
            raise UnreadableContent(f"is no valid Parquet file ({what})") from None
        yield table


def _failure(content: bytes, column: _Column) -> str | None:
    """What fails when this column is read; none if nothing does."""
    with _open(content) as table:
        try:
            table.select(f"{_json(column)}::VARCHAR AS value").pl()
        except Exception as error:  # on damaged bytes a reader fails in every way
            return type(error).__name__
    return None


def _rows(table: duckdb.DuckDBPyRelation, columns: list[_Column], places: dict[str, list[int]]) -> pl.DataFrame:
    known, contradiction = known_values(places)
    unknown = {name: columns[where[0]] for name, where in places.items() if name not in known}
    values = {str(place): _text(columns[place], name) for name in known for place in places[name]}
    if unknown:
        pairs = (f"{literal(name)}, {_json(column)}" for name, column in unknown.items())
        values["extra"] = f"json_object({', '.join(pairs)})::VARCHAR"
        known["extra"] = pl.col("extra")
    revenues = [columns[place] for place in places.get("revenue", [])]
    inexact = [f"abs({one.sql}) >= {_FLOAT32_INEXACT_FROM}" for one in revenues if one.type_name == "float"]
    values["fault"] = f"CASE WHEN {' OR '.join([*inexact, 'FALSE'])} THEN '{INEXACT}' END"
    texts: pl.DataFrame = table.select(", ".join(f'{value} AS "{name}"' for name, value in values.items())).pl()
    row = pl.int_range(1, pl.len() + 1, dtype=pl.Int64)
    rows = texts.select(row=row, fault=pl.coalesce("fault", contradiction), **known)
    return pl.concat([pl.DataFrame(schema=RAW), rows], how="diagonal")


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(column: _Column, name: str) -> str:
    """The value of a known column as text. What is no number is none, and bytes that are no text are written as hex."""
    if column.type_name == "blob":
        return f"coalesce(try(decode({column.sql})), lower(hex({column.sql})))"
    if column.type_name in _NESTED:
        return f"to_json({column.sql})::VARCHAR"
    text = f"{column.sql}::VARCHAR"
    if column.type_name in _FLOATS:
        text = f"CASE WHEN NOT isnan({column.sql}) THEN {text} END"
    if name in IDS and column.type_name in (*_FLOATS, "decimal"):
        whole = f"try_cast({column.sql} AS HUGEINT)"
        text = f"CASE WHEN {column.sql} = {whole} THEN {whole}::VARCHAR ELSE {text} END"
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
