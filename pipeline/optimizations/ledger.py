"""The ledger of proposals and decisions: an append-only, hash-chained list of events, and the state they imply.

Who may decide belongs to `review`; here is only what may follow what, and that nothing is lost, changed or done twice.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

import sqlalchemy as sa

from pipeline.common.errors import LedgerError, disk_trouble
from pipeline.optimizations.account.lock import Hold, account_lock
from pipeline.optimizations.approval_policy import POLICY_ACTOR, ApprovalPolicy
from pipeline.optimizations.binding import grown_worse, terms
from pipeline.optimizations.chain import append_event, append_export, as_event, read_record, refuse_moved, state_of
from pipeline.optimizations.journal import Journal, journal_problems
from pipeline.optimizations.record import ASLEEP, OPEN, Proposal, Record, canonical
from pipeline.optimizations.states import EXPORTS, FIRST_HASH, OF_JOURNAL, Event, event_hash, replay
from pipeline.optimizations.tables import events as event_table
from pipeline.optimizations.tables import key as key_table
from pipeline.optimizations.tables import open_engine, reading, snapshot, writing
from pipeline.optimizations.tables import states as state_table
from pipeline.schemas.vocabulary import LedgerEventType as EventType
from pipeline.schemas.vocabulary import RecordStatus as Status
from pipeline.settings import Settings

GONE = "The standing publication no longer proposes it."
AGAIN = "It is proposed again."


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
        # The driver of SQLite cannot even decode its own message about some damages.
        except (sa.exc.SQLAlchemyError, UnicodeDecodeError) as error:
            if words := disk_trouble(error):
                raise LedgerError(f"The ledger cannot be opened. {words}") from None
            raise LedgerError(
                f"The ledger cannot be opened ({type(error).__name__}). Check DRIPTUNE_LEDGER_URL, and that the "
                "database answers or the file is a ledger."
            ) from None

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    @contextmanager
    def one_writer(self, wait_seconds: float | None = None) -> Iterator[Hold]:
        """Hold the lock of the account, whose records nobody else moves by writing to it until the block ends.

        Args:
            wait_seconds: how long to wait for another writer; none = as long as an application may take.

        Yields:
            A function to be called before each batch of writes; it raises if the lock was lost.

        Raises:
            AccountBusyError: if another process writes to the account for too long.
            LedgerError: if the ledger was edited. Nothing is written by such a ledger.
        """
        with account_lock(self._engine, wait_seconds) as hold:
            if problems := self.verify():
                raise LedgerError(
                    f"{problems[0]} So the ledger was edited, and nothing is written by it. Restore it from a backup; "
                    "`driptune verify` tells when it is whole."
                )
            yield hold

    def propose(self, proposals: Iterable[Proposal], *, now: datetime, approval_policy: ApprovalPolicy) -> list[str]:
        """Put proposals on record, however often they are made.

        A target has one open record. A pending one is renewed when its evidence, its risk or the number of approvals it
        takes has changed; it gives way to another change; and what was rejected comes again only with other evidence
        after the cool-down. What had lapsed or was no longer proposed waits again.

        Returns:
            Ids of the records that are new, or wait again.
        """
        with writing(self._engine) as connection:
            return [one.optimization_id for one in proposals if _propose(connection, one, now, approval_policy)]

    def let_go(self, proposals: Iterable[Proposal], *, now: datetime) -> list[str]:
        """Let nobody decide any more about what the standing publication no longer proposes; returns the ids.

        Args:
            proposals: all that it proposes.
            now: the time.
        """
        standing = {one.optimization_id for one in proposals}
        gone = []
        with writing(self._engine) as connection:
            waiting = sa.select(state_table.c.optimization_id).where(state_table.c.status == Status.PENDING)
            for name in sorted(set(connection.scalars(waiting)) - standing):
                record = read_record(connection, name)
                append_event(connection, record, EventType.WENT_STALE, record.proposal.author, now, {"reason": GONE})
                gone.append(name)
        return gone

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
            record = read_record(connection, optimization_id)
            refuse_moved(connection, optimization_id, expected_revision)
            return append_event(connection, record, event_type, actor, now, payload or {})

    def record(self, optimization_id: str) -> Record:
        """One record as it stands.

        Raises:
            LedgerError: if there is no such record.
        """
        with reading(self._engine) as connection:
            return read_record(connection, optimization_id)

    def records(self, *statuses: Status) -> list[Record]:
        """Records in the given states, or all, the oldest first."""
        wanted = sa.select(state_table.c.optimization_id)
        if statuses:
            wanted = wanted.where(state_table.c.status.in_([str(status) for status in statuses]))
        of_wanted = event_table.c.optimization_id.in_(wanted)
        query = sa.select(event_table).where(of_wanted).order_by(event_table.c.optimization_id, event_table.c.revision)
        with reading(self._engine) as connection:
            found = [as_event(row) for row in connection.execute(query)]
        replayed = [replay(list(group)) for _, group in groupby(found, lambda event: event.optimization_id)]
        return sorted(replayed, key=lambda record: (record.created_at, record.optimization_id))

    def events(self, optimization_id: str | None = None) -> list[Event]:
        """Events of one record, or of all, in the order in which they happened."""
        query = sa.select(event_table).order_by(event_table.c.sequence)
        if optimization_id is not None:
            query = query.where(event_table.c.optimization_id == optimization_id)
        with reading(self._engine) as connection:
            return [as_event(row) for row in connection.execute(query)]

    def history(self, optimization_id: str) -> list[Event]:
        """What a reader is told of a record: its events without those that only chain its journal of writes."""
        return [event for event in self.events(optimization_id) if event.event_type not in OF_JOURNAL]

    def note_export(self, name: str, *, rows: int, actor: str, now: datetime) -> None:
        """Note who takes a table with addresses out, before the file is written."""
        reason = f"{name}: {rows:,} rows with addresses."
        with writing(self._engine) as connection:
            append_export(connection, actor, now, {"reason": reason})

    def head(self) -> str:
        """The hash of the last event."""
        query = sa.select(event_table.c.hash).order_by(event_table.c.sequence.desc()).limit(1)
        with reading(self._engine) as connection:
            return connection.scalar(query) or FIRST_HASH

    def holds(self, head: str) -> bool:
        """Whether an event with this hash is there, as it is for every head that the ledger ever had."""
        query = sa.select(event_table.c.sequence).where(event_table.c.hash == head)
        with reading(self._engine) as connection:
            return head == FIRST_HASH or connection.scalar(query) is not None

    def key_fingerprint(self) -> str | None:
        """The fingerprint of the secret by which people are named here; none before the first night."""
        with reading(self._engine) as connection:
            return connection.scalar(sa.select(key_table.c.fingerprint))

    def remember_key(self, fingerprint: str) -> None:
        """Keep the fingerprint of the secret."""
        with writing(self._engine) as connection:
            if connection.scalar(sa.select(key_table.c.fingerprint)) is None:
                connection.execute(sa.insert(key_table).values(fingerprint=fingerprint))

    def forget(self, subject: str, *, now: datetime) -> int:
        """Erase a subject and its values from the journal of writes; the chain still verifies.

        Args:
            subject: the key of a person.
            now: the time.

        Returns:
            Number of lines erased.

        Raises:
            AccountBusyError: if another process writes to the account for too long.
            LedgerError: if another program reads the ledger's file, so that its old pages cannot be overwritten.
        """
        with account_lock(self._engine):
            return self.journal.forget(subject, now=now)

    def verify(self) -> list[str]:
        """What is wrong with the chain of events, its states, or the journal; nothing, if nobody touched them."""
        with snapshot(self._engine) as connection:
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
            if problems:
                return problems
            events = [as_event(row) for row in rows if row.optimization_id != EXPORTS]
            return [*_state_problems(events, states), *journal_problems(connection, events)]


def _state_problems(events: Sequence[Event], states: Mapping[str, sa.Row[Any]]) -> list[str]:
    problems = []
    replayed: dict[str, list[Event]] = {}
    for event in events:
        replayed.setdefault(event.optimization_id, []).append(event)
    for optimization_id in sorted({*replayed, *states}):
        if optimization_id not in replayed or optimization_id not in states:
            problems.append(f"{optimization_id} stands in only one of events and states.")
            continue
        state = states[optimization_id]
        if any(getattr(state, name) != value for name, value in state_of(replay(replayed[optimization_id])).items()):
            problems.append(f"The state of {optimization_id} is not what its events say.")
    return problems


def _propose(connection: sa.Connection, proposal: Proposal, now: datetime, approval_policy: ApprovalPolicy) -> bool:
    same_target = (state_table.c.kind == proposal.kind) & (state_table.c.target == proposal.target)
    rows = connection.execute(sa.select(state_table.c.optimization_id, state_table.c.status).where(same_target))
    known = {row.optimization_id: Status(row.status) for row in rows}
    stands = known.pop(proposal.optimization_id, None)
    if stands is Status.PENDING:
        _renew(connection, read_record(connection, proposal.optimization_id), proposal, now, approval_policy)
    if stands is not None and stands not in ASLEEP:
        return False
    for other, status in known.items():
        record = read_record(connection, other)
        if status is Status.PENDING:
            reason = f"Another change is proposed in its place: {proposal.title}."
            append_event(connection, record, EventType.SUPERSEDED, proposal.author, now, {"reason": reason})
        elif status in OPEN or (status is Status.REJECTED and _rests(record, proposal, now, approval_policy)):
            return False
    payload = terms(proposal, approval_policy, now)
    former = read_record(connection, proposal.optimization_id) if stands else None
    event = EventType.EVIDENCE_RENEWED if former else EventType.PROPOSED
    if former:
        payload["reason"] = AGAIN
    created = append_event(connection, former, event, proposal.author, now, payload, proposal.optimization_id)
    if approval_policy.passes_by_itself(proposal):
        reason = f"Within the bounds of {POLICY_ACTOR}."
        append_event(connection, created, EventType.APPROVED, POLICY_ACTOR, now, {"reason": reason})
    return True


def _renew(
    connection: sa.Connection, record: Record, proposal: Proposal, now: datetime, approval_policy: ApprovalPolicy
) -> None:
    """Bring a pending record to today's proposal and to today's approval policy."""
    renewed = terms(proposal, approval_policy, now)
    if canonical(record.proposal.model_dump(mode="json")) != canonical(renewed["proposal"]):
        if record.approvals and (reason := grown_worse(record.proposal, proposal)):
            renewed["reason"] = f"{reason} What was approved before no longer counts."
        append_event(connection, record, EventType.EVIDENCE_RENEWED, proposal.author, now, renewed)
    elif record.approvals_required != renewed["approvals_required"]:
        required = renewed["approvals_required"]
        reason = f"By today's {POLICY_ACTOR} a change of {proposal.risk} risk takes {required} approvals."
        changed = {"approvals_required": required, "reason": reason}
        append_event(connection, record, EventType.TERMS_CHANGED, POLICY_ACTOR, now, changed)


def _rests(rejected: Record, proposal: Proposal, now: datetime, approval_policy: ApprovalPolicy) -> bool:
    """Whether a rejection still speaks against proposing for the target again."""
    decided_at = rejected.decided_at or rejected.created_at
    is_cooling = now < decided_at + timedelta(days=approval_policy.cool_down_days)
    return is_cooling or rejected.proposal.evidence_hash == proposal.evidence_hash


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
