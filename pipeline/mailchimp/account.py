"""The Mailchimp account as applications of approved changes need it: read a field or an e-mail, set it to a state."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from pipeline.common.errors import NotFoundError, RequestRefusedError
from pipeline.mailchimp.client import MailchimpClient
from pipeline.optimizations.changes import STATUS_OF, Change
from pipeline.optimizations.journal import WRITTEN

MEMBER = "/lists/{list_id}/members/{member_id}"
EMAIL = "/automations/{workflow_id}/emails/{email_id}"
ACTION_OF = {status: action for action, status in STATUS_OF.items()}
REACHED = ("subscribed", "transactional", "pending")


class MailchimpAccount:
    """Sets states by way of the client; a person is reached by the key under which driptune knows them.

    Args:
        client: the client of the account.
        addresses: rows of `lake.addresses`.
    """

    def __init__(self, client: MailchimpClient, addresses: pl.DataFrame) -> None:
        self._client = client
        self._member_ids = dict(addresses.select("subscriber_key", "member_id").iter_rows())
        self._keys = {member: key for key, member in self._member_ids.items()}
        self._lists: dict[int, str] = {}

    def members(self, field: str) -> pl.DataFrame:
        """`subscriber_key` (Int64) and `current` (String) of everybody mail can be sent to, read now."""
        rows: list[tuple[int, str | None]] = []
        self._lists.clear()
        for audience in self._audiences():
            projection = f"members.id,members.status,members.merge_fields.{field},total_items"
            for member in self._client.listing(
                "/lists/{list_id}/members", "members", {"fields": projection}, list_id=audience
            ):
                key = self._keys.get(member["id"])
                if key is not None and member.get("status") in REACHED and key not in self._lists:
                    value = (member.get("merge_fields") or {}).get(field)
                    rows.append((key, None if value in (None, "") else str(value)))
                    self._lists[key] = audience
        return pl.DataFrame(rows, schema={"subscriber_key": pl.Int64, "current": pl.String}, orient="row")

    def email(self, workflow_id: str, email_id: str) -> Mapping[str, Any]:
        """An automation's e-mail as it stands now."""
        return self._client.get(EMAIL, workflow_id=workflow_id, email_id=email_id)

    def ensure_field(self, field: str) -> None:
        """Make the merge field, of text, in every audience that has none."""
        for audience in self._audiences():
            known = self._client.listing("/lists/{list_id}/merge-fields", "merge_fields", list_id=audience)
            if field not in {one["tag"] for one in known}:
                made = {"tag": field, "name": f"driptune {field}", "type": "text", "public": False}
                self._client.write("POST", "/lists/{list_id}/merge-fields", made, list_id=audience)

    def write_members(self, changes: Sequence[Change]) -> list[str]:
        """Set a field of members that `members` has found, side by side; one refused keeps no other from it."""
        return self._client.map(self._write_member, changes)

    def write_email(self, workflow_id: str, change: Change) -> str:
        """Set status or delay of an automation's e-mail."""
        ids = {"workflow_id": workflow_id, "email_id": change.subject}
        if change.field == "status":
            self._client.write("POST", f"{EMAIL}/actions/{ACTION_OF[change.after]}", None, **ids)
        else:
            self._client.write("PATCH", EMAIL, {"delay": json.loads(change.after)}, **ids)
        return WRITTEN

    def _audiences(self) -> list[str]:
        found = self._client.listing("/lists", "lists", {"fields": "lists.id,total_items"})
        return sorted(str(one["id"]) for one in found)

    def _write_member(self, change: Change) -> str:
        key = int(change.subject)
        if key not in self._lists:
            return "refused: no longer a member who gets mail"
        body = {"merge_fields": {change.field: change.after}}
        try:
            self._client.write("PATCH", MEMBER, body, list_id=self._lists[key], member_id=self._member_ids[key])
        except (RequestRefusedError, NotFoundError) as error:
            return f"refused: {error.what}"
        return WRITTEN
