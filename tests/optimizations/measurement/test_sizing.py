"""The plan of a realised lift: its size against a closed form, its share, and what is said where it takes too long."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from pipeline.analysis.statistics.group_sequential import needed_drift
from pipeline.optimizations.measurement.sizing import (
    LONGEST_DAYS,
    PLAN_ALPHA,
    POWER,
    SHARES,
    SOON_DAYS,
    WATCH_ALPHA,
    Baseline,
    needed_people,
    reachable_lift,
    sized,
    watch_share,
)

WINDOW_DAYS = 7


def steady(per_day: int, mean: float = 0.05, deviation: float | None = None) -> Baseline:
    return Baseline(28 * per_day, 56 * per_day, mean, deviation)


@pytest.mark.parametrize("share", SHARES)
def test_the_sample_is_that_of_one_look_times_the_price_of_looking_every_night(share: float) -> None:
    pooled = 0.05 * share + 0.06 * (1 - share)
    one_look = pooled * (1 - pooled) / (share * (1 - share)) * ((norm.ppf(0.975) + norm.ppf(POWER)) / 0.01) ** 2
    price = (needed_drift(PLAN_ALPHA, POWER) / (norm.ppf(0.975) + norm.ppf(POWER))) ** 2
    assert needed_people(steady(100), 0.2, share) == pytest.approx(one_look * price, rel=1e-4)
    assert price < 1.2


def test_plan_and_watch_share_an_error_of_one_in_twenty() -> None:
    assert pytest.approx(0.05) == PLAN_ALPHA + WATCH_ALPHA


def test_a_busy_place_keeps_few_people_out_and_a_quieter_one_more() -> None:
    shares = [sized(steady(per_day), 0.2, window_days=WINDOW_DAYS, least_share=0.1)[0] for per_day in (2_000, 700, 150)]
    assert shares[0] == 0.1
    assert shares == sorted(shares)
    assert shares[-1] == 0.5


@given(
    st.integers(1, 3_000),
    st.integers(0, 3_000),
    st.floats(0.001, 0.6),
    st.floats(0.02, 0.5),
    st.sampled_from([0.1, 0.2]),
)
def test_a_plan_ends_in_time_or_says_that_it_does_not(
    early: int, more: int, rate: float, lift: float, least: float
) -> None:
    found = Baseline(early, early + more, rate)
    share, plan = sized(found, lift, window_days=WINDOW_DAYS, least_share=least)
    assert share >= least
    fastest = found.days_until(needed_people(found, lift, 0.5))
    if plan.days is None:
        assert share == least
        assert fastest is None or fastest + WINDOW_DAYS > LONGEST_DAYS
        return
    assert plan.days + WINDOW_DAYS <= LONGEST_DAYS
    assert found.people_within(plan.days) >= plan.people - 1e-6
    if plan.days + WINDOW_DAYS > SOON_DAYS:
        # An even split answers soonest, but for rates near one, where fewer with the change may do.
        assert fastest is None or plan.days <= fastest


def test_the_reachable_lift_is_the_one_whose_plan_ends_on_the_last_day() -> None:
    found = steady(20, 0.03)
    lift = reachable_lift(found, window_days=WINDOW_DAYS)
    assert lift is not None
    slower = sized(found, lift * 0.98, window_days=WINDOW_DAYS, least_share=0.1)[1].days
    last = sized(found, lift * 1.02, window_days=WINDOW_DAYS, least_share=0.1)[1].days
    assert slower is None
    assert last is not None
    assert LONGEST_DAYS - last - WINDOW_DAYS < 10


def test_where_hardly_anybody_comes_by_no_lift_can_be_known() -> None:
    assert reachable_lift(Baseline(3, 3, 0.01), window_days=WINDOW_DAYS) is None


def test_a_list_that_is_mailed_whole_within_four_weeks_has_only_its_newcomers_left() -> None:
    found = Baseline(10_000, 10_280, 0.05)
    assert found.days_until(10_000) == 28
    assert found.days_until(10_100) == 38
    assert Baseline(10_000, 10_000, 0.05).days_until(10_001) is None


def test_amounts_take_their_scatter_into_account() -> None:
    calm, wild = (needed_people(steady(100, 4.0, deviation), 0.2, 0.5) for deviation in (10.0, 20.0))
    assert wild == pytest.approx(4 * calm, rel=1e-3)


def test_after_the_answer_a_twentieth_to_a_tenth_stays_kept_out() -> None:
    watched = np.array([watch_share(share) for share in SHARES])
    assert watched.min() >= 0.05
    assert watched.max() <= 0.1
