"""What the stand-in server lets be written, and what it refuses as Mailchimp does."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
import requests

from pipeline.common.time import HOUR_US, end_of_day_us
from pipeline.sample.account.generate import SampleAccount, generate
from pipeline.sample.account.world import AUDIENCE_ID, REMINDER, WINBACK
from pipeline.sample.server.journey_steps import (
    API_TRIGGER,
    EVENT_TRIGGER,
    JOURNEYS,
    RELEASE_EVENT,
    TAG_TRIGGER,
    WINBACK_TAG,
)
from pipeline.sample.server.process import serve
from pipeline.sample.server.view import look
from pipeline.settings import SAMPLE_TONIGHT

EMAIL = f"/automations/{REMINDER.workflow_id}/emails/{REMINDER.steps[0].step_id}"
DELAY = {"amount": 6, "type": "hour", "direction": "after", "action": "ecomm_abandoned_cart"}


@pytest.fixture(scope="module")
def url(account: SampleAccount) -> Iterator[str]:
    with serve(account, SAMPLE_TONIGHT) as url:
        yield url


@pytest.fixture
def member(account: SampleAccount) -> str:
    return f"/lists/{AUDIENCE_ID}/members/{account.people.member_id[500]}"


def call(url: str, method: str, path: str, body: object = None) -> requests.Response:
    return requests.request(method, url + path, json=body, auth=("anyone", "sample-us1"))


def test_the_delay_of_an_abandoned_cart_can_be_changed(url: str) -> None:
    assert call(url, "PATCH", EMAIL, {"delay": DELAY}).json()["delay"] == DELAY
    assert call(url, "GET", EMAIL).json()["delay"] == DELAY


def test_a_delay_after_the_previous_mail_cannot_be_written(url: str) -> None:
    delay = {**DELAY, "action": "previous_campaign_sent"}
    assert call(url, "PATCH", EMAIL, {"delay": delay}).status_code == 400


def test_emails_are_paused_and_started(url: str) -> None:
    for action, status in (("pause", "paused"), ("start", "sending")):
        assert call(url, "POST", f"{EMAIL}/actions/{action}").status_code == 204
        assert call(url, "GET", EMAIL).json()["status"] == status


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_merge_fields_are_added_to_those_there(url: str, member: str, method: str) -> None:
    before = call(url, "GET", member).json()["merge_fields"]
    changed = call(url, method, member, {"merge_fields": {"SENDHOUR": method}}).json()["merge_fields"]
    assert changed == {**before, "SENDHOUR": method}


def test_tags_come_and_go(url: str, member: str) -> None:
    for status, expected in (("active", True), ("inactive", False)):
        body = {"tags": [{"name": "evening", "status": status}]}
        assert call(url, "POST", f"{member}/tags", body).status_code == 204
        assert ("evening" in {tag["name"] for tag in call(url, "GET", member).json()["tags"]}) is expected


def test_a_batch_does_what_its_operations_say_and_counts_failures(url: str, member: str) -> None:
    operations = [
        {"method": "PATCH", "path": member, "body": '{"merge_fields": {"SENDHOUR": "batch"}}'},
        {"method": "PATCH", "path": "/lists/0000000000/members/0", "body": "{}"},
    ]
    batch = call(url, "POST", "/batches", {"operations": operations}).json()
    assert (batch["total_operations"], batch["errored_operations"]) == (2, 1)
    assert call(url, "GET", f"/batches/{batch['id']}").json() == batch
    assert call(url, "GET", member).json()["merge_fields"]["SENDHOUR"] == "batch"


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"status": "happy"}'])
def test_bad_bodies_are_refused(url: str, member: str, body: bytes) -> None:
    response = requests.patch(url + member, data=body, auth=("anyone", "sample-us1"))
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/problem+json"


def entered(url: str) -> list[tuple[int, int, str, str]]:
    found = call(url, "GET", "/record").json()["entered"]
    return [(one["journey_id"], one["step_id"], one["member_id"], one["by"]) for one in found]


def outsiders(account: SampleAccount) -> list[int]:
    """Subscribed people who never were in the win-back."""
    view = look(account, SAMPLE_TONIGHT)
    inside = set(account.journeys.filter(workflow_id=WINBACK.workflow_id)["subscriber"])
    return [one for one in view.members.tolist() if view.status[one] == "subscribed" and one not in inside]


def test_tags_events_and_triggers_let_people_in_once(account: SampleAccount) -> None:
    """Each of the three starts of the win-back is used by one person, twice; the second time lets nobody in."""
    winback = next(one for one in JOURNEYS if one.flow is WINBACK)
    tag, event, api = (
        winback.trigger(TAG_TRIGGER, WINBACK_TAG),
        winback.trigger(EVENT_TRIGGER, RELEASE_EVENT),
        winback.trigger(API_TRIGGER),
    )
    assert tag
    assert event
    assert api
    people = outsiders(account)[:3]
    ids = [str(account.people.member_id[one]) for one in people]
    place = f"/lists/{AUDIENCE_ID}/members"
    trigger = f"/customer-journeys/journeys/{winback.number}/steps/{api.number}/actions/trigger"
    with serve(account, SAMPLE_TONIGHT) as url:
        for first in (True, False):
            tags = {"tags": [{"name": WINBACK_TAG, "status": "active"}]}
            assert call(url, "POST", f"{place}/{ids[0]}/tags", tags).status_code == 204
            assert call(url, "POST", f"{place}/{ids[1]}/events", {"name": RELEASE_EVENT}).status_code == 204
            answer = call(url, "POST", trigger, {"email_address": str(account.people.address[people[2]])})
            assert answer.status_code == (204 if first else 400)
        starts = zip((tag, event, api), ids, strict=True)
        assert entered(url) == [(winback.number, step.number, member, step.step_type) for step, member in starts]
        assert len(call(url, "GET", "/record").json()["received"]) == 5


def test_nobody_is_let_in_where_the_api_has_no_starting_point(url: str, account: SampleAccount) -> None:
    winback = next(one for one in JOURNEYS if one.flow is WINBACK)
    place = "/customer-journeys/journeys/{}/steps/{}/actions/trigger"
    body = {"email_address": str(account.people.address[500])}
    for journey, step, status in (
        (winback.number, winback.steps[0].number, 400),
        (winback.number, 1, 404),
        (1, 1, 404),
    ):
        assert call(url, "POST", place.format(journey, step), body).status_code == status
    assert entered(url) == []


def test_what_was_received_is_told_by_the_next_server_too(account: SampleAccount, member: str, tmp_path: Path) -> None:
    log = tmp_path / "writes.ndjson"
    tags = {"tags": [{"name": WINBACK_TAG, "status": "active"}]}
    with serve(account, SAMPLE_TONIGHT, log=log) as url:
        call(url, "POST", f"{member}/tags", tags)
        told = call(url, "GET", "/record").json()
    with serve(account, SAMPLE_TONIGHT, log=log) as url:
        assert call(url, "GET", "/record").json() == told
    assert [one["body"] for one in told["received"]] == [tags]


def test_whoever_is_let_in_gets_the_mail_of_the_journey_from_then_on(account: SampleAccount, tmp_path: Path) -> None:
    """One by tag and, a week later, one by event: their mail follows the delays until they buy."""
    log = tmp_path / "writes.ndjson"
    first, second = (str(account.people.member_id[one]) for one in outsiders(account)[:2])
    later = SAMPLE_TONIGHT + timedelta(days=7)
    with serve(account, SAMPLE_TONIGHT, log=log) as url:
        tags = {"tags": [{"name": WINBACK_TAG, "status": "active"}]}
        call(url, "POST", f"/lists/{AUDIENCE_ID}/members/{first}/tags", tags)
    once = generate(log=log)
    with serve(once, later, log=log) as url:
        call(url, "POST", f"/lists/{AUDIENCE_ID}/members/{second}/events", {"name": RELEASE_EVENT})
    twice = generate(log=log)
    people = outsiders(account)[:2]
    for person, night in zip(people, (SAMPLE_TONIGHT, later), strict=True):
        mail = twice.messages.filter((pl.col("subscriber") == person) & (pl.col("workflow_id") == "win-back"))
        hours = [(sent - end_of_day_us(night)) / HOUR_US for sent in mail.sort("sent_us")["sent_us"]]
        bought = twice.orders.filter((pl.col("subscriber") == person) & pl.col("order_id").str.starts_with("W"))
        last_us = bought["occurred_us"].min() or end_of_day_us(night) + 365 * 24 * HOUR_US
        planned = [hour for hour in (0, 120, 240) if end_of_day_us(night) + hour * HOUR_US <= last_us]
        assert hours == planned
        assert mail["step_id"].to_list() == ["miss-you", "voucher", "last-call"][: len(planned)]
    for before, after in ((account, once), (once, twice)):
        for frame in ("messages", "activity", "orders"):
            known, now = getattr(before, frame), getattr(after, frame)
            assert known.join(now, on=known.columns, how="anti", nulls_equal=True).is_empty()
        new = after.messages.join(before.messages, on=before.messages.columns, how="anti", nulls_equal=True)
        assert set(new["subscriber"]) <= set(people)
        assert new.height == after.messages.height - before.messages.height > 0
