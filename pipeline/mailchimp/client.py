"""Client of the Mailchimp Marketing API: requests, retries and typed errors, for reading and for writing.

When a collection is whole is decided in `paging`, what to ask for and what to keep in the pulls, and how items become
rows in `rows`.
"""

import itertools
import logging
import random
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from http.cookiejar import DefaultCookiePolicy
from ipaddress import ip_address
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import requests
import urllib3

from pipeline.common import errors
from pipeline.mailchimp.answers import announced_total, items_of, json_object, network_error, read_body, status_error
from pipeline.mailchimp.paging import (
    FRUITLESS_PAGES,
    SMALLEST_PAGE,
    IncompleteListingError,
    Listing,
    Page,
    WholeReading,
)
from pipeline.mailchimp.transport import DeadlineAdapter, set_deadline
from pipeline.settings import Settings

CONNECT_SECONDS = 10.0
SHORTEST_SECONDS = 0.001
FIRST_WAIT_SECONDS = 0.25
LONGEST_WAIT_SECONDS = 30.0
MAX_ERROR_BYTES = 65_536
# Longest time of a call to what may not be there, with all attempts and waits.
PROBE_SECONDS = 60.0
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
        return self._insist("GET", endpoint, params, None, ids, self._budget_end())

    def probe(self, endpoint: str, params: dict[str, str | int], /, **ids: str) -> dict[str, Any]:
        """What `get` gives, insisted on for a short time only: for what an account need not have.

        Raises:
            SourceError: as `get`.
        """
        ends = min(self._budget_end(), time.monotonic() + PROBE_SECONDS)
        return self._insist("GET", endpoint, params, None, ids, ends)

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
        return self._insist(method, endpoint, None, body, ids, self._budget_end())

    def write_once(
        self, method: str, endpoint: str, body: dict[str, Any] | None = None, /, **ids: str
    ) -> dict[str, Any]:
        """Make a call that must not be made twice: there is one attempt, whatever comes of it.

        Args, returns and raises: as `write`; after a `TransientError` other than a `ThrottledError` nobody knows
        whether the call had an effect.
        """
        return self._attempt(
            method, endpoint, self._url(endpoint, ids), None, body, self._settings.call_deadline_seconds
        )

    def _url(self, endpoint: str, ids: dict[str, str]) -> str:
        filled = endpoint.format(**{name: quote(value, safe="") for name, value in ids.items()})
        return (self._base_url + filled).rstrip("/")

    def _budget_end(self) -> float:
        """The moment (monotonic seconds) at which a call that begins now is given up."""
        return time.monotonic() + self._settings.retry_budget_seconds

    def _insist(
        self,
        method: str,
        endpoint: str,
        params: dict[str, str | int] | None,
        payload: dict[str, Any] | None,
        ids: dict[str, str],
        ends: float,
        is_patient: bool = True,
    ) -> dict[str, Any]:
        """Make attempts until one succeeds or `ends` has come; without patience, none after one that took too long."""
        url = self._url(endpoint, ids)
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
                is_late = isinstance(error, errors.DeadlineExceededError)
                wait = max(error.retry_after, _backoff(attempt))
                if time.monotonic() + wait >= ends or (is_late and not is_patient):
                    raise cause from None
                time.sleep(wait)
        raise AssertionError("attempts end only by returning or raising")

    def listing(self, endpoint: str, key: str, params: dict[str, str | int] | None = None, **ids: str) -> Listing:
        """All items of a paged collection, each once.

        Args:
            endpoint: path template.
            key: field that holds the items.
            params: query parameters besides `count` and `offset`.
            ids: values for the template's fields.

        Raises:
            PagingError: if pages repeat or fewer items come than were announced; nothing of a listing is returned
                unless all of it is.
            SourceError: as `get`.
        """

        def ask(offset: int, size: int) -> Page:
            return self._page(endpoint, key, params or {}, offset, size, ids)

        return WholeReading(ask, _pause, endpoint, key).read()

    def unpaged(self, endpoint: str, key: str, **ids: str) -> Listing:
        """All items of a collection that knows no paging and takes no parameters.

        Raises:
            IncompleteListingError: if fewer items come than were announced, although they were asked for again.
            SourceError: as `get`.
        """
        for attempt in range(FRUITLESS_PAGES):
            body = self.get(endpoint, **ids)
            found = Listing(items_of(body, key, endpoint), announced_total(body, endpoint))
            if not found.is_short:
                return found
            _pause(attempt)
        raise IncompleteListingError(endpoint, key, found)

    def count(self, endpoint: str, params: dict[str, str | int], **ids: str) -> int | None:
        """How many items a collection announces; none if it does not say.

        Raises:
            SourceError: as `get`.
        """
        return announced_total(self.get(endpoint, {**params, "count": 1, "fields": "total_items"}, **ids), endpoint)

    def _page(
        self, endpoint: str, key: str, params: dict[str, str | int], offset: int, size: int, ids: dict[str, str]
    ) -> Page:
        """A page of a collection, halved as long as it takes too long."""
        ends = self._budget_end()
        while True:
            query = {**params, "count": size, "offset": offset}
            try:
                body = self._insist("GET", endpoint, query, None, ids, ends, is_patient=size <= SMALLEST_PAGE)
            except errors.DeadlineExceededError:
                if size <= SMALLEST_PAGE or time.monotonic() >= ends:
                    raise
                size = max(SMALLEST_PAGE, size // 2)
            else:
                return Page(items_of(body, key, endpoint), announced_total(body, endpoint), size)

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
                    body = read_body(response, deadline, cap, endpoint)
            except _NETWORK_FAILURES as error:
                raise network_error(endpoint, error, deadline, seconds) from None
        if not good:
            raise status_error(endpoint, response, body)
        return json_object(endpoint, body) if response.status_code == requests.codes.ok else {}


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


def _pause(attempt: int) -> None:
    time.sleep(_backoff(attempt))


def _backoff(attempt: int) -> float:
    return random.uniform(0.5, 1.0) * min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0 ** min(attempt, 10))
