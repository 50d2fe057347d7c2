"""Days and instants: the conversions agree with the calendar, before and after 1970."""

from datetime import UTC, date, datetime, time, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.common.time import (
    DAY_US,
    day_number,
    day_of,
    end_of_day_us,
    instant_us,
    is_recent,
    numbered_day,
    over_windows,
    start_of_day_us,
    to_amount,
    to_date,
    to_timestamp,
)

DAYS = st.dates(date(1900, 1, 1), date(2200, 1, 1))


@given(DAYS)
def test_a_day_and_its_number_name_each_other(day: date) -> None:
    assert numbered_day(day_number(day)) == day
    frame = pl.DataFrame({"day": [day_number(day)]})
    assert frame.select(to_date("day")).item() == day


@given(DAYS, st.integers(0, DAY_US - 1))
def test_every_instant_of_a_day_lies_between_its_ends(day: date, after_midnight: int) -> None:
    moment = datetime.combine(day, time(), UTC) + timedelta(microseconds=after_midnight)
    assert start_of_day_us(day) <= instant_us(moment) < end_of_day_us(day)
    frame = pl.DataFrame({"at_us": [instant_us(moment)]})
    assert frame.select(day_of("at_us")).item() == day_number(day)
    assert frame.select(to_timestamp("at_us")).item() == moment.replace(tzinfo=None)


@pytest.mark.parametrize(("days_ago", "is_there"), [(-1, False), (0, True), (6, True), (7, False)])
def test_the_last_seven_days_end_tonight(days_ago: int, is_there: bool) -> None:
    tonight = date(2026, 3, 1)
    frame = pl.DataFrame({"day": [day_number(tonight) - days_ago]})
    assert frame.select(is_recent(tonight, 7)).item() is is_there
    dated = frame.with_columns(to_date("day"))
    windows = over_windows(dated, "day", tonight)["window"].to_list()
    assert ("7d" in windows) is is_there
    assert ("all" in windows) is (days_ago >= 0)


@given(st.integers(-(10**12), 10**12))
def test_cents_become_exact_amounts(cents: int) -> None:
    amount = pl.DataFrame({"cents": [cents]}).select(to_amount("cents")).item()
    assert amount * 100 == cents
