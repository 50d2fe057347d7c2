"""Values of the marts as people read them in a page's tables."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pipeline.common import words
from pipeline.reports.pages.model import Cell

DEPTHS = 7
"""How many colours a grid has."""
CERTAIN = 0.999
"""Probability above which no more digits are told."""


def number(value: int | None) -> Cell:
    """A count."""
    return Cell("" if value is None else f"{value:,}", value)


def rate(row: Mapping[str, Any], name: str) -> Cell:
    """A share of a row with its interval."""
    return Cell(words.share(row[name], row[f"{name}_low"], row[f"{name}_high"]), row[name])


def between(low: float | None, high: float | None) -> Cell:
    """A share of which only the two bounds are known."""
    return Cell(words.NOT_KNOWN if low is None or high is None else f"{words.share(low)} to {words.share(high)}", low)


def lift(row: Mapping[str, Any], name: str) -> Cell:
    """A relative change of a row with its interval."""
    return Cell(words.lift(row[name], row[f"{name}_low"], row[f"{name}_high"]), row[name])


def money(row: Mapping[str, Any], name: str) -> Cell:
    """An amount of a row with its currency, and with its interval where the row has one."""
    value, low, high = (row.get(f"{name}{end}") for end in ("", "_low", "_high"))
    if value is None:
        return Cell(words.NOT_KNOWN)
    told = f"{value:,.0f} {row['currency']}"
    return Cell(told if low is None else f"{told} ({low:,.0f} to {high:,.0f})", value)


def points(difference: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    value = 100 * difference
    return f"{value:+.1f}" if abs(value) >= 0.95 else f"{value:+.2f}"


def hours(value: float | None) -> Cell:
    """A duration: up to four days in hours, beyond that in days."""
    if value is None:
        return Cell(words.NOT_KNOWN)
    return Cell(f"{value:.0f} h" if value <= 96 else f"{value / 24:.1f} days", value)


def chance(value: float | None) -> Cell:
    """A probability. Rounding makes none of them certain."""
    if value is not None and value > CERTAIN:
        return Cell(f"over {words.share(CERTAIN)}", value)
    return Cell(words.NOT_KNOWN if value is None else words.share(value), value)


def anything(value: Any) -> Cell:
    """A value of any type that a mart may hold."""
    if isinstance(value, bool):
        return Cell("yes" if value else "no")
    return Cell("" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value), value)


def brief_share(value: float) -> str:
    """A share in a cell of a grid, which has little room."""
    return f"{value:.0%}" if value >= 0.0995 else f"{value:.1%}"


def depth_of(values: Iterable[float | None]) -> Callable[[float | None], int | None]:
    """How deep each value's colour is, in equal steps up to the greatest known value.

    The steps begin at the least value, but no higher than at half the greatest, so that values that hardly differ look
    alike.
    """
    known = [value for value in values if value is not None]
    greatest = max(known, default=0.0)
    least = min([*known, greatest / 2])
    span = greatest - least
    return lambda value: None if value is None or not span else min(int((value - least) / span * DEPTHS), DEPTHS - 1)
