"""Applying approved records, resuming after a crash, and the way back. Nothing is written without an approved record.

The world is reached through an `Account`; what a record changes is worked out in `changes`.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Protocol

import polars as pl

from pipeline.common.errors import LedgerError
from pipeline.optimizations.changes import Change, ChangePlan, email_changes, member_changes
from pipeline.optimizations.journal import Journal
from pipeline.optimizations.ledger import Ledger
from pipeline.optimizations.record import IN_EFFECT, ApplyKind, Kind, Proposal, Record, Status
from pipeline.optimizations.review import end_what_is_taken_back
from pipeline.optimizations.states import EventType

APPLIER = "driptune"
BATCH = 500
"""Changes between two notes in the journal: what a crash makes again, to the same effect."""
Checkpoint = Callable[[str], None]


class Account(Protocol):
    """The mail account as applications need it."""

    def members(self, field: str) -> pl.DataFrame:
        """`subscriber_key` and `current` value of a field, of everybody who is in the account now."""

    def email(self, workflow_id: str, email_id: str) -> Mapping[str, Any]:
        """An automation's e-mail as it stands now."""

    def ensure_field(self, field: str) -> None:
        """Make the merge field if there is none."""

    def write_members(self, changes: Sequence[Change]) -> list[str]:
        """Set a field of each member; per change `written`, or why it was refused."""

    def write_email(self, workflow_id: str, change: Change) -> str:
        """Set status or delay of an e-mail; `written`, or why it was refused."""


class NotApplicableError(LedgerError):
    """The record cannot be applied; the message says why."""


def plan(journal: Journal, record: Record, account: Account, tables: Mapping[str, pl.DataFrame]) -> ChangePlan:
    """What applying the record would change now; nothing is written.

    Raises:
        NotApplicableError: if the change is made by hand.
    """
    proposal = record.proposal
    if proposal.kind is Kind.ROLLBACK:
        return _way_back(journal, str(proposal.after["roll_back"]), record, account)
    if proposal.writes_field:
        return member_changes(record, tables, account.members(str(proposal.after["field"])))
    if proposal.apply_kind is ApplyKind.API_PATCH:
        email = account.email(str(proposal.after["workflow_id"]), str(proposal.after["email_id"]))
        return email_changes(record, email)
    raise _made_by_hand(record)


def apply(
    ledger: Ledger,
    optimization_id: str,
    account: Account,
    tables: Mapping[str, pl.DataFrame],
    *,
    standing: Sequence[Proposal],
    first_day: date,
    now: datetime,
    checkpoint: Checkpoint = lambda place: None,
) -> Record:
    """Apply an approved record, or finish an application that was cut short.

    Of a change made by hand those kept out are marked, so that it can be made for the others.

    Every write sets a state that was read before, so that one made twice has the effect of one.

    Args:
        ledger: where the record stands.
        optimization_id: the record.
        account: the mail account.
        tables: published tables by name.
        standing: what the standing publication proposes; a record that is no longer among it rests on what has changed.
        first_day: first day on which the change is in effect.
        now: the time.
        checkpoint: told of each place at which a crash must do no harm.

    Raises:
        NotApplicableError: if nobody approved it, a person does all of it, or what it rests on has changed.
        SourceError: if Mailchimp cannot be reached; the application is resumed by the next call.
    """
    record = ledger.record(optimization_id)
    if record.status is Status.APPROVED:
        _check_machine(record)
        _check_base(ledger, record, standing, now)
        record = _append(ledger, record, EventType.APPLICATION_STARTED, now, {})
    if record.status is not Status.APPLYING:
        raise NotApplicableError(f"{optimization_id} is {record.status}; only what is approved is applied.")
    checkpoint("started")
    changes = _write(ledger.journal, record, account, plan(ledger.journal, record, account, tables), checkpoint)
    # What a crash left open holds its value by now, or it would have been written once more.
    ledger.journal.close(optimization_id)
    checkpoint("before the record")
    if record.proposal.kind is Kind.ROLLBACK:
        end_what_is_taken_back(ledger, record, first_day, now)
    details = {
        "writes": ledger.journal.outcomes(optimization_id),
        "held_out": changes.held_out,
        "unchanged": changes.unchanged,
        "unreachable": changes.unreachable,
    }
    if record.proposal.is_by_hand:
        return _append(ledger, record, EventType.HOLDOUT_SET, now, {"details": details})
    return _append(ledger, record, EventType.APPLIED, now, {"applied_day": first_day.isoformat(), "details": details})


