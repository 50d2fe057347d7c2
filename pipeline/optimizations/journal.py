"""The journal: what a record set out to write, what stood before, and what came of it.

It is part of the ledger's chain. Lines are added and never changed, but for their outcome. Each batch of lines belongs
to one event of the ledger, which holds a hash over the commitments of its lines; a second event holds a hash over their
outcomes. A commitment is a hash of subject and values with a salt of its own. When a person is forgotten, salt, subject
and values are erased. The commitment stays, so the chain still verifies, and without the salt nobody can test a guess
against it.

Polars is imported only where a frame is made: every command opens the ledger, and people wait for them.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from pipeline.optimizations.chain import append_event, as_event, read_record, refuse_moved
from pipeline.optimizations.record import Record, digest
from pipeline.optimizations.states import OF_JOURNAL, Event
from pipeline.optimizations.tables import erase_remains, events, reading, writing
from pipeline.optimizations.tables import journal as lines
from pipeline.schemas.vocabulary import LedgerEventType as EventType

if TYPE_CHECKING:
    import polars as pl

    from pipeline.optimizations.changes import Change, Write

WRITER = "driptune"
"""Name under which the journal's events are noted."""
SALT_BYTES = 16
Place = tuple[int, int]
"""Where a line stands in a record's journal: revision of its event, and position below it."""


