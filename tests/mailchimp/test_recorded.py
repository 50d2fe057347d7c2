"""The real recorded responses, end to end over HTTP: the numbers in the lake are theirs."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from pipeline.mailchimp.fields import instant
from pipeline.schemas import lake as tables
from tests.mailchimp.fake_account import KEYS, Night
from tests.mailchimp.recorded_server import RECORDINGS, RecordedAccount, serve_recordings

pytestmark = pytest.mark.skipif(not RECORDINGS.exists(), reason="the recordings are not here")
AFTER_ALL = date(2026, 7, 16)
BUSY = "5dfc22e163"
BOUNCED = "3f69f3a595"


@pytest.fixture(scope="module")
def account() -> RecordedAccount:
    return RecordedAccount()


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory):
    with serve_recordings() as base_url:
        found = Night(tmp_path_factory.mktemp("night"), base_url)
        found.first = found.run(AFTER_ALL)
        found.second = found.run(AFTER_ALL)
        yield found


def test_members_equal_both_recorded_lists(night, account):
    """The default list omits the archived; the sweep brings them."""
    stored = night.lake.latest(tables.Members).collect()
    expected = {KEYS.of_member_id(one["id"]): one["status"] for one in account.members + account.archived}
    assert dict(stored.select("subscriber_key", "status").iter_rows()) == expected
    assert "archived" in expected.values()


def test_addresses_stay_in_their_one_table(night):
    addresses = night.lake.addresses()["email_address"].to_list()
    assert len(addresses) == night.lake.latest(tables.Members).collect().height
    for file in Path(night.lake.root).rglob("*"):
        if file.is_file() and file.parent.name != "addresses":
            text = str(pl.read_parquet(file).to_dicts()) if file.suffix == ".parquet" else file.read_text()
            assert not any(one in text for one in addresses), file


def test_campaigns_equal_the_recorded_union(night, account):
    stored = night.lake.latest(tables.Campaigns).collect()
    assert set(stored["campaign_id"]) == {one["id"] for one in account.campaigns}
    sent = stored.filter(pl.col("sent_us").is_not_null())
    assert set(sent["campaign_id"]) == set(account.activity)


def test_reports_keep_what_was_recorded_of_them(night, account):
    stored = {row["campaign_id"]: row for row in night.lake.latest(tables.Reports).collect().iter_rows(named=True)}
    for body in account.bodies("Reports__recency_fields_probe"):
        for recorded in body["reports"]:
            row = stored[recorded["id"]]
            assert row["emails_sent"] == recorded["emails_sent"]
            assert row["sent_us"] == instant(recorded["send_time"])
            last_click = recorded["clicks"]["last_click"]
            assert row["last_click_us"] == (instant(last_click) if last_click else None)
            assert row["hard_bounces"] == recorded["bounces"]["hard_bounces"]
            assert row["soft_bounces"] == recorded["bounces"]["soft_bounces"]


def test_every_recorded_event_is_one_row(night, account):
    stored = night.lake.latest(tables.EmailActivity).collect()
    expected = {
        (campaign, KEYS.of_member_id(member), event["action"], instant(event["timestamp"]), event.get("url", ""))
        for campaign, emails in account.activity.items()
        for member, events in emails.items()
        for event in events
    }
    assert set(stored.select("campaign_id", "subscriber_key", "action", "occurred_us", "url").iter_rows()) == expected
    assert stored.height == len(expected)


def test_every_recorded_recipient_is_one_send(night, account):
    stored = night.lake.latest(tables.Sends).collect()
    expected = {(campaign, KEYS.of_member_id(one)) for campaign, emails in account.activity.items() for one in emails}
    assert set(stored.select("campaign_id", "subscriber_key").iter_rows()) == expected


def test_click_rate_is_people_who_clicked_by_delivered(night):
    report = night.lake.latest(tables.Reports).filter(pl.col("campaign_id") == BUSY).collect().row(0, named=True)
    delivered = report["emails_sent"] - report["hard_bounces"] - report["soft_bounces"]
    clicks = night.lake.latest(tables.EmailActivity).filter(pl.col("campaign_id") == BUSY, pl.col("action") == "click")
    assert report["click_rate"] == clicks.collect()["subscriber_key"].n_unique() / delivered


def test_a_hard_bounced_address_opened_before_its_bounce(night):
    events = night.lake.latest(tables.EmailActivity).filter(pl.col("campaign_id") == BOUNCED).sort("occurred_us")
    assert events.collect()["action"].to_list() == ["open", "bounce"]
    opened, bounced = events.collect()["occurred_us"]
    assert bounced - opened == 4_000_000
    send = night.lake.latest(tables.Sends).filter(pl.col("campaign_id") == BOUNCED).collect()
    assert send["status"].to_list() == ["hard"]


def test_recorded_image_proxies_are_recognised_for_opens_only(night):
    """Google's and Apple's recorded proxies; the recordings replaced people's addresses by 203.0.113.0/24."""
    stored = night.lake.latest(tables.EmailActivity).collect()
    by_action = dict(stored.group_by("action").agg(pl.col("is_image_proxy").sum()).iter_rows())
    people = stored.filter((pl.col("action") == "open") & ~pl.col("is_image_proxy"))
    assert by_action["click"] == by_action["bounce"] == 0
    assert people["ip_key"].to_list() == [KEYS.of_ip("203.0.113.1")]
    assert by_action["open"] == stored.filter(pl.col("action") == "open").height - 1


def test_a_second_night_on_the_same_answers_writes_nothing(night):
    assert sum(night.first.values()) > 0
    assert sum(night.second.values()) == 0


def test_nothing_is_stored_from_after_the_night(tmp_path, account):
    """Six days earlier: later events wait, and a later night brings exactly them."""
    early, end_us = date(2026, 7, 10), instant("2026-07-10T23:59:59+00:00")
    with serve_recordings() as base_url:
        night = Night(tmp_path, base_url)
        night.run(early)
        for model in (tables.EmailActivity, tables.OpenDetails, tables.Sends, tables.Reports, tables.Campaigns):
            column = "sent_us" if "sent_us" in night.lake.latest(model).collect_schema() else "occurred_us"
            assert (night.lake.latest(model).collect()[column].max() or 0) <= end_us, model
        night.run(AFTER_ALL)
    events = sum(len(events) for emails in account.activity.values() for events in emails.values())
    assert night.lake.latest(tables.EmailActivity).collect().height == events
