"""Ways in which an API can fail: each answers one request for a page in place of the right answer."""

import gzip
import json
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler
from typing import Any

from pipeline.common import errors
from tests.mailchimp.loopback import send

Page = dict[str, Any]
Break = Callable[[BaseHTTPRequestHandler, Page], None]
BODY_CAP = 2 * 2**20
BOMB = gzip.compress(b" " * (10 * BODY_CAP), 1)
PERSON = "canary@example.com"


@dataclass(frozen=True)
class Fault:
    """A fault and what must come of it: `once` after one occurrence, `always` when it stays; none = correct data."""

    name: str
    answer: Break
    always: type[errors.SourceError] | None
    once: type[errors.SourceError] | None = None


def problem(status: int, **headers: str) -> Break:
    def answer(handler: BaseHTTPRequestHandler, page: Page) -> None:
        # Mailchimp repeats in `detail` what it was asked for.
        body = {"type": "about:blank", "title": "Problem", "status": status, "detail": PERSON, "instance": ""}
        send(handler, status, json.dumps(body).encode(), Content_Type="application/problem+json", **headers)

    return answer


def body(content: bytes, status: int = 200, **headers: str) -> Break:
    return lambda handler, page: send(handler, status, content, **headers)


def changed(change: Callable[[Page], Any]) -> Break:
    """The right page after a change, which may return another value in its place."""

    def answer(handler: BaseHTTPRequestHandler, page: Page) -> None:
        other = change(page)
        send(handler, 200, json.dumps(page if other is None else other).encode())

    return answer


def text_changed(change: Callable[[str], bytes]) -> Break:
    return lambda handler, page: send(handler, 200, change(json.dumps(page)))


def throttled_until_date(handler: BaseHTTPRequestHandler, page: Page) -> None:
    """The server's clock is an hour ahead of ours; on it, the wait is short."""
    now = datetime.now(UTC) + timedelta(hours=1)
    handler.send_response_only(429)
    handler.send_header("Date", format_datetime(now, usegmt=True))
    handler.send_header("Retry-After", format_datetime(now, usegmt=True))
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def hang(handler: BaseHTTPRequestHandler, page: Page) -> None:
    time.sleep(1.5)
    handler.close_connection = True


def drip(handler: BaseHTTPRequestHandler, page: Page) -> None:
    """A byte now and then: no single read ever times out."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    _drip(handler, b" ")


def drip_headers(handler: BaseHTTPRequestHandler, page: Page) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    _drip(handler, b"x")


def _drip(handler: BaseHTTPRequestHandler, byte: bytes) -> None:
    for _ in range(150):
        handler.wfile.write(byte)
        handler.wfile.flush()
        time.sleep(0.02)
    handler.close_connection = True


def reset(handler: BaseHTTPRequestHandler, page: Page) -> None:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True


def truncated(handler: BaseHTTPRequestHandler, page: Page) -> None:
    content = json.dumps(page).encode()
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content[: len(content) // 2])
    handler.close_connection = True


def huge(handler: BaseHTTPRequestHandler, page: Page) -> None:
    content = b'{"members": [' + b" " * BODY_CAP + b"]}"
    send(handler, 200, content)


def gzip_bomb(handler: BaseHTTPRequestHandler, page: Page) -> None:
    send(handler, 200, BOMB, Content_Encoding="gzip")


def _first_member(page: Page, **fields: Any) -> None:
    page["members"][0] = {**page["members"][0], **fields}


def _lose(page: Page, *path: str) -> None:
    for name in path[:-1]:
        page = page[name]
    del page[path[-1]]


def _all_lose_ids(page: Page) -> None:
    page["members"] = [{**one, "id": None} for one in page["members"]]


FAULTS = [
    Fault("401", problem(401), errors.AuthenticationError, errors.AuthenticationError),
    Fault("403 with a body", problem(403), errors.PermissionDeniedError, errors.PermissionDeniedError),
    Fault("403 without a body", body(b"", 403), errors.ThrottledError),
    Fault("404 mid-pagination", problem(404), errors.NotFoundError, errors.NotFoundError),
    Fault("429, wait in seconds", problem(429, Retry_After="0"), errors.ThrottledError),
    Fault("429, wait until a date", throttled_until_date, errors.ThrottledError),
    Fault("500", problem(500), errors.UnavailableError),
    Fault("502 as HTML", body(b"<html>Bad gateway</html>", 502, Content_Type="text/html"), errors.UnavailableError),
    Fault("503", body(b"", 503), errors.UnavailableError),
    Fault("hang", hang, errors.DeadlineExceededError),
    Fault("slow drip", drip, errors.DeadlineExceededError),
    Fault("slow drip of headers", drip_headers, errors.DeadlineExceededError),
    Fault("reset", reset, errors.UnavailableError),
    Fault("truncated body", truncated, errors.UnavailableError),
    Fault("empty body", body(b""), errors.MalformedResponseError),
    Fault("null", body(b"null"), errors.MalformedResponseError),
    Fault("a list", body(b"[]"), errors.MalformedResponseError),
    Fault("nothing but brackets", body(b"[" * 100_000), errors.MalformedResponseError),
    Fault(
        "wrong type of the items",
        changed(lambda page: page.update(members={})),
        errors.ContractBrokenError,
        errors.ContractBrokenError,
    ),
    Fault(
        "wrong type of the total",
        changed(lambda page: page.update(total_items="many")),
        errors.ContractBrokenError,
        errors.ContractBrokenError,
    ),
    Fault(
        "missing key",
        changed(lambda page: _lose(page, "members")),
        errors.ContractBrokenError,
        errors.ContractBrokenError,
    ),
    Fault("missing key in all items", changed(_all_lose_ids), errors.ContractBrokenError, errors.ContractBrokenError),
    Fault(
        "NaN",
        text_changed(lambda text: text.replace('"member_rating": 2', '"member_rating": NaN', 1).encode()),
        errors.MalformedResponseError,
    ),
    Fault(
        "duplicate keys",
        text_changed(lambda text: text.replace('{"members"', '{"members": [], "members"', 1).encode()),
        errors.MalformedResponseError,
    ),
    Fault(
        "bad UTF-8", text_changed(lambda text: text.encode()[:-1] + b', "x": "\xff"}'), errors.MalformedResponseError
    ),
    Fault("UTF-16", text_changed(lambda text: text.encode("utf-16")), errors.MalformedResponseError),
    Fault("huge body", huge, errors.ResponseTooLargeError, errors.ResponseTooLargeError),
    Fault("gzip bomb", gzip_bomb, errors.ResponseTooLargeError, errors.ResponseTooLargeError),
    Fault(
        "broken gzip",
        body(b"no gzip at all", Content_Encoding="gzip"),
        errors.UnavailableError,
    ),
    Fault(
        "redirect elsewhere",
        body(b"", 302, Location=f"https://elsewhere.example/?who={PERSON}"),
        errors.RedirectRefusedError,
        errors.RedirectRefusedError,
    ),
    Fault("unknown fields", changed(lambda page: page.update(new_in_2027=[1]) or _first_member(page, other={})), None),
    Fault("total too small", changed(lambda page: page.update(total_items=1)), None),
    Fault("total missing", changed(lambda page: _lose(page, "total_items")), None),
    Fault("lone surrogate", changed(lambda page: _first_member(page, source="\ud800")), None),
]
