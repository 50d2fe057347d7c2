"""Activity feeds under a budget: whose is read first, what a cut night keeps, and what is said of those not read."""

import threading
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline.analysis.performance.announced import collections
from pipeline.common.errors import AuthenticationError
from pipeline.mailchimp import pulls as pull
from pipeline.mailchimp.pulls.one_by_one import feeds
from pipeline.schemas import lake as tables
from pipeline.schemas.journeys.lake import Recipients
from tests.mailchimp.fake_account import (
    AUDIENCE,
    NIGHT,
    FakeAccount,
    Night,
    automation_email,
    member,
    member_id,
    opened,
    rows,
    served,
    subscriber,
)

PEOPLE = 12
MAILS = ("mail1", "mail2")
FEED = "/activity-feed"


@pytest.fixture
def account() -> FakeAccount:
    """Twelve people who got both e-mails of an automation, each on a day of their own. Every third opened."""
    made = FakeAccount()
    made.members = [member(number, timestamp_signup=f"2026-{1 + number % 6:02d}-10T08:00:00+00:00")
                    for number in range(PEOPLE)]  # fmt: skip
    delay = {"amount": 1, "type": "day", "direction": "after", "action": "signup"}
    made.add_automation("flow", *(automation_email(mail, place, **delay) for place, mail in enumerate(MAILS, 1)))
    for mail in MAILS:
        made.add_campaign(mail, list(range(PEOPLE)), "2025-01-05T10:00:00+00:00", kind="automation-email")
    for number in range(PEOPLE):
        sent = [(mail, f"2026-06-{1 + number:02d}T1{place}:00:00+00:00") for place, mail in enumerate(MAILS)]
        made.set_feed(number, *sent)
        if number % 3 == 0:
            made.add_activity("mail1", number, opened(f"2026-06-{1 + number:02d}T12:00:00+00:00"))
    return made


def tables_of(night: Night) -> dict[str, list[dict[str, Any]]]:
    """What was read, without the nights that read it."""
    models = (tables.Sends, Recipients, tables.EmailActivity, tables.OpenDetails)
    frames = {model.__name__: night.lake.latest(model).drop("as_of_day").collect() for model in models}
    return {name: frame.sort(frame.columns).to_dicts() for name, frame in frames.items()}


def asked(account: FakeAccount) -> list[int]:
    """Whose feeds were asked for, in order."""
    numbers = {f"/lists/{AUDIENCE}/members/{member_id(number)}{FEED}": number for number in range(PEOPLE + 5)}
    return [numbers[path] for path, _ in account.requests if path in numbers]


def reasons(night: Night, as_of: date = NIGHT) -> dict[tuple[str, str], tuple[float | None, float | None, str]]:
    """What the reconciliation says of each source: counted, reported and the reason."""
    lake = night.lake
    listings = [lake.scan(model) for model in
                (tables.Sources, tables.Members, tables.Sends, tables.Orders, tables.Renamed)]  # fmt: skip
    found = collections(*listings, forgotten=0, as_of=as_of)
    return {(source, metric): tuple(rest) for source, metric, *rest in found.iter_rows()}  # type: ignore[misc]


def test_three_nights_under_a_budget_read_what_one_night_without_reads(account, tmp_path):
    with served(account, tmp_path / "three", feed_calls=4) as night:
        for number in range(3):
            night.run(NIGHT + timedelta(days=number))
            assert len(asked(account)) == 4 * (number + 1)
        three = tables_of(night)
    with served(account, tmp_path / "one") as night:
        night.run()
        one = tables_of(night)
    assert len(one["Sends"]) == 2 * PEOPLE
    assert {row["sent_at_source"] for row in one["Sends"]} == {"feed"}
    assert three == one


def test_whoever_is_read_is_read_whole_and_nobody_else_has_messages(account, tmp_path):
    with served(account, tmp_path, feed_calls=5) as night:
        night.run()
        sends = night.lake.latest(tables.Sends).group_by("subscriber_key").len().collect()
    assert sends.height == 5
    assert set(sends["len"]) == {len(MAILS)}


