"""Every kind of API fault: correct data or one typed error, in time, without secrets, and never a part of the data."""

import itertools
import json
import logging
import random
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import polars as pl
import pytest

from pipeline.common import errors
from pipeline.mailchimp import client as mailchimp
from pipeline.mailchimp import paging
from pipeline.mailchimp.pulls import pull_account_and_audiences, pull_members
from pipeline.mailchimp.windows import WindowState
from pipeline.schemas import lake as tables
from tests.mailchimp.fake_account import API_KEY, AUDIENCE, FakeAccount, Night, member, subscriber
from tests.mailchimp.faults import BODY_CAP, FAULTS, PERSON, Fault
from tests.mailchimp.loopback import project, serve

PAGE_SIZE = 100  # in place of 1,000, to save time
MEMBERS = 250
BUDGET_SECONDS = 1.0
SLACK_SECONDS = 5.0  # other tests share the machine
# Enough time where a fault ends or passes at once, little where it takes all there is.
AMPLE = {"retry_budget_seconds": 60.0, "call_deadline_seconds": 30.0, "max_response_bytes": BODY_CAP}
SCARCE = {**AMPLE, "retry_budget_seconds": BUDGET_SECONDS, "call_deadline_seconds": BUDGET_SECONDS}
IMPATIENT = {**AMPLE, "call_deadline_seconds": 0.5}
EVERYONE = [member(number, member_rating=2) for number in range(MEMBERS)]


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailchimp, "FIRST_WAIT_SECONDS", 0.02)
    monkeypatch.setattr(paging, "PAGE_SIZE", PAGE_SIZE)


class FaultyAccount(FakeAccount):
    """Breaks answers to requests for members: `choose` gets the offset and returns the fault, if any."""

    def __init__(self, choose) -> None:
        super().__init__()
        self.members = EVERYONE
        self._choose = choose

    def answer(self, handler: BaseHTTPRequestHandler, path: str, query: dict[str, str]) -> None:
        is_page = path.endswith("/members") and "status" not in query
        fault = self._choose(int(query["offset"])) if is_page else None
        if fault is None:
            super().answer(handler, path, query)
            return
        key, items = self.find(path, query)
        offset = int(query["offset"])
        page = {key: items[offset : offset + int(query["count"])], "total_items": len(items)}
        fault.answer(handler, project(page, query["fields"]))


@contextmanager
def faulty(folder: Path, choose, **limits: float) -> Iterator[Night]:
    with serve(FaultyAccount(choose).answer) as base_url:
        night = Night(folder, base_url, **limits)
        night.pull(pull_account_and_audiences)
        yield night


def second_page(fault: Fault, times: float):
    """Breaks the second page so often."""
    count = itertools.count(1)
    return lambda offset: fault if offset == PAGE_SIZE and next(count) <= times else None


def assert_untouched(night: Night) -> None:
    assert night.lake.latest(tables.Members).collect().is_empty()
    assert night.lake.addresses().is_empty()
    assert WindowState(night.lake).section("members") == {}


def assert_complete(night: Night) -> None:
    assert set(night.lake.latest(tables.Members).collect()["subscriber_key"]) == set(map(subscriber, range(MEMBERS)))


