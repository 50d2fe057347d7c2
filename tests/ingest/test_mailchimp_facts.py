"""The facts and quirks of the Mailchimp API that decide how we read it, one test each, over HTTP."""

import base64
import logging
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import requests

from pipeline.ingest import errors, mailchimp, pull
from pipeline.ingest.mailchimp_fields import instant
from pipeline.ingest.mailchimp_rows import is_image_proxy
from pipeline.schemas import lake as tables
from tests.ingest.contract import CONTRACT, ContractViolationError, check
from tests.ingest.fake_account import (
    API_KEY,
    AUDIENCE,
    KEYS,
    NIGHT,
    FakeAccount,
    member,
    member_id,
    report,
    served,
    subscriber,
)
from tests.ingest.loopback import serve

FLOWS = """
flows:
  - id: onboarding
    steps:
      - {id: hello, campaign: journey1}
      - {id: tips, campaign: journey2, delay: 2 days}
"""
SENT_AT = "2026-06-20T10:00:00+00:00"
LONG_AGO = "2026-01-05T10:00:00+00:00"


def click(time: str, url: str = "https://example.com/a", ip: str = "203.0.113.9") -> dict[str, Any]:
    return {"action": "click", "timestamp": time, "url": url, "ip": ip}


def opened(time: str, ip: str = "203.0.113.9") -> dict[str, Any]:
    return {"action": "open", "timestamp": time, "ip": ip}


def email(step_id: str, position: int, **delay: Any) -> dict[str, Any]:
    return {
        "id": step_id,
        "position": position,
        "status": "sending",
        "delay": delay,
        "send_time": "",
        "emails_sent": 1,
        "settings": {"title": step_id, "subject_line": "Hello"},
    }


def rows(night, model) -> list[dict[str, Any]]:
    return night.lake.latest(model).collect().to_dicts()


@pytest.fixture
def account() -> FakeAccount:
    return FakeAccount()


# Journeys, delays and times of sending


def test_the_flow_map_names_the_journeys_that_the_api_hides(account, tmp_path):
    """A journey's e-mail looks like any campaign: only the flow map tells that its messages go out one by one."""
    (tmp_path / "definitions").mkdir()
    (tmp_path / "definitions" / "flows.yaml").write_text(FLOWS)
    account.add_campaign("journey1", [1], LONG_AGO)
    account.add_campaign("news", [1], LONG_AGO)
    account.set_feed(1, ("journey1", SENT_AT))
    with served(account, tmp_path) as night:
        night.run()
    found = {row["campaign_id"]: (row["sent_us"], row["sent_at_source"]) for row in rows(night, tables.Sends)}
    assert found == {"journey1": (instant(SENT_AT), "feed"), "news": (instant(LONG_AGO), "campaign")}


def test_automation_emails_are_sent_one_by_one(account, tmp_path):
    """Their time stands in the member's feed; the report is asked for by the e-mail's id, never the workflow's."""
    account.add_automation("flow", email("mail1", 1, amount=1, type="day", direction="after", action="signup"))
    account.add_campaign("mail1", [1], LONG_AGO)
    account.set_feed(1, ("mail1", SENT_AT))
    with served(account, tmp_path) as night:
        night.run()
    assert [(row["sent_us"], row["sent_at_source"]) for row in rows(night, tables.Sends)] == [
        (instant(SENT_AT), "feed")
    ]
    assert not any(path.startswith("/reports/flow") for path, _ in account.requests)


def test_an_undocumented_kind_of_campaign_is_taken_as_one_by_one(account, tmp_path):
    account.add_campaign("strange", [1], LONG_AGO, kind="automation-email")
    account.set_feed(1, ("strange", SENT_AT))
    with served(account, tmp_path) as night:
        night.run()
    assert rows(night, tables.Sends)[0]["sent_us"] == instant(SENT_AT)
    assert rows(night, tables.Campaigns)[0]["campaign_type"] == "automation-email"


