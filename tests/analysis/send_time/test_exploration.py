"""Hours drawn by lot: their propensities, their log, and the lift that they alone can show."""

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from pipeline.analysis.send_time.counts import HOURS
from pipeline.analysis.send_time.evaluation import evaluate_send_times
from pipeline.analysis.send_time.exploration import (
    PERIOD_DAYS,
    assign_hours,
    logged_assignments,
    sent_as_assigned,
    with_draws,
)
from pipeline.common.time import HOUR_US, day_number, start_of_day_us

TONIGHT = date(2026, 6, 14)
ALLOWED = [8, 9, 18, 19]
BEST, NOW = 18, 9
STEP = 1
NOTHING = pl.DataFrame(
    schema={"subscriber_key": pl.Int64, "value": pl.String, "from_us": pl.Int64, "until_us": pl.Int64}
)
RATES = {8: 0.10, 9: 0.10, 18: 0.16, 19: 0.12}


def subscribers(count: int, recommended: int | None = BEST) -> pl.DataFrame:
    return pl.DataFrame({"subscriber_key": np.arange(count) * 7919 + 3}).with_columns(
        recommended_local_hour=pl.lit(recommended, dtype=pl.Int64),
        current_local_hour=pl.lit(NOW, dtype=pl.Int64),
        cluster_id=pl.lit(0, dtype=pl.Int64),
        fallback_level=pl.lit("subscriber"),
    )


def log_of(assignments: pl.DataFrame, night: date = TONIGHT) -> pl.DataFrame:
    return logged_assignments(assignments).with_columns(as_of_day=pl.lit(day_number(night), dtype=pl.Int64))


def mailed(assignments: pl.DataFrame, day: date) -> pl.DataFrame:
    """One message to each at the assigned hour, engaging as the hour's true rate says."""
    generator = np.random.default_rng(5)
    chance = assignments["assigned_local_hour"].replace_strict(RATES, return_dtype=pl.Float64).to_numpy()
    return assignments.select(
        "subscriber_key",
        step_key=pl.lit(STEP, dtype=pl.Int64),
        sent_us=pl.lit(start_of_day_us(day), dtype=pl.Int64) + pl.col("assigned_local_hour") * HOUR_US,
        day=pl.lit(day_number(day), dtype=pl.Int64),
        local_hour="assigned_local_hour",
        is_engaged=pl.Series(generator.random(assignments.height) < chance),
    )


def written(assignments: pl.DataFrame, day: date) -> pl.DataFrame:
    """The hours as they stand in the account from the beginning of a day on, as `core.written_values` tells them."""
    return assignments.select(
        "subscriber_key",
        value=pl.col("assigned_local_hour").cast(pl.String),
        from_us=pl.lit(start_of_day_us(day), dtype=pl.Int64),
        until_us=pl.lit(None, dtype=pl.Int64),
    )


def followed(day: date | None) -> pl.DataFrame:
    """The step's flow sends at the assigned hours from a day on."""
    rows = [] if day is None else [(STEP, day)]
    return pl.DataFrame(rows, schema={"step_key": pl.Int64, "followed_from": pl.Date}, orient="row")


def test_an_hour_comes_with_the_probability_it_was_drawn_with() -> None:
    drawn = assign_hours(subscribers(200_000), NOTHING, share=0.2, allowed=ALLOWED, as_of_day=TONIGHT)
    assert drawn["is_randomised"].mean() == pytest.approx(0.2, abs=0.005)
    for hour, rows in drawn.group_by("assigned_local_hour"):
        assert rows["choice_probability"].unique().to_list() == pytest.approx(
            [rows.height / drawn.height], abs=0.005
        ), hour


def test_a_draw_stands_for_its_period_and_is_another_in_the_next() -> None:
    nights = [assign_hours(subscribers(2_000), NOTHING, share=0.5, allowed=ALLOWED, as_of_day=day) for day in (
        TONIGHT, TONIGHT + timedelta(days=1), TONIGHT + timedelta(days=PERIOD_DAYS)
    )]  # fmt: skip
    columns = ["subscriber_key", "assigned_local_hour", "is_randomised"]
    assert nights[0].select(columns).equals(nights[1].select(columns))
    both = (nights[0]["is_randomised"] & nights[2]["is_randomised"]).mean()
    assert both == pytest.approx(0.25, abs=0.04)


@pytest.mark.parametrize(
    "people",
    [
        subscribers(1_000, None).with_columns(
            fallback_level=pl.lit("current hour"), current_local_hour=pl.lit(None, dtype=pl.Int64)
        ),
        subscribers(1_000, NOW).with_columns(fallback_level=pl.lit("current hour")),
        subscribers(1_000, NOW),
    ],
    ids=["never mailed", "no hour known", "today's hour best"],
)
def test_those_without_a_better_hour_are_only_explored(people: pl.DataFrame) -> None:
    drawn = assign_hours(people, NOTHING, share=0.3, allowed=range(HOURS), as_of_day=TONIGHT)
    assert drawn["is_randomised"].all()
    assert drawn["choice_probability"].unique().to_list() == pytest.approx([0.3 / HOURS])
    assert drawn["drawn_local_hour"].equals(drawn["assigned_local_hour"])


