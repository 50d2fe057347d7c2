"""The state machine: which event may follow which, and the record that a series of events amounts to.

Everything here is pure. How events are stored belongs to `chain`.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from pipeline.common.errors import LedgerError
from pipeline.optimizations.record import ASLEEP, IN_EFFECT, Approval, Proposal, Record, digest
from pipeline.schemas.vocabulary import LedgerEventType as EventType
from pipeline.schemas.vocabulary import RecordStatus as Status

_WRITING = (Status.APPLYING, *IN_EFFECT, Status.ROLLING_BACK)


def _unmoved(*statuses: Status) -> Mapping[Status | None, Status]:
    return {status: status for status in statuses}


TRANSITIONS: Mapping[EventType, Mapping[Status | None, Status]] = {
    EventType.PROPOSED: {None: Status.PENDING},
    EventType.EVIDENCE_RENEWED: dict.fromkeys((Status.PENDING, *ASLEEP), Status.PENDING),
    EventType.TERMS_CHANGED: _unmoved(Status.PENDING),
    EventType.APPROVAL_GIVEN: _unmoved(Status.PENDING),
    EventType.APPROVED: {Status.PENDING: Status.APPROVED},
    EventType.APPROVAL_LAPSED: {Status.APPROVED: Status.PENDING, Status.APPLYING: Status.PENDING},
    EventType.REJECTED: {Status.PENDING: Status.REJECTED},
    EventType.DECISION_UNDONE: dict.fromkeys((Status.PENDING, Status.APPROVED, Status.REJECTED), Status.PENDING),
    EventType.WITHDRAWN: {Status.PENDING: Status.WITHDRAWN},
    EventType.EXPIRED: dict.fromkeys((Status.PENDING, Status.APPROVED, Status.APPLYING), Status.EXPIRED),
    EventType.SUPERSEDED: {Status.PENDING: Status.SUPERSEDED, Status.APPROVED: Status.SUPERSEDED},
    EventType.WENT_STALE: dict.fromkeys((Status.PENDING, Status.APPROVED, Status.APPLYING), Status.STALE),
    EventType.APPLICATION_STARTED: {Status.APPROVED: Status.APPLYING},
    EventType.HOLDOUT_SET: _unmoved(Status.APPLYING),
    EventType.APPLIED: {Status.APPLYING: Status.APPLIED},
    EventType.KEPT_IN_STEP: _unmoved(Status.APPLYING, *IN_EFFECT),
    EventType.VERIFIED: {Status.APPLIED: Status.VERIFIED},
    EventType.HOLDOUT_SHRUNK: _unmoved(*IN_EFFECT),
    EventType.ROLLBACK_STARTED: dict.fromkeys((Status.APPLYING, *IN_EFFECT), Status.ROLLING_BACK),
    EventType.ROLLED_BACK: dict.fromkeys(_WRITING, Status.ROLLED_BACK),
    EventType.WRITES_INTENDED: _unmoved(*_WRITING),
    EventType.WRITES_SETTLED: _unmoved(*_WRITING),
    EventType.WRITES_FORGOTTEN: _unmoved(*Status),
    EventType.JOURNAL_ADOPTED: _unmoved(*Status),
}
DECISIONS = frozenset(
    {EventType.APPROVED, EventType.REJECTED, EventType.WITHDRAWN, EventType.EXPIRED, EventType.SUPERSEDED}
)
RENEWALS = frozenset({EventType.EVIDENCE_RENEWED, EventType.APPROVAL_LAPSED})
"""Events after which a record waits for approvals anew: whoever said yes said it to other evidence or other terms."""
OF_JOURNAL = frozenset(
    {EventType.WRITES_INTENDED, EventType.WRITES_SETTLED, EventType.WRITES_FORGOTTEN, EventType.JOURNAL_ADOPTED}
)
"""Events that put the journal of writes into the chain; they say nothing new to somebody who reads a history."""
EXPORTS = "exports"
"""What stands in place of a record's id at events that note an export of addresses."""
FIRST_HASH = "0" * 64
"""The hash that stands before the first event of a ledger."""


