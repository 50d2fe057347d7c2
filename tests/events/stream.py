"""A user's event stream in the making: events, files of them, and what the lake holds once they are read."""

import json
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl

from pipeline.events.reading import EventSummary, ingest_events
from pipeline.events.rows import CONTENT
from pipeline.lake.keys import SubscriberKeys
from pipeline.lake.store import Lake
from pipeline.schemas.lake import Events, Quarantine
from pipeline.settings import Settings

KEYS = SubscriberKeys(b"secret")
SETTINGS = Settings(_env_file=None)
ANN = "ann@example.com"
TONIGHT = date(2026, 3, 31)
UNIX = datetime(1970, 1, 1, tzinfo=UTC)


def event(event_id: str = "1", occurred_at: str = "2026-03-30T12:00:00Z", **columns) -> dict:
    return {"event_id": event_id, "occurred_at": occurred_at, "event_type": "visit", "subscriber": ANN} | columns


def write(folder: Path, name: str, *events: dict) -> Path:
    return put(folder, name, "".join(json.dumps(one) + "\n" for one in events).encode())


def put(folder: Path, name: str, content: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(content)
    return path


def read(folder: Path | str, lake: Lake, as_of: date = TONIGHT, chosen: Settings = SETTINGS) -> EventSummary:
    return ingest_events(str(folder), lake, KEYS, chosen, as_of)


def read_bytes(folder: Path, name: str, content: bytes) -> Lake:
    """The lake after a night with one file."""
    put(folder / "in", name, content)
    lake = Lake(folder / "lake")
    read(folder / "in", lake)
    return lake


def content(lake: Lake) -> pl.DataFrame:
    return lake.latest(Events).select(CONTENT).sort("event_id").collect()


def ids(lake: Lake) -> list[str]:
    return content(lake)["event_id"].to_list()


def faults(lake: Lake) -> list[tuple[str, str, str]]:
    return lake.latest(Quarantine).select("reference", "field", "reason").sort("reference").collect().rows()
