"""Client of the Mailchimp Marketing API: requests, retries, paging and typed errors, for reading and for writing.

What to ask for and what to keep belongs to `pull`; turning items into rows to `mailchimp_rows`.
"""

import email.utils
import itertools
import logging
import random
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from http.client import HTTPException
from http.cookiejar import DefaultCookiePolicy
from ipaddress import ip_address
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import requests
import urllib3

from pipeline.common import errors
from pipeline.mailchimp.transport import DeadlineAdapter, seconds_left, set_deadline, strict_json
from pipeline.settings import Settings

PAGE_SIZE = 1000  # the most that Mailchimp returns at once
CONNECT_SECONDS = 10.0
SHORTEST_SECONDS = 0.001
FIRST_WAIT_SECONDS = 0.25
LONGEST_WAIT_SECONDS = 30.0
READ_BYTES = 65_536
MAX_ERROR_BYTES = 65_536
_NETWORK_FAILURES = (requests.RequestException, urllib3.exceptions.HTTPError, HTTPException, OSError)

Item = TypeVar("Item")
Result = TypeVar("Result")


class MailchimpClient:
    """Reaches one account; safe to share between threads, never more than `settings.max_connections` at once.

    Args:
        base_url: URL including `/3.0`; none = the data centre that the key names.
        api_key: key with data-centre suffix.
        settings: deadlines, budget and limits.
        adapter: transport to use in place of the ordinary one (tests).

    Raises:
        ConfigurationError: if key and URL cannot work together.
    """

    def __init__(
        self,
        base_url: str | None,
        api_key: str,
        *,
        settings: Settings,
        adapter: requests.adapters.BaseAdapter | None = None,
    ) -> None:
        self._base_url = _checked(base_url or base_url_of(api_key))
        self._key = api_key
        self._settings = settings
        self._slots = threading.BoundedSemaphore(settings.max_connections)
        self._counter = threading.Lock()
        self.calls = 0
        # Its debug lines hold whole URLs, and with them member ids.
        logging.getLogger("urllib3").setLevel(logging.INFO)
        self._session = requests.Session()
        self._session.auth = ("driptune", api_key)
        self._session.headers["User-Agent"] = "driptune"
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        # Proxies and certificates of the environment are looked up once; per request it costs more than the request.
        environment = self._session.merge_environment_settings(self._base_url, {}, None, None, None)
        self._session.proxies, self._session.verify = environment["proxies"], environment["verify"]
        self._session.trust_env = False
        self._session.mount(self._base_url, adapter or DeadlineAdapter(pool_maxsize=settings.max_connections))
        # Headers and key are the same for every request: merging them anew would cost as much as sending it.
        self._template = self._session.prepare_request(requests.Request("GET", self._base_url))

    def get(self, endpoint: str, params: dict[str, str | int] | None = None, /, **ids: str) -> dict[str, Any]:
        """The JSON object that a path answers with, retried while the budget lasts.

        Args:
            endpoint: path template such as `/reports/{campaign_id}/sent-to`; errors name it.
            params: query parameters.
            ids: values for the template's fields.

        Raises:
            SourceError: one typed error; a `TransientError` once the budget is spent.
        """
        return self._insist("GET", endpoint, params, None, ids)

    def write(self, method: str, endpoint: str, body: dict[str, Any] | None = None, /, **ids: str) -> dict[str, Any]:
        """Set something to a state; what may be said twice with the effect of once is retried as `get` is.

        Args:
            method: PATCH, PUT or POST.
            endpoint: path template, as in `get`.
            body: JSON object to send.
            ids: values for the template's fields.

        Returns:
            The JSON object answered; empty for an answer without content.

        Raises:
            SourceError: as `get`; a `RequestRefusedError` where Mailchimp does not take the value.
        """
        return self._insist(method, endpoint, None, body, ids)

    def _insist(
        self,
        method: str,
        endpoint: str,
        params: dict[str, str | int] | None,
        payload: dict[str, Any] | None,
        ids: dict[str, str],
    ) -> dict[str, Any]:
        filled = endpoint.format(**{name: quote(value, safe="") for name, value in ids.items()})
        url = (self._base_url + filled).rstrip("/")
        ends = time.monotonic() + self._settings.retry_budget_seconds
        cause: errors.TransientError | None = None
        for attempt in itertools.count():
            # A machine that is busy may sleep longer than told, and come back after the end.
            seconds = min(max(ends - time.monotonic(), SHORTEST_SECONDS), self._settings.call_deadline_seconds)
            try:
                return self._attempt(method, endpoint, url, params, payload, seconds)
            except errors.TransientError as error:
                # An attempt cut short by the budget says nothing of why the ones before it failed.
                was_cut = seconds < self._settings.call_deadline_seconds
                if not (cause and was_cut and isinstance(error, errors.DeadlineExceededError)):
                    cause = error
                wait = max(error.retry_after, _backoff(attempt))
                if time.monotonic() + wait >= ends:
                    raise cause from None
                time.sleep(wait)
        raise AssertionError("attempts end only by returning or raising")

    def listing(self, endpoint: str, key: str, params: dict[str, str | int] | None = None, **ids: str) -> list[Any]:
        """All items of a paged collection; one may occur twice when the collection changes meanwhile.

        `total_items` can be too small, so it never ends a listing; a short page does, unless more was announced.
        When the total shrinks, rows not yet read have moved up: the page is read again as many rows earlier.

        Args:
            endpoint: path template.
            key: field that holds the items.
            params: query parameters besides `count` and `offset`.
            ids: values for the template's fields.

        Raises:
            PagingError: if pages repeat; nothing of a listing is returned unless all of it is.
            SourceError: as `get`.
        """
        items: list[Any] = []
        seen: set[int] = set()
        offset, announced = 0, 0
        while True:
            body = self.get(endpoint, {**(params or {}), "count": PAGE_SIZE, "offset": offset}, **ids)
            page, total = _items(body, key, endpoint), _total(body, endpoint)
            end = offset + len(page)
            has_moved = total is not None and total < announced and (not page or end <= total)
            if total is not None and has_moved:
                offset, announced = max(0, offset - (announced - total)), total
                continue
            items += page
            if not page or (len(page) < PAGE_SIZE and (total is None or end >= total)):
                return items
            fingerprint = hash(repr(page))
            if fingerprint in seen:
                raise errors.PagingError(
                    endpoint, f"the page at offset {offset} repeats an earlier one", "Run again later.", key
                )
            seen.add(fingerprint)
            offset, announced = end, announced if total is None else total

    def unpaged(self, endpoint: str, key: str, **ids: str) -> list[Any]:
        """All items of a collection that knows no paging and takes no parameters.

        Raises:
            SourceError: as `get`.
        """
        return _items(self.get(endpoint, **ids), key, endpoint)

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """Results of the function for every item, in order, computed side by side; the first error ends all."""
        with ThreadPoolExecutor(self._settings.max_connections) as pool:
            try:
                return list(pool.map(function, items))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _attempt(
        self,
        method: str,
        endpoint: str,
        url: str,
        params: dict[str, str | int] | None,
        payload: dict[str, Any] | None,
        seconds: float,
    ) -> dict[str, Any]:
        with self._slots:
            with self._counter:
                self.calls += 1
            deadline = time.monotonic() + seconds
            set_deadline(deadline)
            request = self._template.copy()
            request.prepare_method(method)
            request.prepare_url(url, params)
            if method != "GET":
                request.prepare_body(None, None, json=payload)
            try:
                with self._session.send(
                    request,
                    stream=True,
                    allow_redirects=False,
                    timeout=(min(CONNECT_SECONDS, seconds), seconds),
                ) as response:
                    good = response.status_code in (requests.codes.ok, requests.codes.no_content)
                    cap = self._settings.max_response_bytes if good else MAX_ERROR_BYTES
                    body = _read(response, deadline, cap, endpoint)
            except _NETWORK_FAILURES as error:
                raise _network_error(endpoint, error, deadline, seconds) from None
        if not good:
            raise _status_error(endpoint, response, body)
        return _object(endpoint, body) if response.status_code == requests.codes.ok else {}


