"""Typed failures of the outside world: what was wrong, where, what to do.

Every message is safe to log: `scrub` removes addresses, member ids, keys and URL queries, and nothing of the failing
exception is chained to it. Retrying belongs to the client, not here.
"""

import re

_SECRETS = re.compile(
    r"[^\s\"'<>=&?/,;:]+(?:@|%40)[^\s\"'<>&?/,;:]+"  # address, plain or percent-encoded
    r"|\b[0-9a-fA-F]{32}(?:-[a-z]{2,3}\d+)?\b"  # member id or key
    r"|\?[^\s\"'<>]*",  # URL query
)


def scrub(text: str) -> str:
    """The text without addresses, member ids, keys and URL queries."""
    return _SECRETS.sub("(removed)", text)


class IngestError(Exception):
    """Something outside failed; `str()` names the endpoint and field, and says what to do.

    Args:
        endpoint: path template such as `/reports/{campaign_id}/sent-to`, or the file; never a filled-in address.
        what: what was wrong.
        advice: what the reader should do.
        field: the field that broke its contract, where there is one.
    """

    def __init__(self, endpoint: str, what: str, advice: str, field: str = "") -> None:
        place = f"{endpoint}, field {field}" if field else endpoint
        super().__init__(f"{place}: {scrub(what)}. {advice}")
        self.endpoint = endpoint
        self.what = what
        self.advice = advice
        self.field = field


class ConfigurationError(IngestError):
    """The settings cannot work."""


class AuthenticationError(IngestError):
    """401: the key is wrong or was revoked."""


class PermissionDeniedError(IngestError):
    """403 with an explanation: the key may not read this."""


class NotFoundError(IngestError):
    """404: the resource is not, or no longer, there."""


class RequestRefusedError(IngestError):
    """Another 4xx: Mailchimp does not accept the request as sent."""


class RedirectRefusedError(IngestError):
    """3xx: redirects are never followed, for the key would travel along."""


class ResponseTooLargeError(IngestError):
    """The body outgrew the byte cap."""


class ContractBrokenError(IngestError):
    """The answer is valid JSON of another shape than agreed."""


class PagingError(IngestError):
    """The pages of a listing contradict each other, so the whole of it cannot be trusted."""


class TransientError(IngestError):
    """A failure that another attempt may cure; `retry_after` is the wait in seconds that the server asked for."""

    def __init__(self, endpoint: str, what: str, advice: str, field: str = "", *, retry_after: float = 0.0) -> None:
        super().__init__(endpoint, what, advice, field)
        self.retry_after = retry_after


class ThrottledError(TransientError):
    """429, or 403 without a JSON body."""


class UnavailableError(TransientError):
    """5xx, or no usable connection."""


class DeadlineExceededError(TransientError):
    """The answer was not complete in time."""


class MalformedResponseError(TransientError):
    """The body is not the strict JSON object it should be."""
