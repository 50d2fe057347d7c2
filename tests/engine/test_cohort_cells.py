"""Cells of cohorts: everyone who entered ends once, and no cohort is formed by what it is measured on."""

from pathlib import Path

import polars as pl

from pipeline.lake.store import Lake
from pipeline.schemas import core, lake
from tests.engine.world import DAY, FIRST_DAY, Night, build_all, connect, day_number, dimensions, engine

START = day_number(FIRST_DAY) * DAY
WEEK = 7 * DAY
WHO = 2


def cells(
    tmp_path: Path,
    cohort_type: str,
    *events: tuple[str, int],
    first_purchase_us: int | None = None,
    cohort_value: str | None = None,
) -> list[tuple]:
    """Cells of one subscriber who enters the flow at the start, and to whom `events` happen at those instants."""
    night = Night(FIRST_DAY)
    for event_type, at_us in (("step_entered", START), *events):
        is_entry = event_type == "step_entered"
        night.add(lake.Events, event_id=f"{event_type}-{at_us}", event_type=event_type, subscriber_key=WHO,
                  occurred_us=at_us, workflow_id="flow" if is_entry else None, step_id="one" if is_entry else None,
                  properties="{}")  # fmt: skip
    night.write(Lake(tmp_path))
    frames = dimensions(WHO)
    frames[core.CoreSubscribers] = frames[core.CoreSubscribers].with_columns(
        first_purchase_us=pl.lit(first_purchase_us, dtype=pl.Int64),
        cohort_value=pl.lit(cohort_value, dtype=pl.String),
    )
    connection = connect(frames)
    build_all(engine(connection, tmp_path))
    return connection.execute(
        "SELECT age_weeks, entrants, conversions, exits FROM reductions.cohort_cells WHERE cohort_type = ? ORDER BY 1",
        [cohort_type],
    ).fetchall()


def test_who_buys_after_unsubscribing_has_left(tmp_path: Path) -> None:
    events = (("unsubscribe", START + WEEK), ("purchase", START + 2 * WEEK))
    assert cells(tmp_path, "signup_date", *events) == [(0, 1, 0, 0), (1, 0, 0, 1)]


def test_who_unsubscribes_after_buying_has_converted(tmp_path: Path) -> None:
    events = (("purchase", START + WEEK), ("unsubscribe", START + 2 * WEEK))
    assert cells(tmp_path, "signup_date", *events) == [(0, 1, 0, 0), (1, 0, 1, 0)]


def test_a_first_purchase_after_entry_is_the_outcome_and_forms_no_cohort(tmp_path: Path) -> None:
    purchase_us = START + WEEK
    assert cells(tmp_path, "first_purchase", ("purchase", purchase_us), first_purchase_us=purchase_us) == []


def test_buyers_of_before_are_a_cohort(tmp_path: Path) -> None:
    events = (("purchase", START - WEEK), ("purchase", START + WEEK))
    found = cells(tmp_path, "first_purchase", *events, first_purchase_us=START - WEEK)
    assert found == [(0, 1, 0, 0), (1, 0, 1, 0)]


def test_a_member_field_forms_a_cohort(tmp_path: Path) -> None:
    assert cells(tmp_path, "member_field", ("purchase", START + WEEK), cohort_value="red") == [
        (0, 1, 0, 0),
        (1, 0, 1, 0),
    ]


def test_who_has_no_value_in_the_field_is_in_no_cohort_of_it(tmp_path: Path) -> None:
    assert cells(tmp_path, "member_field", ("purchase", START + WEEK), cohort_value=None) == []