class Journal:
    """The writes of every record; what stood before a write is never overwritten."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def intend(self, record: Record, changes: Sequence[Change], *, now: datetime) -> Record:
        """Note what is about to be written, and what stands now, before anything is.

        Returns:
            The record after the event; its revision is that of the new lines.

        Raises:
            StaleRecordError: if the record has moved on since it was read. Then nothing may be written for it.
        """
        rows = [
            {"position": position, "subject": one.subject, "field": one.field, "before": one.before, "after": one.after}
            for position, one in enumerate(changes)
        ]
        for row in rows:
            row["salt"] = secrets.token_hex(SALT_BYTES)
            row["commitment"] = commitment(row)
        payload = {"writes": len(rows), "commitments": commitments_hash(rows)}
        with writing(self._engine) as connection:
            refuse_moved(connection, record.optimization_id, record.revision)
            moved = append_event(connection, record, EventType.WRITES_INTENDED, WRITER, now, payload)
            place = {"optimization_id": moved.optimization_id, "revision": moved.revision}
            connection.execute(sa.insert(lines), [{**place, **row} for row in rows])
        return moved

    def settle(
        self, record: Record, outcomes: Mapping[Place, str], *, now: datetime, read_at: datetime | None = None
    ) -> Record:
        """Note what came of whole batches of writes.

        Args:
            record: the record as it was read.
            outcomes: the outcome of every line of those batches.
            now: the time.
            read_at: when the account was read back, by the account's clock; none = `now`.

        Returns:
            The record after the event.

        Raises:
            StaleRecordError: if the record has moved on since it was read.
        """
        if not outcomes:
            return record
        told = [[*place, outcomes[place]] for place in sorted(outcomes)]
        payload = {
            "revisions": sorted({revision for revision, _ in outcomes}),
            "outcomes": digest(told),
            "read_at": (read_at or now).isoformat(),
        }
        of_line = [lines.c[name] == sa.bindparam(f"_{name}") for name in ("optimization_id", "revision", "position")]
        update = sa.update(lines).where(*of_line).values(outcome=sa.bindparam("_outcome"))
        names = ("_optimization_id", "_revision", "_position", "_outcome")
        with writing(self._engine) as connection:
            refuse_moved(connection, record.optimization_id, record.revision)
            moved = append_event(connection, record, EventType.WRITES_SETTLED, WRITER, now, payload)
            rows = [dict(zip(names, (record.optimization_id, *line), strict=True)) for line in told]
            connection.execute(update, rows)
        return moved

    def writes(self, optimization_id: str) -> list[Write]:
        """The lines of a record in the order in which they were noted."""
        from pipeline.optimizations.changes import Write

        query = sa.select(lines).where(lines.c.optimization_id == optimization_id)
        with reading(self._engine) as connection:
            rows = connection.execute(query.order_by(lines.c.revision, lines.c.position)).all()
        return [
            Write(row.revision, row.position, row.subject, row.field, row.before, row.after, row.outcome)
            for row in rows
        ]

    def settled(self, field: str | None = None) -> pl.DataFrame:
        """Every line with a subject whose outcome is known, of all records, in the order in which they were noted.

        Args:
            field: the field whose lines are wanted; none = of all fields.

        Returns:
            `optimization_id`, `subject`, `field`, `after`, `outcome`, and `read_us`, when the account was read back.
        """
        import polars as pl

        order = (lines.c.optimization_id, lines.c.revision, lines.c.position)
        names = ("optimization_id", "revision", "subject", "field", "after", "outcome")
        query = sa.select(*(lines.c[name] for name in names)).order_by(*order)
        if field is not None:
            query = query.where(lines.c.field == field)
        settlements = sa.select(events).where(events.c.event_type == EventType.WRITES_SETTLED)
        with reading(self._engine) as connection:
            rows = connection.execute(query.where(lines.c.outcome.is_not(None), lines.c.subject.is_not(None))).all()
            settled = [as_event(row) for row in connection.execute(settlements)]
        moments = [
            (event.optimization_id, revision, _read_us(event))
            for event in settled
            for revision in event.payload.get("revisions", [event.revision])
        ]
        schema = {name: pl.Int64 if name == "revision" else pl.String for name in names}
        told = pl.DataFrame([tuple(row) for row in rows], schema=schema, orient="row")
        times = {"optimization_id": pl.String, "revision": pl.Int64, "read_us": pl.Int64}
        read = pl.DataFrame(moments, schema=times, orient="row")
        on = ["optimization_id", "revision"]
        return told.join(read, on=on, how="inner", maintain_order="left").drop("revision")

    def noted(self, field: str) -> pl.DataFrame:
        """Every line about a field, of all records, whether or not it has an outcome.

        Returns:
            `optimization_id`, `subject` (null once forgotten), `outcome` (null while nobody has heard of one), and
            `noted_at` (Datetime, UTC), when the line was noted.
        """
        import polars as pl

        at_event = (lines.c.optimization_id == events.c.optimization_id) & (lines.c.revision == events.c.revision)
        columns = (lines.c.optimization_id, lines.c.subject, lines.c.outcome, events.c.occurred_at)
        query = sa.select(*columns).join(events, at_event).where(lines.c.field == field)
        with reading(self._engine) as connection:
            rows = [tuple(row) for row in connection.execute(query)]
        names = ("optimization_id", "subject", "outcome", "noted_at")
        told = pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")
        return told.with_columns(pl.col("noted_at").str.to_datetime("%+", time_unit="us", time_zone="UTC"))

    def outcomes(self, optimization_id: str) -> Counter[str]:
        """How many subjects had which outcome at their last line."""
        latest = {write.subject: write for write in self.writes(optimization_id) if write.subject is not None}
        return Counter(str(write.outcome) for write in latest.values())

    def forget(self, subject: str, *, now: datetime) -> int:
        """Erase a subject and its values from every line, so that the chain still verifies.

        The caller holds the lock of the account: a record that is being written must not move meanwhile.

        Returns:
            Number of lines erased.

        Raises:
            LedgerError: if another program reads the file, so that its old pages cannot be overwritten.
        """
        query = sa.select(lines.c.optimization_id, lines.c.revision, lines.c.position)
        query = query.where(lines.c.subject == subject)
        erased = sa.update(lines).where(lines.c.subject == subject)
        with writing(self._engine) as connection:
            places = connection.execute(query.order_by(*query.selected_columns)).all()
            for optimization_id, rows in groupby(places, lambda row: str(row.optimization_id)):
                payload = {"forgotten": [[row.revision, row.position] for row in rows]}
                record = read_record(connection, optimization_id)
                append_event(connection, record, EventType.WRITES_FORGOTTEN, WRITER, now, payload)
            connection.execute(erased.values(subject=None, before=None, after=None, salt=None))
        erase_remains(self._engine)
        return len(places)


def _read_us(event: Event) -> int:
    from pipeline.common.time import instant_us

    told = event.payload.get("read_at")
    return instant_us(datetime.fromisoformat(told) if told else event.occurred_at)


def commitment(row: Mapping[str, Any]) -> str:
    """The salted hash that stands for the subject and the values of a line."""
    return digest([row[name] for name in ("salt", "subject", "field", "before", "after")])


def commitments_hash(rows: Iterable[Mapping[str, Any]]) -> str:
    """The hash over the commitments of a batch, in the order of its lines."""
    return digest([row["commitment"] for row in rows])


def journal_problems(connection: sa.Connection, events: Iterable[Event]) -> list[str]:
    """What is wrong between the journal and the events of the ledger; nothing, if nobody touched either.

    Args:
        connection: the database.
        events: every event of the ledger.
    """
    of_journal: dict[str, list[Event]] = {}
    for event in events:
        if event.event_type in OF_JOURNAL:
            of_journal.setdefault(event.optimization_id, []).append(event)
    query = sa.select(lines).order_by(lines.c.optimization_id, lines.c.revision, lines.c.position)
    rows: list[Mapping[str, Any]] = [dict(row._mapping) for row in connection.execute(query)]
    found = {name: list(group) for name, group in groupby(rows, lambda row: str(row["optimization_id"]))}
    return [
        f"The journal of {optimization_id} was edited: {problem}"
        for optimization_id in sorted({*of_journal, *found})
        for problem in _problems(found.get(optimization_id, []), of_journal.get(optimization_id, []))
    ]


def _problems(rows: Sequence[Mapping[str, Any]], events: Sequence[Event]) -> list[str]:
    batches = {int(revision): list(group) for revision, group in groupby(rows, lambda row: row["revision"])}
    noted = {event.revision: event for event in events if "commitments" in event.payload}
    settled = {
        tuple(event.payload.get("revisions", [event.revision])): event.payload["outcomes"]
        for event in events
        if "outcomes" in event.payload
    }
    forgotten = {tuple(place) for event in events for place in event.payload.get("forgotten", [])}
    problems = []
    for revision in sorted({*batches, *noted}):
        batch = batches.get(revision, [])
        if revision not in noted or noted[revision].payload["commitments"] != commitments_hash(batch):
            problems.append(f"the lines of revision {revision} are not those that were noted.")
    for row in rows:
        place = (row["revision"], row["position"])
        if (row["salt"] is None) != (place in forgotten):
            problems.append(f"line {place[1]} of revision {place[0]} was emptied, or filled again.")
        elif row["salt"] is not None and row["commitment"] != commitment(row):
            problems.append(f"line {place[1]} of revision {place[0]} is not what was noted.")
    for revisions, told in settled.items():
        outcomes = [
            [row["revision"], row["position"], row["outcome"]] for one in revisions for row in batches.get(one, [])
        ]
        if digest(outcomes) != told:
            problems.append(f"what came of the writes of revision {revisions[0]} is not what was noted.")
    is_settled = {revision for revisions in settled for revision in revisions}
    for revision in sorted(batches.keys() - is_settled):
        if any(row["outcome"] is not None for row in batches[revision]):
            problems.append(f"nothing was noted of what came of the writes of revision {revision}.")
    return problems
