"""The user's event stream into the lake, night by night: what is new, what is late, what contradicts itself.

Finding files belongs to `files.py`, reading one to `contents.py`, and the contract of a row to `rows.py`. A file that
cannot be read costs itself: the others are read, it is told in the quarantine, and every night tries it again.
"""

import hashlib
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.common.errors import SourceError, scrub
from pipeline.common.files import read_state, write_state
from pipeline.common.time import DAY_US, day_number, day_of
from pipeline.events.contents import raw_events
from pipeline.events.files import EventFile, fetch_event_file, find_event_files
from pipeline.events.raw import RAW, RawEvents
from pipeline.events.rows import CONTENT, parse_events
from pipeline.lake.keys import SubscriberKeys
from pipeline.lake.store import Lake
from pipeline.schemas.base import identity
from pipeline.schemas.lake import Events, Quarantine, Renamed
from pipeline.settings import Settings

# Rows held in memory before they are written; a first reading of years must fit beside everything else.
_BATCH_ROWS = 1_000_000
# A day before every event.
_ANY_AGE = 0
_ORDER = ["event_id", "occurred_us", *(name for name in CONTENT if name not in ("event_id", "occurred_us"))]


@dataclass(frozen=True)
class EventSummary:
    """What one night read.

    Attributes:
        rows: new events.
        quarantined: rows, columns and files newly set aside.
        files: files read.
        later: events of later days, left for their night.
        unread: files that could not be read.
    """

    rows: int = 0
    quarantined: int = 0
    files: int = 0
    later: int = 0
    unread: int = 0

    def __add__(self, other: "EventSummary") -> "EventSummary":
        """Both together."""
        return EventSummary(
            self.rows + other.rows,
            self.quarantined + other.quarantined,
            self.files + other.files,
            self.later + other.later,
            self.unread + other.unread,
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
        SourceError: if the source cannot be reached.
    """
    if source is None:
        return EventSummary()
    return _Night(source, lake, keys, settings, as_of).run()


def unread_files(lake: Lake) -> dict[str, str]:
    """The event files that the last night could not read, each with the reason."""
    files = read_state(_state_file(lake)).get("files", {})
    return {name: known["fault"] for name, known in files.items() if "fault" in known}


def _state_file(lake: Lake) -> Path:
    return lake.root / "state" / "events.json"


class _Night:
    def __init__(self, source: str, lake: Lake, keys: SubscriberKeys, settings: Settings, as_of: date) -> None:
        self.source, self.lake, self.settings, self.as_of = source, lake, settings, as_of
        self.keys = keys.known_as(lake.latest(Renamed).collect())
        self.tonight = day_number(as_of)
        self.state_file = _state_file(lake)
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
        found = find_event_files(self.source)
        names = {file.name for file in found}
        # What was not readable and is gone is nobody's concern any more.
        files = {name: known for name, known in self.state["files"].items() if name in names or "fault" not in known}
        self.state["files"] = files
        unread = {"version": None, "content": None, "next_day": self.tonight}
        summary = EventSummary()
        batch: list[_Reading] = []
        for file in found:
            known = files.get(file.name, unread)
            is_done = known["next_day"] is None or known["next_day"] > self.tonight
            if is_done and file.version is not None and known["version"] == file.version:
                continue
            try:
                content = fetch_event_file(file)
                digest = hashlib.sha256(content).hexdigest()
                if is_done and known["content"] == digest:
                    files[file.name] = known | {"version": file.version}
                    continue
                raw = raw_events(file.name, content)
                known = {"version": file.version, "content": digest}
            except SourceError as error:
                fault = scrub(error.what)
                raw = RawEvents(pl.DataFrame(schema=RAW), (("file", f"{fault}. {error.advice}"),))
                # It is tried again, and no event in it will be late for having waited.
                known = unread | {"fault": fault, "earliest": self._earliest(file.name)}
            batch.append(self._read(file, raw, known))
            if sum(one.events.height for one in batch) >= _BATCH_ROWS:
                summary, batch = summary + self._write(batch), []
        summary += self._write(batch)
        self.state["last_night"] = max(self.tonight, self.state["last_night"])
        write_state(self.state_file, self.state)
        return summary

    def _read(self, file: EventFile, raw: RawEvents, known: dict[str, Any]) -> _Reading:
        parsed = parse_events(raw.rows, self.addresses, self.keys, self.settings)
        day = day_of("occurred_us")
        is_later = (day > self.tonight).fill_null(False)
        reference = pl.format("{} row {}", pl.lit(file.name), "row").alias("reference")
        later = pl.concat([frame.filter(is_later).select(day=day) for frame in (parsed.rows, parsed.faults)])["day"]
        events = parsed.rows.filter(~is_later).with_columns(reference, earliest=pl.lit(self._earliest(file.name)))
        faults = parsed.faults.filter(~is_later).select(reference, "field", "reason")
        whole = [(file.name, scrub(field), reason) for field, reason in raw.set_aside]
        return _Reading(
            name=file.name,
            events=events.drop("row"),
            faults=pl.concat([faults, pl.DataFrame(whole, schema=faults.schema, orient="row")]),
            later=later.len(),
            known={"next_day": later.min()} | known,
        )

    def _earliest(self, name: str) -> int:
        """The day from which events of a file are in time: as it was when the file was first tried."""
        if self.tonight <= self.state["first_night"]:
            return _ANY_AGE
        in_time = min(self.tonight, self.state["last_night"] + 1) - self.settings.lateness_days
        number: int = self.state["files"].get(name, {}).get("earliest", in_time)
        return number

    def _write(self, batch: list[_Reading]) -> EventSummary:
        """Writes what the files hold until tonight; the state moves last: after a crash they are read again."""
        if not batch:
            return EventSummary()
        events = pl.concat([one.events for one in batch])
        ids = events.lazy().select("event_id").unique()
        existing = self.lake.latest(Events).join(ids, on="event_id", how="semi").select(CONTENT).collect()
        events, late = _without_late(events, existing, self.settings.lateness_days)
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
        unread = sum("fault" in one.known for one in batch)
        return EventSummary(rows, quarantined, len(batch) - unread, sum(one.later for one in batch), unread)


def _without_late(
    events: pl.DataFrame, existing: pl.DataFrame, lateness_days: int
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows in time, and faults of those too late. A row read before is not late when its file is read again."""
    is_old = pl.col("occurred_us") < pl.col("earliest") * DAY_US
    late = events.filter(is_old).join(existing, on=CONTENT, how="anti", nulls_equal=True)
    reason = f"arrived more than {lateness_days} days after it occurred"
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
