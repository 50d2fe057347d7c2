"""Writing to the account while its lock is held. A write is noted before it is made, and judged by what is read back.

The world is reached through an `Account`. What a record changes is worked out in `changes`; which records may be
written belongs to `apply` and `rollback`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import polars as pl

from pipeline.common.errors import LedgerError
from pipeline.optimizations.account.lock import Hold
from pipeline.optimizations.account.refusals import NotApplicableError, check_can_be_planned
from pipeline.optimizations.changes import (
    REFUSED,
    Change,
    ChangePlan,
    Outcome,
    Trace,
    email_changes,
    email_field,
    email_value,
    member_changes,
    outcome_of,
    traces,
    way_back,
)
from pipeline.optimizations.journal import Journal, Place
from pipeline.optimizations.ledger import Ledger
from pipeline.optimizations.record import Record
from pipeline.schemas.vocabulary import LedgerEventType as EventType
from pipeline.schemas.vocabulary import ProposalKind as Kind

APPLIER = "driptune"
"""Name under which what driptune does by itself is noted."""
BATCH = 500
"""Number of changes between two notes in the journal."""
Checkpoint = Callable[[str], None]
"""Told the name of each place at which a crash must do no harm."""


class Account(Protocol):
    """The mail account as writers need it. Every method raises a `SourceError` if the account does not answer well.

    A `field` is a means, as `pipeline.common.means` writes it: a merge field, or tags with a prefix.
    """

    def now(self) -> datetime:
        """The time by the account's clock."""

    def members(self, field: str, workflow_id: str | None) -> pl.DataFrame:
        """`subscriber_key` (Int64) and `current` (String) value of a field, of everybody who can be mailed now.

        Of somebody in several audiences it is that in the audience of the flow.
        """

    def email(self, workflow_id: str, email_id: str) -> Mapping[str, Any]:
        """An automation's e-mail as it stands now."""

    def ensure_field(self, field: str) -> None:
        """Make the merge field if there is none. Where Mailchimp refuses, its members are refused one by one."""

    def write_members(self, changes: Sequence[Change]) -> list[str]:
        """Set the field of each member who still holds `before`.

        Returns:
            Per change `written`, `set by somebody else meanwhile`, `no longer a member who gets mail`, or why it was
            refused.
        """

    def write_email(self, workflow_id: str, change: Change) -> str:
        """Set status or delay of an e-mail that still is as `before` says; the answer as of `write_members`."""


class NotConfirmedError(LedgerError):
    """Mailchimp accepted writes, and the values do not stand when they are read back; the message says what to do."""


@dataclass(frozen=True)
class Written:
    """What came of one round of writes.

    Attributes:
        record: the record after them.
        held: what the account holds now, by subject.
        outcomes: what came of each write of this round, by subject.
    """

    record: Record
    held: Mapping[str, str]
    outcomes: Mapping[str, str]


