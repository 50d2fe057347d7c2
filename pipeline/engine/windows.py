"""Windows of days: the unit in which every model is recomputed."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

# No fact has a day outside these, and in microseconds they fit into 64 bits.
FIRST_DAY = -1_000_000
LAST_DAY = 1_000_000
# Every window costs a statement, which is about as much as recomputing some days of facts.
MOST_WINDOWS = 6
# A rebuild of a lake of 10 million events took 1.6 GB at once, 14 bytes of memory for each byte of its files. Half of
# the memory is left to what a piece does not make smaller.
MEMORY_PER_LAKE_BYTE = 28


@dataclass(frozen=True, order=True)
class Window:
    """Days from `first_day` to `last_day`, both included, as days since 1970-01-01."""

    first_day: int
    last_day: int

    @property
    def is_everything(self) -> bool:
        """Whether the window contains every day."""
        return self == EVERYTHING


EVERYTHING = Window(FIRST_DAY, LAST_DAY)


def coalesce(windows: Iterable[Window], most: int = MOST_WINDOWS) -> list[Window]:
    """At most `most` windows, in order, that contain all these days. Windows near each other are joined."""
    runs: list[Window] = []
    for window in sorted(windows):
        if runs and window.first_day <= runs[-1].last_day + 1:
            runs[-1] = Window(runs[-1].first_day, max(runs[-1].last_day, window.last_day))
        else:
            runs.append(window)
    gaps = sorted(range(1, len(runs)), key=lambda place: runs[place].first_day - runs[place - 1].last_day)
    bridged = set(gaps[: max(0, len(runs) - most)])
    kept: list[Window] = []
    for place, run in enumerate(runs):
        if place in bridged:
            kept[-1] = Window(kept[-1].first_day, run.last_day)
        else:
            kept.append(run)
    return kept


def cut(window: Window, first_day: int, last_day: int, days: int) -> list[Window]:
    """The window in pieces of at most `days` days of data. Data lie between `first_day` and `last_day`."""
    starts = range(max(first_day, window.first_day) + days, min(last_day, window.last_day) + 1, days)
    bounds = [window.first_day, *starts, window.last_day + 1]
    return [Window(start, end - 1) for start, end in pairwise(bounds)]


def days_within_memory(days: int, lake_bytes: int, memory_bytes: int) -> int:
    """How many days of a lake can be computed at once.

    Args:
        days: days that the lake's data span.
        lake_bytes: size of its files.
        memory_bytes: memory that may be used.
    """
    pieces = -(-lake_bytes * MEMORY_PER_LAKE_BYTE // memory_bytes)
    return max(1, -(-days // max(1, pieces)))
