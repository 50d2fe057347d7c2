"""Windows of days: the unit in which every model is recomputed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import ceil

# No fact has a day outside these, and in microseconds they fit into 64 bits.
FIRST_DAY = -1_000_000
LAST_DAY = 1_000_000
# Every window costs a statement, which is about as much as recomputing some days of facts.
MOST_WINDOWS = 6
# A rebuild of a lake of 10 million events took 1.6 GB at once, 14 bytes of memory for each byte of its files. The rest
# is left to what does not become smaller in pieces.
MEMORY_PER_LAKE_BYTE = 56
# Models look back on weeks and months. Shorter pieces would read more days than they write.
LEAST_DAYS = 31


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


def cut(window: Window, bytes_by_day: Mapping[int, int], memory_bytes: int) -> list[Window]:
    """The window in pieces that can each be computed within the memory, but of a month of data at least.

    Args:
        bytes_by_day: size of the lake's files, by day.
        memory_bytes: memory that may be used.
    """
    days = sorted(day for day in bytes_by_day if window.first_day <= day <= window.last_day)
    lake_bytes = sum(bytes_by_day[day] for day in days)
    pieces = max(1, ceil(lake_bytes * MEMORY_PER_LAKE_BYTE / memory_bytes))
    starts: list[int] = []
    began, filled = days[0] if days else 0, 0
    for day in days:
        filled += bytes_by_day[day]
        if filled > lake_bytes / pieces and day - began >= LEAST_DAYS:
            starts.append(day)
            began, filled = day, bytes_by_day[day]
    bounds = [window.first_day, *starts, window.last_day + 1]
    return [Window(start, end - 1) for start, end in pairwise(bounds)]
