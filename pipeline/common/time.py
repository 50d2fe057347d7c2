"""From the integers of core facts to the types of marts: days, instants, amounts, and windows up to tonight.

No statistics belong here.
"""

from datetime import date, timedelta

import polars as pl

from pipeline.schemas.vocabulary import Window

EPOCH = date(1970, 1, 1)
DAY_US = 86_400_000_000
HOUR_US = 3_600_000_000
CENTS = 100
AMOUNT = pl.Decimal(18, 2)
# Days of each window up to and including tonight; none = all.
WINDOW_DAYS: dict[Window, int | None] = {"7d": 7, "28d": 28, "90d": 90, "all": None}


def day_number(day: date) -> int:
    """Days since 1970-01-01."""
    return (day - EPOCH).days


def end_of_day_us(day: date) -> int:
    """The first instant after a UTC day, in epoch microseconds."""
    return (day_number(day) + 1) * DAY_US


def to_date(column: str) -> pl.Expr:
    """A column of day numbers as dates."""
    return pl.col(column).cast(pl.Int32).cast(pl.Date)


def to_timestamp(column: str) -> pl.Expr:
    """A column of epoch microseconds as naive UTC instants."""
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
