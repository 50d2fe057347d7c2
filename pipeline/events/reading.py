"""The user's event stream into the lake, night by night: what is new, what is late, what contradicts itself.

Finding and reading files belongs to `event_files.py`, the contract of a row to `event_rows.py`.
"""

import hashlib
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl

from pipeline.common.files import read_state, write_state
from pipeline.common.time import DAY_US, day_number, day_of
from pipeline.events.files import EventFile, fetch_event_file, find_event_files, raw_events
from pipeline.events.rows import CONTENT, parse_events
from pipeline.lake.keys import SubscriberKeys
from pipeline.lake.store import Lake
from pipeline.schemas.base import identity
from pipeline.schemas.lake import Events, Quarantine, Renamed
from pipeline.settings import Settings

# Rows held in memory before they are written; a first reading of years must fit beside everything else.
_BATCH_ROWS = 1_000_000
_ORDER = ["event_id", "occurred_us", *(name for name in CONTENT if name not in ("event_id", "occurred_us"))]


@dataclass(frozen=True)
class EventSummary:
    """What one night read: new rows, rows newly set aside, files, and events of later days left for their night."""

    rows: int = 0
    quarantined: int = 0
    files: int = 0
    later: int = 0

    def __add__(self, other: "EventSummary") -> "EventSummary":
        """Both together."""
        return EventSummary(
            self.rows + other.rows,
            self.quarantined + other.quarantined,
            self.files + other.files,
            self.later + other.later,
        )


@dataclass(frozen=True)
class _Reading:
    """A file's rows and faults until tonight, the number of later rows, and what the state remembers of the file."""

    name: str
    events: pl.DataFrame
    faults: pl.DataFrame
    later: int
    known: dict[str, Any]


def ingest_events(
    source: str | None, lake: Lake, keys: SubscriberKeys, settings: Settings, as_of: date
) -> EventSummary:
    """Read what is new in the event files, up to the end of `as_of`.

    Whatever the order of arrival, the lake's events are those of the sorted, deduplicated input: equal rows count once,
    and of different rows with one id the earliest stands. The first night takes events of any age, later ones those
    that arrive within `settings.lateness_days`; nights that were missed are not held against an event.

    Args:
        source: folder, glob or URL; none is valid and reads nothing.
        lake: where events and rows set aside go.
        keys: keyed hashes.
        settings: currency, lateness.
        as_of: tonight; the events of later days stay for their night.

    Raises:
        SourceError: if the source or a file cannot be read; what was read before is kept.
    """
    if source is None:
        return EventSummary()
    return _Night(source, lake, keys, settings, as_of).run()


