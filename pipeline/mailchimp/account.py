"""The Mailchimp account as writers of approved changes need it: read a field or an e-mail, and set it to a state.

Everything is read by the client that the pulls use. A writer acts on what it reads, so it is stricter than a pull: an
item of the wrong shape stops it, and a listing that leaves out somebody who is a member is no listing.
"""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import polars as pl

from pipeline.common import means
from pipeline.common.errors import ContractBrokenError, NotFoundError, PagingError, RequestRefusedError
from pipeline.mailchimp.client import MailchimpClient
from pipeline.optimizations.changes import REFUSED, STATUS_OF, Change, Outcome, email_state
from pipeline.schemas.lake import MAILABLE

MEMBERS = "/lists/{list_id}/members"
MEMBER = "/lists/{list_id}/members/{member_id}"
MEMBER_TAGS = f"{MEMBER}/tags"
MERGE_FIELDS = "/lists/{list_id}/merge-fields"
EMAIL = "/automations/{workflow_id}/emails/{email_id}"
ACTION_OF = {status: action for action, status in STATUS_OF.items()}
BETWEEN_VALUES = " | "
"""What stands between the values of somebody who has several tags of one prefix."""
SPOT_CHECKS = 20
"""Known people whom a listing leaves out and who are asked for one by one; most of them are archived or deleted."""
_SHAPE = "Nothing more is written. Run again later; if it stays so, the API changed its shape: update driptune."


