"""Applying approved records, keeping them in step, and resuming after a crash.

Nothing is written without an approval that holds at that moment. `applied` is said only when the account, read back,
holds what was wanted.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Any, NamedTuple

import polars as pl

from pipeline.optimizations.account.refusals import NotApplicableError, check_can_be_applied
from pipeline.optimizations.account.rollback import finish_rollback, put_back, start_rollback
from pipeline.optimizations.account.writing import (
    Account,
    Checkpoint,
    NotConfirmedError,
    Writer,
    is_refusal,
    one_writer,
    plan_forward,
)
from pipeline.optimizations.approval_policy import ApprovalPolicy
from pipeline.optimizations.binding import lapse
from pipeline.optimizations.changes import ChangePlan, Outcome
from pipeline.optimizations.ledger import Ledger
from pipeline.optimizations.record import IN_EFFECT, Proposal, Record
from pipeline.schemas.vocabulary import LedgerEventType as EventType
from pipeline.schemas.vocabulary import ProposalKind as Kind
from pipeline.schemas.vocabulary import RecordStatus as Status

ROUNDS = 3
"""People who join while an application runs are written in a further round; after so many it ends all the same."""


class InStep(NamedTuple):
    """What keeping in step came to: members written, and members left because somebody has set their value since."""

    written: int
    left: int


def apply(
    ledger: Ledger,
    optimization_id: str,
    account: Account,
    tables: Mapping[str, pl.DataFrame],
    *,
    approval_policy: ApprovalPolicy,
    standing: Sequence[Proposal],
    first_day: date,
    now: datetime,
    checkpoint: Checkpoint = lambda place: None,
) -> Record:
    """Apply an approved record, or finish an application that was cut short.

    Of a change made by hand those kept out are marked, so that it can be made for the others.

    Whether the approval still holds is checked when the application starts, and again before a later run writes what
    an interrupted one left. If it does not hold any more, what was written is put back first.

    Args:
        ledger: where the record stands.
        optimization_id: the record.
        account: the mail account.
        tables: published tables by name.
        approval_policy: today's `approvals.yaml`.
        standing: what the standing publication proposes. A record that is no longer among it rests on what has changed.
        first_day: first day on which the change is in effect.
        now: the time.
        checkpoint: told of each place at which a crash must do no harm.

    Raises:
        NotApplicableError: if nobody approved it, a person does all of it, or its approval no longer holds.
        NotConfirmedError: if the account, read back, does not hold what was written.
        AccountBusyError: if another process writes to the account for too long.
        LedgerError: if the ledger was edited.
        SourceError: if Mailchimp cannot be reached. The application is resumed by the next call.
    """
    with one_writer(ledger, account, now=now, checkpoint=checkpoint) as writer:
        record = ledger.record(optimization_id)
        check_can_be_applied(record)
        binding = _Binding(writer, standing, approval_policy)
        is_resumed = record.status is Status.APPLYING
        if not is_resumed:
            record = binding.start(record)
        checkpoint("started")
        if record.proposal.kind is Kind.ROLLBACK:
            record, details = _take_back(binding, record, first_day, is_resumed=is_resumed)
        elif record.proposal.kind is Kind.RELEASE:
            # Nothing stands in the account for it. From now on `releasing` lets people in under the record.
            details = {"writes": {}, "left": 0}
        else:
            record, details = _bring(binding, record, tables, is_resumed=is_resumed)
        checkpoint("before the record")
        if record.proposal.is_by_hand:
            return writer.append(record, EventType.HOLDOUT_SET, {"details": details})
        return writer.append(record, EventType.APPLIED, {"applied_day": first_day.isoformat(), "details": details})


def keep_in_step(
    ledger: Ledger,
    optimization_id: str,
    account: Account,
    tables: Mapping[str, pl.DataFrame],
    *,
    now: datetime,
    checkpoint: Checkpoint = lambda place: None,
) -> InStep:
    """Give those who came since a member field's change was applied their value.

    A value that somebody else has set since is left.

    Raises:
        NotApplicableError: if the record is no longer in effect.
        NotConfirmedError, AccountBusyError, LedgerError, SourceError: as `apply`.
    """
    with one_writer(ledger, account, now=now, checkpoint=checkpoint) as writer:
        record = ledger.record(optimization_id)
        if not record.is_kept_in_step:
            raise NotApplicableError(f"{optimization_id} is {record.status}; it is not kept in step any more.")
        held = writer.held(record)
        record = writer.resume(record, held)
        due = plan_forward(record, tables, held, writer.traces(record))
        if not due.changes and not due.noted:
            return InStep(0, due.left)
        written = writer.write(record, due)
        outcomes = Counter(written.outcomes.values())
        reached = InStep(outcomes[Outcome.WRITTEN], due.left + outcomes[Outcome.TAKEN])
        if reached.written:
            details = {"last_kept_in_step": reached.written, "left": reached.left}
            writer.append(written.record, EventType.KEPT_IN_STEP, {"details": details})
        return reached


class _Binding:
    """The approval of a record, held against what stands at the moment of writing."""

    def __init__(self, writer: Writer, standing: Sequence[Proposal], approval_policy: ApprovalPolicy) -> None:
        self.writer = writer
        self._standing = standing
        self._approval_policy = approval_policy

    def start(self, record: Record) -> Record:
        """Start an application, and note on which evidence.

        Raises:
            NotApplicableError: if the approval no longer holds.
        """
        self.check(record)
        today = next(one for one in self._standing if one.optimization_id == record.optimization_id)
        return self.writer.append(record, EventType.APPLICATION_STARTED, {"evidence_hash": today.evidence_hash})

    def check(self, record: Record) -> None:
        """Stop where the approval no longer holds, after the record was told so and what was written was put back.

        Raises:
            NotApplicableError: if it does not hold.
        """
        found = lapse(record, self._standing, self._approval_policy, self.writer.now)
        if found is None:
            return
        payload: dict[str, Any] = {**found.terms, "reason": found.reason}
        if record.status is Status.APPLYING and record.proposal.kind is not Kind.ROLLBACK:
            record, details = put_back(self.writer, record)
            payload["details"] = {"put_back": details}
        after = self.writer.append(record, found.event, payload)
        told = "It waits for approval anew." if after.status is Status.PENDING else "Look at what is pending instead."
        raise NotApplicableError(
            f"{record.optimization_id} is {after.status} and is not applied. {found.reason} {told}"
        )


def _bring(
    binding: _Binding, record: Record, tables: Mapping[str, pl.DataFrame], *, is_resumed: bool
) -> tuple[Record, dict[str, Any]]:
    """Bring the account to what the record wants, until what stands equals it."""
    writer = binding.writer
    held = writer.held(record)
    record = writer.resume(record, held)
    refused: set[str] = set()
    outcomes: Counter[str] = Counter()
    due = plan_forward(record, tables, held, writer.traces(record))
    if is_resumed and due.changes:
        binding.check(record)
    for _ in range(ROUNDS):
        due = replace(due, changes=tuple(one for one in due.changes if one.subject not in refused))
        if not due.changes and not due.noted:
            break
        written = writer.write(record, due)
        record = written.record
        outcomes.update(written.outcomes.values())
        refused |= {subject for subject, outcome in written.outcomes.items() if is_refusal(outcome)}
        due = plan_forward(record, tables, written.held, writer.traces(record))
    _refuse_without_effect(record, due, outcomes)
    all_runs = writer.ledger.journal.outcomes(record.optimization_id)
    unchanged = all_runs.pop(Outcome.HELD, 0)
    return record, {
        "writes": dict(all_runs),
        "held_out": due.held_out,
        "kept_out": due.kept_out,
        "unchanged": unchanged,
        "unreachable": due.unreachable,
        "left": due.left,
    }


def _refuse_without_effect(record: Record, due: ChangePlan, outcomes: Mapping[str, int]) -> None:
    """An application of which nothing stands is none."""
    failed = {outcome: count for outcome, count in outcomes.items() if outcome not in (Outcome.WRITTEN, Outcome.HELD)}
    if due.left:
        failed[Outcome.TAKEN] = due.left
    if failed and not due.unchanged:
        told = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(failed.items()))
        raise NotConfirmedError(
            f"{record.optimization_id}: nothing of it stands in Mailchimp ({told}). It stays {record.status}. Mend the "
            f"cause, then run driptune apply {record.optimization_id} again, or driptune rollback."
        )


def _take_back(
    binding: _Binding, record: Record, first_day: date, *, is_resumed: bool
) -> tuple[Record, dict[str, Any]]:
    """Roll back the record that an approved rollback names."""
    writer = binding.writer
    target = writer.ledger.record(str(record.proposal.after["roll_back"]))
    if target.status in IN_EFFECT:
        if is_resumed:
            binding.check(record)
        actor = record.decided_by or record.proposal.author
        reason = f"Taken back by {record.optimization_id}."
        target = start_rollback(writer, target, actor=actor, reason=reason, first_day=first_day)
    if target.status is Status.ROLLING_BACK:
        target = finish_rollback(writer, target)
    elif target.status is not Status.ROLLED_BACK:
        raise NotApplicableError(f"{target.optimization_id} is {target.status}; only what was applied is rolled back.")
    details = dict(target.details.get("put_back", {"writes": {}, "left": 0, "unreachable": 0}))
    return record, {"held_out": 0, "kept_out": 0, "unchanged": 0, **details}
