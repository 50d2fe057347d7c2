"""Nothing is complete until it is counted: answers that announce more than they hold, over HTTP."""

from collections.abc import Callable
from contextlib import nullcontext
from datetime import date, timedelta
from typing import Any

import pytest

from pipeline.common import errors
from pipeline.mailchimp import paging
from pipeline.mailchimp import pulls as pull
from pipeline.mailchimp.fields import instant
from pipeline.mailchimp.windows import WindowState
from pipeline.schemas import lake as tables
from pipeline.schemas.base import Table
from tests.mailchimp.fake_account import (
    AUDIENCE,
    NIGHT,
    FakeAccount,
    automation_email,
    click,
    member,
    member_id,
    opened,
    order,
    rows,
    served,
    subscriber,
)

PAGE = 2
PEOPLE = 5  # two full pages and a short one
SENT_AT = "2026-06-20T10:00:00+00:00"
# (path, table that holds it, how many rows it holds)
COLLECTIONS: list[tuple[str, type[Table], int]] = [
    ("/lists", tables.Audiences, PEOPLE),
    (f"/lists/{AUDIENCE}/members", tables.Members, PEOPLE),
    ("/automations", tables.Automations, PEOPLE),
    ("/campaigns", tables.Campaigns, PEOPLE),
    ("/reports", tables.Reports, PEOPLE),
    ("/reports/news/sent-to", tables.Sends, PEOPLE),
    ("/reports/news/email-activity", tables.EmailActivity, PEOPLE),
    ("/reports/news/open-details", tables.OpenDetails, PEOPLE),
    ("/reports/news/click-details", tables.ClickDetails, PEOPLE),
    ("/reports/news/unsubscribed", tables.Unsubscribes, PEOPLE),
    ("/ecommerce/stores", tables.Orders, PEOPLE),
    ("/ecommerce/stores/shop0/orders", tables.Orders, PEOPLE),
]
TOMORROW = NIGHT + timedelta(days=1)


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "PAGE_SIZE", PAGE)


@pytest.fixture
def account() -> FakeAccount:
    """An account in which every collection has as many rows."""
    made = FakeAccount()
    everybody = list(range(PEOPLE))
    made.members = [member(number) for number in everybody]
    for number in everybody[1:]:
        made.add_audience(f"aud{number + 1}")
        made.add_campaign(f"news{number}", [], SENT_AT)
    made.add_campaign("news", everybody, SENT_AT)
    for number in everybody:
        made.add_automation(f"flow{number}")
        made.add_activity("news", number, click(SENT_AT))
    who = [{"email_id": member_id(number)} for number in everybody]
    made.found |= {
        "/reports/news/open-details": ("members", [{**one, "opens": [{"timestamp": SENT_AT}]} for one in who]),
        "/reports/news/click-details": ("urls_clicked", [{"id": f"link{number}"} for number in everybody]),
        "/reports/news/unsubscribed": ("unsubscribes", [{**one, "timestamp": SENT_AT} for one in who]),
    }
    made.add_store("shop0", *(order(f"o{number}", SENT_AT) for number in everybody))
    for number in everybody[1:]:
        made.add_store(f"shop{number}")
    return made


def an_empty_page(wanted: str, times: float = 1) -> Callable[..., None]:
    """The second page of a collection comes empty, so many times, and announces as many rows as ever."""
    left = [times]

    def tamper(path: str, query: dict[str, str], page: dict[str, Any]) -> None:
        if path == wanted and query.get("offset") == str(PAGE) and left[0] > 0:
            left[0] -= 1
            for key, rows_of_page in page.items():
                if isinstance(rows_of_page, list):
                    page[key] = []

    return tamper


@pytest.mark.parametrize(("path", "model", "expected"), COLLECTIONS[::4], ids=lambda value: str(value))
def test_an_empty_page_that_announces_more_is_asked_for_again(account, tmp_path, path, model, expected):
    account.tamper = an_empty_page(path)
    with served(account, tmp_path) as night:
        night.run()
    assert len(rows(night, model)) == expected


