"""What is stored of people, reports and activity; facts of the API, one test each, over HTTP."""

from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from pipeline.common import errors
from pipeline.mailchimp import pulls as pull
from pipeline.mailchimp.fields import instant
from pipeline.schemas import lake as tables
from tests.mailchimp.fake_account import (
    AUDIENCE,
    KEYS,
    NIGHT,
    automation_email,
    click,
    member,
    member_id,
    opened,
    order,
    report,
    rows,
    served,
    subscriber,
)

SENT_AT = "2026-06-20T10:00:00+00:00"
LONG_AGO = "2026-01-05T10:00:00+00:00"


def test_archived_members_come_by_a_sweep_of_their_own(account, tmp_path):
    account.archived = [member(2, status="archived")]
    with served(account, tmp_path) as night:
        night.run()
        night.run(NIGHT + timedelta(days=1))
    assert {row["subscriber_key"]: row["status"] for row in rows(night, tables.Members)} == {
        subscriber(1): "subscribed",
        subscriber(2): "archived",
    }
    pages = [query for query in account.asked(f"{AUDIENCE}/members") if query["count"] == "1000"]
    assert [query.get("status") for query in pages] == [None, "archived"] * 2


def test_missing_dates_come_as_empty_text(account, tmp_path):
    account.members = [
        member(1, timestamp_signup="", timestamp_opt="2026-02-01T00:00:00+00:00"),
        member(2, timestamp_signup="", timestamp_opt=""),
    ]
    account.add_campaign("draft", [], "")
    with served(account, tmp_path) as night:
        night.run()
    signups = {row["subscriber_key"]: row["signup_us"] for row in rows(night, tables.Members)}
    assert signups == {subscriber(1): instant("2026-02-01T00:00:00+00:00"), subscriber(2): None}
    assert rows(night, tables.Campaigns)[0]["sent_us"] is None
    (stored,) = rows(night, tables.Reports)
    assert (stored["last_open_us"], stored["last_click_us"]) == (None, None)
    assert rows(night, tables.Quarantine) == []


def test_another_account_is_not_mixed_into_the_same_lake(account, tmp_path):
    with served(account, tmp_path) as night:
        night.run()
    before = sorted(path.name for path in tmp_path.rglob("*.parquet"))
    account.found[""] = {**account.found[""], "account_id": "another"}
    with served(account, tmp_path) as night, pytest.raises(errors.ConfigurationError, match="another account"):
        night.run(NIGHT + timedelta(days=1))
    assert sorted(path.name for path in tmp_path.rglob("*.parquet")) == before


def test_zones_are_kept_as_told(account, tmp_path):
    """ "" or no IANA name at all: what to make of it is decided when subscribers are built."""
    zones = {1: "", 2: "Europe/Vienna", 3: "Central Standard Time"}
    account.members = [member(number, location={"timezone": zone, "gmtoff": -6}) for number, zone in zones.items()]
    with served(account, tmp_path) as night:
        night.run()
    found = {row["subscriber_key"]: (row["timezone"], row["gmt_offset_hours"]) for row in rows(night, tables.Members)}
    assert found == {subscriber(number): (zone or None, -6.0) for number, zone in zones.items()}


def test_personal_merge_fields_are_not_stored(account, tmp_path):
    """By tag as configured, by kind as Mailchimp tells it, and addresses wherever they stand."""
    fields = {
        "FNAME": "Ada",
        "HOME": {"addr1": "1 Example St"},
        "PLAN": "pro",
        "BOSS": "write to boss@example.com, soon",
        "CRM": "c-17",
    }
    account.found[f"/lists/{AUDIENCE}/merge-fields"] = ("merge_fields", [{"tag": "HOME", "type": "address"}])
    account.members = [
        member(1, merge_fields=fields, tags=[{"id": 1, "name": "vip"}, {"id": 2, "name": "a@b.example"}])
    ]
    with served(account, tmp_path, external_id_field="CRM") as night:
        night.run()
    (stored,) = rows(night, tables.Members)
    assert stored["merge_fields"] == '{"BOSS": "write to (removed), soon", "PLAN": "pro"}'
    assert stored["tags"] == '["(removed)", "vip"]'
    assert night.lake.addresses()["external_id"].to_list() == ["c-17"]


