import json
from datetime import date
from typing import Any

import polars as pl
import pytest

from pipeline.analysis.performance.announced import collections, not_held_yet
from pipeline.analysis.performance.reconciliation import ACTIVITY_CAP, reconciliation
from pipeline.common.time import day_number
from pipeline.schemas.base import empty
from pipeline.schemas.core import CoreEngagements, CoreMessages
from pipeline.schemas.lake import Members, Orders, Renamed, Reports, Sends, Sources
from pipeline.schemas.reductions import StepDays
from tests.worlds.facts import linear_flow, rows

AS_OF = date(2026, 6, 29)
TONIGHT = day_number(AS_OF)
STEPS = linear_flow("welcome")[1].with_columns(campaign_id=pl.lit("c1"))
# The counts of a real report: `unique_clicks` counts links, so it must not be what people are held against.
REPORTED = {
    "emails_sent": 50,
    "hard_bounces": 0,
    "soft_bounces": 0,
    "opens_total": 90,
    "unique_opens": 40,
    "clicks_total": 60,
    "unique_clicks": 47,
    "unique_subscriber_clicks": 33,
    "click_rate": 0.66,
    "unsubscribed": 2,
    "abuse_reports": 1,
}
NOTHING_LISTED = collections(
    *(empty(model).lazy() for model in (Sources, Members, Sends, Orders, Renamed)), forgotten=0, as_of=AS_OF
)
NOBODY_AGAIN = pl.Series([], dtype=pl.String)
NOTHING_LATER = not_held_yet(empty(Sources).lazy(), as_of=AS_OF)
COUNTED = {
    "sent": 50,
    "delivered": 50,
    "opens": 90,
    "unique_opens": 40,
    "clicks": 60,
    "unique_clicks": 33,
    "unsubscribes": 2,
    "complaints": 1,
}


def compare(
    counted: dict[str, Any] | None = None,
    reported: dict[str, Any] | None = None,
    messages: pl.DataFrame | None = None,
    engagements: pl.DataFrame | None = None,
    later: dict[str, int] | None = None,
    waiting: pl.DataFrame = NOTHING_LATER,
    again: pl.Series = NOBODY_AGAIN,
) -> dict[str, dict[str, Any]]:
    facts = {"workflow_key": 1, "step_key": 1, "day": TONIGHT - 3, **COUNTED, **(counted or {})}
    table = reconciliation(
        rows(StepDays, facts),
        STEPS,
        rows(Reports, {"campaign_id": "c1", "as_of_day": TONIGHT, **REPORTED, **(reported or {})}),
        (empty(CoreMessages) if messages is None else messages).lazy(),
        (empty(CoreEngagements) if engagements is None else engagements).lazy(),
        NOTHING_LISTED,
        waiting if later is None else not_held_yet(read(later), as_of=AS_OF),
        again,
        as_of=AS_OF,
    )
    return {row["metric"]: row for row in table.iter_rows(named=True)}


def read(later: dict[str, int]) -> pl.LazyFrame:
    source = {"kind": "campaign", "source_id": "c1", "state": "read", "later": json.dumps(later), "as_of_day": TONIGHT}
    return rows(Sources, source).lazy()


def message(**more: Any) -> pl.DataFrame:
    return rows(CoreMessages, {"campaign_id": "c1", "step_key": 1, "day": TONIGHT - 3, **more})


def opened(occurred_us: int) -> pl.DataFrame:
    return rows(
        CoreEngagements, {"campaign_id": "c1", "action": "open", "occurred_us": occurred_us, "day": TONIGHT - 3}
    )


def test_equal_counts_are_equal_and_people_are_held_against_people():
    table = compare()
    assert {row["reason"] for row in table.values()} == {"equal"}
    assert (table["unique_clicks"]["counted"], table["unique_clicks"]["reported"]) == (33, 33)
    assert table["click_rate"]["counted"] == pytest.approx(0.66)


def test_deleted_members_take_their_activity_along():
    table = compare({"sent": 48, "delivered": 48, "opens": 85, "unique_opens": 38})
    assert {metric: table[metric]["reason"] for metric in ("sent", "opens", "unique_opens", "click_rate")} == {
        "sent": "deleted members",
        "opens": "deleted members",
        "unique_opens": "deleted members",
        "click_rate": "deleted members",
    }
    assert table["sent"]["difference"] == -2


def test_two_deleted_members_do_not_explain_five_missing_openers():
    assert compare({"sent": 48, "delivered": 48, "unique_opens": 35})["unique_opens"]["reason"] == "unexplained"


def test_who_got_it_again_counts_once_more_in_the_report_and_their_opens_do_not():
    counted = {"sent": 20, "delivered": 20, "soft_bounces": 0, "unique_opens": 39, "unsubscribes": 1}
    table = compare(counted, {"soft_bounces": 1}, again=pl.Series(["c1"]))
    assert {metric: table[metric]["reason"] for metric in ("sent", "soft_bounces", "unsubscribes", "click_rate")} == {
        "sent": "re-entry",
        "soft_bounces": "re-entry",
        "unsubscribes": "re-entry",
        "click_rate": "re-entry",
    }
    assert table["unique_opens"]["reason"] == "unexplained"


def test_half_a_campaign_is_not_deleted_members():
    assert compare({"sent": 25, "delivered": 25})["sent"]["reason"] == "unexplained"


