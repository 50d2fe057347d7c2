"""When what a proposal would bring will be known: told before anybody approves it."""

from datetime import date, timedelta
from typing import Any

import polars as pl
import pytest

from pipeline.optimizations.binding import grown_worse
from pipeline.optimizations.measurement.sizing import LONGEST_DAYS
from pipeline.optimizations.record import Proposal
from tests.optimizations.proposals.test_proposals import proposed
from tests.worlds.published import TONIGHT, Tables, a_delivery, a_planned_test, a_policy, a_winner, row

WINDOW_DAYS = 7


def known(metric: str = "conversion", **changes: Any) -> pl.DataFrame:
    """What is known of the winner's step: 1,000 people a day, of whom 5% convert."""
    place = {"workflow_id": "welcome", "step_ids": '["hello"]', "window_days": WINDOW_DAYS}
    found = {"people_28d": 28_000, "people_56d": 56_000, "outcome_mean": 0.05, "outcome_deviation": None}
    return row("outcome_baselines", metric=metric, as_of_day=TONIGHT, **{**place, **found, **changes})


def winner(*baselines: pl.DataFrame, **changes: Any) -> Proposal:
    [found] = proposed({**a_winner(**changes), "outcome_baselines": pl.concat(baselines)} if baselines else a_winner())
    return found


def test_the_hold_out_the_people_and_the_date_stand_in_the_evidence() -> None:
    made = winner(known())
    assert made.plan is not None
    assert made.plan.days is not None
    day = date.fromisoformat(made.evidence["answer_day"])
    # It is applied tomorrow, and its first whole day is the next one.
    assert day == TONIGHT + timedelta(days=2 + made.plan.days - 1 + WINDOW_DAYS)
    assert f"expected by {day}: {made.plan.people:,} people" in made.evidence["answer"]
    assert f"{made.holdout_share:.1%} of them kept out" in made.evidence["answer"]


def test_a_quieter_place_keeps_more_people_out() -> None:
    busy, quiet = winner(known()), winner(known(people_28d=5_000, people_56d=10_000))
    assert busy.holdout_share < quiet.holdout_share <= 0.5
    assert busy.optimization_id == quiet.optimization_id
    assert grown_worse(busy, quiet) is None


def test_where_no_plan_ends_in_time_it_is_said_with_what_could_be_known() -> None:
    few = {"people_28d": 400, "people_56d": 800}
    made = winner(known(**few), known("click", outcome_mean=0.5, **few))
    assert made.plan is not None
    assert (made.plan.days, made.holdout_share, made.evidence["answer_day"]) == (None, 0.1, None)
    told = made.evidence["answer"]
    assert told.startswith(f"No answer can be expected within {LONGEST_DAYS} days.")
    for offer in (
        "a lift of +",
        "the same lift of clicks (50.0% in the last eight weeks), in ",
        "several such changes together",
    ):
        assert offer in told


def test_where_clicks_take_too_long_as_well_they_are_not_offered() -> None:
    few = {"people_28d": 40, "people_56d": 80}
    told = winner(known(**few), known("click", outcome_mean=0.1, **few)).evidence["answer"]
    assert "clicks" not in told


@pytest.mark.parametrize(
    ("baselines", "said"),
    [
        ((), "nobody was mailed here"),
        ((known(people_28d=0, people_56d=0, outcome_mean=None),), "nobody was mailed here"),
        ((known("click"), known(outcome_mean=0.0)), "there was no conversion here"),
        ((known(window_days=3),), "nobody was mailed here"),
    ],
)
def test_without_a_base_rate_no_date_is_told(baselines: tuple[pl.DataFrame, ...], said: str) -> None:
    made = winner(*baselines)
    assert (made.plan, made.holdout_share, made.evidence["answer_day"]) == (None, 0.1, None)
    assert said in made.evidence["answer"]


def test_without_a_promise_no_date_is_told() -> None:
    [made] = proposed(a_delivery())
    assert made.evidence["answer"].startswith("No lift is promised, so no date can be told.")


def test_what_keeps_nobody_out_says_nothing_of_an_answer() -> None:
    [made] = proposed(a_planned_test())
    assert "answer" not in made.evidence


def test_several_steps_are_one_place() -> None:
    place = {"workflow_id": "welcome", "step_ids": '["left", "right"]', "window_days": 14}
    tables: Tables = {**a_policy(), "outcome_baselines": known(**place)}
    [_, switch] = proposed(tables)
    assert switch.plan is not None
