"""Letting people into a journey: by the API's own trigger, by a custom event or by a tag. Each call is made once only.

A call that may be repeated by mistake mails twice, so none is retried. What its answer says of the person, and what of
the account, is told apart here. When and whether somebody is let in belongs to `optimizations/account/releasing.py`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from pipeline.common.errors import (
    AuthenticationError,
    ContractBrokenError,
    NotFoundError,
    PermissionDeniedError,
    RedirectRefusedError,
    RequestRefusedError,
    SourceError,
    ThrottledError,
)
from pipeline.mailchimp.account import MEMBER, MEMBER_TAGS
from pipeline.mailchimp.client import MailchimpClient
from pipeline.optimizations.account.releasing import NOT_SENT, Answer
from pipeline.optimizations.changes import REFUSED, Outcome
from pipeline.schemas.lake import MAILABLE
from pipeline.schemas.vocabulary import ReleaseOutcome

TRIGGER = "/customer-journeys/journeys/{journey_id}/steps/{step_id}/actions/trigger"
EVENTS = f"{MEMBER}/events"
_WITHOUT_EFFECT = (
    AuthenticationError, NotFoundError, PermissionDeniedError, RedirectRefusedError, ThrottledError,
)  # fmt: skip
"""Answers to a call that let nobody in and say nothing of the person, whom the call before has found."""


class _Place(NamedTuple):
    """Where somebody is, what they are called there, and which tags they have."""

    list_id: str
    member_id: str
    address: str
    tags: frozenset[str]


class MailchimpDoor:
    """Lets people in by one start.

    Args:
        client: the client of the account.
        addresses: rows of `lake.addresses`, of these people at least.
        start: `{"trigger": {"journey": 1, "step": 2}}`, `{"event": name}` or `{"tag": name}`.
        audience: that of the flow. A tag or an event in another one starts nothing. None if it is not known.
    """

    def __init__(
        self, client: MailchimpClient, addresses: pl.DataFrame, start: Mapping[str, Any], audience: str | None = None
    ) -> None:
        self._client = client
        self._start = start
        rows = addresses.select("subscriber_key", "member_id", "email_address").iter_rows()
        self._people = {key: (member_id, address) for key, member_id, address in rows}
        listed = client.listing("/lists", "lists", {"fields": "lists.id,total_items"})
        audiences = sorted(str(one["id"]) for one in listed)
        self._audiences = [audience] if audience in audiences else audiences

    def let_in(self, keys: Sequence[int]) -> list[Answer]:
        """Let each of these subscribers in who can be mailed now, side by side."""
        return self._client.map(self._let_in, keys)

    def _let_in(self, key: int) -> Answer:
        try:
            place = self._place(key)
        except SourceError as error:
            return Answer(f"{NOT_SENT}: {error.what}", fault=str(error))
        if place is None:
            return Answer(f"{REFUSED}: {Outcome.GONE}")
        if self._start.get("tag") in place.tags:
            return Answer(f"{REFUSED}: the tag is there already, so it starts nothing")
        try:
            self._send(place)
        except _WITHOUT_EFFECT as error:
            return Answer(f"{NOT_SENT}: {error.what}", fault=str(error))
        except RequestRefusedError as error:
            return Answer(f"{REFUSED}: {error.what}")
        except SourceError as error:
            return Answer(ReleaseOutcome.UNKNOWN, fault=str(error))
        return Answer(ReleaseOutcome.RELEASED)

    def _send(self, place: _Place) -> None:
        member = {"list_id": place.list_id, "member_id": place.member_id}
        if "trigger" in self._start:
            ids = {f"{name}_id": str(number) for name, number in self._start["trigger"].items()}
            self._client.write_once("POST", TRIGGER, {"email_address": place.address}, **ids)
        elif "event" in self._start:
            self._client.write_once("POST", EVENTS, {"name": self._start["event"]}, **member)
        else:
            tag = {"name": self._start["tag"], "status": "active"}
            self._client.write_once("POST", MEMBER_TAGS, {"tags": [tag]}, **member)

    def _place(self, key: int) -> _Place | None:
        """Where somebody can be mailed now; none if nowhere."""
        if key not in self._people:
            return None
        member_id, address = self._people[key]
        for audience in self._audiences:
            ids = {"list_id": audience, "member_id": member_id}
            try:
                found = self._client.get(MEMBER, {"fields": "id,status,tags"}, **ids)
            except NotFoundError:
                continue
            tags = found.get("tags") or []
            is_whole = isinstance(tags, list) and all(isinstance(one, dict) for one in tags)
            if str(found.get("id")).lower() != member_id or not is_whole:
                advice = "Nobody else is let in. Run again later; if it stays so, update driptune."
                raise ContractBrokenError(MEMBER, "this is not the member that was asked for", advice, "id")
            if found.get("status") in MAILABLE:
                return _Place(audience, member_id, address, frozenset(str(one.get("name")) for one in tags))
        return None
