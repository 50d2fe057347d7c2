"""The ledger of proposals and decisions: an append-only, hash-chained list of events, and the state they imply.

Who may decide belongs to `review`; here is only what may follow what, and that nothing is lost, changed or done twice.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

import sqlalchemy as sa

from pipeline.common.errors import LedgerError
from pipeline.optimizations.approval_policy import POLICY_ACTOR, ApprovalPolicy
from pipeline.optimizations.journal import Journal
from pipeline.optimizations.record import OPEN, Proposal, Record, Status, canonical
from pipeline.optimizations.states import (
    FIRST_HASH,
    Event,
    EventType,
    event_hash,
    next_status,
    replay,
)
from pipeline.optimizations.tables import events as event_table
from pipeline.optimizations.tables import open_engine, writing
from pipeline.optimizations.tables import states as state_table
from pipeline.settings import Settings


class StaleRecordError(LedgerError):
    """The record has moved on since it was read."""


class Ledger:
    """The ledger at a database. Every method is one transaction; writers wait for each other."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self.journal = Journal(engine)

    @classmethod
    def open(cls, url: str) -> "Ledger":
        """The ledger at a SQLAlchemy URL, made or brought up to date if need be.

        Raises:
            LedgerError: if the database cannot be reached or opened, or its driver is not installed.
        """
        try:
            return cls(open_engine(url))
        except ModuleNotFoundError as error:
            raise LedgerError(
                f"The ledger's database needs the Python package '{error.name}', which is not installed. "
                "Install it beside driptune; for PostgreSQL: pip install 'psycopg[binary]'"
            ) from None
        except sa.exc.SQLAlchemyError as error:
            raise LedgerError(
                f"The ledger cannot be opened ({type(error).__name__}). Check DRIPTUNE_LEDGER_URL, and that the "
                "database answers or the file is a ledger."
            ) from None

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    def propose(self, proposals: Iterable[Proposal], *, now: datetime, policy: ApprovalPolicy) -> list[str]:
        """Put proposals on record, however often they are made.

        A target has one open record: a pending one gets newer evidence, gives way to another change, and what was
        rejected comes again only with other evidence after the cool-down.

        Returns:
            Ids of the records that are new.
        """
        with writing(self._engine) as connection:
            return [proposal.optimization_id for proposal in proposals if _propose(connection, proposal, now, policy)]

    def append(
        self,
        optimization_id: str,
        event_type: EventType,
        *,
        actor: str,
        now: datetime,
        expected_revision: int,
        payload: Mapping[str, Any] | None = None,
    ) -> Record:
        """Add an event to a record that still is as the caller saw it.

        Raises:
            LedgerError: if there is no such record.
            StaleRecordError: if the record has another revision by now.
            IllegalTransitionError: if the event does not fit the record's state.
        """
        with writing(self._engine) as connection:
            record = _record(connection, optimization_id)
            if record.revision != expected_revision:
                raise StaleRecordError(
                    f"{optimization_id} has changed since you saw it: it is {record.status} now (revision "
                    f"{record.revision}, you saw {expected_revision}). Look at it again."
                )
            return _append(connection, record, event_type, actor, now, payload or {})

    def record(self, optimization_id: str) -> Record:
        """One record as it stands.

        Raises:
            LedgerError: if there is no such record.
        """
        with self._reading() as connection:
            return _record(connection, optimization_id)

    def records(self, *statuses: Status) -> list[Record]:
        """Records in the given states, or all, the oldest first."""
        wanted = sa.select(state_table.c.optimization_id)
        if statuses:
            wanted = wanted.where(state_table.c.status.in_([str(status) for status in statuses]))
        of_wanted = event_table.c.optimization_id.in_(wanted)
        query = sa.select(event_table).where(of_wanted).order_by(event_table.c.optimization_id, event_table.c.revision)
        with self._reading() as connection:
            found = [_event(row) for row in connection.execute(query)]
        replayed = [replay(list(group)) for _, group in groupby(found, lambda event: event.optimization_id)]
        return sorted(replayed, key=lambda record: (record.created_at, record.optimization_id))

    def events(self, optimization_id: str | None = None) -> list[Event]:
        """Events of one record, or of all, in the order in which they happened."""
        query = sa.select(event_table).order_by(event_table.c.sequence)
        if optimization_id is not None:
            query = query.where(event_table.c.optimization_id == optimization_id)
        with self._reading() as connection:
            return [_event(row) for row in connection.execute(query)]

    def verify(self) -> list[str]:
        """What is wrong with the chain of events, or between it and the states; nothing, if nobody touched them."""
        with self._reading() as connection:
            rows = list(connection.execute(sa.select(event_table).order_by(event_table.c.sequence)))
            states = {row.optimization_id: row for row in connection.execute(sa.select(state_table))}
        problems, previous = [], FIRST_HASH
        for row in rows:
            said = (row.optimization_id, row.revision, row.event_type, row.actor, row.occurred_at, row.payload)
            if row.previous_hash != previous:
                problems.append(f"Before event {row.sequence} a line is missing, added or out of order.")
            elif row.hash != event_hash(*said, row.previous_hash):
                problems.append(f"Event {row.sequence} of {row.optimization_id} was edited.")
            previous = row.hash
        return problems or _state_problems(rows, states)

    def _reading(self) -> sa.Connection:
        return self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")


