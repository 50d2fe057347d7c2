"""What the doctor says of an address that answers, and not as Mailchimp does."""

from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from pipeline.operations.health import PATIENCE_SECONDS, diagnosis
from pipeline.settings import Settings
from tests.mailchimp.fake_account import API_KEY
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
    assert [told for is_good, told in findings if not is_good and told.startswith("/: no complete answer within")]
    assert next(clock) <= PATIENCE_SECONDS + 10
    assert max(total for _, total in given) <= PATIENCE_SECONDS
