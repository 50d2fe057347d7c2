"""What an answer of Mailchimp says: its body, its items, and the typed error that a bad one becomes.

Asking, waiting and asking again belong to the client.
"""

import email.utils
import time
from datetime import UTC, datetime
from typing import Any

import requests

from pipeline.common import errors
from pipeline.mailchimp.transport import seconds_left, strict_json

READ_BYTES = 65_536  # small pieces, so that a slow drip meets its deadline


def read_body(response: requests.Response, deadline: float, cap: int, endpoint: str) -> bytes:
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


def network_error(endpoint: str, error: Exception, deadline: float, seconds: float) -> errors.SourceError:
    """The typed error of a request that got no whole answer."""
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


def status_error(endpoint: str, response: requests.Response, body: bytes) -> errors.SourceError:
    """The typed error of an answer other than 200 and 204."""
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
    if status in (408, 504):
        return errors.DeadlineExceededError(
            endpoint, what, "Mailchimp took too long; run again later.", retry_after=retry_after
        )
    if status >= 500:
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


def json_object(endpoint: str, body: bytes) -> dict[str, Any]:
    """The JSON object that is the body.

    Raises:
        MalformedResponseError: if it is none.
    """
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


def items_of(body: dict[str, Any], key: str, endpoint: str) -> list[Any]:
    """The list of items under a key.

    Raises:
        ContractBrokenError: if there is no list.
    """
    items = body.get(key)
    if not isinstance(items, list):
        what = "the list of items is missing" if key not in body else "this is not a list"
        raise errors.ContractBrokenError(endpoint, what, "The API changed its shape; update driptune.", key)
    return items


def announced_total(body: dict[str, Any], endpoint: str) -> int | None:
    """`total_items`, where the API tells it; some of its counts come as text.

    Raises:
        ContractBrokenError: if it is no number.
    """
    total = body.get("total_items")
    if isinstance(total, str) and total.isascii() and total.isdigit():
        total = int(total)
    if total is not None and (not isinstance(total, int) or isinstance(total, bool)):
        raise errors.ContractBrokenError(
            endpoint, "this is not an integer", "The API changed its shape; update driptune.", "total_items"
        )
    return total
