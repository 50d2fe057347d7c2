"""Time zones as tables: periods of constant offset, and the zone of each subscriber's local time."""

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

import polars as pl

from pipeline.schemas.base import conform
from pipeline.schemas.core import CoreZoneOffsets
from pipeline.settings import Settings

MICROSECOND = timedelta(microseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOT_A_PLACE = {"Factory", "localtime"}
# IANA has fixed zones for whole hours only. These places have the other offsets all year (as of 2026).
_ZONE_OF_BROKEN_OFFSET = {
    -9.5: "Pacific/Marquesas",
    3.5: "Asia/Tehran",
    4.5: "Asia/Kabul",
    5.5: "Asia/Kolkata",
    5.75: "Asia/Kathmandu",
    6.5: "Asia/Yangon",
    8.75: "Australia/Eucla",
    9.5: "Australia/Darwin",
}
_WHOLE_OFFSETS = {float(hours): f"Etc/GMT{-hours:+d}" if hours else "Etc/GMT" for hours in range(-12, 15)}
_ZONE_OF_OFFSET = _WHOLE_OFFSETS | _ZONE_OF_BROKEN_OFFSET


def zone_offsets(zones: Iterable[str], first_day: date, last_day: date) -> pl.DataFrame:
    """Periods of constant offset of every zone, from `first_day` 00:00 UTC to the end of `last_day`.

    Returns:
        Rows of `core.zone_offsets`, without gaps or overlaps within a zone.

    Raises:
        zoneinfo.ZoneInfoNotFoundError: for an unknown zone. `resolve_zones` gives known ones only.
    """
    start = datetime.combine(first_day, time(), UTC)
    end = datetime.combine(last_day, time(), UTC) + timedelta(days=1)
    rows = [
        {"zone": zone, "from_us": begin, "to_us": finish, "offset_us": offset}
        for zone in sorted(set(zones))
        for begin, finish, offset in _periods(ZoneInfo(zone), start, end)
    ]
    schema = {"zone": pl.String, "from_us": pl.Int64, "to_us": pl.Int64, "offset_us": pl.Int64}
    return conform(pl.DataFrame(rows, schema=schema), CoreZoneOffsets)


def resolve_zones(members: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """The zone of every subscriber: the member's own if IANA knows it, else one of its offset, else the workspace's.

    Args:
        members: latest rows of `lake.members`. Of several audiences the one with the best known zone counts, then the
            one that changed last.
        settings: its `timezone` is the default.

    Returns:
        One row per `subscriber_key` with `zone` and `zone_source`.
    """
    # Mailchimp writes an unknown place as offset 0 without a country.
    place_is_known = (pl.col("gmt_offset_hours") != 0) | (pl.col("country_code").fill_null("") != "")
    own = pl.col("timezone").replace_strict({zone: zone for zone in known_zones()}, default=None)
    by_offset = pl.col("gmt_offset_hours").replace_strict(_ZONE_OF_OFFSET, default=None, return_dtype=pl.String)
    return (
        members.with_columns(_own=own, _by_offset=pl.when(place_is_known).then(by_offset))
        .with_columns(
            _rank=pl.when(pl.col("_own").is_not_null()).then(0).when(pl.col("_by_offset").is_not_null()).then(1)
        )
        .sort("_rank", pl.col("last_changed_us").neg(), "audience_id", nulls_last=True)
        .unique("subscriber_key", keep="first", maintain_order=True)
        .select(
            "subscriber_key",
            zone=pl.coalesce("_own", "_by_offset", pl.lit(settings.timezone)),
            zone_source=pl.when(pl.col("_rank") == 0)
            .then(pl.lit("member"))
            .when(pl.col("_rank") == 1)
            .then(pl.lit("gmtoff"))
            .otherwise(pl.lit("default")),
        )
        .sort("subscriber_key")
    )


@cache
def known_zones() -> frozenset[str]:
    """Every IANA zone that this machine has."""
    return frozenset(available_timezones() - _NOT_A_PLACE)


def _periods(zone: ZoneInfo, start: datetime, end: datetime) -> Iterator[tuple[int, int, int]]:
    """(from, to, offset) in microseconds. No zone changes its offset and back within one day."""
    begin = earlier = start
    while earlier < end:
        offset, later = _offset(zone, begin), min(earlier + timedelta(days=1), end)
        if _offset(zone, later) == offset:
            earlier = later
            continue
        earlier = _first_change(zone, earlier, later, offset)
        yield (begin - EPOCH) // MICROSECOND, (earlier - EPOCH) // MICROSECOND, offset // MICROSECOND
        begin = earlier
    if begin < end:
        yield (begin - EPOCH) // MICROSECOND, (end - EPOCH) // MICROSECOND, _offset(zone, begin) // MICROSECOND


def _first_change(zone: ZoneInfo, same: datetime, changed: datetime, offset: timedelta) -> datetime:
    """The second at which the offset changes, found by halving. It is `offset` at `same` and differs at `changed`."""
    while changed - same > timedelta(seconds=1):
        middle = same + timedelta(seconds=(changed - same) // timedelta(seconds=2))
        same, changed = (middle, changed) if _offset(zone, middle) == offset else (same, middle)
    return changed


def _offset(zone: ZoneInfo, moment: datetime) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()
