"""Windows of days: the unit in which every model is recomputed. Nothing here knows a table."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

# Beyond any day a fact can have, and small enough that microseconds fit into 64 bits.
FIRST_DAY = -1_000_000
LAST_DAY = 1_000_000


@dataclass(frozen=True, order=True)
class Window:
    """Days from `first_day` to `last_day`, both included, as days since 1970-01-01."""

    first_day: int
    last_day: int

    @property
    def is_everything(self) -> bool:
        """Whether no day lies outside."""
        return self == EVERYTHING


EVERYTHING = Window(FIRST_DAY, LAST_DAY)


def coalesce(windows: Iterable[Window]) -> list[Window]:
    """The same days in as few windows as possible, in order: those that overlap or adjoin become one."""
    runs: list[Window] = []
    for window in sorted(windows):
        if runs and window.first_day <= runs[-1].last_day + 1:
            runs[-1] = Window(runs[-1].first_day, max(runs[-1].last_day, window.last_day))
        else:
            runs.append(window)
    return runs


def cut(window: Window, first_day: int, last_day: int, days: int) -> list[Window]:
    """`window` in pieces of at most `days` days of data, which lie between `first_day` and `last_day`."""
    starts = range(max(first_day, window.first_day) + days, min(last_day, window.last_day) + 1, days)
    bounds = [window.first_day, *starts, window.last_day + 1]
    return [Window(start, end - 1) for start, end in pairwise(bounds)]
