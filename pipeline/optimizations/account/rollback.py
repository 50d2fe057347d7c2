"""The way back: what stood before an application is put back, wherever the value that stands is still the record's.

What a person has set since is theirs. It is left, counted in the record's details, and told in words.
"""

from collections import Counter
from datetime import date, datetime
from typing import Any

from pipeline.optimizations.account.refusals import NotApplicableError, check_can_go_back
from pipeline.optimizations.account.writing import (
    Account,
    Checkpoint,
    NotConfirmedError,
    Writer,
    is_refusal,
    one_writer,
    plan_way_back,
)
from pipeline.optimizations.changes import Outcome
from pipeline.optimizations.ledger import Ledger
from pipeline.optimizations.record import Record
from pipeline.schemas.vocabulary import LedgerEventType as EventType
from pipeline.schemas.vocabulary import ProposalKind as Kind
from pipeline.schemas.vocabulary import RecordStatus as Status


def roll_back(
    ledger: Ledger,
    optimization_id: str,
    account: Account,
    *,
    actor: str,
    reason: str,
    first_day: date,
    now: datetime,
    checkpoint: Checkpoint = lambda place: None,
) -> Record:
    """Put back what stood before the application, as far as driptune wrote it; one that was cut short is finished.

    Args:
        ledger: where the record stands.
        optimization_id: the record.
        account: the mail account.
        actor: who takes it back.
        reason: why.
        first_day: first day on which the change is no longer in effect.
        now: the time.
        checkpoint: told of each place at which a crash must do no harm.

    Raises:
        NotApplicableError: if it is not in effect, was made by hand, or is itself a rollback.
        NotConfirmedError: if Mailchimp accepted writes that do not stand.
        AccountBusyError: if another process writes to the account for too long.
        LedgerError: if the ledger was edited.
        SourceError: if Mailchimp cannot be reached. The rollback has begun then; calling again goes on with it.
    """
    with one_writer(ledger, account, now=now, checkpoint=checkpoint) as writer:
        record = ledger.record(optimization_id)
        check_can_go_back(record)
        if record.status is not Status.ROLLING_BACK:
            record = start_rollback(writer, record, actor=actor, reason=reason, first_day=first_day)
        return finish_rollback(writer, record)


def resume_rollback(ledger: Ledger, optimization_id: str, account: Account, *, now: datetime) -> Record:
    """Finish a rollback that was cut short.

    Raises:
        NotApplicableError: if somebody else has finished it.
        NotConfirmedError, AccountBusyError, LedgerError, SourceError: as `roll_back`.
    """
    with one_writer(ledger, account, now=now, checkpoint=lambda place: None) as writer:
        record = ledger.record(optimization_id)
        if record.status is not Status.ROLLING_BACK:
            raise NotApplicableError(f"{optimization_id} is {record.status}; its rollback has ended.")
        return finish_rollback(writer, record)


def start_rollback(writer: Writer, record: Record, *, actor: str, reason: str, first_day: date) -> Record:
    """Note that the record goes back from now on: it is not kept in step any more, whatever happens."""
    payload = {"reason": reason, "rolled_back_day": first_day.isoformat()}
    record = writer.append(record, EventType.ROLLBACK_STARTED, payload, actor)
    writer.checkpoint("started")
    return record


def finish_rollback(writer: Writer, record: Record) -> Record:
    """Put back what is still the record's, and note that it was rolled back."""
    record, details = put_back(writer, record)
    writer.checkpoint("before the record")
    payload = {"reason": _words(details), "details": {"put_back": details}}
    return writer.append(record, EventType.ROLLED_BACK, payload)


def put_back(writer: Writer, record: Record) -> tuple[Record, dict[str, Any]]:
    """Bring every subject back to what it held before the record's first write. Whoever was let in stays in.

    Returns:
        The record after the writes, and counts of what was put back, left and refused.

    Raises:
        NotConfirmedError: if Mailchimp refused all of it, or accepted writes that do not stand.
    """
    if record.proposal.kind is Kind.RELEASE:
        return record, {"writes": {}, "left": 0, "unreachable": 0}
    held = writer.held(record)
    record = writer.resume(record, held)
    back = plan_way_back(record, held, writer.traces(record))
    outcomes: Counter[str] = Counter()
    if back.changes:
        written = writer.write(record, back)
        record = written.record
        outcomes.update(written.outcomes.values())
    if outcomes and set(map(is_refusal, outcomes)) == {True}:
        raise NotConfirmedError(
            f"{record.optimization_id}: Mailchimp put nothing back ({', '.join(sorted(outcomes))}). It stays "
            f"{record.status}. Mend the cause in Mailchimp, then run the command again."
        )
    left = back.left + outcomes.pop(Outcome.TAKEN, 0)
    return record, {"writes": dict(outcomes), "left": left, "unreachable": back.unreachable}


def _words(details: dict[str, Any]) -> str:
    """What a rollback put back and what it left."""
    writes = details["writes"]
    told = [f"{count:,} {outcome}" for outcome, count in sorted(writes.items()) if outcome != Outcome.WRITTEN]
    words = [f"{writes.get(Outcome.WRITTEN, 0):,} put back", *told]
    if details["left"]:
        words.append(f"{details['left']:,} left, because somebody has set another value since")
    if details["unreachable"]:
        words.append(f"{details['unreachable']:,} no longer members who get mail")
    return f"{'; '.join(words)}."
