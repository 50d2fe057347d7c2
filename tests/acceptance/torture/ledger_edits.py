"""Edits of the ledger's file by somebody who can write to it, and what `driptune verify` says of each."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipeline.operations.health import verification
from pipeline.optimizations.states import event_hash
from pipeline.settings import Settings

Edit = Callable[[sqlite3.Connection], None]
HASHED = ("optimization_id", "revision", "event_type", "actor", "occurred_at", "payload")


def unseen(settings: Settings, rows: int) -> tuple[int, list[str]]:
    """Number of edits tried, each alone, and those of which verify says nothing about the ledger.

    Args:
        settings: of an installation whose ledger is published, and in use by nobody.
        rows: how many of its events are edited, the newest and others spread over it.
    """
    file = settings.data_dir / "ledger" / "ledger.sqlite"
    if said := _said(settings):
        raise RuntimeError(f"Before any edit: {said}")
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        sequences = [sequence for (sequence,) in connection.execute("SELECT sequence FROM ledger_events ORDER BY 1")]
    connection.close()
    edited = sorted({*sequences[:: -(-len(sequences) // rows)], sequences[-1]})
    whole, missed, tried = file.read_bytes(), [], 0
    for name, edit in edits(edited):
        connection = sqlite3.connect(file)
        edit(connection)
        has_changed = connection.total_changes > 0
        connection.commit()
        connection.close()
        tried += 1
        missed += [] if has_changed and _said(settings) else [name]
        _put_back(file, whole)
    return tried, missed


def edits(sequences: list[int]) -> Iterator[tuple[str, Edit]]:
    """Each edit with its name, for events with these numbers."""
    values = {"actor": "'noor'", "payload": "replace(payload, ':', ': ')", "event_type": "'rejected'",
              "occurred_at": "'2026-01-01T00:00:00+00:00'", "revision": "revision + 1000", "hash": f"'{'a' * 64}'",
              "previous_hash": f"'{'b' * 64}'", "optimization_id": "'0123456789abcdef'"}  # fmt: skip
    for sequence in sequences:
        for column, value in values.items():
            yield (
                f"{column} of event {sequence}",
                _run(f"UPDATE ledger_events SET {column} = {value} WHERE sequence = {sequence}"),
            )
        yield (
            f"event {sequence} edited, with its own hash anew",
            lambda connection, at=sequence: _rewrite(connection, at, at),
        )
        yield (
            f"event {sequence} edited, with all hashes after it anew",
            lambda connection, at=sequence: _rewrite(connection, at, None),
        )
        yield f"event {sequence} deleted", _run(f"DELETE FROM ledger_events WHERE sequence = {sequence}")
        yield (
            f"everything from event {sequence} on deleted, states put back",
            lambda connection, at=sequence: _cut(connection, at),
        )
    yield "states: all approved", _run("UPDATE ledger_states SET status = 'approved' WHERE status <> 'approved'")
    yield "states: one deleted", _run("DELETE FROM ledger_states WHERE rowid = 1")


def _said(settings: Settings) -> list[str]:
    return [text for is_good, text in verification(settings) if not is_good and "ledger" in text.lower()]


def _run(sql: str) -> Edit:
    return lambda connection: connection.execute(sql) and None


def _rewrite(connection: sqlite3.Connection, first: int, last: int | None) -> None:
    """Put another name under an event and make its hash anew, and those after it up to `last`."""
    connection.row_factory = sqlite3.Row
    connection.execute("UPDATE ledger_events SET actor = 'noor' WHERE sequence = ?", [first])
    query = "SELECT * FROM ledger_events WHERE sequence >= ? AND sequence <= coalesce(?, sequence) ORDER BY sequence"
    rows = connection.execute(query, [first, last]).fetchall()
    previous = rows[0]["previous_hash"]
    for row in rows:
        said: list[Any] = [row[name] for name in HASHED]
        own = event_hash(*said, previous)
        connection.execute(
            "UPDATE ledger_events SET previous_hash = ?, hash = ? WHERE sequence = ?", [previous, own, row["sequence"]]
        )
        previous = own


def _cut(connection: sqlite3.Connection, first: int) -> None:
    """Delete the newest events, and leave of the states what the older ones say."""
    gone = "SELECT optimization_id FROM ledger_events WHERE sequence >= ?"
    connection.execute(
        f"UPDATE ledger_states SET status = 'pending', revision = 1 WHERE optimization_id IN ({gone})", [first]
    )
    connection.execute("DELETE FROM ledger_events WHERE sequence >= ?", [first])
    known = "SELECT optimization_id FROM ledger_events"
    connection.execute(f"DELETE FROM ledger_states WHERE optimization_id NOT IN ({known})")


def _put_back(file: Path, whole: bytes) -> None:
    for beside in file.parent.glob(f"{file.name}-*"):
        beside.unlink()
    file.write_bytes(whole)