def test_a_campaign_that_still_grows_after_days_is_one_by_one(account, tmp_path):
    account.add_campaign("slow", [1], "2026-06-01T10:00:00+00:00")
    with served(account, tmp_path) as night:
        night.run(date(2026, 6, 20))
        account.found["/reports/slow/sent-to"][1].append(
            {"email_id": member_id(2), "list_id": AUDIENCE, "status": "sent"}
        )
        account.found["/reports"] = ("reports", [report("slow", 2, "2026-06-01T10:00:00+00:00")])
        account.set_feed(2, ("slow", "2026-06-29T10:00:00+00:00"))
        night.run()
    assert {row["subscriber_key"]: row["sent_us"] for row in rows(night, tables.Sends)} == {
        subscriber(1): instant("2026-06-01T10:00:00+00:00"),
        subscriber(2): instant("2026-06-29T10:00:00+00:00"),
    }


def test_without_a_feed_the_time_is_signup_and_the_delays(account, tmp_path):
    """A deleted member has no feed any more; the second e-mail counts its delay from the first."""
    account.members = [member(1, timestamp_signup="2026-06-01T08:00:00+00:00")]
    account.add_automation(
        "flow",
        email("mail1", 1, amount=1, type="day", direction="after", action="signup"),
        email("mail2", 2, amount=5, type="hour", direction="after", action="previous_campaign_sent"),
    )
    for mail in ("mail1", "mail2"):
        account.add_campaign(mail, [1], LONG_AGO)
    with served(account, tmp_path) as night:
        night.run()
    found = {row["campaign_id"]: (row["sent_us"], row["sent_at_source"]) for row in rows(night, tables.Sends)}
    signup = instant("2026-06-01T08:00:00+00:00")
    assert found == {
        "mail1": (signup + 24 * 3_600_000_000, "computed"),
        "mail2": (signup + 29 * 3_600_000_000, "computed"),
    }


def test_the_flow_maps_delays_add_up_too(account, tmp_path):
    (tmp_path / "definitions").mkdir()
    (tmp_path / "definitions" / "flows.yaml").write_text(FLOWS)
    account.members = [member(1, timestamp_signup="2026-06-01T08:00:00+00:00")]
    account.add_campaign("journey2", [1], LONG_AGO)
    with served(account, tmp_path) as night:
        night.run()
    assert rows(night, tables.Sends)[0]["sent_us"] == instant("2026-06-03T08:00:00+00:00")


def test_a_computed_time_is_never_later_than_the_night_that_saw_the_message(account, tmp_path):
    account.members = [member(1, timestamp_signup="2026-06-29T20:00:00+00:00")]
    account.add_automation("flow", email("mail1", 1, amount=1, type="week", direction="after", action="signup"))
    account.add_campaign("mail1", [1], LONG_AGO)
    with served(account, tmp_path) as night:
        night.run()
    (send,) = rows(night, tables.Sends)
    assert send["sent_at_source"] == "computed"
    assert send["sent_us"] // 86_400_000_000 == (NIGHT - date(1970, 1, 1)).days


def test_a_known_time_needs_no_second_call(account, tmp_path):
    account.add_automation("flow", email("mail1", 1, amount=1, type="day", direction="after", action="signup"))
    account.add_campaign("mail1", [1], LONG_AGO)
    account.set_feed(1, ("mail1", SENT_AT))
    with served(account, tmp_path) as night:
        night.run()
        night.run()
        night.run(NIGHT + timedelta(days=1))
    assert len(account.asked("activity-feed")) == 1


# Machines


def test_both_passes_are_read_and_their_difference_is_machine(account, tmp_path):
    account.add_campaign("news", [1], SENT_AT)
    account.add_activity("news", 1, opened("2026-06-20T10:00:03+00:00"), human=False)
    account.add_activity("news", 1, opened("2026-06-20T12:00:00+00:00"), click("2026-06-20T12:00:09+00:00"))
    with served(account, tmp_path) as night:
        night.run()
    by_bot = {row["occurred_us"]: row["is_bot"] for row in rows(night, tables.EmailActivity)}
    assert by_bot == {
        instant("2026-06-20T10:00:03+00:00"): True,
        instant("2026-06-20T12:00:00+00:00"): False,
        instant("2026-06-20T12:00:09+00:00"): False,
    }