def test_people_of_flows_within_the_analysed_days_come_first_the_newest_before_the_others(account, tmp_path):
    """Signups tell it here, and only one person signed up within the window; openers are not preferred."""
    account.members = [
        member(number, timestamp_signup=f"2026-{1 + number % 6:02d}-10T08:00:00+00:00" if number < 6 else
               "2024-01-01T08:00:00+00:00") for number in range(PEOPLE)
    ]  # fmt: skip
    account.found["/reports"][1][:] = [{**one, "send_time": ""} for one in account.found["/reports"][1]]
    account.add_campaign("odd", [20, 21], "2026-06-20T08:00:00+00:00", kind="strange")
    account.members += [member(20), member(21)]
    with served(account, tmp_path, feed_calls=6, max_connections=1) as night:
        night.run()
    assert asked(account) == [5, 4, 3, 2, 1, 0]


def test_who_got_a_message_since_the_last_night_comes_before_those_who_still_wait(account, tmp_path):
    with served(account, tmp_path, feed_calls=2, max_connections=1) as night:
        night.run()
        account.requests.clear()
        account.members.append(member(PEOPLE, timestamp_signup="2020-01-01T08:00:00+00:00"))
        recipient = {"email_id": member_id(PEOPLE), "list_id": AUDIENCE, "status": "sent"}
        account.found["/reports/mail1/sent-to"][1].append(recipient)
        account.found["/reports"][1][0]["emails_sent"] += 1
        account.set_feed(PEOPLE, ("mail1", "2026-06-30T10:00:00+00:00"))
        night.run(NIGHT + timedelta(days=1))
    assert asked(account)[0] == PEOPLE


def test_a_campaign_whose_people_wait_is_not_read_again(account, tmp_path):
    with served(account, tmp_path, feed_calls=2) as night:
        night.run()
        night.run(NIGHT + timedelta(days=10))
        account.requests.clear()
        night.run(NIGHT + timedelta(days=20))
    assert account.asked("/sent-to") == []
    assert len(asked(account)) == 2


def test_a_killed_night_loses_nothing_that_was_written_and_the_next_goes_on_behind_it(account, tmp_path, monkeypatch):
    """The process is gone in the middle of the feeds: no state is saved, nothing is cleaned up."""
    monkeypatch.setattr(feeds, "PEOPLE_A_WRITE", 3)
    written = []

    def killed(self: Any, people: int) -> str:
        written.append(people)
        if len(written) == 2:
            raise SystemExit
        return ""

    with served(account, tmp_path / "cut", max_connections=1) as night:
        monkeypatch.setattr(feeds.Budget, "left", killed)
        with pytest.raises(SystemExit):
            night.run()
        assert len(asked(account)) == 6
        again = Night(tmp_path / "cut", night.client._base_url)
        again.run(NIGHT + timedelta(days=1))
        assert sorted(asked(account)) == list(range(PEOPLE))
        cut = tables_of(again)
    with served(account, tmp_path / "whole") as night:
        night.run()
        assert cut == tables_of(night)


def test_a_key_that_is_withdrawn_in_the_middle_costs_no_feed_that_was_read(account, tmp_path):
    read = threading.Event()

    def refuse_later(path: str, query: dict[str, str], page: dict[str, Any]) -> int | None:
        if path.endswith(FEED) and len(asked(account)) > 7:
            read.set()
            return 401
        return None

    account.tamper = refuse_later
    with served(account, tmp_path, max_connections=1) as night:
        with pytest.raises(AuthenticationError):
            night.run()
        is_read = pl.col("feed_state") == "read"
        assert night.lake.latest(Recipients).filter(is_read).collect()["subscriber_key"].n_unique() == 7
        account.tamper = lambda path, query, page: None
        account.requests.clear()
        night.run(NIGHT + timedelta(days=1))
    assert len(asked(account)) == PEOPLE - 7


