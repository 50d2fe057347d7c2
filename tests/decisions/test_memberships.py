"""Stays in workflows: entries that follow on each other are one, and nothing after tonight is known."""

from datetime import date

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from pipeline.common.time import DAY_US, HOUR_US, day_number
from pipeline.decisions.memberships import (
    planned_messages,
    planned_stays,
    stays,
)

TONIGHT = date(2026, 6, 29)
LAST = day_number(TONIGHT)
WORKFLOWS = pl.DataFrame({"workflow_key": [1, 2], "workflow_id": ["welcome", "cart"]})


def entries(*spans: tuple[int, int, int, int]) -> pl.DataFrame:
    """(subscriber, workflow, first hour, last hour), hours counted back from the end of tonight."""
    end_us = (LAST + 1) * DAY_US
    rows = [
        (person, workflow, end_us - first * HOUR_US, end_us - last * HOUR_US) for person, workflow, first, last in spans
    ]
    columns = dict.fromkeys(("subscriber_key", "workflow_key", "entered_us", "outcome_us"), pl.Int64)
    frame = pl.DataFrame(rows, schema=columns, orient="row")
    return frame.with_columns(day=pl.col("entered_us") // DAY_US)


def test_entries_that_follow_on_each_other_are_one_stay() -> None:
    found = stays(entries((1, 1, 100, 52), (1, 1, 52, 30), (1, 2, 40, 39)).lazy(), WORKFLOWS, as_of=TONIGHT, days=30)
    assert found.select("workflow_id", "entered_day", "exited_day").rows() == [
        ("cart", date(2026, 6, 28), date(2026, 6, 28)),
        ("welcome", date(2026, 6, 25), date(2026, 6, 28)),
    ]


def test_a_gap_makes_two_stays_and_an_open_end_is_tonight() -> None:
    found = stays(entries((1, 1, 200, 150), (1, 1, 100, -24)).lazy(), WORKFLOWS, as_of=TONIGHT, days=30)
    assert found["exited_day"].to_list() == [date(2026, 6, 23), None]


def test_a_stay_keeps_its_first_day_however_short_the_look_back() -> None:
    found = stays(entries((1, 1, 24 * 50, 24 * 20), (1, 1, 24 * 20, -1)).lazy(), WORKFLOWS, as_of=TONIGHT, days=0)
    assert found["entered_day"].to_list() == [date(2026, 5, 11)]


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(1, 2), st.integers(1, 900), st.integers(-50, 900)), max_size=20)
)
def test_stays_of_a_subscriber_in_a_workflow_never_overlap(spans: list[tuple[int, int, int, int]]) -> None:
    known = entries(*((person, workflow, max(a, b), min(a, b)) for person, workflow, a, b in spans))
    found = stays(known.lazy(), WORKFLOWS, as_of=TONIGHT, days=60)
    person = ["subscriber_key", "workflow_id"]
    ordered = found.sort(*person, "entered_day", "exited_day", nulls_last=True)
    earlier = ordered.with_columns(
        before=pl.col("exited_day").shift(1).over(person), number=pl.int_range(pl.len()).over(person)
    )
    later = earlier.filter(pl.col("number") > 0)
    assert (later["before"] <= later["entered_day"]).all()
    assert found.select(person).unique().height == known.select("subscriber_key", "workflow_key").unique().height


def test_what_a_workflow_would_have_sent_ends_tonight() -> None:
    known = entries((1, 1, 72, 0), (2, 1, 10, 0)).select("subscriber_key", "entered_us")
    hours = [0, 48]
    sent = planned_messages(known, hours, as_of=TONIGHT)
    assert sorted(sent.rows()) == [(1, date(2026, 6, 27)), (1, date(2026, 6, 29)), (2, date(2026, 6, 29))]
    ends = planned_stays(known, "new", hours, as_of=TONIGHT)["exited_day"].to_list()
    assert ends == [date(2026, 6, 29), None]