class IllegalTransitionError(LedgerError):
    """The event does not fit the record's state."""


class Event(BaseModel):
    """One line of the ledger. `hash` covers it and the hash of the line before, whichever record that is of."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sequence: int
    optimization_id: str
    revision: int
    event_type: EventType
    actor: str
    occurred_at: datetime
    payload: Mapping[str, Any]
    previous_hash: str
    hash: str


def event_hash(
    optimization_id: str, revision: int, event_type: str, actor: str, occurred_at: str, payload: str, previous_hash: str
) -> str:
    """SHA-256 over everything an event says and the hash before it, each as the ledger stores it."""
    return digest([optimization_id, revision, event_type, actor, occurred_at, payload, previous_hash])


def next_status(status: Status | None, event_type: EventType) -> Status:
    """The state after the event.

    Raises:
        IllegalTransitionError: if the event does not fit the state.
    """
    following = TRANSITIONS[event_type].get(status)
    if following is None:
        raise IllegalTransitionError(f"A record that is {status or 'not there'} cannot be {event_type}.")
    return following


def replay(events: Sequence[Event]) -> Record:
    """The record that its events, in their order, amount to.

    Raises:
        IllegalTransitionError: if an event does not fit the state before it.
    """
    record: Record | None = None
    for event in events:
        record = after_event(record, event)
    if record is None:
        raise IllegalTransitionError("A record without events is none.")
    return record


def after_event(record: Record | None, event: Event) -> Record:
    """The record after one more event; `record` is none before the first one.

    Raises:
        IllegalTransitionError: if the event does not fit the record's state.
    """
    status = next_status(record.status if record else None, event.event_type)
    payload = event.payload
    if record is None:
        return Record(
            proposal=Proposal.model_validate(payload["proposal"]),
            optimization_id=event.optimization_id,
            revision=event.revision,
            status=status,
            created_at=event.occurred_at,
            expires_at=datetime.fromisoformat(payload["expires_at"]),
            approvals_required=payload["approvals_required"],
        )
    changes: dict[str, Any] = {"status": status, "revision": event.revision}
    if event.event_type in RENEWALS:
        changes |= {"proposal": Proposal.model_validate(payload["proposal"]), "approvals": ()}
        changes |= {"expires_at": datetime.fromisoformat(payload["expires_at"])}
        changes |= {"decided_by": None, "decided_at": None}
    if event.event_type in (EventType.APPROVAL_GIVEN, EventType.APPROVED):
        changes["approvals"] = (*record.approvals, Approval(actor=event.actor, given_at=event.occurred_at))
    if event.event_type is EventType.DECISION_UNDONE:
        changes["approvals"] = tuple(one for one in record.approvals if one.actor != payload["decided_by"])
        changes |= {"decided_by": None, "decided_at": None, "reason": None}
    if event.event_type in DECISIONS:
        changes |= {"decided_by": event.actor, "decided_at": event.occurred_at}
    if event.event_type is EventType.APPLIED:
        changes["applied_day"] = date.fromisoformat(payload["applied_day"])
    if event.event_type is EventType.HOLDOUT_SET:
        changes["is_holdout_set"] = True
    if event.event_type is EventType.HOLDOUT_SHRUNK:
        changes["watched_from_day"] = date.fromisoformat(payload["watched_from_day"])
        changes["watch_share"] = payload["watch_share"]
    if "rolled_back_day" in payload:
        changes["rolled_back_day"] = date.fromisoformat(payload["rolled_back_day"])
    if "approvals_required" in payload:
        changes["approvals_required"] = payload["approvals_required"]
    # The reason of a rollback is that of who asked for it; its end only tells what was put back.
    if payload.get("reason") and record.status is not Status.ROLLING_BACK:
        changes["reason"] = payload["reason"]
    if payload.get("details"):
        changes["details"] = {**record.details, **payload["details"]}
    return record.model_copy(update=changes)
