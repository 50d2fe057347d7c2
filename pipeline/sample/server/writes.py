"""What can be written to the stand-in account: automation e-mails, merge fields, tags, events, triggers, batches.

Writes change what is answered, and tags, events and triggers let people into journeys. They do not change what happens
in the sample world. `keep` keeps them for servers to come, and `record` tells them.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pipeline.sample.server.audiences import AccountApi
from pipeline.sample.server.automations import AutomationsApi
from pipeline.sample.server.journeys import JourneysApi
from pipeline.sample.server.shapes import Item, ProblemError, invalid, not_found, page, text

WRITABLE_ACTIONS = ("signup", "ecomm_abandoned_browse", "ecomm_abandoned_cart")
DELAY_UNITS = ("now", "day", "hour", "week")
MEMBER_STATUS = ("subscribed", "unsubscribed", "cleaned", "pending", "transactional")
LARGEST_BATCH = 1000
EVENT_NAME = re.compile(r"[\w-]{2,30}", re.ASCII)
Run = Callable[[str, str, Mapping[str, str], Any], Item | None]


class WritesApi:
    """Answers for what writes, and for `/batches`."""

    def __init__(self, account: AccountApi, automations: AutomationsApi, journeys: JourneysApi, now_us: int) -> None:
        self._account = account
        self._automations = automations
        self._journeys = journeys
        self._now_us = now_us
        self._received: list[Item] = []
        self._batches: dict[str, Item] = {}

    def change_email(self, workflow_id: str, email_id: str, body: Any) -> Item:
        """PATCH /automations/{id}/emails/{id}: the delay, which this kind of automation lets be written."""
        self._automations.email_of(workflow_id, email_id)
        given = _object(body)
        changes = self._automations.changes.setdefault(email_id, {})
        if "delay" in given:
            changes["delay"] = _delay(_object(given["delay"]))
        if "settings" in given:
            changes["settings"] = _object(given["settings"])
        return self._automations.automation_email(workflow_id, email_id)

    def pause_email(self, workflow_id: str, email_id: str) -> None:
        """POST .../actions/pause."""
        self._set_status(workflow_id, email_id, "paused")

    def start_email(self, workflow_id: str, email_id: str) -> None:
        """POST .../actions/start."""
        self._set_status(workflow_id, email_id, "sending")

    def change_member(self, list_id: str, member_id: str, body: Any) -> Item:
        """PATCH and PUT /lists/{id}/members/{hash}: merge fields and status of somebody who is there."""
        person = self._account.person(list_id, member_id)
        given = _object(body)
        status = given.get("status")
        if status is not None and status not in MEMBER_STATUS:
            raise invalid(f"'status' must be one of {', '.join(MEMBER_STATUS)}.")
        fields = _object(given.get("merge_fields", {}))
        changes = self._account.changes.members.setdefault(person, {})
        changes["merge_fields"] = {**changes.get("merge_fields", {}), **fields}
        changes["changed_us"] = self._now_us
        if status is not None:
            changes["status"] = status
        return self._account.member(list_id, member_id)

    def add_merge_field(self, list_id: str, body: Any) -> Item:
        """POST /lists/{id}/merge-fields: fields of text only."""
        given = _object(body)
        name, tag = given.get("name"), given.get("tag")
        if not name or not isinstance(tag, str) or not tag or given.get("type") != "text":
            raise invalid("A merge field needs 'name', 'tag' and the 'type' text.")
        return self._account.add_merge_field(list_id, tag, str(name))

    def tag_member(self, list_id: str, member_id: str, body: Any) -> None:
        """POST /lists/{id}/members/{hash}/tags: adds the active, takes away the inactive."""
        person = self._account.person(list_id, member_id)
        tags = _object(body).get("tags")
        if not isinstance(tags, list) or not all(isinstance(tag, dict) and tag.get("name") for tag in tags):
            raise invalid("'tags' must be a list of objects with 'name' and 'status'.")
        changes = self._account.changes.members.setdefault(person, {})
        changes["changed_us"] = self._now_us
        chosen = changes.setdefault("tags", {})
        for tag in tags:
            name, is_on = str(tag["name"]), tag.get("status", "active") == "active"
            if is_on and not chosen.get(name):
                self._journeys.tag_added(person, name, self._now_us)
            chosen[name] = is_on

    def send_event(self, list_id: str, member_id: str, body: Any) -> None:
        """POST /lists/{id}/members/{hash}/events: a custom event of a member."""
        person = self._account.person(list_id, member_id)
        name = _object(body).get("name")
        if not isinstance(name, str) or not EVENT_NAME.fullmatch(name):
            raise invalid("'name' must have 2 to 30 letters, digits, dashes or underscores.")
        self._journeys.event_happened(person, name, self._now_us)

    def trigger_journey(self, journey_id: str, step_id: str, body: Any) -> None:
        """POST /customer-journeys/journeys/{id}/steps/{id}/actions/trigger."""
        self._journeys.trigger(journey_id, step_id, body, self._now_us)

    def repeat(self, lines: Iterable[str], run: Run) -> None:
        """Make the changes that `keep` kept once more, each at its own time."""
        now_us = self._now_us
        for line in lines:
            # A line cut short by a power cut was never answered.
            if line.endswith("\n"):
                kept = json.loads(line)
                self._received.append(kept)
                self._now_us = kept["at_us"]
                run(kept["method"], kept["path"], {}, kept["body"])
        self._now_us = now_us

    def keep(self, method: str, path: str, body: Any) -> str:
        """A change as a line of the log that servers to come repeat."""
        self._received.append({"at_us": self._now_us, "method": method, "path": path, "body": body})
        return json.dumps(self._received[-1]) + "\n"

    def record(self) -> Item:
        """GET /record, which Mailchimp does not have: every write received, and everybody let into a journey by one."""
        return {"received": self._received, "entered": self._journeys.entered}

    def submit(self, body: Any, run: Run) -> Item:
        """POST /batches: done at once, each operation as a call of its own."""
        operations = _object(body).get("operations")
        if not isinstance(operations, list) or not all(isinstance(one, dict) for one in operations):
            raise invalid("'operations' must be a list of objects.")
        if len(operations) > LARGEST_BATCH:
            raise invalid(f"A batch holds at most {LARGEST_BATCH} operations.")
        failed = sum(not self._succeeds(one, run) for one in operations)
        batch_id = f"batch{len(self._batches) + 1:05d}"
        batch = {
            "id": batch_id,
            "status": "finished",
            "total_operations": len(operations),
            "finished_operations": len(operations),
            "errored_operations": failed,
            "submitted_at": text(self._now_us),
            "completed_at": text(self._now_us),
            "response_body_url": "",
        }
        self._batches[batch_id] = batch
        return batch

    def batches(self, query: Mapping[str, str]) -> Item:
        """GET /batches."""
        return page(query, "batches", list(self._batches.values()))

    def batch(self, batch_id: str) -> Item:
        """GET /batches/{id}."""
        if batch_id not in self._batches:
            raise not_found()
        return self._batches[batch_id]

    def _set_status(self, workflow_id: str, email_id: str, status: str) -> None:
        self._automations.email_of(workflow_id, email_id)
        self._automations.changes.setdefault(email_id, {})["status"] = status

    def _succeeds(self, operation: Item, run: Run) -> bool:
        try:
            body = json.loads(operation.get("body") or "null")
            run(str(operation.get("method")), str(operation.get("path")), operation.get("params") or {}, body)
        except (ProblemError, ValueError):
            return False
        return True


def _object(value: Any) -> Item:
    if not isinstance(value, dict):
        raise invalid("The body must be a JSON object.")
    return value


def _delay(given: Item) -> Item:
    if given.get("action") not in WRITABLE_ACTIONS:
        raise invalid(f"'delay.action' must be one of {', '.join(WRITABLE_ACTIONS)}.")
    amount, unit = given.get("amount", 1), given.get("type", "day")
    if not isinstance(amount, int) or isinstance(amount, bool) or amount < 0 or unit not in DELAY_UNITS:
        raise invalid("'delay.amount' must be a whole number and 'delay.type' now, hour, day or week.")
    return {"amount": amount, "type": unit, "direction": "after", "action": given["action"]}
