"""What the stand-in server lets be written, and what it refuses as Mailchimp does."""

from collections.abc import Iterator

import pytest
import requests

from pipeline.sample.account.generate import SampleAccount
from pipeline.sample.account.world import AUDIENCE_ID, CART, WELCOME
from pipeline.sample.server.process import serve
from pipeline.settings import SAMPLE_TONIGHT

EMAIL = f"/automations/{CART.workflow_id}/emails/{CART.steps[0].step_id}"
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


def test_the_delay_of_a_welcome_series_cannot(url: str) -> None:
    path = f"/automations/{WELCOME.workflow_id}/emails/{WELCOME.steps[1].step_id}"
    assert call(url, "PATCH", path, {"delay": DELAY}).status_code == 400


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