def base_url_of(api_key: str) -> str:
    """Base URL of the data centre that a key names after its last dash.

    Raises:
        ConfigurationError: if the key has no such suffix.
    """
    _, dash, data_centre = api_key.rpartition("-")
    if not dash or not data_centre.isalnum():
        raise errors.ConfigurationError(
            "MAILCHIMP_API_KEY",
            "the key has no data-centre suffix",
            "Copy it whole from Mailchimp's API keys page; it ends like '-us6'.",
        )
    return f"https://{data_centre}.api.mailchimp.com/3.0"


def _checked(base_url: str) -> str:
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise errors.ConfigurationError(
            "DRIPTUNE_MAILCHIMP_URL", "this is no web address", "Write one such as 'https://us6.api.mailchimp.com/3.0'."
        )
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise errors.ConfigurationError(
            "DRIPTUNE_MAILCHIMP_URL",
            "http would send the key in the clear",
            "Use https; http is for this machine only.",
        )
    return base_url.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _backoff(attempt: int) -> float:
    return random.uniform(0.5, 1.0) * min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0 ** min(attempt, 10))


def _read(response: requests.Response, deadline: float, cap: int, endpoint: str) -> bytes:
    """The decoded body; reading piece by piece ends drips at the deadline and gzip bombs at the cap."""
    pieces, size = [], 0
    for piece in response.raw.stream(READ_BYTES, decode_content=True):
        seconds_left(deadline)
        size += len(piece)
        if size > cap:
            raise errors.ResponseTooLargeError(
                endpoint,
                f"the answer is larger than {cap} bytes",
                "Raise DRIPTUNE_MAX_RESPONSE_BYTES if this is right.",
            )
        pieces.append(piece)
    return b"".join(pieces)