@pytest.mark.parametrize(
    ("value", "expected"), [(" c-17 ", "c-17"), (17.0, "17"), (17, "17"), ("  ", None), ([], None)]
)
def test_an_external_id_is_the_one_that_events_name(account, tmp_path, value, expected):
    account.members = [member(1, merge_fields={"CRM": value})]
    with served(account, tmp_path, external_id_field="CRM") as night:
        night.run()
    assert night.lake.addresses()["external_id"].to_list() == [expected]


def test_a_members_key_is_that_of_the_lower_cased_address(account, tmp_path):
    account.members = [member(1, id=member_id(1).upper(), email_address="Person-1@Example.com")]
    with served(account, tmp_path) as night:
        night.run()
    assert rows(night, tables.Members)[0]["subscriber_key"] == KEYS.of_address("person-1@example.com")


def test_incomplete_enums_do_not_fail(account, tmp_path):
    account.add_automation(
        "flow", automation_email("mail1", 1, amount=1, type="fortnight", direction="after", action="new_action")
    )
    with served(account, tmp_path) as night:
        night.run()
    assert rows(night, tables.Automations)[0]["workflow_type"] == "singleWelcome"
    (stored,) = rows(night, tables.AutomationEmails)
    assert (stored["delay_hours"], stored["delay_action"]) == (None, "new_action")


@pytest.mark.parametrize(
    ("delay", "hours"),
    [
        ({"amount": 1, "type": "day", "direction": "after"}, 24.0),
        ({"amount": 2, "type": "week", "direction": "before"}, -336.0),
        ({"amount": 3, "type": "hour", "direction": "after"}, 3.0),
        ({"type": "now"}, 0.0),
        ({}, None),
    ],
)
def test_delays_become_hours(delay, hours, account, tmp_path):
    account.add_automation("flow", automation_email("mail1", 1, **delay))
    with served(account, tmp_path) as night:
        night.pull(pull.pull_automations)
    assert rows(night, tables.AutomationEmails)[0]["delay_hours"] == hours


def test_a_queue_names_the_member_by_id_and_the_email_by_email_id(account, tmp_path):
    """In reports `email_id` is the member's; in queues it is the e-mail's."""
    account.add_automation("flow", automation_email("mail1", 1))
    waiting = {"id": member_id(1), "email_id": "mail1", "next_send": "2026-07-02T00:00:00+00:00"}
    account.found["/automations/flow/emails/mail1/queue"] = {"queue": [waiting], "total_items": 1}
    account.found["/automations/flow/removed-subscribers"] = {"subscribers": [{"id": member_id(2)}], "total_items": 1}
    with served(account, tmp_path) as night:
        night.run()
    (queued,) = rows(night, tables.AutomationQueue)
    assert (queued["subscriber_key"], queued["step_id"]) == (subscriber(1), "mail1")
    assert queued["next_send_us"] == instant("2026-07-02T00:00:00+00:00")
    assert rows(night, tables.RemovedSubscribers)[0]["subscriber_key"] == subscriber(2)


def test_reports_missing_in_the_list_are_asked_for_by_the_emails_id(account, tmp_path):
    """And one that was deleted meanwhile is no failure: deletion leaves no other trace."""
    account.add_automation("flow", automation_email("mail1", 1), automation_email("deleted", 2))
    account.found["/reports/mail1"] = report("mail1", 0, "")
    with served(account, tmp_path) as night:
        night.run()
    assert [row["campaign_id"] for row in rows(night, tables.Reports)] == ["mail1"]


