"""Sources that shrink or fail: the rest is read, what went away is noted with the night, and its history stays."""

from datetime import date, timedelta
from typing import Any

import pytest

from pipeline.common import errors
from pipeline.mailchimp import pulls as pull
from pipeline.mailchimp.pulls.pulling import MOST_FAILING
from pipeline.schemas import lake as tables
from pipeline.schemas.base import identity
from tests.mailchimp.fake_account import (
    AUDIENCE,
    NIGHT,
    FakeAccount,
    Night,
    automation_email,
    click,
    member,
    member_id,
    order,
    report,
    rows,
    served,
    subscriber,
)

TOMORROW = NIGHT + timedelta(days=1)
SENT_AT = "2026-06-28T10:00:00+00:00"
HISTORY = (
    tables.Audiences,
    tables.Members,
    tables.Campaigns,
    tables.Reports,
    tables.Sends,
    tables.EmailActivity,
    tables.Automations,
    tables.AutomationEmails,
    tables.Orders,
)


@pytest.fixture
def account() -> FakeAccount:
    """Two of everything."""
    made = FakeAccount()
    made.add_audience("second", member(2))
    for campaign_id in ("news", "other"):
        made.add_campaign(campaign_id, [1], SENT_AT)
        made.add_activity(campaign_id, 1, click(SENT_AT))
    made.add_automation("flow", automation_email("mail1", 1), automation_email("mail2", 2))
    made.add_automation("flow2", automation_email("mail3", 1))
    made.add_store("shop", order("o1", SENT_AT))
    made.add_store("shop2", order("o2", SENT_AT))
    return made


def day(night: date) -> int:
    return (night - date(1970, 1, 1)).days


def state(night: Night, kind: str, source_id: str) -> tuple[str, int | None]:
    (row,) = [one for one in rows(night, tables.Sources) if (one["kind"], one["source_id"]) == (kind, source_id)]
    return row["state"], row["since_day"]


def held(night: Night) -> dict[str, set[tuple[Any, ...]]]:
    """Everything that is held, but for the night that last read it."""
    return {
        identity(model).name: set(night.lake.latest(model).drop("as_of_day").collect().iter_rows()) for model in HISTORY
    }


LOST = [
    ("audience", "second"),
    ("campaign", "news"),
    ("automation", "flow2"),
    ("automation e-mail", "mail2"),
    ("store", "shop2"),
]


@pytest.mark.parametrize(("kind", "source_id"), LOST)
def test_what_is_listed_no_more_is_noted_once_and_keeps_its_history(account, tmp_path, kind, source_id):
    with served(account, tmp_path) as night:
        night.run()
        before = held(night)
        account.lose(source_id)
        account.members[0] = member(1, last_changed="2026-06-30T08:00:00+00:00", member_rating=4)
        night.run(TOMORROW)
        assert state(night, kind, source_id) == ("unlisted", day(TOMORROW))
        after = held(night)
        assert {name: after[name] for name in after if name != "members"} == {
            name: before[name] for name in before if name != "members"
        }
        night.run(TOMORROW + timedelta(days=1))
        assert state(night, kind, source_id) == ("unlisted", day(TOMORROW))
    ratings = {row["subscriber_key"]: row["member_rating"] for row in rows(night, tables.Members)}
    assert ratings[subscriber(1)] == 4
    assert {row["state"] for row in rows(night, tables.Sources) if row["source_id"] != source_id} <= {
        "read",
        *(["unlisted"] if kind == "automation" else []),
    }


@pytest.mark.parametrize(
    ("kind", "source_id", "place"),
    [
        ("audience", "second", "/lists/second"),
        ("campaign", "news", "/reports/news"),
        ("automation", "flow2", "/automations/flow2"),
        ("automation e-mail", "mail2", "/automations/flow/emails/mail2"),
    ],
)
def test_what_is_still_listed_and_answers_404_is_gone_too(account, tmp_path, kind, source_id, place):
    """Between the listing and the next call, or because the listing is older than the deletion."""
    with served(account, tmp_path) as night:
        night.run()
        before = held(night)
        account.tamper = lambda path, query, page: 404 if path == place or path.startswith(f"{place}/") else None
        for later in (TOMORROW, TOMORROW + timedelta(days=1)):
            night.run(later)
            assert state(night, kind, source_id) == ("gone", day(TOMORROW))
        assert held(night) == before
    account.tamper = lambda path, query, page: None
    account.found["/reports"][1][0]["emails_sent"] = 2
    with served(account, tmp_path) as night:
        night.run(TOMORROW + timedelta(days=2))
        assert state(night, kind, source_id) == ("read", None)