def assert_clear(error: errors.SourceError, log: str) -> None:
    assert error.endpoint.replace(AUDIENCE, "{list_id}") == "/lists/{list_id}/members"
    assert str(error).startswith(error.endpoint)
    assert str(error).endswith(error.advice)
    assert error.advice.endswith(".")
    shown = "".join(traceback.format_exception(error)) + log
    for secret in (API_KEY, API_KEY.split("-")[0], PERSON, "person-", "127.0.0.1", "count="):
        assert secret not in shown.replace(__file__, ""), secret


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_that_stays_is_one_clear_error(fault: Fault, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    is_final = fault.always is None or fault.once is not None
    limits = AMPLE if is_final else SCARCE
    with caplog.at_level(logging.DEBUG), faulty(tmp_path, second_page(fault, float("inf")), **limits) as night:
        if fault.always is None:
            night.pull(pull_members)
            assert_complete(night)
            return
        started = time.monotonic()
        with pytest.raises(errors.SourceError) as raised:
            night.pull(pull_members)
        assert is_final or time.monotonic() - started <= 1.1 * BUDGET_SECONDS + SLACK_SECONDS
        assert type(raised.value) is fault.always
        assert_clear(raised.value, caplog.text)
        assert_untouched(night)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_passing_fault_costs_nothing_but_time(fault: Fault, tmp_path: Path):
    with faulty(tmp_path, second_page(fault, 1), **IMPATIENT if fault.once is None else AMPLE) as night:
        if fault.once is None:
            night.pull(pull_members)
            assert_complete(night)
        else:
            with pytest.raises(fault.once):
                night.pull(pull_members)
            assert_untouched(night)
            night.pull(pull_members)
            assert_complete(night)


def test_in_a_storm_of_faults_a_listing_is_whole_or_one_typed_error(tmp_path: Path):
    """Hundreds of answers, each second one broken by chance in any way that passes."""
    chance = random.Random(7)
    storm = [fault for fault in FAULTS if fault.once is None and "drip" not in fault.name and fault.name != "hang"]
    answers = itertools.count()

    def choose(offset: int) -> Fault | None:
        next(answers)
        return chance.choice(storm) if chance.random() < 0.5 else None

    complete = 0
    with faulty(tmp_path, choose, **SCARCE) as night:
        while next(answers) < 500:
            try:
                found = night.client.listing(
                    "/lists/{list_id}/members", "members", {"fields": "members.id,total_items"}, list_id=AUDIENCE
                )
            except errors.SourceError as error:
                assert_clear(error, "")
            else:
                assert [one["id"] for one in found] == [one["id"] for one in EVERYONE]
                complete += 1
    assert complete > 0


def test_shrinking_totals_lose_nobody(tmp_path: Path):
    """Three members of the first page vanish while the second is asked for: the others move up and are still read."""
    account = FakeAccount()
    account.members = list(EVERYONE)

    def answer(handler: BaseHTTPRequestHandler, path: str, query: dict[str, str]) -> None:
        if path.endswith("/members") and query.get("offset") == str(PAGE_SIZE) and len(account.members) == MEMBERS:
            del account.members[:3]
        account.answer(handler, path, query)

    with serve(answer) as base_url:
        night = Night(tmp_path, base_url, **AMPLE)
        night.pull(pull_account_and_audiences)
        night.pull(pull_members)
    assert_complete(night)


def test_pages_that_repeat_are_an_error(tmp_path: Path):
    """A server that ignores `offset` would otherwise be read for ever."""
    account = FakeAccount()
    account.members = EVERYONE

    def answer(handler: BaseHTTPRequestHandler, path: str, query: dict[str, str]) -> None:
        account.answer(handler, path, {**query, "offset": "0"})

    with serve(answer) as base_url:
        night = Night(tmp_path, base_url, **AMPLE)
        night.pull(pull_account_and_audiences)
        with pytest.raises(errors.PagingError):
            night.pull(pull_members)
        assert_untouched(night)


def test_rows_that_break_the_contract_are_set_aside_and_counted(tmp_path: Path):
    """Wrong types and missing keys in single rows; the reason names the field and never the value."""
    account = FakeAccount()
    broken = {
        "id": member(901, id=17),
        "email_address": member(902, email_address="nobody"),
        "status": member(903, status=["subscribed"]),
        "last_changed": member(904, last_changed="2026-01-01 yesterday"),
        "location": member(905, location="Vienna"),
        "member_rating": member(906, member_rating=True),
        "merge_fields": member(907, merge_fields=[PERSON]),
        "timestamp_opt": member(908, timestamp_opt="2026-01-01T00:00:00"),
        "tags": member(909, tags="none"),
    }
    account.members = [member(number) for number in range(10)] + list(broken.values())
    with serve(account.answer) as base_url:
        night = Night(tmp_path, base_url)
        night.pull(pull_account_and_audiences)
        summary = night.pull(pull_members)
    assert summary.rows == {"members": 10}
    assert summary.quarantined == len(broken)
    rows = night.lake.latest(tables.Quarantine).collect()
    assert {field.split(".")[0] for field in rows["field"]} == set(broken)
    assert rows["source"].unique().to_list() == ["members"]
    assert all(row.startswith(f"/lists/{AUDIENCE}/members item ") for row in rows["reference"])
    assert not rows.select(pl.concat_str("reason", "reference").str.contains("@|Vienna|yesterday")).to_series().any()


def test_one_member_in_half_the_answer_too_large_to_be_true(tmp_path: Path):
    """Numbers beyond 64 bits and beyond floats are set aside, not raised."""
    account = FakeAccount()
    account.members = [member(1), member(2, member_rating=2**70), member(3, member_rating=-1)]
    with serve(account.answer) as base_url:
        night = Night(tmp_path, base_url)
        night.pull(pull_account_and_audiences)
        assert night.pull(pull_members).quarantined == 2
    assert night.lake.latest(tables.Members).collect()["subscriber_key"].to_list() == [subscriber(1)]


@pytest.mark.parametrize("name", ["hang", "slow drip", "slow drip of headers"])
def test_the_total_deadline_holds(name: str, tmp_path: Path):
    fault = next(fault for fault in FAULTS if fault.name == name)
    with serve(lambda handler, path, query: fault.answer(handler, {})) as base_url:
        night = Night(tmp_path, base_url, retry_budget_seconds=BUDGET_SECONDS, call_deadline_seconds=0.4)
        started = time.monotonic()
        with pytest.raises(errors.DeadlineExceededError):
            night.client.get("/lists")
        assert time.monotonic() - started <= 1.1 * BUDGET_SECONDS + SLACK_SECONDS


def test_a_wait_longer_than_the_budget_is_not_begun(tmp_path: Path):
    def answer(handler: BaseHTTPRequestHandler, path: str, query: dict[str, str]) -> None:
        handler.send_response(429)
        handler.send_header("Retry-After", "3600")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    with serve(answer) as base_url:
        night = Night(tmp_path, base_url, retry_budget_seconds=30)
        started = time.monotonic()
        with pytest.raises(errors.ThrottledError):
            night.client.get("/lists")
        assert time.monotonic() - started < SLACK_SECONDS
        assert night.client.calls == 1


def test_retry_after_is_waited_for(tmp_path: Path):
    times: list[float] = []

    def answer(handler: BaseHTTPRequestHandler, path: str, query: dict[str, str]) -> None:
        times.append(time.monotonic())
        good = len(times) > 1
        handler.send_response(200 if good else 429)
        content = b'{"lists": [], "total_items": 0}' if good else b""
        if not good:
            handler.send_header("Retry-After", "1")
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    with serve(answer) as base_url:
        Night(tmp_path, base_url, retry_budget_seconds=5).client.get("/lists")
    assert times[1] - times[0] >= 1


def test_a_redirect_never_carries_the_key_along(tmp_path: Path):
    reached: list[str] = []
    with serve(lambda handler, path, query: reached.append(path)) as elsewhere:

        def answer(handler: BaseHTTPRequestHandler, path: str, query: dict[str, str]) -> None:
            handler.send_response(301)
            handler.send_header("Location", f"{elsewhere}/lists")
            handler.send_header("Content-Length", "0")
            handler.end_headers()

        with serve(answer) as base_url, pytest.raises(errors.RedirectRefusedError):
            Night(tmp_path, base_url).client.get("/lists")
    assert reached == []


def test_an_unreachable_server_is_a_typed_error(tmp_path: Path):
    with serve(lambda *_: None) as base_url:
        pass
    with pytest.raises(errors.UnavailableError):
        Night(tmp_path, base_url, **SCARCE).client.get("/lists")


def test_never_more_connections_than_allowed(tmp_path: Path):
    lock, now, most = threading.Lock(), [0], [0]

    def answer(handler: BaseHTTPRequestHandler, path: str, query: dict[str, str]) -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.02)
        with lock:
            now[0] -= 1
        content = json.dumps({"lists": [], "total_items": 0}).encode()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    with serve(answer) as base_url:
        client = Night(tmp_path, base_url, max_connections=3).client
        side_by_side = threading.Thread(target=client.map, args=(lambda _: client.get("/lists"), range(30)))
        side_by_side.start()
        client.map(lambda _: client.get("/lists"), range(30))
        side_by_side.join()
    assert most[0] == 3


@pytest.mark.parametrize(
    ("base_url", "key"),
    [
        (None, "no suffix"),
        (None, "0123-us1.evil.example/"),
        ("ftp://us1.api.mailchimp.com/3.0", API_KEY),
        ("http://us1.api.mailchimp.com/3.0", API_KEY),
        ("us1.api.mailchimp.com", API_KEY),
    ],
)
def test_settings_that_cannot_work_are_refused_before_any_call(base_url, key, tmp_path: Path):
    settings = Night(tmp_path, "http://127.0.0.1:1/3.0").settings
    with pytest.raises(errors.ConfigurationError) as raised:
        mailchimp.MailchimpClient(base_url, key, settings=settings)
    assert API_KEY not in str(raised.value)


def test_the_key_names_the_data_centre():
    assert mailchimp.base_url_of(API_KEY) == "https://us1.api.mailchimp.com/3.0"
