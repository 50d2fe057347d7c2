"""An account in a file, which survives those who write to it and is shared by their processes."""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.optimizations.changes import Change, Outcome

WAIT_SECONDS = 60.0


class StoredAccount:
    """One merge field of members whose keys are 0, 1, 2, ...

    Args:
        path: the file.
        people: number of members.
        written: told after each single write.
    """

    def __init__(self, path: Path, people: int, written: Callable[[], None] = lambda: None) -> None:
        self._database = sqlite3.connect(path, isolation_level=None, timeout=WAIT_SECONDS)
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute("CREATE TABLE IF NOT EXISTS held (subscriber INTEGER PRIMARY KEY, value TEXT)")
        self._people = people
        self._written = written

    def values(self) -> dict[int, str]:
        """What is held, by subscriber."""
        return dict(self._database.execute("SELECT subscriber, value FROM held"))

    def set(self, subscriber: int, value: str) -> None:
        """An edit by a person."""
        self._database.execute("INSERT OR REPLACE INTO held VALUES (?, ?)", [subscriber, value])

    def now(self) -> datetime:
        return datetime.now(UTC)

    def members(self, field: str, workflow_id: str | None) -> pl.DataFrame:
        held = self.values()
        rows = [(key, held.get(key) or None) for key in range(self._people)]
        return pl.DataFrame(rows, schema={"subscriber_key": pl.Int64, "current": pl.String}, orient="row")

    def email(self, workflow_id: str, email_id: str) -> Mapping[str, Any]:
        raise NotImplementedError

    def ensure_field(self, field: str) -> None:
        """It is there."""

    def write_members(self, changes: Sequence[Change]) -> list[str]:
        return [self._write(change) for change in changes]

    def _write(self, change: Change) -> str:
        """Set the value where the one that was read still stands; Mailchimp takes two calls for it."""
        key = int(change.subject)
        self._database.execute("INSERT OR IGNORE INTO held VALUES (?, '')", [key])
        update = "UPDATE held SET value = ? WHERE subscriber = ? AND value = ?"
        is_set = self._database.execute(update, [change.after, key, change.before]).rowcount
        self._written()
        return Outcome.WRITTEN if is_set else Outcome.TAKEN

    def write_email(self, workflow_id: str, change: Change) -> str:
        raise NotImplementedError
