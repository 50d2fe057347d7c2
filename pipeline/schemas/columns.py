"""The kinds of column that tables are built from: each carries its meaning, its unit and its checks."""

from typing import Any

import pandera.polars as pa

from pipeline.schemas.vocabulary import words

SHARE = "share, 0-1"
WILSON = "95%, Wilson"


def column(
    description: str, unit: str = "", *, nullable: bool = False, interval: str | None = None, **checks: Any
) -> Any:
    """A column with its meaning and unit; keyword checks are pandera's (`ge`, `le`, `isin`, ...).

    With an `interval`, which says its level and method, the columns `x_low` and `x_high` follow the column `x`.
    """
    metadata = {"unit": unit, "interval": interval}
    return pa.Field(description=description, nullable=nullable, metadata=metadata, **checks)


def key(description: str, *, nullable: bool = False) -> Any:
    """An identifier."""
    return column(description, "id", nullable=nullable)


def count(description: str, *, nullable: bool = False) -> Any:
    """A number of things, never negative."""
    return column(description, "count", ge=0, nullable=nullable)


def instant(description: str, *, nullable: bool = False) -> Any:
    """A moment as microseconds since 1970-01-01 UTC."""
    return column(description, "epoch microseconds, UTC", nullable=nullable)


def day_number(description: str) -> Any:
    """A UTC day as days since 1970-01-01."""
    return column(description, "days since 1970-01-01, UTC")


def utc_day(description: str, *, nullable: bool = False) -> Any:
    """A UTC day as a date."""
    return column(description, "date, UTC", nullable=nullable)


def tonight() -> Any:
    """The night that computed the row."""
    return utc_day("The night that computed the row, named by the last UTC day whose data were used.")


def method_name() -> Any:
    """The name of the method behind the row."""
    return column("Name of the method that computed the row.")


def share(description: str, *, nullable: bool = True, interval: str | None = None) -> Any:
    """A rate or probability; null where its denominator is zero."""
    return column(description, SHARE, nullable=nullable, interval=interval, ge=0.0, le=1.0)


def word(description: str, kind: Any, *, nullable: bool = False) -> Any:
    """A word of one closed set of `pipeline.schemas.vocabulary`; the meaning lists all words of the set."""
    allowed = words(kind)
    listed = ", ".join(f"'{one}'" for one in allowed)
    return column(f"{description} One of {listed}.", nullable=nullable, isin=list(allowed))