class MailchimpAccount:
    """Sets states by way of the client. A person is reached by the key under which driptune knows them.

    Args:
        client: the client of the account.
        addresses: rows of `lake.addresses`.
        clock: tells the time of the account.
        audience_of: audience of each flow that has one.
    """

    def __init__(
        self,
        client: MailchimpClient,
        addresses: pl.DataFrame,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        audience_of: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._client = client
        self._clock = clock
        self._audience_of = audience_of
        self._member_ids = dict(addresses.select("subscriber_key", "member_id").iter_rows())
        self._keys = {member: key for key, member in self._member_ids.items()}
        self._lists: dict[int, str] = {}
        self._without_field: dict[str, str] = {}

    def now(self) -> datetime:
        """The time by the account's clock."""
        return self._clock()

    def members(self, field: str, workflow_id: str | None = None) -> pl.DataFrame:
        """Everybody mail can be sent to, read now, with what a merge field holds or what tags with a prefix say.

        Of somebody in several audiences that of the flow counts, which reads the field there.

        Returns:
            `subscriber_key` (Int64) and `current` (String, null where the field is empty or no tag has the prefix).

        Raises:
            ContractBrokenError: if an item has another shape than agreed.
            PagingError: if the listing leaves out somebody who is a member.
            SourceError: as the client.
        """
        rows: list[tuple[int, str | None]] = []
        self._lists.clear()
        told = ("id", "status", "email_address", "contact_id", _part_of(field))
        projection = ",".join([*(f"members.{name}" for name in told), "total_items"])
        home = self._audience_of.get(workflow_id or "")
        for audience in sorted(self._audiences(), key=lambda one: one != home):
            listed = set()
            for item in self._client.listing(MEMBERS, "members", {"fields": projection}, list_id=audience):
                if _has_phone_alone(item):
                    continue
                member_id, status, value = _member(item, MEMBERS, field)
                listed.add(member_id)
                key = self._keys.get(member_id)
                if key is not None and status in MAILABLE and key not in self._lists:
                    rows.append((key, value or None))
                    self._lists[key] = audience
            self._refuse_left_out(audience, self._keys.keys() - listed)
        return pl.DataFrame(rows, schema={"subscriber_key": pl.Int64, "current": pl.String}, orient="row")

    def email(self, workflow_id: str, email_id: str) -> Mapping[str, Any]:
        """An automation's e-mail as it stands now.

        Raises:
            ContractBrokenError: if the answer is another e-mail, or none.
            SourceError: as the client.
        """
        found = self._client.get(EMAIL, workflow_id=workflow_id, email_id=email_id)
        if found.get("id") != email_id:
            raise ContractBrokenError(EMAIL, "this is not the e-mail that was asked for", _SHAPE, "id")
        if not isinstance(found.get("status"), str):
            raise ContractBrokenError(EMAIL, "this is not a text", _SHAPE, "status")
        if not isinstance(found.get("delay") or {}, dict):
            raise ContractBrokenError(EMAIL, "this is not an object", _SHAPE, "delay")
        return found

    def ensure_field(self, field: str) -> None:
        """Make the merge field, of text, in every audience that has none. Tags need nothing made.

        Where Mailchimp refuses, because an audience has as many fields as the plan allows, the members of this audience
        are refused when they are written to, each with the reason.

        Raises:
            ContractBrokenError: if Mailchimp made a field of another name.
            SourceError: as the client.
        """
        self._without_field.clear()
        if means.tag_prefix(field) is not None:
            return
        for audience in self._audiences():
            if not self._has_field(audience, field):
                wanted = {"tag": field, "name": f"driptune {field}", "type": "text", "public": False}
                try:
                    made = self._client.write("POST", MERGE_FIELDS, wanted, list_id=audience)
                except RequestRefusedError as error:
                    # A request whose answer was lost may have made it, and the second one is refused for it.
                    if not self._has_field(audience, field):
                        self._without_field[audience] = f"{REFUSED}: no merge field {field} can be made, {error.what}"
                    continue
                if made.get("tag") != field:
                    what = f"Mailchimp did not make the merge field {field}"
                    advice = f"Make a text field with the tag {field} in Mailchimp, then run again."
                    raise ContractBrokenError(MERGE_FIELDS, what, advice, "tag")

    def write_members(self, changes: Sequence[Change]) -> list[str]:
        """Set a field of members that `members` has found, side by side; one refused keeps no other from it.

        Each member is read right before the write, and left where somebody else has set the field meanwhile. The API
        knows no conditional write, so the time between the two calls remains.
        """
        return self._client.map(self._write_member, changes)

    def write_email(self, workflow_id: str, change: Change) -> str:
        """Set status or delay of an automation's e-mail, where it still is as it was read."""
        ids = {"workflow_id": workflow_id, "email_id": change.subject}
        try:
            if email_state(change.field, change.after, self.email(workflow_id, change.subject)) != change.before:
                return Outcome.TAKEN
            if change.field == "status":
                self._client.write("POST", f"{EMAIL}/actions/{ACTION_OF[change.after]}", None, **ids)
            else:
                # A way back may hold parts that Mailchimp has told as empty, which it does not take.
                delay = {name: part for name, part in json.loads(change.after).items() if part is not None}
                self._client.write("PATCH", EMAIL, {"delay": delay}, **ids)
        except RequestRefusedError as error:
            return f"{REFUSED}: {error.what}"
        return Outcome.WRITTEN

    def _audiences(self) -> list[str]:
        found = self._client.listing("/lists", "lists", {"fields": "lists.id,total_items"})
        if not all(isinstance(one, dict) and isinstance(one.get("id"), str) and one["id"] for one in found):
            raise ContractBrokenError("/lists", "this is not a text", _SHAPE, "id")
        return sorted(one["id"] for one in found)

    def _has_field(self, audience: str, field: str) -> bool:
        known = self._client.listing(MERGE_FIELDS, "merge_fields", list_id=audience)
        return field in {one.get("tag") for one in known if isinstance(one, dict)}

    def _refuse_left_out(self, audience: str, unlisted: set[str]) -> None:
        """Ask for some of those one by one whom a listing leaves out: members of today are not among them."""
        asked = random.sample(sorted(unlisted), min(SPOT_CHECKS, len(unlisted)))
        if any(self._client.map(lambda one: self._is_reached(audience, one), asked)):
            raise PagingError(MEMBERS, "the list leaves out somebody who is a member", "Run again later.", "members")

    def _is_reached(self, audience: str, member_id: str) -> bool:
        try:
            return self._read_member(audience, member_id)[0] in MAILABLE
        except NotFoundError:
            return False

    def _write_member(self, change: Change) -> str:
        key = int(change.subject)
        if key not in self._lists:
            return Outcome.GONE
        audience, member_id = self._lists[key], self._member_ids[key]
        if refusal := self._without_field.get(audience):
            return refusal
        if problem := means.too_long(change.field, change.after):
            return f"{REFUSED}: {problem}"
        try:
            status, value = self._read_member(audience, member_id, change.field)
            if status not in MAILABLE:
                return Outcome.GONE
            if value != change.before:
                return Outcome.TAKEN
            ids = {"list_id": audience, "member_id": member_id}
            if (prefix := means.tag_prefix(change.field)) is None:
                self._client.write("PATCH", MEMBER, {"merge_fields": {change.field: change.after}}, **ids)
            else:
                # A value is no reason to start a flow: the write says so, as one of a synchronisation.
                body = {"tags": _tag_changes(prefix, value, change.after), "is_syncing": True}
                self._client.write("POST", MEMBER_TAGS, body, **ids)
        except NotFoundError:
            return Outcome.GONE
        except RequestRefusedError as error:
            return f"{REFUSED}: {error.what}"
        return Outcome.WRITTEN

    def _read_member(self, audience: str, member_id: str, field: str = "") -> tuple[str, str]:
        """Status of a member, and what a field holds; empty text where it is empty."""
        fields = "id,status" + (f",{_part_of(field)}" if field else "")
        found = self._client.get(MEMBER, {"fields": fields}, list_id=audience, member_id=member_id)
        answered, status, value = _member(found, MEMBER, field)
        if answered != member_id:
            raise ContractBrokenError(MEMBER, "this is not the member that was asked for", _SHAPE, "id")
        return status, value


def _part_of(field: str) -> str:
    """Where an API member holds a field."""
    return "tags" if means.tag_prefix(field) is not None else f"merge_fields.{field}"


def _tag_changes(prefix: str, stands: str, wanted: str) -> list[dict[str, str]]:
    """The tags to give and to take so that a member has the values that are wanted, and no other."""
    old, new = _values(stands), _values(wanted)
    return [
        *({"name": means.tag_name(prefix, one), "status": "inactive"} for one in old if one not in new),
        *({"name": means.tag_name(prefix, one), "status": "active"} for one in new if one not in old),
    ]


def _values(text: str) -> list[str]:
    return text.split(BETWEEN_VALUES) if text else []


def _tagged(item: Mapping[str, Any], endpoint: str, prefix: str) -> str:
    """What the tags with a prefix say of an API member."""
    tags = item.get("tags") or []
    if not isinstance(tags, list) or not all(
        isinstance(one, dict) and isinstance(one.get("name"), str) for one in tags
    ):
        raise ContractBrokenError(endpoint, "this is not a list of tags", _SHAPE, "tags")
    begins = f"{prefix}{means.BETWEEN}"
    found = {one["name"].removeprefix(begins) for one in tags if one["name"].startswith(begins)}
    return BETWEEN_VALUES.join(sorted(found))


def _has_phone_alone(item: Any) -> bool:
    """Whether an API member has no address, so that neither id nor status need be told."""
    return isinstance(item, dict) and not item.get("email_address") and bool(item.get("contact_id"))


def _member(item: Any, endpoint: str, field: str) -> tuple[str, str, str]:
    """Id, status and value of a field of an API member; an empty text where the field is empty.

    Raises:
        ContractBrokenError: if one of them has another shape than agreed.
    """
    if not isinstance(item, dict):
        raise ContractBrokenError(endpoint, "this is not an object", _SHAPE, "members")
    for name in ("id", "status"):
        if not isinstance(item.get(name), str):
            raise ContractBrokenError(endpoint, "this is not a text", _SHAPE, name)
    if (prefix := means.tag_prefix(field)) is not None:
        return item["id"].lower(), item["status"], _tagged(item, endpoint, prefix)
    # Mailchimp writes an object without fields as an empty list, or as an empty text.
    fields = item.get("merge_fields") or {}
    if not isinstance(fields, dict):
        raise ContractBrokenError(endpoint, "this is not an object", _SHAPE, "merge_fields")
    value = fields.get(field)
    if value is None:
        value = ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ContractBrokenError(endpoint, "this is not a text", _SHAPE, f"merge_fields.{field}")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return item["id"].lower(), item["status"], str(value)
