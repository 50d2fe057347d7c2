"""The one raw shape that every format is read into: a row per event, every value as text, and why a row is none.

What a value means, and whether it is any good, is decided in `rows.py`.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import polars as pl

from pipeline.events.unpacking import UnreadableContent

COLUMNS = (
    "event_id",
    "occurred_at",
    "event_type",
    "subscriber",
    "workflow_id",
    "step_id",
    "order_id",
    "revenue",
    "currency",
    "plan",
    "properties",
)
REQUIRED = COLUMNS[:4]
# Where one of these is missing, pandas makes a fraction of every other. What every event has stays as it is written.
IDS = ("subscriber", "workflow_id", "step_id", "order_id")
RAW = {"row": pl.Int64, "fault": pl.String, **dict.fromkeys(COLUMNS, pl.String), "extra": pl.String}
NOT_TEXT = "is not UTF-8 text"
# A longer row is a mistake, and parsing it would take many times its size.
LONGEST_ROW = 1_000_000
TOO_LONG = f"is longer than {LONGEST_ROW} bytes"


@dataclass(frozen=True)
class RawEvents:
    """What a file holds.

    Attributes:
        rows: the columns of `RAW`. `row` tells rows of the file apart, `fault` why a row could not be read, and `extra`
            is a JSON object of the columns that the contract does not know.
        set_aside: columns that could not be read, each with its reason.
    """

    rows: pl.DataFrame
    set_aside: tuple[tuple[str, str], ...] = ()


def run_sql(query: str, **frames: pl.DataFrame) -> pl.DataFrame:
    """The result of a query on frames: DuckDB's JSON functions, which Polars lacks."""
    # A cursor of the default in-memory database: opening one of its own costs more than most queries.
    with duckdb.cursor() as connection:
        # What does not fit into memory would be left in the current folder by a kill, addresses included.
        connection.execute("SET temp_directory = ''")
        for name, frame in frames.items():
            connection.register(name, frame.to_arrow())
        rows: pl.DataFrame = connection.sql(query).pl()
        return rows


def text_lines(content: bytes) -> pl.DataFrame:
    """The lines of a text.

    Returns:
        One row for each line: `row` from 1, `begin` (its place in the content), `bytes`, `fault`, and `text`, which is
        null where the line has a fault.
    """
    lines = pl.DataFrame({"line": pl.Series(content.split(b"\n"), dtype=pl.Binary)})
    lines = lines.select(
        pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias("row"),
        pl.col("line").bin.size().cast(pl.Int64).alias("bytes"),
        pl.when(pl.col("line").bin.size() <= LONGEST_ROW).then("line").alias("line"),
    )
    lines = lines.with_columns(begin=(pl.col("bytes") + 1).cum_sum().shift(1, fill_value=0))
    query = f"""
        SELECT row, begin, bytes, try(decode(line)) AS text,
            CASE WHEN line IS NULL THEN '{TOO_LONG}' WHEN text IS NULL THEN '{NOT_TEXT}' END AS fault
        FROM lines ORDER BY row
    """
    return run_sql(query, lines=lines)


def column_name(written: str) -> str:
    """The trimmed name of a column. Snowflake and Oracle write the known ones in capitals."""
    name = written.strip()
    return name.lower() if name.lower() in COLUMNS else name


def places_of(header: Sequence[str]) -> dict[str, list[int]]:
    """Where each column stands in a file, by its name as of `column_name`.

    A known column that is written twice has several places. An unknown one gets a number behind its name, so that all
    of its values are kept.

    Raises:
        UnreadableContent: if a column is missing that every event has.
    """
    places: dict[str, list[int]] = defaultdict(list)
    for place, written in enumerate(header):
        name = column_name(written)
        if name in places and name not in COLUMNS:
            numbered = (f"{name}_{number}" for number in range(2, len(header) + 2))
            name = next(one for one in numbered if one not in places)
        places[name].append(place)
    absent = [name for name in REQUIRED if name not in places]
    if absent:
        raise UnreadableContent(f"lacks {', '.join(absent)} in its header")
    return dict(places)


def known_values(places: dict[str, list[int]]) -> tuple[dict[str, pl.Expr], pl.Expr]:
    """The value of each known column, and why a row has none where its places hold different ones.

    Reads a text column for each place, named by its number; null is no value.
    """
    reason = pl.lit(None, dtype=pl.String)
    known = {name: [str(place) for place in places[name]] for name in COLUMNS if name in places}
    for name, where in known.items():
        if len(where) > 1:
            differs = pl.concat_list(where).list.drop_nulls().list.n_unique() > 1
            reason = pl.when(differs).then(pl.lit(f"holds two different values of {name}")).otherwise(reason)
    return {name: pl.coalesce(where) for name, where in known.items()}, reason
