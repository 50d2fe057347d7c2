"""People and outcomes of places before a change: each person once, in windows that have closed."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from pipeline.optimizations.measurement.baselines import Place, outcome_baselines, places_of
from pipeline.schemas.loop import OutcomeBaselines
from tests.worlds.applied import APPLIED_DAY, Step, facts, mailed_often, record
from tests.worlds.published import nothing, row

WINDOW_DAYS = 3
HELLO = Place("flow", ("hello",), WINDOW_DAYS)
ACCOUNT = Place("", (), WINDOW_DAYS)


def test_a_steady_step_has_its_traffic_and_its_rate() -> None:
    world = facts(np.random.default_rng(1), record(), Step(per_day=100, rate=0.1))
    rows = outcome_baselines([HELLO], world, as_of_day=APPLIED_DAY)
    OutcomeBaselines.validate(rows)
    found = rows.row(by_predicate=pl.col("metric") == "conversion", named=True)
    assert (found["people_28d"], found["people_56d"]) == (2_800, 5_600)
    assert found["outcome_mean"] == pytest.approx(0.1, abs=0.015)
    amounts = rows.row(by_predicate=pl.col("metric") == "revenue", named=True)
    assert amounts["outcome_mean"] == pytest.approx(50 * found["outcome_mean"])
    assert amounts["outcome_deviation"] > amounts["outcome_mean"]


def test_somebody_who_is_mailed_again_and_again_counts_once() -> None:
    world = mailed_often(np.random.default_rng(2), record(), people=200, nights=5, every_days=4)
    rows = outcome_baselines([ACCOUNT], world, as_of_day=APPLIED_DAY + timedelta(days=4))
    assert rows["workflow_id"].to_list() == [None] * 3
    assert 90 < rows.item(0, "people_28d") <= rows.item(0, "people_56d") <= 200


def test_a_place_without_mail_has_nobody() -> None:
    world = facts(np.random.default_rng(1), record(), Step(per_day=1))
    rows = outcome_baselines([Place("flow", ("gone",), WINDOW_DAYS)], world, as_of_day=APPLIED_DAY)
    assert rows.select("people_28d", "outcome_mean").unique().rows() == [(0, None)]


def test_places_are_those_of_tests_points_delays_and_the_account() -> None:
    tables = {
        **nothing(),
        "experiments": row("experiments", workflow_id="a", step_id="one", window_days=5),
        "decision_points": row(
            "decision_points", workflow_id="b", step_id="fork", mailed_step_ids='["left", "right"]', outcome_days=14
        ),
        "delay_recommendations": pl.concat(
            row("delay_recommendations", workflow_id="c", from_step_id=step, action=action)
            for step, action in (("moved", "change"), ("kept", "keep"))
        ),
    }
    found = places_of(
        tables["experiments"], tables["decision_points"], tables["delay_recommendations"], windows=(7, 21)
    )
    assert found == [
        Place("", (), 7),
        Place("a", ("one",), 5),
        Place("b", ("left", "right"), 14),
        Place("c", ("moved",), 21),
    ]