@pytest.mark.parametrize(("path", "model", "expected"), COLLECTIONS, ids=lambda value: str(value))
def test_if_it_stays_empty_nothing_of_it_is_taken_and_the_next_night_has_all(account, tmp_path, path, model, expected):
    account.tamper = an_empty_page(path, float("inf"))
    with served(account, tmp_path) as night:
        told: list[errors.SourceError] = []
        for function in (
            pull.pull_account_and_audiences,
            pull.pull_members,
            pull.pull_automations,
            pull.pull_campaigns,
            pull.pull_reports,
            pull.pull_activity,
            pull.pull_orders,
        ):
            try:
                told += night.pull(function).failures
            except errors.SourceError as error:
                told.append(error)
        assert "rows were announced and only" in str(told[0])
        # The e-mails of a campaign are asked for by their report, so without reports there is none to fail.
        assert len(rows(night, model)) == 0
        account.tamper = an_empty_page(path, 0)
        night.run(TOMORROW)
        assert len(rows(night, model)) == expected


def test_a_short_page_in_between_is_read_on_from(account, tmp_path):
    """A server that gives fewer rows than asked for, as long as it announces more."""

    def tamper(path: str, query: dict[str, str], page: dict[str, Any]) -> None:
        if path.endswith("/members"):
            page["members"] = page["members"][:2]

    account.tamper = tamper
    with served(account, tmp_path) as night:
        night.run()
    assert len(rows(night, tables.Members)) == PEOPLE


def without_totals(path: str, query: dict[str, str], page: dict[str, Any]) -> None:
    """A server that tells no total, and gives at most ten rows."""
    page.pop("total_items", None)
    for key, found in page.items():
        if isinstance(found, list):
            page[key] = found[:10]


def test_pages_smaller_than_asked_for_are_read_to_the_end_where_no_total_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(paging, "PAGE_SIZE", 1000)
    account = FakeAccount()
    account.members = [member(number) for number in range(25)]
    account.add_campaign("news", list(range(25)), SENT_AT)
    account.tamper = without_totals
    with served(account, tmp_path) as night:
        night.run()
    assert len(rows(night, tables.Members)) == len(rows(night, tables.Sends)) == 25


def test_a_page_that_is_the_same_again_ends_a_listing_without_a_total(tmp_path, monkeypatch):
    monkeypatch.setattr(paging, "PAGE_SIZE", 1000)
    account = FakeAccount()
    account.members = [member(number) for number in range(10)]

    def tamper(path: str, query: dict[str, str], page: dict[str, Any]) -> None:
        without_totals(path, query, page)
        if path.endswith("/members"):
            page["members"] = [dict(one) for one in account.members]

    account.tamper = tamper
    with served(account, tmp_path) as night:
        night.run()
    assert len(rows(night, tables.Members)) == 10


def test_a_total_told_as_text_counts(account, tmp_path):
    def tamper(path: str, query: dict[str, str], page: dict[str, Any]) -> None:
        if "total_items" in page:
            page["total_items"] = str(page["total_items"])

    account.tamper = tamper
    with served(account, tmp_path) as night:
        night.run()
    assert len(rows(night, tables.Members)) == len(rows(night, tables.Sends)) == PEOPLE


def test_a_total_that_is_too_small_ends_nothing(account, tmp_path):
    account.tamper = lambda path, query, page: page.update(total_items=3) if page.get("total_items", 0) > 3 else None
    with served(account, tmp_path) as night:
        night.run()
    assert len(rows(night, tables.Members)) == len(rows(night, tables.Sends)) == PEOPLE


def test_somebody_inserted_before_the_rows_already_read_is_not_lost(account, tmp_path):
    account.members = [member(number) for number in range(PEOPLE)]

    def tamper(path: str, query: dict[str, str], page: dict[str, Any]) -> None:
        if path.endswith("/members") and query["offset"] == "0" and len(account.members) == PEOPLE:
            account.members.insert(0, member(99))

    account.tamper = tamper
    with served(account, tmp_path) as night:
        night.run()
    assert subscriber(99) in {row["subscriber_key"] for row in rows(night, tables.Members)}
    assert len(rows(night, tables.Members)) == PEOPLE + 1


def test_pages_that_overlap_do_not_hide_who_is_missing(account, tmp_path):
    """The second page begins one row too early: as many rows as announced come, but one of them twice."""

    def tamper(path: str, query: dict[str, str], page: dict[str, Any]) -> None:
        if path.endswith("/members") and "status" not in query and query["offset"] == str(2 * PAGE):
            page["members"] = [account.members[2 * PAGE - 1]]

    account.tamper = tamper
    with served(account, tmp_path) as night:
        night.pull(pull.pull_account_and_audiences)
        (failure,) = night.pull(pull.pull_members).failures
        assert f"{PEOPLE} rows were announced and only {PEOPLE - 1} came" in str(failure)
        assert rows(night, tables.Members) == []


