"""Failures that a person can act on: what was wrong, where, and what to do.

Every message of a `SourceError` is safe to log: `scrub` removes addresses, member ids, keys and URL queries, and
nothing of the failing exception is chained to it. This module imports little, so that refusing a command is quick.
"""

import re

from pipeline.common.personal import REMOVED, without_addresses


class DriptuneError(Exception):
    """Something a person can act on. The command shows its message in place of a traceback and ends with code 1."""


class NightlyError(DriptuneError):
    """A step of the nightly failed; the last publication is untouched."""


class LedgerError(DriptuneError):
    """The ledger cannot do what was asked; the message says why and what to do."""


DISK_WORDS = {
    "no space left": "is full",
    "disk is full": "is full",
    "quota exceeded": "is full",
    "read-only file system": "is read-only",
    "readonly database": "is read-only",
    # All that SQLite says where there is no room for its shared memory.
    "disk i/o error": "is full or failing",
}


def disk_trouble(error: BaseException) -> str | None:
    """Words for a person if the disk refused, whichever library met it first; none if it is something else."""
    seen: BaseException | None = error
    while seen is not None:
        if words := disk_words(str(seen)):
            return words
        seen = seen.__cause__ or seen.__context__
    return None


def disk_words(text: str) -> str | None:
    """Words for a person if a library's message says that the disk refused; none if it says something else."""
    reason = next((reason for words, reason in DISK_WORDS.items() if words in text.lower()), None)
    return reason and (
        f"The disk of DRIPTUNE_DATA_DIR {reason}. The last publication is untouched. "
        "Free space or make it writable, then run again."
    )


_SECRETS = re.compile(
    r"\b[0-9a-fA-F]{32}(?:-[a-z]{2,3}\d+)?\b"  # member id or key
    r"|\?[^\s\"'<>]*",  # URL query
)


def scrub(text: str) -> str:
    """The text without addresses, member ids, keys and URL queries."""
    return _SECRETS.sub(REMOVED, without_addresses(text))


class SourceError(DriptuneError):
    """Something outside failed; `str()` names the endpoint and field, and says what to do.

    Args:
        endpoint: path template such as `/reports/{campaign_id}/sent-to`, or the file; never a filled-in address.
        what: what was wrong.
        advice: what the reader should do.
        field: the field that broke its contract, where there is one.
    """

    def __init__(self, endpoint: str, what: str, advice: str, field: str = "") -> None:
        place = f"{endpoint}, field {field}" if field else endpoint
        # What a server echoes is scrubbed once, here: it is printed, stored and chained from then on.
        self.what = scrub(what)
        super().__init__(f"{place}: {self.what}. {advice}")
        self.endpoint = endpoint
        self.advice = advice
        self.field = field


class ConfigurationError(SourceError):
    """The settings cannot work."""


class AuthenticationError(SourceError):
    """401: the key is wrong or was revoked."""


class PermissionDeniedError(SourceError):
    """403 with an explanation: the key may not read this."""


class NotFoundError(SourceError):
    """404: the resource is not, or no longer, there."""


class RequestRefusedError(SourceError):
    """Another 4xx: Mailchimp does not accept the request as sent."""


class RedirectRefusedError(SourceError):
    """3xx: redirects are never followed, for the key would travel along."""


class ResponseTooLargeError(SourceError):
    """The body outgrew the byte cap."""


class ContractBrokenError(SourceError):
    """The answer is valid JSON of another shape than agreed."""


class PagingError(SourceError):
    """The pages of a listing contradict each other, so the whole of it cannot be trusted."""


class TransientError(SourceError):
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