def test_click_rate_is_a_share_of_people_among_the_delivered(account, tmp_path):
    """The real report of the facts: 50 sent, 0 bounces, 47 unique clicks by 33 people; list_stats are percentages."""
    clicks = {
        "clicks_total": 60,
        "unique_clicks": 47,
        "unique_subscriber_clicks": 33,
        "click_rate": 0.66,
        "last_click": "",
    }
    account.found["/reports"] = (
        "reports",
        [report("news", 50, LONG_AGO, clicks=clicks, list_stats={"open_rate": 42.0, "click_rate": 7.0})],
    )
    with served(account, tmp_path) as night:
        night.pull(pull.pull_reports)
    (stored,) = rows(night, tables.Reports)
    assert stored["click_rate"] == stored["unique_subscriber_clicks"] / stored["emails_sent"] == 0.66


def test_two_links_in_one_second_are_two_rows(account, tmp_path):
    account.add_campaign("news", [1], SENT_AT)
    time = "2026-06-20T12:00:00+00:00"
    account.add_activity("news", 1, click(time, "https://example.com/a"), click(time, "https://example.com/b"))
    with served(account, tmp_path) as night:
        night.run()
    assert {row["url"] for row in rows(night, tables.EmailActivity)} == {
        "https://example.com/a",
        "https://example.com/b",
    }


def test_addresses_within_links_are_not_stored(account, tmp_path):
    account.add_campaign("news", [1], SENT_AT)
    url = "https://example.com/?u=person-1%40example.com&mail=person-1@example.com&page=2"
    account.add_activity("news", 1, click("2026-06-20T12:00:00+00:00", url))
    with served(account, tmp_path) as night:
        night.run()
    assert rows(night, tables.EmailActivity)[0]["url"] == "https://example.com/?u=(removed)&mail=(removed)&page=2"


def test_unsubscribes_and_complaints_have_their_own_places(account, tmp_path):
    account.add_campaign("news", [1], SENT_AT)
    time = "2026-06-21T12:00:00+00:00"
    account.found["/reports/news/unsubscribed"] = (
        "unsubscribes",
        [{"email_id": member_id(1), "timestamp": time, "reason": "ask me at person-1@example.com"}],
    )
    account.found["/reports/news/abuse-reports"] = ("abuse_reports", [{"email_id": member_id(1), "date": time}])
    with served(account, tmp_path) as night:
        night.run()
    (left,), (complained,) = rows(night, tables.Unsubscribes), rows(night, tables.AbuseReports)
    assert left["reason"] == "ask me at (removed)"
    assert {left["subscriber_key"], complained["subscriber_key"]} == {subscriber(1)}
    assert {left["occurred_us"], complained["occurred_us"]} == {instant(time)}
    assert rows(night, tables.EmailActivity) == []


def test_bounces_stand_in_sent_to(account, tmp_path):
    account.add_campaign("news", [1, 2, 3], SENT_AT)
    for one, status in zip(account.found["/reports/news/sent-to"][1], ("sent", "hard", "soft"), strict=True):
        one["status"] = status
    with served(account, tmp_path) as night:
        night.run()
    assert {row["subscriber_key"]: row["status"] for row in rows(night, tables.Sends)} == {
        subscriber(1): "sent",
        subscriber(2): "hard",
        subscriber(3): "soft",
    }


def test_deleted_members_take_their_activity_along(account, tmp_path):
    """Our sums then run below the report's; that is no error."""
    account.add_campaign("news", [1, 2], SENT_AT)
    account.found["/reports"] = ("reports", [report("news", 3, SENT_AT)])
    with served(account, tmp_path) as night:
        night.run()
    assert rows(night, tables.Reports)[0]["emails_sent"] == 3
    assert len(rows(night, tables.Sends)) == 2


def test_orders_are_scanned_whole_and_kept_undeducted(account, tmp_path):
    """They have no time filter; the oldest are kept even when reading starts later, for first purchases need them."""
    account.add_store(
        "shop",
        order("old", "2020-01-01T00:00:00+00:00"),
        order("later", "2026-06-30T00:00:00+00:00"),
        order("broken", SENT_AT, order_total="about twenty"),
    )
    with served(account, tmp_path, first_day=date(2026, 1, 1)) as night:
        summary = night.pull(pull.pull_orders)
    (stored,) = rows(night, tables.Orders)
    assert (stored["total_cents"], stored["tax_cents"], stored["shipping_cents"]) == (1999, 110, 435)
    assert stored["subscriber_key"] == subscriber(1)
    assert summary.quarantined == 1
    assert set(account.asked("/shop/orders")[0]) == {"count", "offset", "fields"}


