from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines import AalenJohansenFitter

from pipeline.analysis.performance.funnel import NO_ENTRANTS, NOT_FOLLOWED, drop_off, funnel
from pipeline.common.time import day_number
from pipeline.schemas.base import empty
from pipeline.schemas.core import CoreEdges
from pipeline.schemas.reductions import FunnelTransitions, TransitionHours
from tests.acceptance.simulations import funnel as simulation
from tests.worlds.facts import linear_flow, rows

AS_OF = date(2026, 6, 29)
TONIGHT = day_number(AS_OF)
WORKFLOWS, STEPS = linear_flow("welcome", "tips")
FUNNEL_DAYS = 180
DEADLINE = 5
OUTCOMES = ("advanced", "goal", "lost", "timeout")


def entered(days_ago: int, outcome: str, elapsed: int, subscribers: int, version: int = 1) -> dict:
    return {
        "workflow_key": 1,
        "from_step_key": 1,
        "to_step_key": 2,
        "delay_version": version,
        "day": TONIGHT - days_ago,
        "outcome": outcome,
        "elapsed_days": elapsed,
        "subscribers": subscribers,
    }


def estimate(*known: dict) -> dict:
    return drop_off(rows(FunnelTransitions, *known), as_of=AS_OF, funnel_days=FUNNEL_DAYS).row(0, named=True)


def test_those_still_waiting_are_not_lost():
    """Half the entrants are inside the planned delay tonight; none of them has dropped off."""
    row = estimate(
        entered(30, "advanced", 3, 400), entered(30, "timeout", DEADLINE, 100), entered(1, "timeout", DEADLINE, 500)
    )
    assert (row["entrants"], row["lost"], row["waiting"]) == (1000, 100, 500)
    assert row["drop_off_rate"] == pytest.approx(0.2)


def test_an_outcome_after_tonight_is_not_known_yet():
    row = estimate(entered(30, "advanced", 3, 400), entered(30, "lost", 1, 100), entered(2, "lost", 3, 50))
    assert (row["lost"], row["waiting"]) == (100, 50)


def test_a_goal_is_no_loss():
    row = estimate(entered(30, "advanced", 3, 50), entered(30, "goal", 2, 30), entered(30, "lost", 1, 20))
    assert (row["drop_off_rate"], row["goal_rate"], row["advance_rate"]) == pytest.approx((0.2, 0.3, 0.5))


def test_fully_followed_entrants_weigh_what_they_are():
    """Without censoring the delta-method variance is p (1 - p) / n, so the effective sample is the sample."""
    row = estimate(
        entered(30, "advanced", 3, 517),
        entered(31, "goal", 2, 101),
        entered(30, "lost", 1, 57),
        entered(33, "timeout", 5, 25),
    )
    assert row["effective_entrants"] == pytest.approx(700)
    assert row["drop_off_rate"] == pytest.approx(82 / 700)


def test_equals_lifelines_with_competing_goals_and_censoring():
    generator = np.random.default_rng(3)
    days_ago, outcome = generator.integers(0, 12, 3000), generator.choice(4, 3000, p=[0.6, 0.1, 0.2, 0.1])
    elapsed = np.where(outcome == 3, DEADLINE, generator.integers(0, DEADLINE, 3000))
    frame = pl.DataFrame({"days_ago": days_ago, "outcome": outcome, "elapsed": elapsed})
    counted = frame.group_by("days_ago", "outcome", "elapsed").len()
    row = estimate(*(entered(ago, OUTCOMES[what], when, many) for ago, what, when, many in counted.iter_rows()))
    is_seen = elapsed <= days_ago
    event = np.where(is_seen, np.select([outcome == 0, outcome == 1], [2, 3], 1), 0)
    # lifelines counts from 1, and has ties broken by censoring after events, as here.
    time = np.minimum(elapsed, days_ago) + 1
    fitter = AalenJohansenFitter(jitter_level=0.0, calculate_variance=False).fit(time, event, event_of_interest=1)
    assert row["drop_off_rate"] == pytest.approx(fitter.cumulative_density_.iloc[-1, 0], abs=1e-9)