def _state_problems(rows: Sequence[sa.Row[Any]], states: Mapping[str, sa.Row[Any]]) -> list[str]:
    problems = []
    replayed: dict[str, list[Event]] = {}
    for row in rows:
        replayed.setdefault(row.optimization_id, []).append(_event(row))
    for optimization_id in sorted({*replayed, *states}):
        if optimization_id not in replayed or optimization_id not in states:
            problems.append(f"{optimization_id} stands in only one of events and states.")
            continue
        record, state = replay(replayed[optimization_id]), states[optimization_id]
        if _state_of(record) != {name: getattr(state, name) for name in _state_of(record)}:
            problems.append(f"The state of {optimization_id} is not what its events say.")
    return problems


def _propose(connection: sa.Connection, proposal: Proposal, now: datetime, policy: ApprovalPolicy) -> bool:
    same_target = (state_table.c.kind == proposal.kind) & (state_table.c.target == proposal.target)
    rows = connection.execute(sa.select(state_table.c.optimization_id, state_table.c.status).where(same_target))
    known = {row.optimization_id: Status(row.status) for row in rows}
    stands = known.get(proposal.optimization_id)
    terms = {
        "proposal": proposal.model_dump(mode="json"),
        "expires_at": policy.expires_at(proposal.kind, now).isoformat(),
        "approvals_required": policy.approvals_required(proposal.risk),
    }
    if stands is Status.PENDING:
        record = _record(connection, proposal.optimization_id)
        if record.proposal.evidence_hash != proposal.evidence_hash:
            _append(connection, record, EventType.EVIDENCE_RENEWED, proposal.author, now, terms)
        return False
    if stands is not None:
        return False
    for other, status in known.items():
        record = _record(connection, other)
        if status is Status.PENDING:
            reason = f"{proposal.optimization_id} proposes another change."
            _append(connection, record, EventType.SUPERSEDED, proposal.author, now, {"reason": reason})
        elif status in OPEN or (status is Status.REJECTED and _rests(record, proposal, now, policy)):
            return False
    created = _append(connection, None, EventType.PROPOSED, proposal.author, now, terms, proposal.optimization_id)
    if policy.passes_by_itself(proposal):
        reason = f"Within the bounds of {POLICY_ACTOR}."
        _append(connection, created, EventType.APPROVED, POLICY_ACTOR, now, {"reason": reason})
    return True


def _rests(rejected: Record, proposal: Proposal, now: datetime, policy: ApprovalPolicy) -> bool:
    """Whether a rejection still speaks against proposing for the target again."""
    decided_at = rejected.decided_at or rejected.created_at
    is_cooling = now < decided_at + timedelta(days=policy.cool_down_days)
    return is_cooling or rejected.proposal.evidence_hash == proposal.evidence_hash


def _append(
    connection: sa.Connection,
    record: Record | None,
    event_type: EventType,
    actor: str,
    now: datetime,
    payload: Mapping[str, Any],
    optimization_id: str = "",
) -> Record:
    next_status(record.status if record else None, event_type)
    latest = sa.select(event_table.c.sequence, event_table.c.hash).order_by(event_table.c.sequence.desc()).limit(1)
    head = connection.execute(latest).one_or_none()
    subject = record.optimization_id if record else optimization_id
    revision = record.revision + 1 if record else 1
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
    changed = _record(connection, subject)
    if record is None:
        connection.execute(sa.insert(state_table).values(_state_of(changed)))
    else:
        of_record = state_table.c.optimization_id == subject
        connection.execute(sa.update(state_table).where(of_record).values(_state_of(changed)))
    return changed


def _state_of(record: Record) -> dict[str, Any]:
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


def _record(connection: sa.Connection, optimization_id: str) -> Record:
    of_record = event_table.c.optimization_id == optimization_id
    query = sa.select(event_table).where(of_record).order_by(event_table.c.revision)
    found = [_event(row) for row in connection.execute(query)]
    if not found:
        raise LedgerError(f"There is no record '{optimization_id}'. `driptune pending` lists those that wait.")
    return replay(found)


def _event(row: sa.Row[Any]) -> Event:
    return Event.model_validate({**row._mapping, "payload": json.loads(row.payload)})


@contextmanager
def open_ledger(settings: Settings) -> Iterator[Ledger]:
    """The configured ledger until the block ends.

    Raises:
        LedgerError: if it cannot be opened.
    """
    ledger = Ledger.open(settings.ledger_address)
    try:
        yield ledger
    finally:
        ledger.close()
