"""What is asked for and how often: gate, windows, paging and requests; facts of the API, one test each, over HTTP."""

import base64
import json
import logging
from datetime import date, timedelta

import pytest
import requests

from pipeline.mailchimp import client as mailchimp
from pipeline.mailchimp import pulls as pull
from pipeline.schemas import lake as tables
from pipeline.settings import Settings
from tests.mailchimp.contract import CONTRACT, ContractViolationError, check
from tests.mailchimp.fake_account import (
    API_KEY,
    AUDIENCE,
    NIGHT,
    FakeAccount,
    Night,
    automation_email,
    click,
    member,
    member_id,
    opened,
    report,
    rows,
    served,
    subscriber,
)
from tests.mailchimp.loopback import serve

SENT_AT = "2026-06-20T10:00:00+00:00"
LONG_AGO = "2026-01-05T10:00:00+00:00"


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
        night.run(date(2026, 6, 20))
        for day in range(21, 30):
            night.pull(pull.pull_activity, date(2026, 6, day))
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


def test_what_a_report_may_hold_of_later_nights_is_counted(account, tmp_path):
    account.add_campaign("news", [1, 2], "2026-06-01T10:00:00+00:00")
    account.add_activity("news", 1, opened("2026-06-02T00:00:00+00:00"), opened("2026-06-12T00:00:00+00:00"))
    account.add_activity("news", 1, {"action": "bounce", "type": "hard", "timestamp": "2026-06-13T00:00:00+00:00"})
    for name, key, field in (("unsubscribed", "unsubscribes", "timestamp"), ("abuse-reports", "abuse_reports", "date")):
        late = [{"email_id": member_id(one), field: f"2026-06-1{one}T00:00:00+00:00"} for one in (1, 2)]
        account.found[f"/reports/news/{name}"] = (key, late)
    with served(account, tmp_path) as night:
        night.run(date(2026, 6, 11))
        assert later(night) == {"opens": 1, "hard_bounces": 1, "unsubscribes": 1, "complaints": 1}
        night.run(date(2026, 6, 13))
        assert later(night) == {}


def later(night: Night) -> dict[str, int]:
    versions = [row for row in rows(night, tables.Sources) if row["source_id"] == "news"]
    return json.loads(max(versions, key=lambda row: row["as_of_day"])["later"] or "{}")


def test_a_night_before_the_windows_reads_nothing(account, tmp_path):
    account.add_campaign("news", [1], "2026-06-28T10:00:00+00:00")
    with served(account, tmp_path) as night:
        night.run()
        assert night.pull(pull.pull_activity, NIGHT - timedelta(days=3)).calls == 0
        assert night.pull(pull.pull_members, NIGHT - timedelta(days=3)).calls == 0


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
    first, _, second, _ = (query for query in account.asked(f"{AUDIENCE}/members") if query["count"] == "1000")
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
    account.add_automation("flow", automation_email("mail1", 1))
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
        settings = Settings(data_dir=tmp_path, _env_file=None)
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
