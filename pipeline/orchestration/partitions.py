"""The partitions, which are UTC days, and the night and days that a run is for, as its tags tell them."""

from collections.abc import Mapping
from datetime import date, datetime

import dagster as dg
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
)

from pipeline.common.errors import NightlyError
from pipeline.settings import Settings, last_complete_day

# Mailchimp was founded in this year, so no account has an older day.
FIRST_NIGHT = date(2001, 1, 1)
DAYS = dg.DailyPartitionsDefinition(start_date=FIRST_NIGHT.isoformat())


def check_nights(first: date, last: date, now: datetime) -> None:
    """Refuse days that are no partitions.

    Raises:
        NightlyError: if a day is not over yet, or lies before every account.
    """
    newest = last_complete_day(now)
    if last > newest:
        raise NightlyError(
            f"{last} is not over yet. The last complete UTC day is {newest}: choose that one or earlier."
        )
    if first < FIRST_NIGHT:
        raise NightlyError(f"{first} lies before every account. Choose no day before {FIRST_NIGHT}.")


def tonight(tags: Mapping[str, str], settings: Settings) -> date:
    """The night that a run is for: its partition, or the last of its partitions, or the night of the settings."""
    key = tags.get(ASSET_PARTITION_RANGE_END_TAG) or tags.get(PARTITION_NAME_TAG)
    return date.fromisoformat(key) if key else settings.resolve_as_of()


def day_range(tags: Mapping[str, str], settings: Settings) -> tuple[date, date]:
    """The first and the last day that a run is for. They are the same in a nightly."""
    last = tonight(tags, settings)
    first = tags.get(ASSET_PARTITION_RANGE_START_TAG)
    return (date.fromisoformat(first) if first else last), last


def range_tags(first: date, last: date) -> dict[str, str]:
    """The tags of a run that covers the days from `first` to `last`."""
    return {
        ASSET_PARTITION_RANGE_START_TAG: first.isoformat(),
        ASSET_PARTITION_RANGE_END_TAG: last.isoformat(),
    }