def test_a_store_that_is_deleted_while_its_orders_are_read_is_gone(account, tmp_path):
    def tamper(path: str, query: dict[str, str], page: dict[str, Any]) -> int | None:
        if path == "/ecommerce/stores/shop2/orders":
            account.lose("shop2")
            return 404
        return None

    with served(account, tmp_path) as night:
        night.run()
        account.tamper = tamper
        night.run(TOMORROW)
        assert state(night, "store", "shop2") == ("gone", day(TOMORROW))
    assert {row["store_id"] for row in rows(night, tables.Orders)} == {"shop", "shop2"}


def test_an_audience_that_goes_between_two_pages_leaves_no_half_of_itself(account, tmp_path):
    account.other_members["second"] = [member(number) for number in range(10, 1_500)]

    def tamper(path: str, query: dict[str, str], page: dict[str, Any]) -> int | None:
        is_second_page = path == "/lists/second/members" and query["offset"] == "1000"
        if is_second_page:
            account.lose("second")
        return 404 if is_second_page else None

    account.tamper = tamper
    with served(account, tmp_path) as night:
        night.run()
        assert state(night, "audience", "second") == ("gone", day(NIGHT))
    assert [row["subscriber_key"] for row in rows(night, tables.Members)] == [subscriber(1)]


def test_a_page_missing_for_a_moment_is_a_fault_and_no_deletion(account, tmp_path):
    """The audience itself still answers, so the 404 of its members is not believed."""
    with served(account, tmp_path) as night:
        night.run()
        account.tamper = lambda path, query, page: 404 if path == "/lists/second/members" else None
        (failure,) = night.pull(pull.pull_members, TOMORROW).failures
        assert isinstance(failure, errors.NotFoundError)
        assert state(night, "audience", "second") == ("failed", day(NIGHT))


def test_what_is_listed_again_is_read_again(account, tmp_path):
    with served(account, tmp_path) as night:
        night.run()
        lists = list(account.found["/lists"][1])
        account.found["/lists"] = ("lists", lists[:1])
        night.run(TOMORROW)
        account.found["/lists"] = ("lists", lists)
        account.other_members["second"].append(member(3, last_changed="2026-06-30T08:00:00+00:00"))
        night.run(TOMORROW + timedelta(days=1))
        assert state(night, "audience", "second") == ("read", None)
    assert subscriber(3) in {row["subscriber_key"] for row in rows(night, tables.Members)}


def test_a_campaign_whose_report_is_gone_is_asked_for_no_more(account, tmp_path):
    with served(account, tmp_path) as night:
        night.run()
        account.lose("news")
        night.run(TOMORROW)
        asked = len(account.asked("/news/sent-to"))
        night.run(TOMORROW + timedelta(days=1))
        assert len(account.asked("/news/sent-to")) == asked


def test_a_draft_that_is_deleted_is_nothing_to_tell(account, tmp_path):
    account.found["/campaigns"][1].append({"id": "draft", "type": "regular", "status": "save", "emails_sent": 0})
    with served(account, tmp_path) as night:
        night.run()
        account.lose("draft")
        night.run(TOMORROW)
    assert "draft" not in {row["source_id"] for row in rows(night, tables.Sources)}


def test_a_recipient_who_is_deleted_has_no_feed_and_stops_nothing(account, tmp_path):
    account.add_campaign("mail1", [1, 9], SENT_AT)
    account.set_feed(1, ("mail1", SENT_AT))
    with served(account, tmp_path) as night:
        night.run()
    sources = {row["subscriber_key"]: row["sent_at_source"] for row in rows(night, tables.Sends) if
               row["campaign_id"] == "mail1"}  # fmt: skip
    assert sources == {subscriber(1): "feed", subscriber(9): "computed"}


@pytest.mark.parametrize(
    ("kind", "source_id", "place", "function"),
    [
        ("audience", "second", "/lists/second/members", pull.pull_members),
        ("campaign", "news", "/reports/news/open-details", pull.pull_activity),
        ("automation", "flow2", "/automations/flow2/removed-subscribers", pull.pull_automations),
        ("automation e-mail", "mail2", "/automations/flow/emails/mail2/queue", pull.pull_automations),
        ("store", "shop2", "/ecommerce/stores/shop2/orders", pull.pull_orders),
    ],
)
def test_a_source_that_fails_costs_itself_and_says_since_when(account, tmp_path, kind, source_id, place, function):
    with served(account, tmp_path, retry_budget_seconds=1.5) as night:
        night.run()
        account.tamper = lambda path, query, page: 500 if path == place else None
        account.found["/reports"] = ("reports", [report(one, 2, SENT_AT) for one in ("news", "other")])
        for name in ("news", "other"):
            account.found[f"/reports/{name}/sent-to"][1].append(
                {"email_id": member_id(7), "list_id": AUDIENCE, "status": "sent"}
            )
        night.pull(pull.pull_reports, TOMORROW)
        (failure,) = night.pull(function, TOMORROW).failures
        assert isinstance(failure, errors.UnavailableError)
        assert state(night, kind, source_id) == ("failed", day(NIGHT))
        sent = {row["campaign_id"] for row in rows(night, tables.Sends) if row["subscriber_key"] == subscriber(7)}
        assert sent == ({"other"} if kind == "campaign" else set())
        account.tamper = lambda path, query, page: None
        night.run(TOMORROW)
        assert state(night, kind, source_id) == ("read", None)
        sent = {row["campaign_id"] for row in rows(night, tables.Sends) if row["subscriber_key"] == subscriber(7)}
        assert sent == {"news", "other"}


