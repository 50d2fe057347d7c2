"""The state machine: which event may follow which, and the record that a series of events amounts to. Pure."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from pipeline.common.errors import LedgerError
from pipeline.optimizations.record import Approval, Proposal, Record, Status, digest
from pipeline.schemas.vocabulary import LedgerEventType as EventType

TRANSITIONS: Mapping[EventType, Mapping[Status | None, Status]] = {
    EventType.PROPOSED: {None: Status.PENDING},
    EventType.EVIDENCE_RENEWED: {Status.PENDING: Status.PENDING},
    EventType.APPROVAL_GIVEN: {Status.PENDING: Status.PENDING},
    EventType.APPROVED: {Status.PENDING: Status.APPROVED},
    EventType.REJECTED: {Status.PENDING: Status.REJECTED},
    EventType.WITHDRAWN: {Status.PENDING: Status.WITHDRAWN},
    EventType.EXPIRED: {Status.PENDING: Status.EXPIRED, Status.APPROVED: Status.EXPIRED},
    EventType.SUPERSEDED: {Status.PENDING: Status.SUPERSEDED, Status.APPROVED: Status.SUPERSEDED},
    EventType.WENT_STALE: {Status.APPROVED: Status.STALE},
    EventType.APPLICATION_STARTED: {Status.APPROVED: Status.APPLYING},
    EventType.HOLDOUT_SET: {Status.APPLYING: Status.APPLYING},
    EventType.APPLIED: {Status.APPLYING: Status.APPLIED},
    EventType.KEPT_IN_STEP: {status: status for status in (Status.APPLYING, Status.APPLIED, Status.VERIFIED)},
    EventType.VERIFIED: {Status.APPLIED: Status.VERIFIED},
    EventType.ROLLED_BACK: {
        Status.APPLYING: Status.ROLLED_BACK,
        Status.APPLIED: Status.ROLLED_BACK,
        Status.VERIFIED: Status.ROLLED_BACK,
    },
}
DECISIONS = frozenset(
    {EventType.APPROVED, EventType.REJECTED, EventType.WITHDRAWN, EventType.EXPIRED, EventType.SUPERSEDED}
)
FIRST_HASH = "0" * 64
"""What the first event of a ledger stands behind."""


class IllegalTransitionError(LedgerError):
    """The event does not fit the record's state."""


class Event(BaseModel):
    """One line of the ledger; `hash` covers it and the hash of the line before, whichever record that is of."""

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
        record = _after(record, event)
    if record is None:
        raise IllegalTransitionError("A record without events is none.")
    return record


def _after(record: Record | None, event: Event) -> Record:
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
    if event.event_type is EventType.EVIDENCE_RENEWED:
        # Whoever said yes said it to other evidence.
        changes |= {"proposal": Proposal.model_validate(payload["proposal"]), "approvals": ()}
        changes |= {"expires_at": datetime.fromisoformat(payload["expires_at"])}
    if event.event_type in (EventType.APPROVAL_GIVEN, EventType.APPROVED):
        changes["approvals"] = (*record.approvals, Approval(actor=event.actor, given_at=event.occurred_at))
    if event.event_type in DECISIONS:
        changes |= {"decided_by": event.actor, "decided_at": event.occurred_at}
    if event.event_type is EventType.APPLIED:
        changes["applied_day"] = date.fromisoformat(payload["applied_day"])
    if event.event_type is EventType.HOLDOUT_SET:
        changes["is_holdout_set"] = True
    if event.event_type is EventType.ROLLED_BACK:
        changes["rolled_back_day"] = date.fromisoformat(payload["rolled_back_day"])
    if payload.get("reason"):
        changes["reason"] = payload["reason"]
    if payload.get("details"):
        changes["details"] = {**record.details, **payload["details"]}
    return record.model_copy(update=changes)
