"""Journeys and their steps become lake frames: pure.

Mailchimp documents nothing of these answers, so they are read liberally. What is missing or has no known shape counts
as not told. Only an item without an id is set aside.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

import polars as pl

from pipeline.config.flow_map import parse_duration
from pipeline.lake.store import QuarantinedRow
from pipeline.mailchimp import fields as read
from pipeline.mailchimp.fields import NOTHING, BrokenError, Item, Read
from pipeline.mailchimp.rows import Rows
from pipeline.schemas.base import Table, identity, polars_schema
from pipeline.schemas.journeys.lake import Journeys, JourneySteps
from pipeline.schemas.vocabulary import JourneyStepKind

_SECONDS_PER_HOUR = 3600
_NUMBER = re.compile(r"\d{1,15}(\.\d{1,6})?", re.ASCII)


def journey_rows(items: Sequence[Any]) -> Rows:
    """Journeys as listed. `step_ids` is for the caller, who has read the steps."""
    return _rows(Journeys, "/customer-journeys/journeys", items, _journey)


def step_rows(journey_id: str, items: Sequence[Any]) -> Rows:
    """Steps of a journey in their order."""
    place = f"/customer-journeys/journeys/{journey_id}/steps"
    return _rows(JourneySteps, place, items, lambda item: {"journey_id": journey_id, **_step(item)}, "position")


def tells_email(item: Any) -> bool:
    """Whether a step sends no e-mail, or says which report is its own."""
    return _kind(item) != "email" or _told(item, "action_details", "email", "id") is not None


def with_details(listed: Item, single: Item) -> Item:
    """A step as listed, with what only the single step tells."""
    return {**listed, **{name: value for name, value in single.items() if value not in NOTHING}}


def identifier(value: Any) -> str | None:
    """An id as text, be it told as text or as a whole number; none if it is neither."""
    found: str | None = _read(read.identifier, value)
    return (found or "").strip() or None


def _rows(model: type[Table], place: str, items: Sequence[Any], row: Any, numbered: str | None = None) -> Rows:
    kept, broken, at = [], [], []
    for number, item in enumerate(items, 1):
        if isinstance(item, dict) and identifier(item.get("id")):
            kept.append({**row(item), **({numbered: number} if numbered else {})})
        else:
            broken.append(QuarantinedRow(identity(model).name, f"{place} item {number}", "id", "is missing or empty"))
            at.append(number - 1)
    schema = {name: dtype for name, dtype in polars_schema(model).items() if name != "as_of_day"}
    return Rows(model, pl.DataFrame(kept, schema=schema), broken, at)


def _journey(item: Item) -> Item:
    condition = "journey_wide_exit_condition"
    return {
        "journey_id": identifier(item["id"]),
        "name": _read(read.free_text, _told(item, "journey_name")) or "",
        "status": (_read(read.text, _told(item, "status")) or "").lower(),
        "audience_id": identifier(_told(item, "list_id")) or "",
        "started": _count(_told(item, "stats", "started")),
        "in_progress": _count(_told(item, "stats", "in_progress")),
        "completed": _count(_told(item, "stats", "completed")),
        "first_started_us": _read(read.instant, _told(item, "first_started_at")),
        "last_started_us": _read(read.instant, _told(item, "last_started_at")),
        "can_reenter": _read(read.boolean, _told(item, "can_contacts_reenter")),
        "has_exit_condition": _holds_something(item[condition]) if condition in item else None,
        "step_ids": "[]",
    }


def _step(item: Item) -> Item:
    email = _told(item, "action_details", "email")
    return {
        "step_id": identifier(item["id"]),
        "step_type": _read(read.text, _told(item, "step_type")) or "",
        "step_kind": _kind(item),
        "status": (_read(read.text, _told(item, "status")) or "").lower(),
        "display_text": _read(read.free_text, _told(item, "display_text")) or "",
        "delay_hours": _hours(_told(item, "delay_time")),
        "started_by": _started_by(item),
        "has_lost_tag": _has_lost_tag(item),
        "campaign_id": identifier(_told(email, "id")),
        "web_id": identifier(_told(email, "web_id")) or identifier(_told(item, "action_settings", "campaign_id")),
        "title": _read(read.free_text, _told(email, "settings", "title")) or "",
        "subject_line": _read(read.free_text, _told(email, "settings", "subject_line")) or "",
        "preview_text": _read(read.free_text, _told(email, "settings", "preview_text")) or "",
        "emails_sent": _count(_told(email, "emails_sent")),
        "queue_count": _count(_told(item, "stats", "queue_count")),
        "completed": _count(_told(item, "stats", "completed")),
    }


def _kind(item: Any) -> JourneyStepKind:
    step_type = str(_told(item, "step_type") or "")
    if step_type.startswith("trigger"):
        return "trigger"
    if step_type.startswith(("delay", "wait")):
        return "delay"
    if step_type.endswith("send_email") or _told(item, "action_details", "email", "id") is not None:
        return "email"
    return "action" if step_type.startswith("action") else "branch"


def _started_by(item: Item) -> str | None:
    """The tag or event that a trigger reacts to."""
    places = (
        ("trigger_details", "tag", "tag_name"),
        ("trigger_details", "event", "event_name"),
        ("trigger_settings", "event_name"),
    )
    return next((found for place in places if (found := _read(read.free_text, _told(item, *place)))), None)


def _has_lost_tag(item: Item) -> bool:
    """Whether a trigger waits for a tag that no longer exists: the id is known, and the tag has no name any more."""
    is_of_tag = _kind(item) == "trigger" and _told(item, "trigger_settings", "tag_id") is not None
    return is_of_tag and "trigger_details" in item and _told(item, "trigger_details", "tag", "tag_name") is None


def _told(item: Any, *path: str) -> Any:
    """The value at a path; none where there is nothing, or no object around it."""
    for name in path:
        item = item.get(name) if isinstance(item, dict) else None
    return None if item in NOTHING else item


def _read(how: Read, value: Any) -> Any:
    """The value as a field of documented answers is read; none where it has another type."""
    try:
        return None if value is None else how(value)
    except BrokenError:
        return None


def _count(value: Any) -> int | None:
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value)
    found: int | None = _read(read.amount_of_things, value)
    return found


def _hours(delay: Any) -> float | None:
    """Hours of a delay, which is a number of seconds, or text that holds one or a duration such as '2 days'."""
    if isinstance(delay, str) and not _NUMBER.fullmatch(delay.strip()):
        try:
            return float(parse_duration(delay))
        except ValueError:
            return None
    seconds = _read(read.number, float(delay) if isinstance(delay, str) else delay)
    return None if seconds is None or seconds < 0 else seconds / _SECONDS_PER_HOUR


def _holds_something(value: Any) -> bool:
    """Whether a value says anything: an object or list of nothing says nothing."""
    if isinstance(value, dict | list):
        return any(_holds_something(inner) for inner in (value.values() if isinstance(value, dict) else value))
    return value not in (*NOTHING, False)


def ids_as_text(rows: Rows) -> str:
    """The ids of the steps in their order, as `lake.journeys` keeps them."""
    return json.dumps(rows.frame["step_id"].to_list())