def test_reading_starts_on_the_first_day(account, tmp_path):
    account.add_campaign("news", [1], LONG_AGO)
    account.add_activity("news", 1, opened("2026-01-06T00:00:00+00:00"), opened("2026-03-06T00:00:00+00:00"))
    with served(account, tmp_path, first_day=date(2026, 2, 1)) as night:
        night.run()
    assert [row["occurred_us"] for row in rows(night, tables.EmailActivity)] == [instant("2026-03-06T00:00:00+00:00")]


def test_a_campaign_of_tomorrow_is_not_sent_tonight(account, tmp_path):
    account.add_campaign("news", [1], "2026-06-30T10:00:00+00:00")
    with served(account, tmp_path) as night:
        night.run()
        (campaign,) = rows(night, tables.Campaigns)
        assert (campaign["sent_us"], campaign["emails_sent"]) == (None, 0)
        assert rows(night, tables.Reports) == rows(night, tables.Sends) == []
        night.run(date(2026, 6, 30))
    assert len(rows(night, tables.Sends)) == 1


def test_damage_in_events_is_set_aside_event_by_event(account, tmp_path):
    account.add_campaign("news", [1], SENT_AT)
    good = click("2026-06-20T12:00:00+00:00")
    account.add_activity(
        "news", 1, good, {"action": "wink", "timestamp": SENT_AT}, {"action": "open", "timestamp": ""}, "no event"
    )
    with served(account, tmp_path) as night:
        night.run()
    assert len(rows(night, tables.EmailActivity)) == 1
    reasons = night.lake.latest(tables.Quarantine).collect()
    assert set(reasons["source"]) == {"email_activity"}
    assert reasons.height == 3


def test_an_answer_of_another_shape_stops_the_pull_before_anything_is_written(account, tmp_path):
    account.add_campaign("news", list(range(20)), SENT_AT)
    for one in account.found["/reports/news/sent-to"][1]:
        one["status"] = {"code": "sent"}
    with served(account, tmp_path) as night, pytest.raises(errors.ContractBrokenError) as raised:
        night.run()
    assert raised.value.field == "status"
    assert rows(night, tables.Sends) == []


def test_no_address_and_no_ip_reaches_the_lake(account, tmp_path):
    account.add_campaign("news", [1], SENT_AT)
    account.add_activity("news", 1, opened("2026-06-20T12:00:00+00:00", "198.51.100.77"))
    with served(account, tmp_path) as night:
        night.run()
    for file in Path(night.lake.root).rglob("*.parquet"):
        if file.parent.name != "addresses":
            shown = str(pl.read_parquet(file).to_dicts())
            assert "198.51.100" not in shown
            assert "person-1" not in shown
            assert member_id(1) not in shown


def test_orders_in_other_currencies_are_told_once_and_a_currency_is_known_in_any_writing(account, tmp_path):
    others = [
        order(f"{at}", SENT_AT, currency_code=code) for at, code in enumerate(("usd", " USD ", "eur", "EUR", None))
    ]
    account.add_store("shop", *others)
    account._items("/ecommerce/stores")[0]["currency_code"] = "usd"
    with served(account, tmp_path, currency="usd") as night:
        night.pull(pull.pull_orders)
        assert night.pull(pull.pull_orders, NIGHT + timedelta(days=1)).quarantined == 0
    stored = {row["order_id"]: row["currency"] for row in rows(night, tables.Orders)}
    assert stored == {"0": "USD", "1": "USD", "2": "EUR", "3": "EUR", "4": "USD"}
    (told,) = rows(night, tables.Quarantine)
    assert told["reference"] == "/ecommerce/stores/shop/orders in EUR"
    assert told["reason"] == "is not the workspace's currency USD: such orders count nowhere"
