from datetime import date

import numpy as np
import polars as pl
import pytest

from pipeline.analysis.performance.bottlenecks import NO_COMPARISON, benchmarks, bottlenecks
from pipeline.analysis.performance.funnel import funnel
from pipeline.common.time import day_number
from pipeline.schemas.base import empty
from pipeline.schemas.core import CoreEdges
from pipeline.schemas.reductions import CreditDays, ExitDays, FunnelTransitions, TransitionHours
from tests.worlds.facts import linear_flow, rows

AS_OF = date(2026, 6, 29)
DAY = day_number(AS_OF) - 40
DAYS = 180


def taken(source: int, target: int, advanced: int, lost: int, goal: int = 0) -> list[dict]:
    way = {"workflow_key": 1, "from_step_key": source, "to_step_key": target, "delay_version": 1, "day": DAY}
    counts = {"advanced": advanced, "lost": lost, "goal": goal}
    return [{**way, "outcome": what, "elapsed_days": 1, "subscribers": n} for what, n in counts.items() if n]


def ended(step: int, goal: int, completed: int) -> list[dict]:
    end = {"workflow_key": 1, "step_key": step, "day": DAY, "outcome_day": DAY}
    return [
        {**end, "exit_reason": "goal", "subscribers": goal},
        {**end, "exit_reason": "completed", "subscribers": completed},
    ]


def ranked(
    *ways: list[dict],
    ends: list[dict],
    steps: int = 4,
    goal: str | None = "purchase",
    credits: pl.DataFrame | None = None,
) -> pl.DataFrame:
    workflows, names = linear_flow(*"abcdef"[:steps], goal=goal)
    transitions = rows(FunnelTransitions, *(row for way in ways for row in way))
    table = funnel(transitions, empty(TransitionHours), names, empty(CoreEdges), as_of=AS_OF, funnel_days=DAYS)
    exits = rows(ExitDays, *ends) if ends else empty(ExitDays)
    credits = empty(CreditDays) if credits is None else credits
    return bottlenecks(table, exits, credits, names, workflows, as_of=AS_OF, funnel_days=DAYS)


CHAIN = (taken(1, 2, 850, 100, 50), taken(2, 3, 510, 340), taken(3, 4, 459, 51))


def test_downstream_probability_is_what_comes_after_the_next_step():
    table = ranked(*CHAIN, ends=ended(4, 100, 300))
    found = dict(table.select("to_step_id", "downstream_goal_probability").iter_rows())
    assert found["d"] == pytest.approx(0.25)
    assert found["c"] == pytest.approx(0.9 * 0.25)
    assert found["b"] == pytest.approx(0.6 * 0.9 * 0.25)


def test_the_worst_transition_ranks_first_with_what_a_typical_one_would_have_saved():
    first = ranked(*CHAIN, ends=ended(4, 100, 300)).row(0, named=True)
    assert (first["from_step_id"], first["to_step_id"], first["rank"]) == ("b", "c", 1)
    expected = 850 * (0.4 - first["benchmark_rate"]) * 0.9 * 0.25
    assert first["avoidable_loss"] == pytest.approx(expected)
    assert first["avoidable_loss_low"] < expected < first["avoidable_loss_high"]
    assert first["first_rank_probability"] == 1.0


def test_equal_input_gives_equal_probabilities():
    assert ranked(*CHAIN, ends=ended(4, 100, 300)).equals(ranked(*CHAIN, ends=ended(4, 100, 300)))


def test_equally_bad_transitions_share_the_first_rank():
    table = ranked(
        taken(1, 2, 700, 300),
        taken(2, 3, 700, 0),
        taken(3, 4, 700, 0),
        taken(4, 5, 490, 210),
        ends=ended(5, 70, 30),
        steps=5,
    )
    probabilities = table["first_rank_probability"].to_list()
    assert sum(probabilities) == pytest.approx(1.0)


def test_a_benchmark_is_the_others_weighted_median():
    rates, entrants = np.array([0.1, 0.2, 0.3, 0.9]), np.array([1e9, 1e9, 1e9, 1e9])
    assert benchmarks(rates, entrants) == pytest.approx([0.3, 0.3, 0.2, 0.2], abs=1e-6)
    assert np.isnan(benchmarks(np.array([0.4]), np.array([100.0]))).all()


def test_a_lonely_transition_has_nothing_to_be_compared_with():
    row = ranked(taken(1, 2, 60, 40), ends=ended(2, 10, 50), steps=2).row(0, named=True)
    assert (row["status"], row["avoidable_loss"], row["first_rank_probability"]) == (NO_COMPARISON, None, None)


def test_a_way_that_nobody_has_gone_does_not_hide_the_rest():
    dead_end = taken(2, 5, 0, 5)
    table = ranked(*CHAIN, dead_end, ends=ended(4, 100, 300), steps=5)
    assert table.row(0, named=True)["to_step_id"] == "c"
    assert table.filter(to_step_id="b").item(0, "status") == "ok"


def test_conversions_after_the_last_step_count_downstream():
    credits = rows(
        CreditDays,
        {"workflow_key": 1, "step_key": 4, "day": DAY, "view": "report", "conversions": 200},
        {"workflow_key": 1, "step_key": 4, "day": DAY, "view": "mailchimp_compat", "conversions": 390},
    )
    table = ranked(*CHAIN, ends=ended(4, 0, 400), credits=credits)
    assert table.filter(to_step_id="d").item(0, "downstream_goal_probability") == pytest.approx(0.5)


def test_without_goals_and_conversions_reaching_the_end_counts():
    table = ranked(*CHAIN, ends=ended(4, 0, 400), goal=None)
    assert table["loss_unit"].unique().to_list() == ["completions"]
    assert table.filter(to_step_id="c").item(0, "downstream_goal_probability") == pytest.approx(0.9)
    assert table.item(0, "to_step_id") == "c"


def test_a_loss_lies_in_its_interval_where_no_goal_was_seen_downstream():
    credits = rows(CreditDays, {"workflow_key": 1, "step_key": 1, "day": DAY, "view": "report", "conversions": 1})
    table = ranked(*CHAIN, ends=ended(4, 0, 400), goal=None, credits=credits)
    worst = table.filter(to_step_id="c").row(0, named=True)
    assert (worst["avoidable_loss_low"], worst["avoidable_loss"]) == (0.0, 0.0)
    assert worst["avoidable_loss_high"] > 0


def test_no_transitions_no_rows():
    workflows, names = linear_flow("a")
    table = funnel(
        empty(FunnelTransitions), empty(TransitionHours), names, empty(CoreEdges), as_of=AS_OF, funnel_days=DAYS
    )
    assert bottlenecks(
        table, empty(ExitDays), empty(CreditDays), names, workflows, as_of=AS_OF, funnel_days=DAYS
    ).is_empty()


def test_where_nobody_was_lost_the_interval_holds_the_estimate():
    """The estimate is then zero, and every draw of the posterior lies above it."""
    kept = ranked(taken(1, 2, 40, 0), taken(2, 3, 30, 0), taken(3, 4, 20, 0), ends=ended(4, 5, 15))
    inside = pl.col("avoidable_loss").is_between("avoidable_loss_low", "avoidable_loss_high")
    assert set(kept["avoidable_loss"]) == {0.0}
    assert kept.filter(~inside).is_empty()