def test_a_report_without_messages_says_so():
    table = reconciliation(
        empty(StepDays),
        STEPS,
        rows(Reports, {"campaign_id": "c1", "as_of_day": TONIGHT, **REPORTED}),
        empty(CoreMessages).lazy(),
        empty(CoreEngagements).lazy(),
        NOTHING_LISTED,
        NOTHING_LATER,
        NOBODY_AGAIN,
        as_of=AS_OF,
    )
    assert dict(table.select("metric", "reason").iter_rows())["sent"] == "no messages"
    assert dict(table.select("metric", "reason").iter_rows())["hard_bounces"] == "equal"


def test_opens_of_bounced_messages_are_the_reports_alone():
    row = compare({"unique_opens": 39}, messages=message(bounce_kind="hard", opens=1))["unique_opens"]
    assert row["reason"] == "bounced recipients"


def test_totals_hold_the_opens_of_bounced_messages_too():
    assert compare({"opens": 89}, messages=message(bounce_kind="hard", opens=1))["opens"]["reason"] == "unexplained"


def test_the_cap_on_returned_opens_is_named():
    assert compare({"opens": 80}, messages=message(opens=ACTIVITY_CAP))["opens"]["reason"] == "capped at 1,000"
    assert compare({"opens": 80}, messages=message(opens=ACTIVITY_CAP - 1))["opens"]["reason"] == "unexplained"


def test_whichever_was_read_later_is_named():
    evidence = {"messages": message(opens=1), "engagements": opened(1000)}
    newer = compare({"unique_opens": 39}, {"last_open_us": 2000}, **evidence)["unique_opens"]
    older = compare({"unique_opens": 41}, {"last_open_us": 500}, **evidence)["unique_opens"]
    assert (newer["reason"], older["reason"]) == ("report newer than activity", "activity newer than report")


def test_malformed_addresses_count_as_hard_bounces():
    assert compare({"hard_bounces": 3}, {"hard_bounces": 1, "syntax_errors": 2})["hard_bounces"]["reason"] == "equal"


def test_what_nothing_explains_says_so():
    assert compare({"complaints": 3})["complaints"]["reason"] == "unexplained"


def test_a_campaign_without_report_is_listed():
    table = reconciliation(
        rows(StepDays, {"workflow_key": 1, "step_key": 1, "day": TONIGHT, **COUNTED}),
        STEPS,
        empty(Reports),
        empty(CoreMessages).lazy(),
        empty(CoreEngagements).lazy(),
        NOTHING_LISTED,
        NOTHING_LATER,
        NOBODY_AGAIN,
        as_of=AS_OF,
    )
    assert table["reason"].unique().to_list() == ["no report"]


LATER = [
    ("sent", {"sent": 49, "delivered": 49}, {"sent": 1}),
    ("hard_bounces", {"hard_bounces": 0}, {"hard_bounces": 2}),
    ("soft_bounces", {"soft_bounces": 0}, {"soft_bounces": 2}),
    ("unsubscribes", {"unsubscribes": 1}, {"unsubscribes": 1}),
    ("complaints", {"complaints": 0}, {"complaints": 1}),
    ("opens", {"opens": 87}, {"opens": 3}),
    ("unique_opens", {"unique_opens": 38}, {"opens": 2}),
    ("clicks", {"clicks": 59}, {"clicks": 1}),
    ("unique_clicks", {"unique_clicks": 30}, {"clicks": 3}),
    ("click_rate", {"unique_clicks": 30}, {"clicks": 3}),
]


@pytest.mark.parametrize(("metric", "counted", "later"), LATER)
def test_what_came_after_tonight_is_named_and_explains_no_more_than_its_number(metric, counted, later):
    reported = {"hard_bounces": 2, "soft_bounces": 2}
    standing = {"hard_bounces": 2, "soft_bounces": 2, **counted}
    assert compare(standing, reported, later=later)[metric]["reason"] == "after tonight"
    assert compare(standing, reported)[metric]["reason"] != "after tonight"
    if metric != "click_rate":
        fewer = {name: number - 1 for name, number in later.items()}
        assert compare(standing, reported, later=fewer)[metric]["reason"] != "after tonight"


def test_feeds_that_are_not_read_yet_explain_no_more_than_their_people():
    source = {"kind": "campaign", "source_id": "c1", "state": "read", "announced": 50, "as_of_day": TONIGHT}
    fewer = {"sent": 40, "delivered": 40, "opens": 70, "unique_opens": 32, "unique_clicks": 26}
    reasons = {}
    for unread in (10, 7):
        waiting = not_held_yet(rows(Sources, {**source, "unread": unread}).lazy(), as_of=AS_OF)
        table = compare(fewer, waiting=waiting)
        reasons[unread] = {metric: row["reason"] for metric, row in table.items()}
    told = "feeds not read yet: 10 of 50 people"
    assert {reasons[10][metric] for metric in ("sent", "opens", "unique_opens", "unique_clicks", "click_rate")} == {
        told
    }
    assert reasons[10]["complaints"] == "equal"
    assert reasons[7]["sent"] != told.replace("10", "7")


def test_deleted_members_and_what_came_after_tonight_add_up():
    """Of two messages that are missing one is of tomorrow, so one member was deleted, with an unsubscribe."""
    table = compare({"sent": 48, "delivered": 48, "unsubscribes": 0}, later={"sent": 1, "unsubscribes": 1})
    assert {table[metric]["reason"] for metric in ("sent", "unsubscribes")} == {"deleted members"}
