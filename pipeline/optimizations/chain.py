"""The chain of events as it is stored: reading a record, and adding an event behind the last one.

Every function works inside the transaction of its caller. What the tables are belongs to `tables`, what may follow what
to `states`.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from pipeline.common.errors import LedgerError
from pipeline.optimizations.record import OPEN, Record, canonical
from pipeline.optimizations.states import EXPORTS, FIRST_HASH, Event, after_event, event_hash, next_status, replay
from pipeline.optimizations.tables import events as event_table
from pipeline.optimizations.tables import states as state_table
from pipeline.schemas.vocabulary import LedgerEventType as EventType
from pipeline.schemas.vocabulary import RecordStatus as Status


class StaleRecordError(LedgerError):
    """The record has moved on since it was read."""


def read_record(connection: sa.Connection, optimization_id: str) -> Record:
    """One record as it stands.

    Raises:
        LedgerError: if there is no such record.
    """
    of_record = event_table.c.optimization_id == optimization_id
    query = sa.select(event_table).where(of_record).order_by(event_table.c.revision)
    found = [as_event(row) for row in connection.execute(query)]
    if not found:
        waiting = sa.select(state_table.c.optimization_id).where(state_table.c.status == Status.PENDING)
        known = ", ".join(connection.scalars(waiting.order_by(state_table.c.optimization_id)))
        raise LedgerError(f"There is no record '{optimization_id}'. Those that wait are: {known or 'none'}.")
    return replay(found)


def refuse_moved(connection: sa.Connection, optimization_id: str, expected_revision: int) -> None:
    """Compare a record's revision with the one its caller saw, before anything is written about it.

    Raises:
        StaleRecordError: if the record has another revision by now.
    """
    query = sa.select(state_table.c.revision, state_table.c.status)
    stands = connection.execute(query.where(state_table.c.optimization_id == optimization_id)).one_or_none()
    if stands is not None and stands.revision != expected_revision:
        raise StaleRecordError(
            f"{optimization_id} has changed since you saw it: it is {stands.status} now (revision {stands.revision}, "
            f"you saw {expected_revision}). Look at it again."
        )


def append_event(
    connection: sa.Connection,
    record: Record | None,
    event_type: EventType,
    actor: str,
    now: datetime,
    payload: Mapping[str, Any],
    optimization_id: str = "",
) -> Record:
    """Add an event to a record as it stands; without a record the first event of `optimization_id`.

    Raises:
        IllegalTransitionError: if the event does not fit the record's state.
    """
    next_status(record.status if record else None, event_type)
    subject = record.optimization_id if record else optimization_id
    event = _append(connection, subject, record.revision + 1 if record else 1, event_type, actor, now, payload)
    changed = after_event(record, event)
    if record is None:
        connection.execute(sa.insert(state_table).values(state_of(changed)))
    else:
        of_record = state_table.c.optimization_id == subject
        connection.execute(sa.update(state_table).where(of_record).values(state_of(changed)))
    return changed


def append_export(connection: sa.Connection, actor: str, now: datetime, payload: Mapping[str, Any]) -> None:
    """Note that somebody took addresses out. Such an event belongs to no record, and moves none."""
    exports = sa.select(sa.func.count()).where(event_table.c.optimization_id == EXPORTS)
    revision = connection.execute(exports).scalar_one() + 1
    _append(connection, EXPORTS, revision, EventType.EXPORTED, actor, now, payload)


def _append(
    connection: sa.Connection,
    subject: str,
    revision: int,
    event_type: EventType,
    actor: str,
    now: datetime,
    payload: Mapping[str, Any],
) -> Event:
    """Put an event behind the last one of the chain."""
    latest = sa.select(event_table.c.sequence, event_table.c.hash).order_by(event_table.c.sequence.desc()).limit(1)
    head = connection.execute(latest).one_or_none()
    occurred_at, text = now.isoformat(), canonical(payload)
    previous = head.hash if head else FIRST_HASH
    row = {
        "sequence": head.sequence + 1 if head else 1,
        "optimization_id": subject,
        "revision": revision,
        "event_type": str(event_type),
        "actor": actor,
        "occurred_at": occurred_at,
        "payload": text,
        "previous_hash": previous,
        "hash": event_hash(subject, revision, event_type, actor, occurred_at, text, previous),
    }
    connection.execute(sa.insert(event_table).values(row))
    return Event.model_validate({**row, "payload": json.loads(text)})


def as_event(row: sa.Row[Any]) -> Event:
    """The event that a row of the ledger holds."""
    return Event.model_validate({**row._mapping, "payload": json.loads(row.payload)})


def state_of(record: Record) -> dict[str, Any]:
    """The row of the table of states that a record amounts to."""
    proposal = record.proposal
    return {
        "optimization_id": record.optimization_id,
        "kind": str(proposal.kind),
        "target": proposal.target,
        "status": str(record.status),
        "revision": record.revision,
        "evidence_hash": proposal.evidence_hash,
        "open_target": canonical([proposal.kind, proposal.target]) if record.status in OPEN else None,
    }
