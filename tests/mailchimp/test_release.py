"""The three starts of a journey against the stand-in, which really lets people in and keeps a record of it."""

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl
import pytest
import requests

from pipeline.mailchimp.client import MailchimpClient
from pipeline.mailchimp.release import MailchimpDoor
from pipeline.sample.account.generate import SampleAccount, generate
from pipeline.sample.account.world import WINBACK
from pipeline.sample.server.journey_steps import API_TRIGGER, JOURNEYS, RELEASE_EVENT, WINBACK_TAG
from pipeline.sample.server.process import serve
from pipeline.sample.server.view import look
from pipeline.settings import SAMPLE_TONIGHT, Settings
from tests.mailchimp.fake_account import AUDIENCE, member_id
from tests.mailchimp.loopback import serve as serve_answers
from tests.mailchimp.writable_account import WritableAccount, client_of

JOURNEY = next(one for one in JOURNEYS if one.flow is WINBACK)
API = next(one.number for one in JOURNEY.steps if one.step_type == API_TRIGGER)
KEY = "sample-us1"


@pytest.fixture(scope="module")
def account(few_people: None) -> SampleAccount:
    return generate()


@pytest.fixture(scope="module")
def outsiders(account: SampleAccount) -> list[int]:
    """Subscribed people who never were in the win-back."""
    view = look(account, SAMPLE_TONIGHT)
    inside = set(account.journeys.filter(workflow_id=WINBACK.workflow_id)["subscriber"])
    return [one for one in view.members.tolist() if view.status[one] == "subscribed" and one not in inside]


@pytest.fixture
def url(account: SampleAccount) -> Iterator[str]:
    with serve(account, SAMPLE_TONIGHT) as address:
        yield address


def door(url: str, account: SampleAccount, people: list[int], start: Mapping[str, Any]) -> MailchimpDoor:
    ids = [str(account.people.member_id[one]) for one in people]
    addresses = [str(account.people.address[one]) for one in people]
    known = pl.DataFrame({"subscriber_key": people, "member_id": ids, "email_address": addresses})
    return MailchimpDoor(MailchimpClient(url, KEY, settings=Settings(_env_file=None)), known, start)  # type: ignore[call-arg]


def entered(url: str) -> list[str]:
    record = requests.get(f"{url}/record", auth=("driptune", KEY), timeout=10).json()
    return sorted(one["member_id"] for one in record["entered"] if one["workflow_id"] == WINBACK.workflow_id)


@pytest.mark.parametrize(
    "start",
    [{"trigger": {"journey": JOURNEY.number, "step": API}}, {"event": RELEASE_EVENT}, {"tag": WINBACK_TAG}],
)
def test_each_start_lets_in_those_who_are_asked_for_and_nobody_else(
    url: str, account: SampleAccount, outsiders: list[int], start: dict[str, Any]
) -> None:
    people = outsiders[:20]
    answers = door(url, account, people, start).let_in(people)
    assert {one.outcome for one in answers} == {"released"}
    assert entered(url) == sorted(str(account.people.member_id[one]) for one in people)


def test_who_is_inside_has_the_tag_or_is_not_known_is_refused_and_says_nothing_of_the_api(
    url: str, account: SampleAccount, outsiders: list[int]
) -> None:
    known, unknown = outsiders[0], outsiders[1]
    for start in ({"trigger": {"journey": JOURNEY.number, "step": API}}, {"tag": WINBACK_TAG}):
        made = door(url, account, [known], start)
        first, again, stranger = (made.let_in([one])[0] for one in (known, known, unknown))
        assert first.outcome == "released"
        assert again.outcome.startswith("refused: ")
        assert stranger.outcome == "refused: no longer a member who gets mail"
        assert again.fault is stranger.fault is None


def test_a_step_that_is_not_there_is_told_of_the_start_and_not_of_the_person(
    url: str, account: SampleAccount, outsiders: list[int]
) -> None:
    people = outsiders[:1]
    [answer] = door(url, account, people, {"trigger": {"journey": JOURNEY.number, "step": 1}}).let_in(people)
    assert answer.outcome.startswith("not sent: ")
    assert "/actions/trigger" in (answer.fault or "")
    assert entered(url) == []


@pytest.mark.parametrize("start", [{"event": RELEASE_EVENT}, {"tag": WINBACK_TAG}])
def test_who_is_in_several_audiences_is_let_in_in_that_of_the_flow(start: dict[str, Any]) -> None:
    """A tag or an event in another audience starts nothing, and the answer to the call would not say so."""
    made = WritableAccount(2)
    made.add_audience("another", made.members[0])
    made.members[0]["id"] = made.members[0]["id"].upper()
    known = pl.DataFrame(
        {"subscriber_key": [0], "member_id": [member_id(0)], "email_address": [made.members[0]["email_address"]]}
    )
    with serve_answers(made.answer) as url:
        [answer] = MailchimpDoor(client_of(url), known, start, AUDIENCE).let_in([0])
    assert answer.outcome == "released"
    assert made.let_in == [0]
