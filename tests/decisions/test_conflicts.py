from datetime import date, datetime, timedelta
from itertools import combinations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.decisions.conflicts import (
    REPLAY_DAYS,
    ConflictRule,
    cap_sends,
    conflict_replay,
    proposed_conflicts,
    workflow_conflicts,
)
from pipeline.schemas.decisions import ConflictReplay, WorkflowConflicts

NIGHT = date(2026, 6, 30)
WORKFLOWS = pl.DataFrame(
    {
        "workflow_id": ["cart", "promo", "welcome", "news", "survey"],
        "name": ["Cart", "Promo", "Welcome", "News", "Survey"],
        "category": ["sales", "sales", "onboarding", "content", None],
        "priority": [9, 5, 5, 1, 1],
    }
)
RULES = [
    ConflictRule("sales", "onboarding", "message", "high", "two goals at once", "delay"),
    ConflictRule("sales", "sales", "offer", "medium", "two offers at once", "suppress"),
    ConflictRule("content", "onboarding", "volume", "low", "more mail", "allow"),
]


def stays(*rows: tuple[int, str, int]) -> pl.DataFrame:
    """Subscriber, workflow, days since entry."""
    return pl.DataFrame(
        [(key, workflow, NIGHT - timedelta(days=days)) for key, workflow, days in rows],
        schema={"subscriber_key": pl.Int64, "workflow_id": pl.String, "entered_day": pl.Date},
        orient="row",
    )


def conflicts(active: pl.DataFrame) -> list[tuple]:
    found = WorkflowConflicts.validate(workflow_conflicts(active, WORKFLOWS, RULES, as_of_day=NIGHT))
    return found.select("subscriber_key", "workflow_id", "prevailing_workflow_id", "resolution").rows()


def test_the_lower_priority_yields_whoever_came_first():
    assert conflicts(stays((1, "cart", 0), (1, "promo", 9))) == [(1, "promo", "cart", "suppress")]


def test_of_equal_priorities_the_later_entry_yields():
    assert conflicts(stays((1, "promo", 1), (1, "welcome", 5))) == [(1, "promo", "welcome", "delay")]
    assert conflicts(stays((1, "promo", 5), (1, "welcome", 1))) == [(1, "welcome", "promo", "delay")]


def test_the_reason_names_both_and_their_priorities():
    found = workflow_conflicts(stays((1, "cart", 0), (1, "welcome", 9)), WORKFLOWS, RULES, as_of_day=NIGHT)
    assert found["reason"].to_list() == ["delay: 'Welcome' against 'Cart', priority 5 is below 9"]


def test_only_workflows_of_the_same_subscriber_with_a_rule_conflict():
    assert conflicts(stays((1, "cart", 0), (2, "promo", 0))) == []
    assert conflicts(stays((1, "cart", 0), (1, "news", 0), (1, "survey", 0))) == []


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 4), st.sampled_from(WORKFLOWS["workflow_id"].to_list()), st.integers(0, 3)),
        max_size=12,
        unique_by=lambda row: row[:2],
    )
)
def test_every_pair_under_a_rule_is_found_once(rows):
    by_name = {row["workflow_id"]: row for row in WORKFLOWS.to_dicts()}
    pairs = {frozenset((rule.category, rule.other_category)) for rule in RULES}
    expected = sum(
        first[0] == second[0] and frozenset((by_name[first[1]]["category"], by_name[second[1]]["category"])) in pairs
        for first, second in combinations(rows, 2)
    )
    assert len(conflicts(stays(*rows))) == expected


def test_a_proposed_workflow_is_checked_before_it_starts():
    active = stays((1, "cart", 3), (2, "welcome", 3), (3, "promo", 3), (4, "news", 1), (4, "welcome", 1))
    audience = pl.DataFrame({"subscriber_key": [1, 2, 3, 4, 5]})
    found = proposed_conflicts(
        active, WORKFLOWS, RULES, proposed_workflow_id="promo", audience=audience, as_of_day=NIGHT
    )
    assert found.select("subscriber_key", "workflow_id", "prevailing_workflow_id").rows() == [
        (1, "promo", "cart"),
        (2, "promo", "welcome"),
        (4, "promo", "welcome"),
    ]
    with pytest.raises(ValueError, match=r"'nothing' is not in flows\.yaml"):
        proposed_conflicts(active, WORKFLOWS, RULES, proposed_workflow_id="nothing", audience=audience, as_of_day=NIGHT)


def test_the_replay_counts_overlaps_inside_the_last_thirty_days_only():
    history = stays(
        (1, "cart", 10), (1, "promo", 50), (2, "cart", 60), (2, "promo", 60), (3, "cart", 20), (3, "promo", 5)
    )
    ends = [None, None, NIGHT - timedelta(days=40), None, NIGHT - timedelta(days=6), None]
    history = history.with_columns(exited_day=pl.Series(ends, dtype=pl.Date))
    row = ConflictReplay.validate(conflict_replay(history, WORKFLOWS, RULES, as_of_day=NIGHT)).row(0, named=True)
    assert (row["workflow_id"], row["prevailing_workflow_id"]) == ("promo", "cart")
    assert (row["subscribers"], row["collisions"], row["collision_days"]) == (1, 1, 11)
    long = stays((1, "cart", 90), (1, "promo", 90)).with_columns(exited_day=pl.lit(None, dtype=pl.Date))
    assert conflict_replay(long, WORKFLOWS, RULES, as_of_day=NIGHT)["collision_days"].item() == REPLAY_DAYS


def planned(*rows: tuple[int, str, int, int]) -> pl.DataFrame:
    """Subscriber, workflow, days from tonight, hour."""
    return pl.DataFrame(
        [
            (key, workflow, "1", NIGHT + timedelta(days=days), datetime(2026, 6, 30, hour) + timedelta(days=days))
            for key, workflow, days, hour in rows
        ],
        schema={
            "subscriber_key": pl.Int64,
            "workflow_id": pl.String,
            "step_id": pl.String,
            "local_day": pl.Date,
            "planned_at": pl.Datetime("us"),
        },
        orient="row",
    )


def test_the_cap_keeps_the_highest_priority_and_moves_the_rest():
    sends = planned((1, "news", 0, 8), (1, "cart", 0, 20), (2, "news", 0, 8))
    capped = cap_sends(sends, WORKFLOWS, daily_cap=1)
    assert capped["is_capped"].to_list() == [True, False, False]
    assert capped["resolved_local_day"][0] == NIGHT + timedelta(days=1)
    assert capped["reason"][0].startswith("cap of 1 a local day")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 2), st.sampled_from(["cart", "promo", "news"]), st.integers(0, 2), st.integers(0, 23)),
        max_size=10,
    ),
    st.integers(1, 3),
)
def test_no_local_day_exceeds_the_cap_and_nothing_is_lost_or_sent_early(rows, cap):
    sends = planned(*rows)
    capped = cap_sends(sends, WORKFLOWS, daily_cap=cap)
    assert capped.select(sends.columns).equals(sends)
    assert (capped["resolved_local_day"] >= capped["local_day"]).all()
    assert capped.group_by("subscriber_key", "resolved_local_day").len()["len"].max() in (None, *range(1, cap + 1))


def test_nothing_active_has_no_conflict():
    assert conflicts(stays()) == []
    assert workflow_conflicts(stays((1, "cart", 0)), WORKFLOWS, [], as_of_day=NIGHT).is_empty()