def _network_error(endpoint: str, error: Exception, deadline: float, seconds: float) -> errors.SourceError:
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return errors.ConfigurationError(
            endpoint, "the server's certificate is not trusted", "Check DRIPTUNE_MAILCHIMP_URL and REQUESTS_CA_BUNDLE."
        )
    if time.monotonic() >= deadline or isinstance(error, requests.Timeout | TimeoutError):
        return errors.DeadlineExceededError(
            endpoint, f"no complete answer within {seconds:.3g} s", "Run again later; nothing of it was written."
        )
    return errors.UnavailableError(
        endpoint,
        f"the connection failed ({type(error).__name__})",
        "Check the network and DRIPTUNE_MAILCHIMP_URL, then run again.",
    )


def _status_error(endpoint: str, response: requests.Response, body: bytes) -> errors.SourceError:
    status = response.status_code
    try:
        problem = strict_json(body)
    except ValueError:
        problem = None
    title = str(problem.get("title", ""))[:100] if isinstance(problem, dict) else ""
    what = f"Mailchimp answered {status}" + (f" ({title})" if title else "")
    retry_after = _retry_after(response)
    if status == 401:
        return errors.AuthenticationError(endpoint, what, "Set MAILCHIMP_API_KEY to a key that is enabled.")
    if status == 403 and isinstance(problem, dict):
        return errors.PermissionDeniedError(endpoint, what, "Use a key of a user who may do this.")
    if status in (403, 429):
        return errors.ThrottledError(
            endpoint, what, "Too many requests from this account; run again later.", retry_after=retry_after
        )
    if status == 404:
        return errors.NotFoundError(endpoint, what, "It was deleted, or the id belongs to another account.")
    if 300 <= status < 400:
        return errors.RedirectRefusedError(
            endpoint, f"the server redirects ({status})", "Set DRIPTUNE_MAILCHIMP_URL to the final address."
        )
    if status == 408 or status >= 500:
        return errors.UnavailableError(
            endpoint, what, "Mailchimp has a problem; run again later.", retry_after=retry_after
        )
    return errors.RequestRefusedError(
        endpoint, what, "Report this to the maintainers: the request breaks the contract."
    )


def _retry_after(response: requests.Response) -> float:
    """Seconds to wait by the Retry-After header; a date is read on the server's own clock, ours may be wrong."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    until = _http_date(text)
    now = _http_date(response.headers.get("Date", "")) or datetime.now(UTC)
    return max(0.0, (until - now).total_seconds()) if until else 0.0


def _http_date(text: str) -> datetime | None:
    try:
        found = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _object(endpoint: str, body: bytes) -> dict[str, Any]:
    advice = "Run again; if it stays, something between here and Mailchimp changes the answers."
    try:
        value = strict_json(body)
    except ValueError as error:
        reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else type(error).__name__
        detail = str(error) if type(error) is ValueError else reason
        raise errors.MalformedResponseError(endpoint, f"the answer is not JSON: {detail}", advice) from None
    if not isinstance(value, dict):
        raise errors.MalformedResponseError(endpoint, "the answer is not a JSON object", advice)
    return value


def _items(body: dict[str, Any], key: str, endpoint: str) -> list[Any]:
    items = body.get(key)
    if not isinstance(items, list):
        what = "the list of items is missing" if key not in body else "this is not a list"
        raise errors.ContractBrokenError(endpoint, what, "The API changed its shape; update driptune.", key)
    return items


def _total(body: dict[str, Any], endpoint: str) -> int | None:
    total = body.get("total_items")
    if total is not None and (not isinstance(total, int) or isinstance(total, bool)):
        raise errors.ContractBrokenError(
            endpoint, "this is not an integer", "The API changed its shape; update driptune.", "total_items"
        )
    return total
