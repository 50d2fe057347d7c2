"""Days, instants and amounts: the integers of the lake and of core tables, and the types of marts made from them.

An instant is an integer, in microseconds since 1970-01-01 UTC; a day is a date, or the number of days since then.
"""

from datetime import UTC, date, datetime, time, timedelta

import polars as pl

from pipeline.schemas.vocabulary import Window

EPOCH = date(1970, 1, 1)
SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US
CENTS = 100
AMOUNT = pl.Decimal(18, 2)
WINDOW_DAYS: dict[Window, int | None] = {"7d": 7, "28d": 28, "90d": 90, "all": None}
"""Days of each window, which ends tonight; none = every day so far."""

_EPOCH_INSTANT = datetime.combine(EPOCH, time(), UTC)


def day_number(day: date) -> int:
    """Days since 1970-01-01."""
    return (day - EPOCH).days


def numbered_day(number: int) -> date:
    """The day that is this many days after 1970-01-01."""
    return EPOCH + timedelta(days=number)


def start_of_day_us(day: date) -> int:
    """The first instant of a UTC day."""
    return day_number(day) * DAY_US


def end_of_day_us(day: date) -> int:
    """The first instant after a UTC day."""
    return (day_number(day) + 1) * DAY_US


def instant_us(moment: datetime) -> int:
    """The instant of a datetime that knows its zone."""
    return (moment - _EPOCH_INSTANT) // timedelta(microseconds=1)


def day_of(instant: str) -> pl.Expr:
    """The day number of each instant of a column."""
    return pl.col(instant).floordiv(DAY_US)


def is_recent(as_of: date, days: int, day: str = "day") -> pl.Expr:
    """Whether a day number of a column is among the last `days` days up to and including tonight."""
    tonight = day_number(as_of)
    # Two comparisons are pushed down into a warehouse's tables; `is_between` is not.
    return (pl.col(day) > tonight - days) & (pl.col(day) <= tonight)


def to_date(column: str) -> pl.Expr:
    """A column of day numbers as dates."""
    return pl.col(column).cast(pl.Int32).cast(pl.Date)


def to_timestamp(column: str) -> pl.Expr:
    """A column of instants as naive UTC timestamps."""
    return pl.col(column).cast(pl.Datetime("us"))


def to_amount(column: str) -> pl.Expr:
    """A column of cents as an exact amount."""
    return (pl.col(column).cast(AMOUNT) / CENTS).cast(AMOUNT)


def over_windows(frame: pl.DataFrame, day: str, as_of: date) -> pl.DataFrame:
    """The rows of each window up to tonight, one below the other, marked by `window`; `day` is a column of dates."""
    until_tonight = frame.filter(pl.col(day) <= as_of)
    parts = []
    for window, days in WINDOW_DAYS.items():
        rows = until_tonight if days is None else until_tonight.filter(pl.col(day) > as_of - timedelta(days=days))
        parts.append(rows.with_columns(window=pl.lit(window)))
    return pl.concat(parts)
