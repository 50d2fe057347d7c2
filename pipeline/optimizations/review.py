"""Deciding: the one service behind command line, inbox and sensors. Who may decide, on what they saw, and why."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from pipeline.common.errors import LedgerError
from pipeline.optimizations.account.refusals import check_can_go_back
from pipeline.optimizations.approval_policy import POLICY_ACTOR, ApprovalPolicy, Approver
from pipeline.optimizations.binding import approvals_that_hold, missing_approvals, terms
from pipeline.optimizations.chain import StaleRecordError
from pipeline.optimizations.ledger import Ledger
from pipeline.optimizations.record import IN_EFFECT, OPEN, Record
from pipeline.schemas.vocabulary import LedgerEventType as EventType
from pipeline.schemas.vocabulary import ProposalKind as Kind
from pipeline.schemas.vocabulary import RecordStatus as Status

MOMENT_SECONDS = 2.0
"""Somebody waits for the answer of a decision. Who writes to the account meanwhile may do so for much longer."""
CLOCK = "expiry"
"""Name under which it is noted that a record lapsed."""


class DecisionRefusedError(LedgerError):
    """The decision is not taken; the message says why and what to do."""


@dataclass(frozen=True)
class Seen:
    """What somebody had before their eyes when they decided."""

    optimization_id: str
    revision: int
    evidence_hash: str

    @classmethod
    def of(cls, record: Record) -> "Seen":
        """The record as it stands."""
        return cls(record.optimization_id, record.revision, record.proposal.evidence_hash)


def approve(ledger: Ledger, approval_policy: ApprovalPolicy, seen: Seen, *, actor: str, now: datetime) -> Record:
    """One person's yes to what they saw. The last one needed by today's `approvals.yaml` makes the record approved.

    Raises:
        DecisionRefusedError: if the actor is no approver, or the risk is above what they may approve, or they proposed
            it or approved it before; if the record lapsed; or if it has changed since they saw it.
        StaleRecordError, IllegalTransitionError: if somebody else was faster.
    """
    record = _as_seen(ledger, seen, now)
    approver = known_approver(approval_policy, actor)
    if record.proposal.risk.exceeds(approver.highest_risk):
        raise DecisionRefusedError(
            f"This change is of {record.proposal.risk} risk and {actor} may approve up to {approver.highest_risk}. "
            "Ask somebody who may approve more."
        )
    if actor == record.proposal.author:
        raise DecisionRefusedError("Nobody approves what they proposed. Ask another approver.")
    if actor in {approval.actor for approval in record.approvals}:
        raise DecisionRefusedError(f"{actor} has approved this already; it needs another person.")
    required = approval_policy.approvals_required(record.proposal.risk)
    is_last = len(approvals_that_hold(record, approval_policy)) + 1 >= required
    event = EventType.APPROVED if is_last else EventType.APPROVAL_GIVEN
    agreed = {"evidence_hash": seen.evidence_hash, "approvals_required": required}
    return _append(ledger, seen, event, actor, now, **agreed)


def reject(
    ledger: Ledger, approval_policy: ApprovalPolicy, seen: Seen, *, actor: str, reason: str, now: datetime
) -> Record:
    """An approver's no, with the reason that will be read when it comes up again.

    Raises:
        DecisionRefusedError: without a reason, or if the actor is no approver, or it changed since they saw it.
    """
    _as_seen(ledger, seen, now)
    known_approver(approval_policy, actor)
    return _append(ledger, seen, EventType.REJECTED, actor, now, reason=_given(reason))


def withdraw(
    ledger: Ledger, approval_policy: ApprovalPolicy, seen: Seen, *, actor: str, reason: str, now: datetime
) -> Record:
    """Take a proposal back before anybody decided.

    Raises:
        DecisionRefusedError: without a reason, if the actor neither proposed it nor is an approver, or if it changed
            since they saw it.
    """
    record = _as_seen(ledger, seen, now)
    if actor != record.proposal.author:
        known_approver(approval_policy, actor)
    return _append(ledger, seen, EventType.WITHDRAWN, actor, now, reason=_given(reason))


def undo(ledger: Ledger, approval_policy: ApprovalPolicy, seen: Seen, *, actor: str, now: datetime) -> Record:
    """Take a decision back while nothing of it is written. The record waits again, with the approvals of others.

    Raises:
        DecisionRefusedError: if there is no decision that the actor can take back, if another proposal has taken the
            record's place, or if the record lapsed or has changed since they saw it.
        StaleRecordError, IllegalTransitionError: if somebody else was faster, such as the one who applies it.
    """
    record = _as_seen(ledger, seen, now)
    known_approver(approval_policy, actor)
    decided_by = undoes(record, actor)
    if decided_by is None:
        raise DecisionRefusedError(
            f"{actor} has no decision on {seen.optimization_id} to take back: it is {record.status}. An approval or a "
            "rejection is taken back by who gave it, as long as nothing is written."
        )
    same = (record.proposal.kind, record.proposal.target)
    for other in ledger.records(*OPEN):
        if (other.proposal.kind, other.proposal.target) == same and other.optimization_id != seen.optimization_id:
            raise DecisionRefusedError(
                f"{other.optimization_id} has taken the place of {seen.optimization_id}. Decide about that one."
            )
    return _append(ledger, seen, EventType.DECISION_UNDONE, actor, now, decided_by=decided_by)


def undoes(record: Record, actor: str) -> str | None:
    """Whose decision an approver can take back: their own, or what passed by `approvals.yaml` alone; none if no one's.

    What is being applied or in effect is rolled back instead.
    """
    if record.status is Status.REJECTED:
        return actor if record.decided_by == actor else None
    if record.status not in (Status.PENDING, Status.APPROVED):
        return None
    given = {approval.actor for approval in record.approvals}
    return next((name for name in (actor, POLICY_ACTOR) if name in given), None)


def take_back(
    ledger: Ledger,
    approval_policy: ApprovalPolicy,
    seen: Seen,
    *,
    actor: str,
    reason: str,
    first_day: date,
    now: datetime,
) -> Record:
    """An approver's word that an applied change goes back. What stood before is put back when driptune writes next.

    Args:
        ledger: where the record stands.
        approval_policy: today's `approvals.yaml`.
        seen: what the actor had before their eyes.
        actor: who takes it back.
        reason: why.
        first_day: first day on which the change is no longer in effect.
        now: the time.

    Raises:
        DecisionRefusedError: without a reason, if the actor is no approver, or if it changed since they saw it.
        NotApplicableError: if it is not in effect, was made by hand, or is itself a rollback.
        AccountBusyError: if another process writes to the account.
        LedgerError: if the ledger was edited.
    """
    known_approver(approval_policy, actor)
    with ledger.one_writer(MOMENT_SECONDS):
        check_can_go_back(_as_seen(ledger, seen, now))
        day = first_day.isoformat()
        return _append(ledger, seen, EventType.ROLLBACK_STARTED, actor, now, reason=_given(reason), rolled_back_day=day)


def mark_done(ledger: Ledger, approval_policy: ApprovalPolicy, seen: Seen, *, actor: str, now: datetime) -> Record:
    """An approver's word that a change made by hand has been made.

    Raises:
        DecisionRefusedError: if the change is not one made by hand, its approvals no longer suffice, those kept out are
            not marked yet, or the actor is no approver.
    """
    record = _as_seen(ledger, seen, now)
    if not record.proposal.is_by_hand:
        raise DecisionRefusedError("driptune makes this change itself; only changes made by hand are marked as done.")
    known_approver(approval_policy, actor)
    if record.status is Status.APPROVED and (missing := missing_approvals(record, approval_policy)):
        renewed = terms(record.proposal, approval_policy, now)
        _append(ledger, seen, EventType.APPROVAL_LAPSED, POLICY_ACTOR, now, **renewed, reason=missing)
        raise DecisionRefusedError(f"{missing} So it waits for approval anew, and is not marked as done.")
    if record.status is Status.APPROVED and record.proposal.writes_field:
        raise DecisionRefusedError(
            f"Those kept out are not marked yet. driptune does so within minutes (or now: driptune apply "
            f"{seen.optimization_id}); make the change after that, or nobody is left to compare with."
        )
    if record.status is Status.APPROVED:
        record = _append(ledger, seen, EventType.APPLICATION_STARTED, actor, now)
    if record.proposal.kind is Kind.ROLLBACK:
        _end_what_is_taken_back(ledger, record, now.date(), now)
    return ledger.append(
        seen.optimization_id,
        EventType.APPLIED,
        actor=actor,
        now=now,
        expected_revision=record.revision,
        payload={"details": {"applied_by_hand_by": actor}, "applied_day": now.date().isoformat()},
    )


def _end_what_is_taken_back(ledger: Ledger, rollback: Record, first_day: date, now: datetime) -> None:
    """Note in the record that a rollback takes back that it is no longer in effect, unless it says so already."""
    ended = ledger.record(str(rollback.proposal.after["roll_back"]))
    if ended.status in IN_EFFECT:
        ledger.append(
            ended.optimization_id,
            EventType.ROLLED_BACK,
            actor=rollback.decided_by or rollback.proposal.author,
            now=now,
            expected_revision=ended.revision,
            payload={
                "reason": f"Taken back by {rollback.optimization_id}.",
                "rolled_back_day": first_day.isoformat(),
            },
        )


def expire_due(ledger: Ledger, now: datetime) -> list[str]:
    """Let lapse what nobody decided, or applied, in time; returns the ids."""
    lapsed = []
    for record in ledger.records(Status.PENDING, Status.APPROVED):
        if record.expires_at <= now:
            # Somebody who decides or applies it at this moment was faster.
            with suppress(StaleRecordError):
                _append(ledger, Seen.of(record), EventType.EXPIRED, CLOCK, now, reason="Nobody acted in time.")
                lapsed.append(record.optimization_id)
    return lapsed


def _as_seen(ledger: Ledger, seen: Seen, now: datetime) -> Record:
    record = ledger.record(seen.optimization_id)
    if (record.revision, record.proposal.evidence_hash) != (seen.revision, seen.evidence_hash):
        raise DecisionRefusedError(
            f"{seen.optimization_id} has changed since you saw it and is {record.status} now. Look at it again."
        )
    if record.status in (Status.PENDING, Status.APPROVED, Status.REJECTED) and record.expires_at <= now:
        raise DecisionRefusedError(
            f"{seen.optimization_id} lapsed on {record.expires_at:%Y-%m-%d}. Wait for a new one."
        )
    return record


def known_approver(approval_policy: ApprovalPolicy, actor: str) -> Approver:
    """The approver of that name.

    Raises:
        DecisionRefusedError: if there is none.
    """
    approver = approval_policy.approver(actor)
    if approver is None:
        names = ", ".join(one.name for one in approval_policy.approvers) or "nobody yet"
        raise DecisionRefusedError(
            f"'{actor}' is not among the approvers of approvals.yaml. It names: {names}. Ask one of them, or add "
            f"yourself there below approvers, as '- id: {actor}'."
        )
    return approver


def _given(reason: str) -> str:
    if not reason.strip():
        raise DecisionRefusedError("A reason is needed: it is what the next reader learns from.")
    return reason.strip()


def _append(ledger: Ledger, seen: Seen, event: EventType, actor: str, now: datetime, **payload: Any) -> Record:
    return ledger.append(
        seen.optimization_id, event, actor=actor, now=now, expected_revision=seen.revision, payload=payload
    )
