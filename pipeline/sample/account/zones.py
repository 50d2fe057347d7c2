"""Zones of the sample account and the local time of its people, daylight saving included."""

from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import numpy as np

from pipeline.common.time import DAY_US, HOUR_US
from pipeline.sample.account.world import FIRST_US, LAST_US, Array

ZONES = (  # zone, share of subscribers, country, language
    ("America/New_York", 0.26, "US", "en"),
    ("America/Los_Angeles", 0.18, "US", "en"),
    ("Europe/London", 0.16, "GB", "en"),
    ("Europe/Vienna", 0.14, "AT", "de"),
    ("Asia/Kolkata", 0.09, "IN", "en"),
    ("America/Sao_Paulo", 0.07, "BR", "pt"),
    ("Asia/Tokyo", 0.05, "JP", "ja"),
    ("Australia/Sydney", 0.05, "AU", "en"),
)


def local_us(zone: Array, utc_us: Array) -> Array:
    """Local wall time as if it were UTC.

    Args:
        zone: index into `ZONES`.
        utc_us: instants, epoch microseconds; same shape.

    Returns:
        Epoch microseconds of the local clock; same shape.
    """
    result = utc_us.copy()
    for index in range(len(ZONES)):
        starts, offsets = _offsets(index)
        mine = zone == index
        result[mine] += offsets[np.searchsorted(starts, utc_us[mine], side="right") - 1]
    return result


def local_hour(zone: Array, utc_us: Array) -> Array:
    """Hour of the local clock, 0-23."""
    return local_us(zone, utc_us) // HOUR_US % 24


def standard_offset_hours(index: int) -> float:
    """What Mailchimp calls `gmtoff`: the zone's offset without daylight saving."""
    noon = datetime(2026, 1, 15, tzinfo=ZoneInfo(ZONES[index][0]))
    return ((noon.utcoffset() or timedelta()) - (noon.dst() or timedelta())) / timedelta(hours=1)


@cache
def _offsets(index: int) -> tuple[Array, Array]:
    hours = np.arange(FIRST_US - 400 * DAY_US, LAST_US + 40 * DAY_US, HOUR_US)
    zone = ZoneInfo(ZONES[index][0])
    offsets = np.array(
        [
            int((datetime.fromtimestamp(hour / 1e6, UTC).astimezone(zone).utcoffset() or timedelta()).total_seconds())
            for hour in hours.tolist()
        ]
    )
    changes = np.flatnonzero(np.diff(offsets, prepend=offsets[0] - 1))
    return hours[changes], offsets[changes] * 1_000_000