def test_who_was_drawn_before_gets_todays_hour_back() -> None:
    people = subscribers(1_000, NOW).with_columns(fallback_level=pl.lit("current hour"))
    first = assign_hours(people, NOTHING, share=0.3, allowed=ALLOWED, as_of_day=TONIGHT)
    later = TONIGHT + timedelta(days=PERIOD_DAYS)
    second = assign_hours(people, written(first, TONIGHT), share=0.3, allowed=ALLOWED, as_of_day=later)
    back = second.filter(~pl.col("is_randomised"))
    assert set(back["subscriber_key"]) == set(first["subscriber_key"]) - set(
        second.filter("is_randomised")["subscriber_key"]
    )
    assert set(back["drawn_local_hour"]) == set(back["assigned_local_hour"]) == {NOW}


def test_while_hours_are_only_drawn_nobody_is_moved_to_a_recommended_one() -> None:
    drawn = assign_hours(subscribers(1_000), NOTHING, share=0.3, allowed=ALLOWED, as_of_day=TONIGHT)
    led = drawn.filter(~pl.col("is_randomised"))
    assert led.height > 600
    assert led["drawn_local_hour"].null_count() == led.height


def test_messages_at_drawn_hours_are_evidence_and_those_at_recommended_hours_are_not() -> None:
    assigned = assign_hours(subscribers(200), NOTHING, share=0.5, allowed=ALLOWED, as_of_day=TONIGHT)
    tomorrow = TONIGHT + timedelta(days=1)
    sends, log = mailed(assigned, tomorrow), log_of(assigned)
    told = sent_as_assigned(sends, log, written(assigned, TONIGHT), followed=followed(TONIGHT))
    marked = with_draws(sends, log, told)
    lots = assigned.filter("is_randomised")["subscriber_key"]
    assert set(marked.filter("is_drawn")["subscriber_key"]) == set(lots)
    unfollowed = sent_as_assigned(sends, log, NOTHING, followed=followed(None))
    assert not with_draws(sends, log, unfollowed)["is_drawn"].any()


def test_only_messages_sent_as_assigned_before_have_a_propensity() -> None:
    assigned = assign_hours(subscribers(50), NOTHING, share=0.5, allowed=ALLOWED, as_of_day=TONIGHT)
    tomorrow = TONIGHT + timedelta(days=1)
    sends = pl.concat([mailed(assigned, day) for day in (TONIGHT, tomorrow)])
    elsewhere = sends.with_columns(local_hour=pl.lit(3, dtype=pl.Int64))
    log, stands = log_of(assigned), written(assigned, TONIGHT)
    known = sent_as_assigned(pl.concat([sends, elsewhere]), log, stands, followed=followed(TONIGHT))
    has = known.filter(pl.col("propensity").is_not_null())
    assert has.height == assigned.height
    assert set(has["day"]) == {day_number(tomorrow)}
    assert sent_as_assigned(sends, log, stands, followed=followed(None))["propensity"].null_count() == sends.height
    assert sent_as_assigned(sends, log, stands, followed=followed(tomorrow)).height == assigned.height


def test_an_hour_that_was_not_written_before_the_message_shows_nothing() -> None:
    assigned = assign_hours(subscribers(50), NOTHING, share=0.5, allowed=ALLOWED, as_of_day=TONIGHT)
    tomorrow = TONIGHT + timedelta(days=1)
    sends, since = mailed(assigned, tomorrow), followed(TONIGHT)
    late = written(assigned, tomorrow + timedelta(days=1))
    assert sent_as_assigned(sends, log_of(assigned), late, followed=since)["propensity"].null_count() == sends.height


def test_an_hour_is_served_once_it_stands_in_the_account() -> None:
    people = subscribers(50)
    before = assign_hours(people, NOTHING, share=0.5, allowed=ALLOWED, as_of_day=TONIGHT)
    assert not before["is_served"].any()
    stands = written(before, TONIGHT).head(20)
    after = assign_hours(people, stands, share=0.5, allowed=ALLOWED, as_of_day=TONIGHT)
    assert set(after.filter("is_served")["subscriber_key"]) == set(stands["subscriber_key"])


def test_the_lift_of_the_recommended_hour_is_known_once_hours_are_drawn() -> None:
    everyone = subscribers(60_000)
    assigned = assign_hours(everyone, NOTHING, share=0.2, allowed=ALLOWED, as_of_day=TONIGHT)
    tomorrow = TONIGHT + timedelta(days=1)
    stands, since = written(assigned, tomorrow), followed(TONIGHT)
    sends = sent_as_assigned(mailed(assigned, tomorrow), log_of(assigned), stands, followed=since)
    profiles = pl.DataFrame({"cluster_id": 0, "local_hour": range(HOURS), "engagement_ratio": 1.0})
    lifts = evaluate_send_times(sends, everyone, profiles, as_of_day=TONIGHT)
    truth = RATES[BEST] / RATES[NOW] - 1
    for row in lifts.to_dicts():
        assert row["is_lift_shown"]
        assert row["engagement_lift_low"] < truth < row["engagement_lift_high"]