def test_the_effective_sample_tells_the_spread_over_repetitions():
    """A thousand accounts whose intake doubles every two days, so that half of their entrants are censored."""
    generator = np.random.default_rng(4)
    cells = [("advanced", 3, 0.6), ("goal", 2, 0.1), ("lost", 1, 0.1), ("lost", 4, 0.1), ("timeout", DEADLINE, 0.1)]
    accounts, ago = np.arange(1000), np.arange(12)
    intake = np.round(200 * 2.0 ** (-ago / 2)).astype(int)
    people = generator.multinomial(np.tile(intake, (len(accounts), 1)), [chance for *_, chance in cells])
    account, days_ago, cell = (axis.ravel() for axis in np.indices(people.shape))
    known = pl.DataFrame(
        {
            "workflow_key": account,
            "from_step_key": account,
            "to_step_key": account,
            "delay_version": np.ones_like(account),
            "day": TONIGHT - days_ago,
            "outcome": np.array([name for name, *_ in cells])[cell],
            "elapsed_days": np.array([elapsed for _, elapsed, _ in cells])[cell],
            "subscribers": people.ravel(),
        }
    )
    found = drop_off(known, as_of=AS_OF, funnel_days=FUNNEL_DAYS)
    rate = found["drop_off_rate"]
    assert rate.mean() == pytest.approx(0.3, abs=4 * rate.std() / np.sqrt(len(accounts)))
    assert (rate * (1 - rate) / found["effective_entrants"]).mean() == pytest.approx(rate.var(), rel=0.15)
    assert found["effective_entrants"].mean() < 0.7 * intake.sum()


def test_versions_of_the_delay_are_estimated_apart_and_weighed_by_entrants():
    old = [entered(60, "advanced", 9, 270), entered(60, "timeout", 12, 30)]
    new = [entered(20, "advanced", 2, 50, version=2), entered(20, "timeout", 4, 50, version=2)]
    assert estimate(*old, *new)["drop_off_rate"] == pytest.approx((300 * 0.1 + 100 * 0.5) / 400)


def test_a_version_nobody_was_followed_under_says_so_instead_of_guessing():
    row = estimate(entered(1, "lost", 0, 10), entered(1, "timeout", DEADLINE, 90))
    assert (row["status"], row["drop_off_rate"], row["waiting"]) == (NOT_FOLLOWED, None, 90)


def test_a_step_gone_silent_widens_the_interval_upwards():
    healthy = [entered(ago, "advanced", 3, 95) for ago in range(6, 60)] + [
        entered(ago, "lost", 1, 5) for ago in range(6, 60)
    ]
    silent = [entered(4, "timeout", DEADLINE, 95), entered(4, "lost", 1, 5)]
    before, after = estimate(*healthy), estimate(*healthy, *silent)
    assert after["drop_off_rate"] == pytest.approx(before["drop_off_rate"], abs=0.001)
    assert after["drop_off_rate_high"] > before["drop_off_rate_high"] + 0.01


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.sampled_from(OUTCOMES), st.integers(0, DEADLINE), st.integers(1, 40)),
        min_size=1,
    )
)
def test_counts_add_up_and_shares_are_shares(cells: list[tuple[int, str, int, int]]):
    unique = {(ago, outcome, elapsed): many for ago, outcome, elapsed, many in cells}
    row = estimate(*(entered(*cell, many) for cell, many in unique.items()))
    assert row["entrants"] == row["advanced"] + row["lost"] + row["goal_exits"] + row["waiting"] == sum(unique.values())
    if row["status"] == "ok":
        assert 0 <= row["drop_off_rate_low"] <= row["drop_off_rate"] <= row["drop_off_rate_high"] <= 1


def test_planned_transitions_without_entrants_are_listed():
    edges = rows(CoreEdges, {"workflow_key": 1, "from_step_key": 1, "to_step_key": 2, "delay_version": 1})
    table = funnel(empty(FunnelTransitions), empty(TransitionHours), STEPS, edges, as_of=AS_OF, funnel_days=FUNNEL_DAYS)
    assert table.select("from_step_id", "to_step_id", "entrants", "status").rows() == [
        ("welcome", "tips", 0, NO_ENTRANTS)
    ]


def test_small_simulation_reaches_its_targets():
    assert [check for check in simulation.run(scale=0.03, seed=5) if not check.holds] == []