def test_the_unfiltered_pass_comes_first(account, tmp_path):
    """In the other order an event between the two passes would be taken for a bot's."""
    account.add_campaign("news", [1], SENT_AT)
    with served(account, tmp_path) as night:
        night.run()
    assert ["filter_bots" in query for query in account.asked("email-activity")] == [False, True]


def test_a_bounce_is_nobodys_act(account, tmp_path):
    account.add_campaign("news", [1], SENT_AT)
    account.add_activity(
        "news", 1, {"action": "bounce", "type": "soft", "timestamp": "2026-06-20T10:00:03+00:00"}, human=False
    )
    with served(account, tmp_path) as night:
        night.run()
    (bounce,) = rows(night, tables.EmailActivity)
    assert (bounce["is_bot"], bounce["bounce_kind"], bounce["ip_key"]) == (False, "soft", None)


@pytest.mark.parametrize(
    ("sent_at", "mark"), [("2024-06-21T23:59:59+00:00", None), ("2024-06-22T00:00:00+00:00", True)]
)
def test_proxy_marks_are_unknown_for_mail_older_than_the_mark(sent_at, mark, account, tmp_path):
    account.add_campaign("news", [1], sent_at)
    opens = [{"timestamp": "2024-07-01T00:00:00+00:00", "is_proxy_open": True}]
    account.found["/reports/news/open-details"] = ("members", [{"email_id": member_id(1), "opens": opens}])
    with served(account, tmp_path) as night:
        night.run()
    assert rows(night, tables.OpenDetails)[0]["is_proxy_open"] is mark


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("66.249.80.0", True),
        ("66.249.95.255", True),
        ("66.249.96.0", False),
        ("104.28.58.3", True),
        ("203.0.113.9", False),
        ("2a02::1", False),
        ("", False),
        ("no address", False),
    ],
)
def test_image_proxies_are_known_by_their_networks(address, expected):
    assert is_image_proxy(address) is expected


# The gate


def test_an_unchanged_campaign_is_not_read_again(account, tmp_path):
    account.add_campaign("news", [1], LONG_AGO)
    with served(account, tmp_path) as night:
        night.run()
        before = len(account.asked("/news/email-activity"))
        night.run(NIGHT + timedelta(days=1))
    assert before == len(account.asked("/news/email-activity")) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"emails_sent": 2},
        {"opens": {"opens_total": 1, "unique_opens": 1, "last_open": "2026-06-28T00:00:00+00:00"}},
        {
            "clicks": {
                "clicks_total": 1,
                "unique_clicks": 1,
                "unique_subscriber_clicks": 1,
                "last_click": "2026-06-28T00:00:00+00:00",
            }
        },
        {"bounces": {"hard_bounces": 1, "soft_bounces": 0, "syntax_errors": 0}},
        {"bounces": {"hard_bounces": 0, "soft_bounces": 1, "syntax_errors": 0}},
        {"unsubscribed": 1},
        {"abuse_reports": 1},
    ],
    ids=str,
)
def test_any_change_in_the_report_reads_the_campaign_again(change, account, tmp_path):
    account.add_campaign("news", [1], LONG_AGO)
    with served(account, tmp_path) as night:
        night.run()
        account.found["/reports"] = ("reports", [{**report("news", 1, LONG_AGO), **change}])
        night.run(NIGHT + timedelta(days=1))
    assert len(account.asked("/news/email-activity")) == 4


def test_bounces_move_no_time_so_a_recent_campaign_is_read_for_five_days(account, tmp_path):
    account.add_campaign("news", [1], "2026-06-20T10:00:00+00:00")
    with served(account, tmp_path) as night:
        for day in range(20, 30):
            night.run(date(2026, 6, day))
        passes = len(account.asked("/news/email-activity"))
        assert passes == 2 * (1 + night.settings.recheck_days)


def test_since_filters_events_and_never_recipients(account, tmp_path):
    """A later pull still pages through all recipients, whose activity may be empty."""
    account.add_campaign("news", [1, 2], SENT_AT)
    account.add_activity("news", 1, opened("2026-06-20T12:00:00+00:00"))
    with served(account, tmp_path) as night:
        night.run(date(2026, 6, 20))
        night.run(date(2026, 6, 21))
    first, _, second, _ = account.asked("/news/email-activity")
    assert "since" not in first
    assert second["since"] == "2026-06-15T23:59:59+00:00"
    assert len(rows(night, tables.EmailActivity)) == 1


