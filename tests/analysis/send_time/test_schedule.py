"""Schedules keep every constraint; drawn hours have the propensity they are logged with."""

from datetime import date

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.analysis.send_time.counts import HOURS
from pipeline.analysis.send_time.schedule import allowed_hours, schedule_sends

TONIGHT = date(2026, 3, 1)
CONSTRAINTS = {
    "workflow_id": pl.String,
    "step_id": pl.String,
    "quiet_from_hour": pl.Int64,
    "quiet_until_hour": pl.Int64,
    "allowed_weekdays": pl.List(pl.Int64),
    "hourly_cap": pl.Int64,
}
#: Engagement ratios of two clusters: one likes 9, the other 20 and then 19.
PROFILES = pl.DataFrame(
    {
        "cluster_id": np.repeat([0, 1], HOURS),
        "local_hour": np.tile(np.arange(HOURS), 2),
        "engagement_ratio": np.concatenate(
            [1 + (np.arange(HOURS) == 9), 1 + (np.arange(HOURS) == 20) + 0.5 * (np.arange(HOURS) == 19)]
        ),
    }
)


def people(*sizes: int, newcomers: int = 0) -> pl.DataFrame:
    """Subscribers of clusters 0, 1, ... and some without an hour of their own."""
    clusters = np.repeat(np.arange(len(sizes)), sizes).tolist() + [0] * newcomers
    levels = ["subscriber"] * sum(sizes) + ["current hour"] * newcomers
    return pl.DataFrame(
        {
            "subscriber_key": np.arange(len(clusters)),
            "cluster_id": clusters,
            "fallback_level": levels,
            "recommended_local_hour": [9] * len(clusters),
        }
    )


def schedule(subscribers: pl.DataFrame, *, quiet=(None, None), weekdays=None, cap=None) -> pl.DataFrame:
    audience = subscribers.select("subscriber_key", workflow_id=pl.lit("w"), step_id=pl.lit("s"))
    constraints = pl.DataFrame([("w", "s", *quiet, weekdays, cap)], schema=CONSTRAINTS, orient="row")
    return schedule_sends(audience, subscribers, PROFILES, constraints, as_of_day=TONIGHT)


def test_each_cluster_gets_its_best_hour_and_newcomers_keep_theirs():
    rows = schedule(people(30, 20, newcomers=5))
    assert rows.select("cluster_id", "local_hour", "subscribers").rows() == [(None, None, 5), (0, 9, 30), (1, 20, 20)]
    assert rows["status"].to_list() == ["not enough data", "ok", "ok"]


def test_an_hour_of_which_nothing_is_known_is_used_only_where_a_cap_leaves_no_other():
    ratio = pl.when(pl.col("local_hour").is_in([9, 10])).then("engagement_ratio")
    known = PROFILES.with_columns(engagement_ratio=ratio)
    audience = people(30).select("subscriber_key", workflow_id=pl.lit("w"), step_id=pl.lit("s"))
    found = {}
    for cap in (20, 12):
        constraints = pl.DataFrame([("w", "s", None, None, None, cap)], schema=CONSTRAINTS, orient="row")
        rows = schedule_sends(audience, people(30), known, constraints, as_of_day=TONIGHT)
        found[cap] = rows.group_by(pl.col("engagement_ratio").is_null()).agg(pl.col("subscribers").sum()).rows()
    assert found[20] == [(False, 30)]
    assert sorted(found[12]) == [(False, 24), (True, 6)]


def test_quiet_hours_over_midnight_and_allowed_days_hold():
    rows = schedule(people(30, 20), quiet=(20, 9), weekdays=[4, 0])
    assert rows["local_hour"].to_list() == [9, 19]
    assert set(rows["local_weekdays"]) == {"Mon,Fri"}


def test_a_cap_moves_those_who_lose_least():
    rows = schedule(people(0, 30), cap=20)
    assert rows.select("local_hour", "subscribers").rows() == [(19, 10), (20, 20)]


def test_a_cap_too_small_spreads_evenly_and_says_so():
    rows = schedule(people(48, 48), cap=1)
    assert set(rows["status"]) == {"cap too small"}
    by_hour = rows.group_by("local_hour").agg(pl.col("subscribers").sum())
    assert by_hour["subscribers"].max() == 96 // HOURS


def test_no_allowed_day_and_an_unknown_audience():
    assert schedule(people(3, 4), weekdays=[])["status"].to_list() == ["no allowed hour"] * 2
    strangers = pl.DataFrame({"workflow_id": ["w"], "step_id": ["s"], "subscriber_key": [99]})
    rows = schedule_sends(strangers, people(3), PROFILES, pl.DataFrame(schema=CONSTRAINTS), as_of_day=TONIGHT)
    assert rows.select("fallback_level", "subscribers").rows() == [("current hour", 1)]
    assert schedule(people()).height == 0


@settings(deadline=None)  # solvers wait when the machine is busy
@given(
    sizes=st.tuples(st.integers(0, 40), st.integers(0, 40)),
    quiet=st.tuples(st.integers(0, 23), st.integers(0, 23)),
    cap=st.one_of(st.none(), st.integers(1, 30)),
)
def test_nobody_is_lost_and_no_constraint_broken(sizes, quiet, cap):
    rows = schedule(people(*sizes), quiet=quiet, cap=cap)
    assert rows["subscribers"].sum() == sum(sizes)
    assert set(rows["local_hour"].drop_nulls()) <= set(allowed_hours(*quiet))
    if cap is not None and set(rows["status"]) == {"ok"}:
        assert rows.group_by("local_hour").agg(pl.col("subscribers").sum())["subscribers"].max() <= cap


@given(start=st.integers(0, 23), end=st.integers(0, 23))
def test_quiet_and_allowed_hours_make_a_day(start, end):
    assert len(allowed_hours(start, end)) == HOURS - (end - start) % HOURS
    assert (start in allowed_hours(start, end)) == (start == end)