def keep_in_step(
    ledger: Ledger, record: Record, account: Account, tables: Mapping[str, pl.DataFrame], *, now: datetime
) -> int:
    """Give those who came since a member field's change was applied their value; returns how many were written."""
    due = plan(ledger.journal, record, account, tables)
    if due.changes:
        _write(ledger.journal, record, account, due, lambda place: None)
        _append(ledger, record, EventType.KEPT_IN_STEP, now, {"details": {"last_kept_in_step": len(due.changes)}})
    return len(due.changes)


def roll_back(
    ledger: Ledger, optimization_id: str, account: Account, *, actor: str, reason: str, first_day: date, now: datetime
) -> Record:
    """Put back what stood before the application, as far as driptune wrote it.

    Args:
        ledger: where the record stands.
        optimization_id: the record.
        account: the mail account.
        actor: who takes it back.
        reason: why.
        first_day: first day on which the change is no longer in effect.
        now: the time.

    Raises:
        NotApplicableError: if it is not in effect, or was made by hand.
    """
    record = ledger.record(optimization_id)
    if record.status not in (Status.APPLYING, Status.APPLIED, Status.VERIFIED):
        raise NotApplicableError(f"{optimization_id} is {record.status}; only what was applied is rolled back.")
    if record.proposal.is_by_hand and record.status in IN_EFFECT:
        raise _made_by_hand(record)
    _check_machine(record)
    _write_all(record, account, _way_back(ledger.journal, optimization_id, record, account).changes)
    payload = {"reason": reason, "rolled_back_day": first_day.isoformat()}
    return _append(ledger, record, EventType.ROLLED_BACK, now, payload, actor)


def _way_back(journal: Journal, optimization_id: str, record: Record, account: Account) -> ChangePlan:
    """What was written for `optimization_id`, back to what stood before; `record` names the field."""
    if record.proposal.writes_field:
        account.members(str(record.proposal.after["field"]))
    return ChangePlan(tuple(journal.reversed(optimization_id)))


def _check_machine(record: Record) -> None:
    if record.proposal.is_all_by_hand:
        raise _made_by_hand(record)


def _made_by_hand(record: Record) -> NotApplicableError:
    return NotApplicableError(
        f"{record.optimization_id} is made by hand. `driptune show {record.optimization_id}` lists the steps, "
        f"`driptune done {record.optimization_id}` says they were taken."
    )


def _check_base(ledger: Ledger, record: Record, standing: Sequence[Proposal], now: datetime) -> None:
    if record.optimization_id in {proposal.optimization_id for proposal in standing}:
        return
    reason = "What it rests on has changed since it was approved: the standing publication no longer proposes it."
    _append(ledger, record, EventType.WENT_STALE, now, {"reason": reason})
    raise NotApplicableError(f"{record.optimization_id} is stale. {reason} Look at what is pending instead.")


def _write(journal: Journal, record: Record, account: Account, due: ChangePlan, checkpoint: Checkpoint) -> ChangePlan:
    if due.changes and record.proposal.writes_field:
        account.ensure_field(due.changes[0].field)
    for start in range(0, len(due.changes), BATCH):
        batch = due.changes[start : start + BATCH]
        journal.intend(record.optimization_id, batch)
        checkpoint("intended")
        outcomes = _write_all(record, account, batch)
        checkpoint("written")
        journal.settle(record.optimization_id, list(zip(batch, outcomes, strict=True)))
        checkpoint("settled")
    return due


def _write_all(record: Record, account: Account, changes: Sequence[Change]) -> list[str]:
    if record.proposal.writes_field:
        return account.write_members(changes)
    return [account.write_email(str(record.proposal.after["workflow_id"]), one) for one in changes]


def _append(
    ledger: Ledger, record: Record, event: EventType, now: datetime, payload: Mapping[str, Any], actor: str = APPLIER
) -> Record:
    return ledger.append(
        record.optimization_id, event, actor=actor, now=now, expected_revision=record.revision, payload=payload
    )
