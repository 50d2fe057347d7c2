"""Time zones of subscribers, and their offsets at every hour."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl

from pipeline.dimensions.zones import known_zones, resolve_zones, zone_offsets
from pipeline.settings import Settings

SETTINGS = Settings(_env_file=None)
UNIX = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def test_offsets_are_those_of_zoneinfo_at_every_hour_without_gap_or_overlap():
    zones = ["Europe/Vienna", "America/St_Johns", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Kolkata", "UTC"]
    first, last = date(2025, 12, 30), date(2027, 1, 2)
    table = zone_offsets(zones, first, last)
    start, end = (datetime.combine(day, datetime.min.time(), UTC) for day in (first, last + timedelta(days=1)))
    for zone in zones:
        periods = table.filter(pl.col("zone") == zone).sort("from_us")
        assert periods["from_us"].to_list()[1:] == periods["to_us"].to_list()[:-1]
        assert periods.item(0, "from_us") == (start - UNIX) // MICROSECOND
        assert periods.item(-1, "to_us") == (end - UNIX) // MICROSECOND
        hours = [start + timedelta(hours=hour) for hour in range((end - start) // timedelta(hours=1))]
        moments = pl.DataFrame({"us": [(hour - UNIX) // MICROSECOND for hour in hours]})
        found = moments.join_asof(periods, left_on="us", right_on="from_us")["offset_us"].to_list()
        place = ZoneInfo(zone)
        assert found == [hour.astimezone(place).utcoffset() // MICROSECOND for hour in hours]


def test_the_change_is_found_to_the_second():
    change = datetime(2026, 3, 29, 1, tzinfo=UTC)
    table = zone_offsets(["Europe/Vienna"], change.date(), change.date())
    assert table["to_us"].to_list()[0] == (change - UNIX) // MICROSECOND
    assert zone_offsets([], change.date(), change.date()).is_empty()


def member(key: int, zone: str | None, offset: float | None, country: str | None = None, changed: int = 0) -> tuple:
    return ("a", key, zone, offset, country, changed)


def resolved(*rows: tuple) -> list[tuple[str, str]]:
    schema = {
        "audience_id": pl.String,
        "subscriber_key": pl.Int64,
        "timezone": pl.String,
        "gmt_offset_hours": pl.Float64,
        "country_code": pl.String,
        "last_changed_us": pl.Int64,
    }
    frame = pl.DataFrame(list(rows), schema=schema, orient="row")
    return resolve_zones(frame, SETTINGS).select("zone", "zone_source").rows()


def test_zones_fall_back_from_the_member_to_the_offset_to_the_default():
    assert resolved(
        member(1, "Europe/Vienna", 1.0),
        member(2, "", 1.0),
        member(3, "Mars/Olympus", -9.5),
        member(4, "", 0.0, ""),
        member(5, "", 0.0, "GB"),
        member(6, None, None),
        member(7, "../etc/passwd", 99.0),
        member(8, "", 5.5),
    ) == [
        ("Europe/Vienna", "member"),
        ("Etc/GMT-1", "gmtoff"),
        ("Pacific/Marquesas", "gmtoff"),
        (SETTINGS.timezone, "default"),
        ("Etc/GMT", "gmtoff"),
        (SETTINGS.timezone, "default"),
        (SETTINGS.timezone, "default"),
        ("Asia/Kolkata", "gmtoff"),
    ]


def test_of_several_audiences_the_best_known_then_the_latest_counts():
    vienna, tokyo = "Europe/Vienna", "Asia/Tokyo"
    assert resolved(member(1, "", 3.0, "X", 9), member(1, vienna, 1.0, "X", 1), member(1, tokyo, 9.0, "X", 2)) == [
        (tokyo, "member")
    ]


def test_offsets_stand_for_zones_that_have_them():
    rows = [member(number, "", hours / 4) for number, hours in enumerate(range(-60, 61)) if hours]
    found = [(row[3], zone) for row, (zone, source) in zip(rows, resolved(*rows), strict=True) if source == "gmtoff"]
    assert len(found) > 24
    for hours, zone in found:
        assert zone in known_zones()
        assert datetime(2026, 7, 1, tzinfo=ZoneInfo(zone)).utcoffset() == timedelta(hours=hours)
