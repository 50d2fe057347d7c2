"""The partitions, which are UTC days, and the night and days that a run is for, as its tags tell them."""

from collections.abc import Mapping
from datetime import date

import dagster as dg
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
)

from pipeline.lake.store import Lake
from pipeline.operations.nights import FIRST_NIGHT
from pipeline.settings import Settings

EVERY_DAY = dg.DailyPartitionsDefinition(start_date=FIRST_NIGHT.isoformat())
"""Every day that can be one of an account's. Which are is known with the settings."""


def days(settings: Settings, *asked: date) -> dg.DailyPartitionsDefinition:
    """The days from the first that the lake holds, or that is asked for, to the last that is over.

    Before the first night nobody knows where the account begins, so it is every day that can be.
    """
    known = Lake(settings.lake_dir).first_day()
    if known is None:
        return EVERY_DAY
    first = max(FIRST_NIGHT, min(known, settings.resolve_as_of(), *asked))
    return dg.DailyPartitionsDefinition(start_date=first.isoformat())


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
