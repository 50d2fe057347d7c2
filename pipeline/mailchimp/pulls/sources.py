"""What is known of each thing that is read: that all of it came, that it failed tonight, or that it went away.

Rows of `lake.sources`. The morning and the reconciliation tell them.
"""

import json
from collections.abc import Mapping
from datetime import date
from types import MappingProxyType
from typing import Any

import polars as pl

from pipeline.common.time import day_number
from pipeline.lake.store import Lake
from pipeline.mailchimp.windows import WindowState
from pipeline.schemas.base import polars_schema
from pipeline.schemas.lake import Sources
from pipeline.schemas.vocabulary import SourceKind, SourceState

WENT_AWAY: tuple[SourceState, ...] = ("unlisted", "gone")
_COUNTS = ("announced", "set_aside", "left_out", "later", "unread")
_SCHEMA = {name: dtype for name, dtype in polars_schema(Sources).items() if name != "as_of_day"}

Row = dict[str, Any]


class SourceBook:
    """Notes of one pull, on top of what earlier nights noted; `write` adds them to the lake."""

    def __init__(self, lake: Lake, state: WindowState, as_of: date) -> None:
        self._lake, self._as_of = lake, as_of
        self._nights = state.section("nights")
        self._known: dict[tuple[str, str], Row] = {
            (row["kind"], row["source_id"]): row for row in lake.latest(Sources).collect().iter_rows(named=True)
        }
        self._noted: dict[tuple[str, str], Row] = {}

    def ids(self, kind: SourceKind) -> set[str]:
        """Everything of a kind that was ever noted."""
        return {source_id for one, source_id in self._known if one == kind}

    def is_gone(self, kind: SourceKind, source_id: str) -> bool:
        """Whether it went away."""
        return self._row(kind, source_id)["state"] in WENT_AWAY

    def is_unlisted(self, kind: SourceKind, source_id: str) -> bool:
        """Whether tonight's listing no longer holds it."""
        return bool(self._row(kind, source_id)["state"] == "unlisted")

    def gone_since(self, kind: SourceKind, source_id: str) -> int | None:
        """Day number of the night on which it went away; none if it is there."""
        row = self._row(kind, source_id)
        return row["since_day"] if row["state"] in WENT_AWAY else None

    def has_failed(self, kind: SourceKind, source_id: str) -> bool:
        """Whether it could not be read when it was last tried."""
        return bool(self._row(kind, source_id)["state"] == "failed")

    def tells(self, why: str) -> bool:
        """Whether a source is noted to have failed for this reason."""
        return any(row["state"] == "failed" and row["detail"] == why for row in self._known.values())

    def note_read(
        self,
        kind: SourceKind,
        source_id: str,
        name: str = "",
        *,
        announced: int | None = None,
        set_aside: int = 0,
        left_out: int = 0,
        unread: int | None = None,
        later: Mapping[str, int] = MappingProxyType({}),
        detail: str = "",
        has_feeds: bool = False,
    ) -> None:
        """It was read tonight: so many rows were announced, broke their contract, and are not kept.

        `later` tells what the rows of later nights count, as `lake.sources` holds it. Of a campaign that `has_feeds`,
        `note_feeds` tells how many messages are not kept, and until then what it told last stands.
        """
        counts: Row = {"announced": announced, "set_aside": set_aside}
        if has_feeds:
            before = json.loads(self._row(kind, source_id)["later"] or "{}")
            later = {**later, "sent": before.get("sent", 0)}
        else:
            counts |= {"left_out": left_out, "unread": unread}
        counts["later"] = _counts_as_text(later)
        self._note(kind, source_id, name, state="read", since_day=None, detail=detail, **counts)
        night = self._as_of.isoformat()
        self._nights[f"{kind} {source_id}"] = max(night, self._nights.get(f"{kind} {source_id}", night))

    def note_feeds(self, campaign_id: str, *, unread: int, later: int, left_out: int) -> None:
        """Of so many recipients of a campaign the feed is not read yet, tells a later night, or tells no time."""
        before = self._row("campaign", campaign_id)
        counts = {**json.loads(before["later"] or "{}"), "sent": later}
        told = {name: before[name] for name in ("state", "since_day", "detail")}
        waiting = {"unread": unread, "left_out": left_out, "later": _counts_as_text(counts)}
        self._note("campaign", campaign_id, "", **told, **waiting)

    def note_failed(self, kind: SourceKind, source_id: str, name: str, why: str) -> None:
        """It could not be read tonight; what is held of it is that of the last night on which it was read."""
        night = self._nights.get(f"{kind} {source_id}")
        since = None if night is None else day_number(date.fromisoformat(night))
        self._note(kind, source_id, name, state="failed", since_day=since, detail=why)

    def note_gone(self, kind: SourceKind, source_id: str, name: str, state: SourceState = "gone") -> None:
        """It went away, tonight or on an earlier night."""
        before = self.gone_since(kind, source_id)
        since = day_number(self._as_of) if before is None else before
        self._note(kind, source_id, name, state=state, since_day=since, detail="")

    def compare(self, kind: SourceKind, known: Mapping[str, str], listed: set[str]) -> None:
        """Notes what tonight's complete listing no longer holds, and what it holds again.

        Args:
            kind: the kind that is listed.
            known: name by id of everything that was ever listed.
            listed: ids of tonight.
        """
        for source_id, name in known.items():
            if source_id not in listed:
                self.note_gone(kind, source_id, name, "unlisted")
            elif self._row(kind, source_id)["state"] == "unlisted":
                self._note(kind, source_id, name, state="read", since_day=None, detail="")

    def write(self) -> None:
        """Adds what was noted to the lake."""
        if self._noted:
            frame = pl.DataFrame(list(self._noted.values()), schema=_SCHEMA)
            self._lake.append(Sources, frame, self._as_of)
            self._known |= self._noted
            self._noted = {}

    def _row(self, kind: SourceKind, source_id: str) -> Row:
        counts = {"announced": None, "set_aside": 0, "left_out": 0, "later": None, "unread": None, "notes": None}
        unknown = {"state": "read", "since_day": None, "name": "", "detail": "", **counts}
        return self._noted.get((kind, source_id)) or self._known.get((kind, source_id)) or unknown

    def _note(self, kind: SourceKind, source_id: str, name: str, **told: Any) -> None:
        """Keeps the numbers of the last reading where none are told."""
        before = self._row(kind, source_id)
        kept = {column: before[column] for column in _COUNTS}
        note = {**kept, **told, "kind": kind, "source_id": source_id, "name": name or before["name"]}
        is_news = any(before.get(column) != value for column, value in note.items())
        self._noted[kind, source_id] = {**note, "notes": (before["notes"] or 0) + is_news}


def _counts_as_text(counts: Mapping[str, int]) -> str | None:
    told = {metric: number for metric, number in counts.items() if number}
    return json.dumps(told, sort_keys=True) if told else None