def test_what_lies_after_the_night_waits_for_its_own(account, tmp_path):
    """A night in the past sees a report of today: the campaign counts as unread until nothing had to wait."""
    account.add_campaign("news", [1], "2026-06-01T10:00:00+00:00")
    account.add_activity("news", 1, opened("2026-06-02T00:00:00+00:00"), click("2026-06-25T00:00:00+00:00"))
    with served(account, tmp_path) as night:
        night.run(date(2026, 6, 10))
        assert len(rows(night, tables.EmailActivity)) == 1
        night.run(date(2026, 6, 24))
        assert len(rows(night, tables.EmailActivity)) == 1
        night.run(date(2026, 6, 25))
        assert len(rows(night, tables.EmailActivity)) == 2
        calls = len(account.requests)
        night.pull(pull.pull_activity, date(2026, 7, 9))
        assert len(account.requests) == calls


def test_a_night_before_the_windows_reads_nothing(account, tmp_path):
    account.add_campaign("news", [1], SENT_AT)
    with served(account, tmp_path) as night:
        night.run()
        assert night.pull(pull.pull_activity, NIGHT - timedelta(days=3)).calls == 0
        assert night.pull(pull.pull_members, NIGHT - timedelta(days=3)).calls == 0


# Paging, windows, requests


def test_paging_asks_for_a_thousand_and_stops_on_a_short_page(account, tmp_path, monkeypatch):
    account.members = [member(number) for number in range(1_500)]
    with served(account, tmp_path) as night:
        night.run()
    pages = [query for query in account.asked(f"{AUDIENCE}/members") if "status" not in query]
    assert [(page["count"], page["offset"]) for page in pages] == [("1000", "0"), ("1000", "1000")]
    assert len(rows(night, tables.Members)) == 1_500


def test_windows_are_exclusive_of_since_and_inclusive_of_before(account, tmp_path):
    account.members = [
        member(1, last_changed="2026-06-28T23:59:59+00:00"),
        member(2, last_changed="2026-06-29T00:00:00+00:00"),
    ]
    with served(account, tmp_path) as night:
        night.run(date(2026, 6, 28))
        assert [row["subscriber_key"] for row in rows(night, tables.Members)] == [subscriber(1)]
        night.run(date(2026, 6, 29))
    assert len(rows(night, tables.Members)) == 2
    first, _, second, _ = account.asked(f"{AUDIENCE}/members")
    assert first["before_last_changed"] == second["since_last_changed"] == "2026-06-28T23:59:59+00:00"
    assert "since_last_changed" not in first


def test_the_window_moves_only_when_the_data_is_written(account, tmp_path, monkeypatch):
    with served(account, tmp_path) as night:
        night.pull(pull.pull_account_and_audiences)
        monkeypatch.setattr(night.lake, "append", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            night.pull(pull.pull_members)
        monkeypatch.undo()
        assert night.pull(pull.pull_members).rows == {"members": 1}


def test_a_damaged_state_means_reading_all_again(account, tmp_path, caplog):
    with served(account, tmp_path) as night:
        night.run()
        (night.lake.root / "state" / "mailchimp.json").write_text("{half")
        with caplog.at_level(logging.WARNING):
            summary = night.pull(pull.pull_members)
    assert "damaged" in caplog.text
    assert (summary.calls, summary.rows) == (3, {"members": 0})


def test_campaigns_are_never_filtered_by_the_api(account, tmp_path):
    """An unknown value of an enum there is a silent empty 200."""
    account.add_campaign("news", [1], SENT_AT)
    with served(account, tmp_path) as night:
        night.run()
    (query,) = account.asked("/campaigns")
    assert set(query) == {"count", "offset", "fields"}


def test_emails_and_queues_of_automations_take_no_parameters(account, tmp_path):
    account.add_automation("flow", email("mail1", 1))
    with served(account, tmp_path) as night:
        night.run()
    assert (
        account.asked("/flow/emails") == account.asked("/mail1/queue") == account.asked("/removed-subscribers") == [{}]
    )


def test_the_key_travels_as_the_password_of_basic_authentication(tmp_path):
    seen: list[str] = []

    def answer(handler, path, query):
        seen.append(handler.headers["Authorization"])
        FakeAccount().answer(handler, path, query)

    with serve(answer) as base_url:
        settings = pull.Settings(data_dir=tmp_path, _env_file=None)
        mailchimp.MailchimpClient(base_url, API_KEY, settings=settings).get("/lists")
    assert base64.b64decode(seen[0].removeprefix("Basic ")).decode().partition(":")[2] == API_KEY


@pytest.mark.skipif(not CONTRACT.exists(), reason="the contract is not here")
@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("/nope", {}),
        ("/lists", {"count": 1001}),
        ("/lists", {"cuont": 10}),
        ("/lists", {"fields": "lists.id", "exclude_fields": "lists._links"}),
        ("/campaigns", {"status": "archived-or-so"}),
        ("/automations/flow/emails", {"count": 10}),
        ("/lists/a/members/b/activity-feed", {"activity_filters": "sendt"}),
        ("/reports/c/email-activity", {"since": "2026-06-01T00:00:00.5+00:00"}),
    ],
)
def test_the_contract_catches_deliberate_mistakes(path, params):
    request = requests.Request("GET", f"http://127.0.0.1:1/3.0{path}", params=params, auth=("any", API_KEY)).prepare()
    with pytest.raises(ContractViolationError):
        check(request)