def test_a_queue_that_announces_more_than_it_holds_costs_only_itself(account, tmp_path):
    """It has no second page to ask for. The last night's queue stands in, since only the newest night's count."""
    account.add_automation("welcome", automation_email("mail1", 1), automation_email("mail2", 2))
    queues = {mail: f"/automations/welcome/emails/{mail}/queue" for mail in ("mail1", "mail2")}
    for number, path in enumerate(queues.values()):
        waiting = [{"id": member_id(number), "next_send": "2026-07-09T00:00:00+00:00"}]
        account.found[path] = {"queue": waiting, "total_items": 1}
    with served(account, tmp_path) as night:
        night.pull(pull.pull_automations)
        account.tamper = lambda path, query, page: page.update(total_items=2) if path == queues["mail1"] else None
        summary = night.pull(pull.pull_automations, TOMORROW)
    assert "2 rows were announced and only 1 came" in str(summary.failures[0])
    tonight = (TOMORROW - date(1970, 1, 1)).days
    newest = [row for row in rows(night, tables.AutomationQueue) if row["as_of_day"] == tonight]
    assert {row["step_id"] for row in newest} == {"mail1", "mail2"}


def test_a_total_that_stays_too_large_by_the_same_number_is_named_and_taken(account, tmp_path):
    """Night after night one recipient is announced who never comes: after a while that is a fact, not a fault."""
    account.tamper = lambda path, query, page: (
        page.update(total_items=PEOPLE + 1) if path.endswith("news/sent-to") else None
    )
    with served(account, tmp_path, recheck_days=2) as night:
        for days in range(3):
            with nullcontext() if days == 2 else pytest.raises(errors.PagingError):
                night.run(NIGHT + timedelta(days=days))
            assert len(rows(night, tables.Sends)) == (PEOPLE if days == 2 else 0)
    (told,) = [row for row in rows(night, tables.Sources) if row["source_id"] == "news"]
    assert (told["state"], told["announced"]) == ("read", PEOPLE + 1)
    assert told["detail"] == f"sent-to: {PEOPLE + 1} announced, {PEOPLE} ever returned"


def test_members_that_an_earlier_window_lost_are_found_by_their_number(account, tmp_path):
    """The window has moved on, and yet Mailchimp announces more members than are known: all are read again."""
    with served(account, tmp_path) as night:
        night.run()
        lost = night.lake.latest(tables.Members).head(2).collect()
        assert night.lake.discard(tables.Members, lost) == 2
        night.run(TOMORROW)
        assert len(rows(night, tables.Members)) == PEOPLE


def test_a_member_set_aside_is_asked_for_again_and_nobody_else_is(account, tmp_path):
    account.members = [member(number, last_changed=f"2026-06-{10 + number}T08:00:00+00:00") for number in range(PEOPLE)]
    good, account.members[3] = account.members[3], {**account.members[3], "member_rating": "five"}
    with served(account, tmp_path) as night:
        assert night.pull(pull.pull_account_and_audiences).quarantined == 0
        assert night.pull(pull.pull_members).quarantined == 1
        window = WindowState(night.lake).section("members")[AUDIENCE]
        assert window == "2026-06-13T07:59:59+00:00"
        night.run(TOMORROW)
        account.members[3] = good
        night.run(NIGHT + timedelta(days=2))
        assert len(rows(night, tables.Members)) == PEOPLE
        assert WindowState(night.lake).section("members")[AUDIENCE] == "2026-07-01T23:59:59+00:00"
    broken = [row["reference"] for row in rows(night, tables.Quarantine)]
    assert all(reference.startswith(f"/lists/{AUDIENCE}/members") for reference in broken)


def test_events_set_aside_are_asked_for_again_however_old_they_are(account, tmp_path):
    """Later windows of events start a few days before tonight; that of a campaign with broken rows does not move."""
    account.add_campaign("old", [1], "2026-01-05T10:00:00+00:00")
    account.add_activity("old", 1, opened("2026-01-06T00:00:00+00:00"), opened("2026-01-07T00:00:00+00:00"))

    def tamper(path: str, query: dict[str, str], page: dict[str, Any]) -> None:
        if path.endswith("old/email-activity"):
            page["emails"][0]["activity"][0]["timestamp"] = "the sixth of January"

    account.tamper = tamper
    with served(account, tmp_path) as night:
        night.run()
        assert len(rows(night, tables.EmailActivity)) == PEOPLE + 1
        account.tamper = lambda path, query, page: None
        night.run(TOMORROW)
        calls = len(account.asked("old/email-activity"))
        night.run(NIGHT + timedelta(days=2))
        assert len(account.asked("old/email-activity")) == calls
    times = {row["occurred_us"] for row in rows(night, tables.EmailActivity)}
    assert instant("2026-01-06T00:00:00+00:00") in times


