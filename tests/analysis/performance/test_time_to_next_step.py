from datetime import date

import numpy as np
import polars as pl
import pytest
from lifelines import KaplanMeierFitter

from pipeline.analysis.performance.time_to_next_step import NOBODY_ADVANCED, time_to_next_step, transition_quantiles
from pipeline.common.time import day_number
from pipeline.schemas.core import CoreEdges
from pipeline.schemas.reductions import TransitionHours
from tests.worlds.facts import linear_flow, rows

AS_OF = date(2026, 6, 29)
TONIGHT = day_number(AS_OF)
_, STEPS = linear_flow("welcome", "tips")
EDGES = rows(
    CoreEdges,
    *(
        {"workflow_key": 1, "from_step_key": 1, "to_step_key": 2, "delay_version": n, "delay_hours": 24 * n}
        for n in (1, 2)
    ),
)


def entered(days_ago: int, outcome: str, hours: int, subscribers: int = 1, version: int = 1) -> dict:
    return {
        "workflow_key": 1,
        "from_step_key": 1,
        "to_step_key": 2,
        "delay_version": version,
        "day": TONIGHT - days_ago,
        "outcome": outcome,
        "elapsed_hours": hours,
        "subscribers": subscribers,
    }


def times(*known: dict) -> pl.DataFrame:
    return time_to_next_step(rows(TransitionHours, *known), STEPS, EDGES, as_of=AS_OF, funnel_days=180)


def test_quantiles_are_linear_within_the_hour():
    row = times(entered(30, "advanced", 24, 100)).row(0, named=True)
    assert (row["p25_hours"], row["median_hours"], row["p75_hours"]) == (24.25, 24.5, 24.75)
    assert row["planned_delay_hours"] == 24


def test_equals_kaplan_meier_where_nothing_competes():
    """Intake grows, so the last days are full of people who had no time to be slow."""
    generator = np.random.default_rng(8)
    days_ago = 39 - np.floor(40 * generator.random(6000) ** 0.3).astype(int)
    hours = np.floor(generator.exponential(60, 6000)).astype(int)
    counted = pl.DataFrame({"ago": days_ago, "hours": hours}).group_by("ago", "hours").len()
    row = times(*(entered(ago, "advanced", when, many) for ago, when, many in counted.iter_rows())).row(0, named=True)
    followed = 24 * days_ago
    at_risk = followed > 0
    reference = KaplanMeierFitter().fit(np.minimum(hours, followed - 1)[at_risk], (hours < followed)[at_risk])
    assert np.floor(row["median_hours"]) == reference.percentile(0.5)
    assert np.floor(row["p75_hours"]) == reference.percentile(0.25)
    assert row["median_hours"] == pytest.approx(60 * np.log(2), abs=3)


def test_the_lost_do_not_slow_down_those_who_go_on():
    rows_of_half = [entered(30, "advanced", 10, 50), entered(30, "advanced", 20, 50), entered(30, "timeout", 72, 300)]
    assert times(*rows_of_half).item(0, "median_hours") == pytest.approx(11.0)


def test_versions_are_apart_and_their_mixture_is_weighed_by_entrants():
    known = [entered(30, "advanced", 24, 300), entered(20, "advanced", 48, 100, version=2)]
    assert times(*known)["median_hours"].to_list() == [24.5, 48.5]
    mixed = transition_quantiles(rows(TransitionHours, *known), as_of=AS_OF, funnel_days=180).row(0, named=True)
    assert mixed["median_hours"] == pytest.approx(24 + 2 / 3)
    assert mixed["p75_hours"] == pytest.approx(25.0)


def test_nobody_advanced_says_so():
    row = times(entered(0, "timeout", 72, 10)).row(0, named=True)
    assert (row["status"], row["median_hours"], row["waiting"]) == (NOBODY_ADVANCED, None, 10)