# Members


def test_archived_members_come_by_a_sweep_of_their_own(account, tmp_path):
    account.archived = [member(2, status="archived")]
    with served(account, tmp_path) as night:
        night.run()
        night.run(NIGHT + timedelta(days=1))
    assert {row["subscriber_key"]: row["status"] for row in rows(night, tables.Members)} == {
        subscriber(1): "subscribed",
        subscriber(2): "archived",
    }
    assert [query.get("status") for query in account.asked(f"{AUDIENCE}/members")] == [None, "archived"] * 2


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
    assert stored["merge_fields"] == '{"BOSS": "write to (address), soon", "PLAN": "pro"}'
    assert stored["tags"] == '["(address)", "vip"]'
    assert night.lake.addresses()["external_id"].to_list() == ["c-17"]


def test_a_members_key_is_that_of_the_lower_cased_address(account, tmp_path):
    account.members = [member(1, id=member_id(1).upper(), email_address="Person-1@Example.com")]
    with served(account, tmp_path) as night:
        night.run()
    assert rows(night, tables.Members)[0]["subscriber_key"] == KEYS.of_address("person-1@example.com")


# Reports and activity


def test_incomplete_enums_do_not_fail(account, tmp_path):
    account.add_automation(
        "flow", email("mail1", 1, amount=1, type="fortnight", direction="after", action="new_action")
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
    account.add_automation("flow", email("mail1", 1, **delay))
    with served(account, tmp_path) as night:
        night.pull(pull.pull_automations)
    assert rows(night, tables.AutomationEmails)[0]["delay_hours"] == hours


def test_a_queue_names_the_member_by_id_and_the_email_by_email_id(account, tmp_path):
    """In reports `email_id` is the member's; in queues it is the e-mail's."""
    account.add_automation("flow", email("mail1", 1))
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
    account.add_automation("flow", email("mail1", 1), email("deleted", 2))
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
    assert rows(night, tables.EmailActivity)[0]["url"] == "https://example.com/?u=(address)&mail=(address)&page=2"


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
    assert left["reason"] == "ask me at (address)"
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

    def order(order_id: str, time: str, **changes: Any) -> dict[str, Any]:
        return {
            "id": order_id,
            "customer": {"email_address": "Person-1@example.com"},
            "currency_code": "USD",
            "order_total": 19.99,
            "tax_total": 1.1,
            "shipping_total": 4.35,
            "financial_status": "paid",
            "processed_at_foreign": time,
            **changes,
        }

    account.found["/ecommerce/stores"] = ("stores", [{"id": "shop"}])
    account.found["/ecommerce/stores/shop/orders"] = (
        "orders",
        [
            order("old", "2020-01-01T00:00:00+00:00"),
            order("later", "2026-06-30T00:00:00+00:00"),
            order("broken", SENT_AT, order_total="19.99"),
        ],
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
