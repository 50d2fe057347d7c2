"""Times and amounts as other programs write them."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import ROUND_HALF_UP, Decimal
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.events.values import LARGEST_AMOUNT, cents_of, instant_of
from tests.events.stream import UNIX


def instants(*texts: str) -> list[int | None]:
    return pl.DataFrame({"text": texts}).select(instant_of(pl.col("text"))).to_series().to_list()


ZONES = [
    "Europe/Vienna",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kolkata",
    "Etc/UTC",
    "America/Argentina/Salta",
]


def ten(strategy: st.SearchStrategy) -> st.SearchStrategy[list]:
    """Ten examples at once: a frame costs more than its rows."""
    return st.lists(strategy, min_size=10, max_size=10)


moments = st.tuples(st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30)), st.integers(-1439, 1439), st.booleans())


@settings(max_examples=100, deadline=None)
@given(ten(moments))
def test_any_iso_time_becomes_its_instant(examples):
    texts, expected = [], []
    for moment, offset, with_seconds in examples:
        zoned = moment.replace(tzinfo=UTC).astimezone(timezone(timedelta(minutes=offset)))
        texts.append(zoned.isoformat(timespec="microseconds" if with_seconds else "minutes"))
        told = moment if with_seconds else moment.replace(second=0, microsecond=0)
        expected.append((told.replace(tzinfo=UTC) - UNIX) // timedelta(microseconds=1))
    assert instants(*texts) == expected


def test_both_hours_of_an_overlap_and_the_hour_beside_a_gap_keep_their_instants():
    vienna = ZoneInfo("Europe/Vienna")
    overlap = [datetime(2026, 10, 25, 2, 30, tzinfo=vienna, fold=fold) for fold in (0, 1)]
    gap = [datetime(2026, 3, 29, hour, 59, tzinfo=vienna) for hour in (1, 3)]
    moments = overlap + gap
    found = instants(*(moment.isoformat() for moment in moments))
    assert found == [(moment.astimezone(UTC) - UNIX) // timedelta(microseconds=1) for moment in moments]
    assert found[1] - found[0] == 3_600_000_000


@settings(max_examples=100, deadline=None)
@given(ten(st.decimals(min_value=-(10**12), max_value=10**12, places=4) | st.decimals(-100, 100, places=2)))
def test_any_decimal_becomes_its_cents(amounts):
    found = pl.DataFrame({"text": [f"{amount:f}" for amount in amounts]}).select(cents_of(pl.col("text"))).to_series()
    assert found.to_list() == [(amount * 100).to_integral_value(rounding=ROUND_HALF_UP) for amount in amounts]


@settings(max_examples=100, deadline=None)
@given(ten(st.text() | st.text("0123456789.,-+:TZ ", max_size=30)))
def test_any_text_is_an_instant_or_null_and_an_amount_or_null(texts):
    found = pl.DataFrame({"text": texts}).select(
        "text", instant=instant_of(pl.col("text")), cents=cents_of(pl.col("text"))
    )
    for text, instant, cents in found.rows():
        assert cents is None or abs(Decimal(text) * 100 - cents) <= Decimal("0.5")
        if instant is not None:
            told = datetime.fromisoformat(text.strip().upper().replace("UTC", "+00:00"))
            told = told if told.tzinfo else told.replace(tzinfo=UTC)
            assert instant == (told - UNIX) // timedelta(microseconds=1)


DATABASES = {
    "PostgreSQL": "2026-03-30 10:00:00+00",
    "PostgreSQL with microseconds": "2026-03-30 15:30:00.000000+05:30",
    "MySQL": "2026-03-30 10:00:00.000",
    "Snowflake": "2026-03-30 03:00:00.000 -0700",
    "Snowflake in UTC": "2026-03-30 10:00:00.000 Z",
    "BigQuery": "2026-03-30 10:00:00 UTC",
    "BigQuery with microseconds": "2026-03-30 10:00:00.000000 UTC",
    "DuckDB": "2026-03-30 10:00:00+00",
    "SQL Server": "2026-03-30 12:00:00.0000000 +02:00",
    "Trino": "2026-03-30 12:00:00.000 Europe/Vienna",
    "Spark": "2026-03-30T10:00:00.000Z",
    "Polars": "2026-03-30T10:00:00.000000+0000",
    "Java": "2026-03-30T12:00+02:00[Europe/Vienna]",
    "Go": "2026-03-30 10:00:00 +0000 UTC",
    "JavaScript": "2026-03-30T10:00:00.000Z",
    "RFC 3339": "2026-03-30t10:00:00z",
    "nanoseconds": "2026-03-30T10:00:00.000000000Z",
    "a comma": "2026-03-30T10:00:00,000Z",
    "seconds": "@1774864800",
    "milliseconds": "@1774864800000",
    "seconds as a float": "@1774864800.0",
}


@pytest.mark.parametrize("name", DATABASES)
def test_a_time_as_a_database_writes_it_is_its_instant(name):
    assert instants(DATABASES[name]) == [1_774_864_800_000_000]


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-30", "30.03.2026 10:00", "03/30/2026 10:00", "2026-03-30 10:00 AM", "2026-03-30 10:00:00 CET",
        "2026-03-30 10:00:00+25", "2026-03-30 10:00:00+00:99", "1774864800", "@177486480", "@17748648001",
        "2026-03-30 10:00:00 Mars/Base", "0000-00-00 00:00:00", "infinity", "\u0662\u0660\u0662\u0666-03-30T10:00:00Z",
    ],
)  # fmt: skip
def test_a_time_that_leaves_a_doubt_is_none(text):
    assert instants(text) == [None]


@settings(max_examples=50, deadline=None)
@given(ten(st.tuples(st.datetimes(datetime(1980, 1, 1), datetime(2037, 12, 30)), st.sampled_from(ZONES))))
def test_a_local_time_with_its_zone_is_its_instant_unless_the_zone_has_it_twice_or_never(examples):
    texts, expected = [], []
    for local, zone in examples:
        texts.append(f"{local:%Y-%m-%d %H:%M:%S.%f} {zone}")
        first, second = (local.replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC) for fold in (0, 1))
        expected.append((first - UNIX) // timedelta(microseconds=1) if first == second else None)
    assert instants(*texts) == expected


def cents(*texts: str) -> list[int | None]:
    return pl.DataFrame({"text": texts}).select(cents_of(pl.col("text"))).to_series().to_list()


@settings(max_examples=100, deadline=None)
@given(ten(st.integers(-LARGEST_AMOUNT * 100 + 1, LARGEST_AMOUNT * 100 - 1)))
def test_every_amount_below_the_largest_survives_a_64_bit_float(amounts):
    """What a float program writes for it, whatever its noise and form."""
    assert cents(*(repr(amount / 100) for amount in amounts)) == amounts
    assert cents(*(f"{amount / 100:e}" for amount in range(1, 1_000, 7))) == [*range(1, 1_000, 7)]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=50))
def test_a_sum_of_floats_is_the_sum_of_the_cents(parts):
    assert cents(repr(sum(part / 100 for part in parts))) == [sum(parts)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("59.699999999999996", 5_970), ("0.30000000000000004", 30), ("29.990000000000002", 2_999), ("19.9", 1_990),
        ("100.0", 10_000), ("1e-07", 0), ("1.99E1", 1_990), (".5", 50), ("5.", 500), ("+5", 500), ("-5.0", -500),
        ("19.900000000000000000", 1_990), ("0000000000000000000019.90", 1_990),
        ("12345678901234.5", 1_234_567_890_123_450),
        ("1e+16", None), (str(LARGEST_AMOUNT), None), ("1e999", None), ("true", None), ("1,5", None), ("1 000", None),
        ("$5", None), ("NaN", None), ("inf", None), ("-", None), (".", None), ("1e", None), ("1_0", None),
        ("\u0663", None),
    ],
)  # fmt: skip
def test_an_amount_is_rounded_to_the_cent_unless_a_cent_is_lost_in_it(text, expected):
    assert cents(text) == [expected]