def test_a_budget_of_minutes_ends_the_reading_on_a_slow_server(account, tmp_path, monkeypatch):
    """A minute of the first night lasts half a second."""

    def slow(path: str, query: dict[str, str], page: dict[str, Any]) -> None:
        if path.endswith(FEED):
            time.sleep(0.2)

    account.tamper = slow
    monkeypatch.setattr(feeds, "SECONDS_A_MINUTE", 0.5)
    with served(account, tmp_path, feed_minutes=1, max_connections=1) as night:
        night.run()
        first = len(asked(account))
        assert 0 < first < PEOPLE
        night.run()
        assert len(asked(account)) == first  # another attempt at the night has no minutes of its own
        account.tamper = lambda path, query, page: None
        monkeypatch.undo()
        night.run(NIGHT + timedelta(days=1))
    assert sorted(asked(account)) == list(range(PEOPLE))


def test_counts_are_explained_by_the_feeds_not_read_yet(account, tmp_path):
    with served(account, tmp_path, feed_calls=5) as night:
        night.run()
        told = reasons(night)
    waiting = f"feeds not read yet: {PEOPLE - 5} of {PEOPLE} people"
    assert told["mail1", "recipients"] == (5, PEOPLE, waiting)
    assert told["feeds", "feeds"] == (5, PEOPLE, f"{waiting}; 7 calls are left, about 2 nights")
    with served(account, tmp_path) as night:
        night.run(NIGHT + timedelta(days=1))
        told = reasons(night, NIGHT + timedelta(days=1))
    assert told["mail1", "recipients"] == (PEOPLE, PEOPLE, "equal")
    assert told["feeds", "feeds"] == (PEOPLE, PEOPLE, "equal")


def test_without_feeds_times_are_computed_and_marked_and_can_be_read_later(account, tmp_path):
    with served(account, tmp_path, feed_minutes=0) as night:
        night.run()
        assert asked(account) == []
        assert {row["sent_at_source"] for row in rows(night, tables.Sends)} == {"unread"}
        assert len(rows(night, tables.Sends)) == 2 * PEOPLE
        assert "DRIPTUNE_FEED_MINUTES is 0" in reasons(night)["feeds", "feeds"][2]
    with served(account, tmp_path) as night:
        night.run(NIGHT + timedelta(days=1))
        later = tables_of(night)
    with served(account, tmp_path / "read") as night:
        night.run()
        assert later == tables_of(night)


def test_a_feed_that_tells_of_the_next_day_is_not_asked_again_on_that_day(account, tmp_path):
    tomorrow = NIGHT + timedelta(days=1)
    account.set_feed(3, ("mail1", f"{tomorrow}T10:00:00+00:00"), ("mail2", "2026-06-04T11:00:00+00:00"))
    with served(account, tmp_path) as night:
        night.run()
        assert reasons(night)["mail1", "recipients"] == (PEOPLE - 1, PEOPLE, "after tonight")
        account.requests.clear()
        night.run(tomorrow)
        sent = {row["subscriber_key"] for row in rows(night, tables.Sends) if row["campaign_id"] == "mail1"}
    assert subscriber(3) in sent
    assert asked(account) == []


def test_each_person_costs_one_call_however_many_campaigns_they_got(account, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.mailchimp.pulls.activity.BATCH_RECIPIENTS", 1)
    with served(account, tmp_path) as night:
        night.run()
    assert sorted(asked(account)) == list(range(PEOPLE))


def test_progress_names_nobody_and_says_how_long(account, tmp_path: Path, caplog):
    with served(account, tmp_path) as night:
        for one in (pull.pull_account_and_audiences, pull.pull_members, pull.pull_automations, pull.pull_campaigns,
                    pull.pull_reports, pull.pull_activity):  # fmt: skip
            night.pull(one)
    lines = [record.getMessage() for record in caplog.records if record.name == "driptune.progress"]
    assert any(line.startswith("activity feeds: 12 of 12 people asked for") for line in lines)
    assert not any(member_id(number) in line for number in range(PEOPLE) for line in lines)
