"""Which files of the lake a window of a model reads: those in reach of the window, so that a night reads few files."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.engine.views import Files
from pipeline.engine.windows import Window


@dataclass(frozen=True)
class Reach:
    """The day partitions of a lake table that a window reads.

    Attributes:
        days_before: how many days before the window. None = all.
        days_after: how many days after the window. None = all.
        has_later_versions: rows of other days count, too, if they may be later versions of rows within reach: told on a
            later night, or on the same night with a later day.
        is_last_day: only the last day of the table is read, whatever the window.
    """

    days_before: int | None = 0
    days_after: int | None = 0
    has_later_versions: bool = False
    is_last_day: bool = False


EVERYTHING_TOLD = Reach(None, None)
SAME_DAYS = Reach()
LATEST_VERSIONS = Reach(has_later_versions=True)
# What happens to a message, from 30 days before it is sent.
SINCE_MONTH_BEFORE = Reach(days_before=30, days_after=None)

# The reach of a model's windows, by lake table. What is not listed is read whole.
REACHES: Mapping[str, Mapping[str, Reach]] = {
    "core.sends": {"sends": LATEST_VERSIONS},
    "core.tracked_steps": {"events": SAME_DAYS},
    "core.conversion_claims": {"events": SAME_DAYS, "orders": LATEST_VERSIONS},
    "core.opt_outs": {"unsubscribes": LATEST_VERSIONS, "abuse_reports": LATEST_VERSIONS},
    "core.departures": {"events": SAME_DAYS},
    "core.arrivals": {"events": SAME_DAYS, "automation_queue": Reach(is_last_day=True)},
    "core.engagements": {"email_activity": SINCE_MONTH_BEFORE, "open_details": SINCE_MONTH_BEFORE},
    "reductions.subscriber_hours": {"events": SAME_DAYS},
}


def in_reach(files: Files, model_name: str, table: str, window: Window) -> Files:
    """The files of one lake table that a window of the model reads.

    Args:
        files: files of that table.
    """
    reach = REACHES.get(model_name, {}).get(table, EVERYTHING_TOLD)
    if reach.is_last_day:
        last_day = max((file.day for file in files), default=None)
        return {file: footer for file, footer in files.items() if file.day == last_day}
    found = {
        file: footer
        for file, footer in files.items()
        if (reach.days_before is None or file.day >= window.first_day - reach.days_before)
        and (reach.days_after is None or file.day <= window.last_day + reach.days_after)
    }
    if reach.has_later_versions and found:
        first_night = min(footer.first_night for footer in found.values())
        for file, footer in files.items():
            is_later_day = footer.last_night == first_night and file.day > window.last_day
            if footer.last_night > first_night or is_later_day:
                found[file] = footer
    return found