def test_a_campaign_that_failed_on_the_last_night_it_was_due_is_due_again(account, tmp_path):
    with served(account, tmp_path, retry_budget_seconds=1.5) as night:
        night.run()
        account.tamper = lambda path, query, page: 500 if path == "/reports/news/sent-to" else None
        assert len(night.pull(pull.pull_activity, NIGHT + timedelta(days=4)).failures) == 1
        account.tamper = lambda path, query, page: None
        before = len(account.asked("/news/sent-to"))
        night.pull(pull.pull_activity, NIGHT + timedelta(days=30))
        assert len(account.asked("/news/sent-to")) == before + 1


def test_a_feed_that_fails_costs_the_messages_of_that_member(account, tmp_path):
    account.add_campaign("mail1", [1], SENT_AT)
    account.add_campaign("mail3", [2], SENT_AT)
    feed = f"/lists/{AUDIENCE}/members/{member_id(1)}/activity-feed"
    account.set_feed(1, ("mail1", SENT_AT))
    account.set_feed(2, ("mail3", SENT_AT))
    account.tamper = lambda path, query, page: 500 if path == feed else None
    with served(account, tmp_path, retry_budget_seconds=1.5) as night:
        for function in (pull.pull_account_and_audiences, pull.pull_members, pull.pull_automations, pull.pull_campaigns,
                         pull.pull_reports):  # fmt: skip
            night.pull(function)
        (failure,) = night.pull(pull.pull_activity).failures
        assert member_id(1) not in str(failure)
        assert {row["campaign_id"] for row in rows(night, tables.Sends)} == {"news", "other", "mail3"}
        account.tamper = lambda path, query, page: None
        night.run(TOMORROW)
    assert {row["campaign_id"] for row in rows(night, tables.Sends)} == {"news", "other", "mail1", "mail3"}


def test_if_several_sources_fail_the_others_are_not_asked_for_hours(account, tmp_path):
    """Each failure takes a whole budget of attempts, and all of them together may be the account's trouble."""
    for number in range(20):
        account.add_store(f"more{number:02d}", order(f"m{number}", SENT_AT))
    with served(account, tmp_path, retry_budget_seconds=1.5, max_connections=1) as night:
        night.run()
        account.tamper = lambda path, query, page: 500 if path.endswith("/orders") else None
        account.requests.clear()
        with pytest.raises(errors.UnavailableError):
            night.pull(pull.pull_orders, TOMORROW)
        assert len({path for path, _ in account.requests if path.endswith("/orders")}) == MOST_FAILING
        assert state(night, "store", "more19") == ("failed", day(NIGHT))


def keep(night: Night, as_of: date, *, may_try_again: bool = False):
    return pull.read_or_keep(
        lambda: night.pull(pull.pull_campaigns, as_of),
        (tables.Campaigns,),
        night.lake,
        as_of,
        may_try_again=may_try_again,
    )


def test_a_listing_that_fails_keeps_its_table_and_says_from_which_night(account, tmp_path):
    with served(account, tmp_path, retry_budget_seconds=1.5) as night:
        keep(night, NIGHT)
        before = rows(night, tables.Campaigns)
        account.tamper = lambda path, query, page: 500 if path == "/campaigns" else None
        with pytest.raises(errors.UnavailableError):
            keep(night, TOMORROW, may_try_again=True)
        (failure,) = keep(night, TOMORROW).failures
        assert state(night, "table", "campaigns") == ("failed", day(NIGHT))
        assert "500" in str(failure)
        assert rows(night, tables.Campaigns) == before
        account.tamper = lambda path, query, page: None
        keep(night, TOMORROW + timedelta(days=1))
        assert state(night, "table", "campaigns") == ("read", None)


def test_without_an_earlier_state_a_failure_is_one(account, tmp_path):
    account.tamper = lambda path, query, page: 500 if path == "/campaigns" else None
    with served(account, tmp_path, retry_budget_seconds=1.5) as night, pytest.raises(errors.UnavailableError):
        keep(night, NIGHT)


def test_a_key_that_is_refused_stops_the_night(account, tmp_path):
    with served(account, tmp_path, retry_budget_seconds=1.5) as night:
        keep(night, NIGHT)
        account.tamper = lambda path, query, page: 401
        with pytest.raises(errors.AuthenticationError):
            keep(night, TOMORROW)