class Writer:
    """Writes the changes of records to the account; there is one at a time, see `one_writer`."""

    def __init__(self, ledger: Ledger, account: Account, hold: Hold, now: datetime, checkpoint: Checkpoint) -> None:
        self.ledger = ledger
        self.now = now
        self.checkpoint = checkpoint
        self._account = account
        self._hold = hold

    def held(self, record: Record) -> dict[str, str]:
        """What the subjects of a record hold now; empty text where a field is empty.

        Raises:
            NotApplicableError: if the account lists nobody.
        """
        return held_values(record, self._account)

    def traces(self, record: Record) -> dict[str, Trace]:
        """What the record's journal says about each subject."""
        return traces(self.ledger.journal.writes(record.optimization_id))

    def append(
        self, record: Record, event: EventType, payload: Mapping[str, Any] | None = None, actor: str = APPLIER
    ) -> Record:
        """Move the record by an event, if it still is as it was read."""
        return self.ledger.append(
            record.optimization_id,
            event,
            actor=actor,
            now=self.now,
            expected_revision=record.revision,
            payload=payload,
        )

    def resume(self, record: Record, held: Mapping[str, str]) -> Record:
        """Settle what a crash left open, by the values that stand."""
        return self._settle(record, held, {})[0]

    def write(self, record: Record, plan: ChangePlan) -> Written:
        """Write the changes of a plan, then read the account back and note what came of each.

        Raises:
            NotConfirmedError: if values do not stand although they were accepted.
            StaleRecordError: if the record has moved on. Nothing more is written then.
            SourceError: if the account does not answer. Calling again goes on from there.
        """
        if plan.changes and record.proposal.writes_field:
            self._account.ensure_field(plan.changes[0].field)
        answers: dict[Place, str] = {}
        due = [*plan.noted, *plan.changes]
        for start in range(0, len(due), BATCH):
            batch = due[start : start + BATCH]
            self._hold()
            record = self.ledger.journal.intend(record, batch, now=self.now)
            self.checkpoint("intended")
            places = [(record.revision, position) for position, change in enumerate(batch) if change.is_write]
            answers |= zip(places, self._send(record, [one for one in batch if one.is_write]), strict=True)
            self.checkpoint("written")
        held = self.held(record)
        record, outcomes = self._settle(record, held, answers)
        self.checkpoint("settled")
        if lost := sum(outcome == Outcome.LOST for outcome in outcomes.values()):
            raise NotConfirmedError(
                f"{record.optimization_id}: Mailchimp accepted {lost:,} writes that are not there when read back. It "
                f"stays {record.status}, and the next run tries again. If it stays so, look at them in Mailchimp."
            )
        return Written(record, held, outcomes)

    def _send(self, record: Record, changes: Sequence[Change]) -> list[str]:
        if record.proposal.writes_field:
            return self._account.write_members(changes) if changes else []
        return [self._account.write_email(str(record.proposal.after["workflow_id"]), one) for one in changes]

    def _settle(
        self, record: Record, held: Mapping[str, str], answers: Mapping[Place, str]
    ) -> tuple[Record, dict[str, str]]:
        """Note what came of every open line; the outcomes by place for the chain, by subject for the caller."""
        is_open = [one for one in self.ledger.journal.writes(record.optimization_id) if one.outcome is None]
        by_place: dict[Place, str] = {}
        by_subject: dict[str, str] = {}
        for write in is_open:
            place = (write.revision, write.position)
            outcome = outcome_of(write, held.get(write.subject or ""), answers.get(place))
            by_place[place] = outcome
            if write.subject is not None:
                by_subject[write.subject] = outcome
        settled = self.ledger.journal.settle(record, by_place, now=self.now, read_at=self._account.now())
        return settled, by_subject


@contextmanager
def one_writer(ledger: Ledger, account: Account, *, now: datetime, checkpoint: Checkpoint) -> Iterator[Writer]:
    """The one who writes to the account until the block ends.

    Raises:
        AccountBusyError: if another process writes to the account for too long.
        LedgerError: if the ledger was edited.
    """
    with ledger.one_writer() as hold:
        yield Writer(ledger, account, hold, now, checkpoint)


def plan(ledger: Ledger, record: Record, account: Account, tables: Mapping[str, pl.DataFrame]) -> ChangePlan:
    """What applying the record would change now; nothing is written.

    Raises:
        NotApplicableError: if a person makes the change, it lets people in, or the account lists nobody.
    """
    check_can_be_planned(record)
    if record.proposal.kind is Kind.ROLLBACK:
        target = ledger.record(str(record.proposal.after["roll_back"]))
        return plan_way_back(target, held_values(target, account), _traces(ledger.journal, target))
    return plan_forward(record, tables, held_values(record, account), _traces(ledger.journal, record))


def plan_forward(
    record: Record, tables: Mapping[str, pl.DataFrame], held: Mapping[str, str], before: Mapping[str, Trace]
) -> ChangePlan:
    """What brings the account to what the record wants."""
    if record.proposal.writes_field:
        return member_changes(record, tables, held, before)
    return email_changes(record, held, before)


def plan_way_back(record: Record, held: Mapping[str, str], before: Mapping[str, Trace]) -> ChangePlan:
    """What brings the account back to what stood before the record, as far as nobody else has set it since."""
    field = record.proposal.field if record.proposal.writes_field else email_field(record)
    return way_back(field, held, before)


def held_values(record: Record, account: Account) -> dict[str, str]:
    """What the subjects of a record hold now; empty text where a field is empty.

    Raises:
        NotApplicableError: if the account lists nobody.
    """
    after = record.proposal.after
    if not record.proposal.writes_field:
        email_id = str(after["email_id"])
        return {email_id: email_value(record, account.email(str(after["workflow_id"]), email_id))}
    members = account.members(record.proposal.field, record.proposal.workflow_id)
    if members.is_empty():
        raise NotApplicableError(
            "Mailchimp lists no member who gets mail, so nothing is written. Run the command again later; if it stays "
            "so, look at the audience in Mailchimp."
        )
    values = members.with_columns(pl.col("subscriber_key").cast(pl.String), pl.col("current").fill_null(""))
    return dict(values.select("subscriber_key", "current").iter_rows())


def is_refusal(outcome: str) -> bool:
    """Whether Mailchimp did not accept a write."""
    return outcome.startswith(REFUSED)


def _traces(journal: Journal, record: Record) -> dict[str, Trace]:
    return traces(journal.writes(record.optimization_id))