@pytest.mark.parametrize("number", [4, 30])
def test_a_page_whose_every_row_broke_is_read_again(number, tmp_path, monkeypatch):
    """A few rows are set aside, many are an API that changed its shape. Either way the next night asks again."""
    monkeypatch.setattr(paging, "PAGE_SIZE", 100)
    account = FakeAccount()
    account.members = [member(one) for one in range(100 + number)]

    def tamper(path: str, query: dict[str, str], page: dict[str, Any]) -> None:
        if path.endswith("/members") and query["offset"] == "100":
            page["members"] = [{"id": None} for _ in page["members"]]

    account.tamper = tamper
    with served(account, tmp_path) as night:
        night.pull(pull.pull_account_and_audiences)
        if number < 10:
            assert night.pull(pull.pull_members).quarantined == number
            assert len(rows(night, tables.Members)) == 100
        else:
            with pytest.raises(errors.ContractBrokenError, match="30 of the 30 items of a page"):
                night.pull(pull.pull_members)
            assert rows(night, tables.Members) == []
        account.tamper = lambda path, query, page: None
        night.run(TOMORROW)
        assert len(rows(night, tables.Members)) == 100 + number


def test_a_tenth_of_a_page_broken_is_damage_and_not_another_shape(tmp_path, monkeypatch):
    monkeypatch.setattr(paging, "PAGE_SIZE", 100)
    account = FakeAccount()
    account.members = [member(one, status=["?"]) if one < 49 else member(one) for one in range(100)]
    with served(account, tmp_path) as night:
        night.pull(pull.pull_account_and_audiences)
        assert night.pull(pull.pull_members).quarantined == 49


@pytest.mark.parametrize("status", [504, 408])
def test_pages_that_take_too_long_are_halved(status, tmp_path, monkeypatch):
    """Pages of 1,000 time out, pages of 500 do not."""
    monkeypatch.setattr(paging, "PAGE_SIZE", 1_000)
    account = FakeAccount()
    account.members = [member(number) for number in range(1_200)]
    account.tamper = lambda path, query, page: status if int(query.get("count", 0)) > 500 else None
    with served(account, tmp_path, retry_budget_seconds=8.0) as night:
        night.run()
    pages = [query for query in account.asked(f"{AUDIENCE}/members") if "status" not in query]
    asked = [(int(page["count"]), int(page["offset"])) for page in pages]
    assert asked == [(1_000, 0), (500, 0), (500, 500), (500, 1_000)]
    assert len(rows(night, tables.Members)) == 1_200


def test_a_page_that_is_small_and_still_too_late_is_one_typed_error_within_the_budget(tmp_path, monkeypatch):
    account = FakeAccount()
    account.tamper = lambda path, query, page: 504 if path.endswith("/members") else None
    with served(account, tmp_path, retry_budget_seconds=1.5) as night:
        night.pull(pull.pull_account_and_audiences)
        with pytest.raises(errors.DeadlineExceededError, match="504"):
            night.pull(pull.pull_members)


@pytest.mark.parametrize("kind", ["regular", "automation-email"])
def test_who_is_listed_once_a_message_is_one_recipient_and_all_that_they_did_counts(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(paging, "PAGE_SIZE", 1000)
    account = FakeAccount()
    account.members = [member(1), member(2)]
    account.add_campaign("news", [1, 2], SENT_AT, kind=kind)
    account.set_feed(1, ("news", SENT_AT))
    account.set_feed(2, ("news", SENT_AT))

    def tamper(path: str, query: dict[str, str], page: dict[str, Any]) -> None:
        if path == "/reports/news/sent-to":
            page |= {"sent_to": [*page["sent_to"], page["sent_to"][0]], "total_items": 3}
        if path == "/reports/news/email-activity":
            acts = ([click("2026-06-20T11:00:00+00:00")], [click("2026-06-21T11:00:00+00:00")])
            page |= {"emails": [{"email_id": member_id(1), "activity": one} for one in acts], "total_items": 2}

    account.tamper = tamper
    with served(account, tmp_path) as night:
        night.run()
        sources = {row["source_id"]: row for row in rows(night, tables.Sources) if row["kind"] == "campaign"}
    assert sources["news"]["announced"] == len(rows(night, tables.Sends)) == 2
    assert len(rows(night, tables.EmailActivity)) == 2