class _Night:
    def __init__(self, source: str, lake: Lake, keys: SubscriberKeys, settings: Settings, as_of: date) -> None:
        self.source, self.lake, self.settings, self.as_of = source, lake, settings, as_of
        self.keys = keys.known_as(lake.latest(Renamed).collect())
        self.tonight = day_number(as_of)
        self.state_file = lake.root / "state" / "events.json"
        digest = hashlib.sha256(source.encode()).hexdigest()[:16]
        state = read_state(self.state_file)
        # Another source starts anew: its history is not late.
        fresh: dict[str, Any] = {
            "source": digest,
            "first_night": self.tonight,
            "last_night": self.tonight - 1,
            "files": {},
        }
        self.state = state if state.get("source") == digest else fresh
        self.addresses = lake.addresses()

    def run(self) -> EventSummary:
        files: dict[str, Any] = self.state["files"]
        unread = {"version": None, "content": None, "next_day": self.tonight}
        summary = EventSummary()
        batch: list[_Reading] = []
        for file in find_event_files(self.source):
            known = files.get(file.name, unread)
            is_done = known["next_day"] is None or known["next_day"] > self.tonight
            if is_done and file.version is not None and known["version"] == file.version:
                continue
            content = fetch_event_file(file)
            digest = hashlib.sha256(content).hexdigest()
            if is_done and known["content"] == digest:
                files[file.name] = known | {"version": file.version}
                continue
            batch.append(self._read(file, content, {"version": file.version, "content": digest}))
            if sum(one.events.height for one in batch) >= _BATCH_ROWS:
                summary, batch = summary + self._write(batch), []
        summary += self._write(batch)
        self.state["last_night"] = max(self.tonight, self.state["last_night"])
        write_state(self.state_file, self.state)
        return summary

    def _read(self, file: EventFile, content: bytes, known: dict[str, Any]) -> _Reading:
        parsed = parse_events(raw_events(file.name, content), self.addresses, self.keys, self.settings)
        day = day_of("occurred_us")
        is_later = (day > self.tonight).fill_null(False)
        reference = pl.format("{} row {}", pl.lit(file.name), "row").alias("reference")
        later = pl.concat([frame.filter(is_later).select(day=day) for frame in (parsed.rows, parsed.faults)])["day"]
        return _Reading(
            name=file.name,
            events=parsed.rows.filter(~is_later).with_columns(reference).drop("row"),
            faults=parsed.faults.filter(~is_later).select(reference, "field", "reason"),
            later=later.len(),
            known=known | {"next_day": later.min()},
        )

    def _write(self, batch: list[_Reading]) -> EventSummary:
        """Writes what the files hold until tonight; the state moves last: after a crash they are read again."""
        if not batch:
            return EventSummary()
        events = pl.concat([one.events for one in batch])
        ids = events.lazy().select("event_id").unique()
        existing = self.lake.latest(Events).join(ids, on="event_id", how="semi").select(CONTENT).collect()
        events, late = self._without_late(events, existing)
        events, contradictions, replaced = _without_contradictions(events, existing)
        faults = pl.concat([*(one.faults for one in batch), late, contradictions])
        source = pl.lit(identity(Events).name).alias("source")
        # In this order a crash in between repeats a step and skips none.
        quarantined = self.lake.append(Quarantine, faults.with_columns(source), self.as_of) if faults.height else 0
        if replaced.height:
            self.lake.discard(Events, replaced)
        rows = self.lake.append(Events, events, self.as_of)
        self.state["files"] |= {one.name: one.known for one in batch}
        write_state(self.state_file, self.state)
        return EventSummary(rows, quarantined, len(batch), sum(one.later for one in batch))

    def _without_late(self, events: pl.DataFrame, existing: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Rows in time, and faults of those too late. A row read before is not late when its file is read again."""
        if self.tonight <= self.state["first_night"]:
            return events, _faults(events.clear(), "", "")
        days = self.settings.lateness_days
        earliest = min(self.tonight, self.state["last_night"] + 1) - days
        is_old = pl.col("occurred_us") < earliest * DAY_US
        late = events.filter(is_old).join(existing, on=CONTENT, how="anti", nulls_equal=True)
        reason = f"arrived more than {days} days after it occurred"
        return events.join(late, on="reference", how="anti"), _faults(late, "occurred_at", reason)


def _without_contradictions(
    events: pl.DataFrame, existing: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Rows that stand, faults of those whose id names a different event, and rows of the lake that do not stand.

    Of different events with one id the earliest stands. A row that replaces one of the lake is told as a fault too: the
    reference of the one replaced is no longer known.
    """
    events = events.sort(*_ORDER, "reference").unique(CONTENT, keep="first", maintain_order=True)
    standing = pl.concat([existing, events.select(CONTENT)]).sort(_ORDER).unique("event_id", keep="first")
    kept = events.join(standing, on=CONTENT, how="semi", nulls_equal=True)
    lost = events.join(standing, on=CONTENT, how="anti", nulls_equal=True)
    replaced = existing.join(standing, on=CONTENT, how="anti", nulls_equal=True)
    replacing = kept.join(replaced, on="event_id", how="semi")
    reason = "names different events: the earliest stands"
    return kept, _faults(pl.concat([lost, replacing]), "event_id", reason), replaced


def _faults(events: pl.DataFrame, field: str, reason: str) -> pl.DataFrame:
    return events.select("reference", field=pl.lit(field), reason=pl.lit(reason))
