"""Nights: what is new, late, repeated or contradictory, whatever the order of arrival."""

import os
import tempfile
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from pipeline.common.time import EPOCH
from pipeline.events.reading import EventSummary
from pipeline.lake.store import Lake
from pipeline.schemas.lake import Events, Quarantine
from tests.events.stream import SETTINGS, TONIGHT, content, event, faults, read, write


def test_a_file_is_read_once_until_it_changes(tmp_path):
    lake = Lake(tmp_path / "lake")
    write(tmp_path / "in", "a.ndjson", event("1"), event("bad", "never"))
    assert read(tmp_path / "in", lake) == EventSummary(rows=1, quarantined=1, files=1)
    assert read(tmp_path / "in", lake) == EventSummary()
    write(tmp_path / "in", "a.ndjson", event("1"), event("bad", "never"))
    os.utime(tmp_path / "in" / "a.ndjson", (0, 0))
    assert read(tmp_path / "in", lake) == EventSummary()
    write(tmp_path / "in", "a.ndjson", event("1"), event("bad", "never"), event("2"))
    assert read(tmp_path / "in", lake) == EventSummary(rows=1, quarantined=0, files=1)


def test_later_days_stay_for_their_night(tmp_path):
    lake = Lake(tmp_path / "lake")
    tomorrow, bad = event("2", "2026-04-01T00:00:00Z"), event("3", "2026-04-03T00:00:00Z", revenue="much")
    write(tmp_path / "in", "a.ndjson", event("1", "2026-03-31T23:59:59Z"), tomorrow, bad)
    assert read(tmp_path / "in", lake) == EventSummary(rows=1, quarantined=0, files=1, later=2)
    assert read(tmp_path / "in", lake, TONIGHT + timedelta(days=1)) == EventSummary(rows=1, files=1, later=1)
    assert read(tmp_path / "in", lake, TONIGHT + timedelta(days=2)) == EventSummary()
    assert read(tmp_path / "in", lake, TONIGHT + timedelta(days=3)) == EventSummary(quarantined=1, files=1)


def on(day: date) -> str:
    return f"{day}T12:00:00Z"


def test_the_first_night_takes_any_age_and_later_ones_what_is_in_time(tmp_path):
    lake, second = Lake(tmp_path / "lake"), TONIGHT + timedelta(days=1)
    oldest_in_time = second - timedelta(days=SETTINGS.lateness_days)
    write(tmp_path / "in", "a.ndjson", event("old", on(TONIGHT - timedelta(days=400))))
    assert read(tmp_path / "in", lake).rows == 1
    late = event("late", on(oldest_in_time - timedelta(days=1)))
    in_time = event("in time", on(oldest_in_time))
    write(tmp_path / "in", "b.ndjson", late, in_time)
    write(tmp_path / "in", "a.ndjson", event("old", on(TONIGHT - timedelta(days=400))), event("new"))
    assert read(tmp_path / "in", lake, second) == EventSummary(rows=2, quarantined=1, files=2)
    assert faults(lake) == [("b.ndjson row 1", "occurred_at", "arrived more than 30 days after it occurred")]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_different_events_with_one_id_the_earliest_stands_alone(tmp_path, order):
    lake = Lake(tmp_path / "lake")
    told = [event("1", on(TONIGHT - timedelta(days=1))), event("1", on(TONIGHT), plan="b")]
    for night, number in enumerate(order):
        write(tmp_path / "in", f"{night}.ndjson", told[number])
        read(tmp_path / "in", lake, TONIGHT + timedelta(days=night))
    # SQL reads the files day by day: a second version on another day would count.
    assert lake.scan(Events).select("plan").collect()["plan"].to_list() == [None]
    assert faults(lake) == [("1.ndjson row 1", "event_id", "names different events: the earliest stands")]


def test_nights_that_were_missed_are_not_held_against_an_event(tmp_path):
    lake = Lake(tmp_path / "lake")
    write(tmp_path / "in", "a.ndjson", event("1"))
    read(tmp_path / "in", lake)
    write(tmp_path / "in", "b.ndjson", event("2", on(TONIGHT)))
    assert read(tmp_path / "in", lake, TONIGHT + timedelta(days=60)).rows == 1


def test_a_crash_before_the_state_moves_loses_and_repeats_nothing(tmp_path, monkeypatch):
    lake = Lake(tmp_path / "lake")
    write(tmp_path / "in", "a.ndjson", event("1"), event("1", plan="b"))

    def crash(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr("pipeline.events.reading.write_state", crash)
        with pytest.raises(KeyboardInterrupt):
            read(tmp_path / "in", lake)
    files = lake.files(Events)
    assert read(tmp_path / "in", lake) == EventSummary(rows=0, quarantined=0, files=1)
    assert lake.files(Events) == files
    assert len(faults(lake)) == 1


# Few days make few nights, and many events on the edges of the rules.
IDS, DAYS, LATENESS = st.sampled_from("abcdef"), st.sampled_from([0, 1, 40]), st.sampled_from([0, 1, 30])
arrivals = st.lists(st.tuples(IDS, DAYS, LATENESS, st.sampled_from([None, "x", "\U0001f600"])), min_size=1, max_size=8)


@settings(max_examples=20, deadline=None)
@given(arrivals, st.randoms(use_true_random=False))
def test_any_order_duplicates_and_lateness_equal_the_sorted_deduplicated_input(rows, random):
    """Nights one by one, with files in any order and repeated, against one backfill and against plain Python."""
    first = date(2026, 1, 1)
    events = [
        (event(one, on(first + timedelta(days=day)), plan=plan), day + lateness) for one, day, lateness, plan in rows
    ]
    with tempfile.TemporaryDirectory() as folder:
        nightly, backfill = Lake(Path(folder) / "nightly"), Lake(Path(folder) / "backfill")
        stream, everything = Path(folder) / "stream", Path(folder) / "everything"
        stream.mkdir()
        nights = sorted({0, *(arrival for _, arrival in events)})
        for night in nights:
            tonight = [one for one, arrival in events if arrival == night]
            again = [one for one, arrival in events if arrival <= night and random.random() < 0.3]
            batch = [*tonight, *again]
            random.shuffle(batch)
            write(stream, f"{random.random()}.ndjson", *batch)
            read(stream, nightly, first + timedelta(days=night))
        shuffled = [one for one, _ in events]
        random.shuffle(shuffled)
        write(everything, "all.ndjson", *shuffled)
        read(everything, backfill, first + timedelta(days=nights[-1]))
        assert_frame_equal(content(nightly), content(backfill))
        # No version of an event but the one that stands: SQL reads the files day by day.
        assert nightly.scan(Events).collect()["event_id"].is_unique().all()

        ordered = sorted((one["event_id"], one["occurred_at"], one["plan"] or "") for one, _ in events)
        expected = {one: (when, plan) for one, when, plan in reversed(ordered)}
        found = content(nightly).select("event_id", "occurred_us", pl.col("plan").fill_null("")).rows()
        assert [(one, (on(EPOCH + timedelta(microseconds=us)), plan)) for one, us, plan in found] == sorted(
            expected.items()
        )
        different = len(set(ordered)) - len(expected)
        assert backfill.latest(Quarantine).collect().height == different
