"""Members, recipients and orders against announced totals: equal, or the reason why not."""

from datetime import date
from typing import Any

import polars as pl
import pytest

from pipeline.analysis.performance.announced import METRIC, collections
from pipeline.common.time import day_number
from pipeline.schemas.base import empty
from pipeline.schemas.lake import DELETED, NO_ADDRESS, Members, Orders, Renamed, Sends, Sources
from pipeline.schemas.vocabulary import ReconciledMetric, words
from tests.worlds.facts import rows

AS_OF = date(2026, 6, 29)
TONIGHT = day_number(AS_OF)


def compare(source: dict[str, Any], forgotten: int = 0, **tables: pl.DataFrame) -> dict[str, dict[str, Any]]:
    models = {"members": Members, "sends": Sends, "orders": Orders, "renamed": Renamed}
    known = rows(Sources, {"source_id": "x", "state": "read", "as_of_day": TONIGHT, **source})
    scans = {name: tables.get(name, empty(model)).lazy() for name, model in models.items()}
    found = collections(known.lazy(), **scans, forgotten=forgotten, as_of=AS_OF)
    return {row["metric"]: row for row in found.iter_rows(named=True)}


def members(*statuses: str) -> pl.DataFrame:
    people = [{"subscriber_key": key, "status": status} for key, status in enumerate(statuses)]
    return rows(Members, *people, audience_id="x", as_of_day=TONIGHT)


def recipients(number: int) -> pl.DataFrame:
    return rows(Sends, *({"subscriber_key": key} for key in range(number)), campaign_id="x", status="sent",
                sent_at_source="campaign", as_of_day=TONIGHT)  # fmt: skip


def test_members_recipients_and_orders_are_each_held_against_their_total():
    bought = rows(Orders, {"order_id": "a", "subscriber_key": 1}, {"order_id": "b"}, store_id="x", as_of_day=TONIGHT)
    found = {
        "members": compare({"kind": "audience", "announced": 2}, members=members("subscribed", "archived")),
        "recipients": compare({"kind": "campaign", "announced": 3}, sends=recipients(3)),
        "orders": compare({"kind": "store", "announced": 2}, orders=bought),
    }
    assert {metric: table[metric]["reason"] for metric, table in found.items()} == dict.fromkeys(found, "equal")
    assert {metric: table[metric]["counted"] for metric, table in found.items()} == {
        "members": 2,
        "recipients": 3,
        "orders": 2,
    }


@pytest.mark.parametrize(
    ("announced", "reason"), [(4, "equal"), (5, "forgotten people"), (6, "forgotten people"), (7, "unexplained")]
)
def test_no_more_are_missing_for_being_forgotten_than_were(announced: int, reason: str):
    found = compare({"kind": "audience", "announced": announced}, forgotten=2, members=members(*["subscribed"] * 4))
    assert found["members"]["reason"] == reason


@pytest.mark.parametrize(
    ("source", "held", "reason"),
    [
        ({"announced": 3}, 4, "deleted members"),
        ({"announced": 5, "set_aside": 1}, 4, "set aside"),
        ({"announced": 6, "set_aside": 1, "left_out": 1}, 4, "set aside"),
        ({"announced": 5, "left_out": 1}, 4, "left out"),
        ({"announced": 7, "left_out": 1}, 4, "unexplained"),
        ({"announced": 6, "later": '{"sent": 2}'}, 4, "after tonight"),
        ({"announced": 6, "left_out": 2, "later": '{"sent": 2}'}, 4, "after tonight"),
        ({"announced": 7, "set_aside": 1, "later": '{"sent": 2}'}, 4, "set aside"),
        ({"announced": 7, "later": '{"sent": 2, "opens": 9}'}, 4, "unexplained"),
        ({"announced": 7, "detail": "sent-to: 7 announced, 4 ever returned"}, 4, "announced, never returned"),
        ({"announced": 7}, 4, "unexplained"),
        ({"announced": None}, 4, "no total announced"),
        ({"state": "gone", "since_day": TONIGHT - 1, "name": "News"}, 4, "gone since 2026-06-28 (News)"),
        ({"state": "failed", "since_day": TONIGHT - 2, "detail": "/x: 5"}, 4, "not read since 2026-06-27: /x: 5"),
        ({"state": "failed", "detail": "/x: 500"}, 0, "never read: /x: 500"),
    ],
)  # fmt: skip
def test_a_difference_has_a_name(source: dict[str, Any], held: int, reason: str):
    assert compare({"kind": "campaign", **source}, sends=recipients(held))["recipients"]["reason"] == reason


def test_members_who_were_deleted_are_not_counted_and_those_without_address_are_told():
    held = members("subscribed", DELETED, NO_ADDRESS)
    table = compare({"kind": "audience", "announced": 2}, members=held)
    assert (table["members"]["counted"], table["members"]["reason"]) == (2, "equal")
    assert table["members without address"]["counted"] == 1


def test_orders_of_guests_and_changed_addresses_are_told():
    bought = rows(Orders, {"order_id": "a"}, store_id="x", as_of_day=TONIGHT)
    assert compare({"kind": "store", "announced": 1}, orders=bought)["orders of guests"]["counted"] == 1
    moved = [{"address_key": 2, "as_of_day": TONIGHT}, {"address_key": 3, "as_of_day": TONIGHT - 1}]
    table = compare(
        {"kind": "audience", "announced": 0}, renamed=rows(Renamed, *moved, subscriber_key=1, audience_id="x")
    )
    assert table["changed addresses"]["counted"] == 1


def test_what_has_no_total_has_a_row_only_if_it_went_away_or_failed():
    assert compare({"kind": "automation", "announced": 2}) == {}
    gone = compare({"kind": "automation", "announced": 2, "state": "unlisted", "since_day": TONIGHT})
    assert gone["emails"]["reason"] == "gone since 2026-06-29"
    kept = {
        "kind": "table",
        "source_id": "orders",
        "state": "failed",
        "since_day": TONIGHT - 1,
        "detail": "/stores: 500",
    }
    assert compare(kept)["table"]["reason"] == "not read since 2026-06-28: /stores: 500"


def test_only_what_was_known_by_the_night_counts():
    later = members("subscribed").with_columns(as_of_day=pl.lit(TONIGHT + 1))
    assert compare({"kind": "audience", "announced": 0}, members=later)["members"]["counted"] == 0


def test_whatever_is_compared_is_a_metric_of_the_reconciliation():
    assert set(METRIC.values()) <= set(words(ReconciledMetric))


def test_of_several_notes_of_one_night_the_last_one_counts():
    first = {"kind": "campaign", "source_id": "x", "state": "read", "announced": 4, "as_of_day": TONIGHT, "notes": 1}
    last = {**first, "left_out": 1, "notes": 2}
    for notes in ([first, last], [last, first]):
        found = collections(
            rows(Sources, *notes).lazy(),
            empty(Members).lazy(),
            recipients(3).lazy(),
            *(empty(model).lazy() for model in (Orders, Renamed)),
            forgotten=0,
            as_of=AS_OF,
        )
        assert found.filter(metric="recipients")["reason"].to_list() == ["left out"]
