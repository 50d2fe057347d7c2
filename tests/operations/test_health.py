"""What the doctor says of an address that answers, and not as Mailchimp does."""

from collections import Counter
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from pydantic import SecretStr

from pipeline.operations.health import PATIENCE_SECONDS, diagnosis
from pipeline.settings import Settings
from tests.mailchimp.fake_account import API_KEY, FakeAccount, member, served
from tests.mailchimp.loopback import send, serve


def ignore(line: str) -> None:
    pass


@pytest.mark.parametrize("body", [b"{}", b'{"account_name": 5}', b'{"account_name": null}', b"[]", b"null", b""])
def test_an_answer_of_another_shape_is_told_in_a_sentence(tmp_path: Path, body: bytes) -> None:
    def answer(handler: BaseHTTPRequestHandler, path: str, query: dict[str, str]) -> None:
        send(handler, 200, body)

    with serve(answer) as url:
        findings = diagnosis(
            Settings(
                data_dir=tmp_path,
                mailchimp_url=url,
                MAILCHIMP_API_KEY=API_KEY,
                retry_budget_seconds=0.1,
                _env_file=None,
            ),  # type: ignore[call-arg]
            ignore,
        )
    (told,) = [text for is_good, text in findings if not is_good]
    assert told.startswith("/")
    assert "DRIPTUNE_MAILCHIMP_URL" in told or "something between here and Mailchimp" in told


def test_an_account_that_is_called_by_an_address_is_told_without_it(tmp_path: Path) -> None:
    def answer(handler: BaseHTTPRequestHandler, path: str, query: dict[str, str]) -> None:
        send(handler, 200, b'{"account_name": "of ann%40example.com", "journeys": [], "total_items": 0}')

    with serve(answer) as url:
        settings = Settings(data_dir=tmp_path, mailchimp_url=url, MAILCHIMP_API_KEY=API_KEY, _env_file=None)  # type: ignore[call-arg]
        told = [text for _, text in diagnosis(settings, ignore)]
    assert "Mailchimp answers for the account 'of (removed)'" in told


def test_a_host_that_says_nothing_is_given_up_within_seconds_and_named_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[float, float]] = []

    def fail(session: requests.Session, request: requests.PreparedRequest, **options: Any) -> None:
        given.append(options["timeout"])
        raise requests.ConnectTimeout

    monkeypatch.setattr(requests.Session, "send", fail)
    clock = iter(range(0, 10_000, 5))
    monkeypatch.setattr("pipeline.mailchimp.client.time", SimpleNamespace(monotonic=lambda: next(clock), sleep=ignore))
    waits: list[str] = []
    settings = Settings(data_dir=tmp_path, mailchimp_url="https://us1.example/3.0", MAILCHIMP_API_KEY=API_KEY)
    findings = diagnosis(settings, waits.append)
    assert waits == ["Waiting for us1.example to answer, at most 15 s."]
    told = [finding for is_good, finding in findings if not is_good]
    assert [one for one in told if one.startswith("us1.example: no complete answer within")]
    assert not any("written" in one for one in told)
    assert next(clock) <= PATIENCE_SECONDS + 10
    assert max(total for _, total in given) <= PATIENCE_SECONDS


def test_where_no_total_is_told_the_doctor_does_not_know_what_the_first_night_takes(tmp_path: Path) -> None:
    account = FakeAccount()
    account.members = [member(1)]
    account.tamper = lambda path, query, page: page.pop("total_items", None) and None
    with served(account, tmp_path) as night:
        url = night.client._base_url
        settings = night.settings.model_copy(update={"mailchimp_url": url, "mailchimp_api_key": SecretStr(API_KEY)})
        told = [text for _, text in diagnosis(settings, ignore) if text.startswith("first night")]
    assert told == ["first night: what it takes cannot be told. Mailchimp announces no number of members."]


def test_before_the_first_night_the_doctor_tells_its_calls_and_minutes_and_after_it_what_is_left(
    tmp_path: Path,
) -> None:
    account = FakeAccount()
    account.members = [member(number) for number in range(1_500)]
    account.add_campaign("news", list(range(1_500)), "2026-06-20T08:00:00+00:00")
    account.add_campaign("mail1", [1, 2, 3], "2026-06-20T08:00:00+00:00", kind="automation-email")
    with served(account, tmp_path, feed_calls=2) as night:
        url = night.client._base_url
        settings = night.settings.model_copy(update={"mailchimp_url": url, "mailchimp_api_key": SecretStr(API_KEY)})
        before = [text for _, text in diagnosis(settings, ignore) if text.startswith("first night")]
        account.requests.clear()
        night.run()
        calls = Counter(path.rpartition("/")[2] for path, _ in account.requests)
        after = [text for is_good, text in diagnosis(settings, ignore) if "people read" in text and is_good]
    assert [line.partition(" calls")[0] for line in before] == [
        "first night, members: at most 2",
        "first night, activity of campaigns: at most 18",
        "first night, activity feeds: at most 1,500",
    ]
    assert before[2].endswith("over 750 nights")
    activity = ("sent-to", "email-activity", "open-details", "click-details", "unsubscribed", "abuse-reports")
    assert sum(calls[name] for name in activity) <= 18
    assert after == ["feeds: 2 of 3 people read. 1 call is left, about 1 night"]


def test_an_address_that_may_not_be_asked_is_not_waited_for(tmp_path: Path) -> None:
    waits: list[str] = []
    settings = Settings(data_dir=tmp_path, mailchimp_url="http://us1.example/3.0", MAILCHIMP_API_KEY=API_KEY)
    findings = diagnosis(settings, waits.append)
    assert waits == []
    assert any("DRIPTUNE_MAILCHIMP_URL" in told for is_good, told in findings if not is_good)
