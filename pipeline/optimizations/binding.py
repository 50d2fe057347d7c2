"""What an approval rests on, and whether it still holds: risk, approvers, evidence, base and expiry.

Everything is pure. Here: the comparison of what was approved with what stands today. Not here: the decision itself
(`review`), and what happens to a record whose approval lapsed (`account.apply`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipeline.optimizations.approval_policy import POLICY_ACTOR, ApprovalPolicy
from pipeline.optimizations.record import Proposal, Record
from pipeline.schemas.vocabulary import LedgerEventType as EventType

IDENTIFICATIONS = ("not identified", "observational", "randomised")
"""How well the data tell cause from coincidence, from worst to best."""
GUARDRAIL_STATES = ("ok", "warning", "stop")
"""What a guardrail says, from best to worst."""


@dataclass(frozen=True)
class Lapse:
    """An approval that no longer holds.

    Attributes:
        event: what happens to the record.
        reason: why, in words.
        terms: what the record rests on from now on; empty where it ends.
    """

    event: EventType
    reason: str
    terms: Mapping[str, Any]


def terms(proposal: Proposal, approval_policy: ApprovalPolicy, now: datetime) -> dict[str, Any]:
    """What a record rests on while it waits: the proposal, its expiry, and how many people must approve it."""
    return {
        "proposal": proposal.model_dump(mode="json"),
        "expires_at": approval_policy.expires_at(proposal.kind, now).isoformat(),
        "approvals_required": approval_policy.approvals_required(proposal.risk),
    }


def lapse(record: Record, standing: Sequence[Proposal], approval_policy: ApprovalPolicy, now: datetime) -> Lapse | None:
    """Why the approval of a record no longer holds; none if it does.

    Args:
        record: one that was approved.
        standing: what the standing publication proposes.
        approval_policy: today's `approvals.yaml`.
        now: the time.
    """
    if record.expires_at <= now:
        reason = f"Its approval lapsed on {record.expires_at:%Y-%m-%d}, before it was applied."
        return Lapse(EventType.EXPIRED, reason, {})
    today = next((one for one in standing if one.optimization_id == record.optimization_id), None)
    if today is None:
        reason = "What it rests on has changed since it was approved: the standing publication no longer proposes it."
        return Lapse(EventType.WENT_STALE, reason, {})
    changed = grown_worse(record.proposal, today) or missing_approvals(record, approval_policy)
    if changed is None:
        return None
    return Lapse(EventType.APPROVAL_LAPSED, changed, terms(today, approval_policy, now))


def approvals_that_hold(record: Record, approval_policy: ApprovalPolicy) -> list[str]:
    """Names of those who approved a record and may do so today, each once."""
    proposal = record.proposal
    names = dict.fromkeys(approval.actor for approval in record.approvals)
    return [name for name in names if approval_policy.may_approve(name, proposal)]


def missing_approvals(record: Record, approval_policy: ApprovalPolicy) -> str | None:
    """Why the approvals of a record do not suffice by today's `approvals.yaml`; none if they do."""
    holding = approvals_that_hold(record, approval_policy)
    required = approval_policy.approvals_required(record.proposal.risk)
    if POLICY_ACTOR in holding or len(holding) >= required:
        return None
    gone = sorted({approval.actor for approval in record.approvals} - set(holding))
    told = f", that of {' and '.join(gone)} no longer counts" if gone else ""
    return (
        f"By today's approvals.yaml a change of {record.proposal.risk} risk takes {required} approvals; "
        f"{len(holding)} of those given stand{told}."
    )


def grown_worse(approved: Proposal, today: Proposal) -> str | None:
    """In what today's proposal is worse than the one that was approved; none if it is in nothing.

    The estimate of an effect moves every night. It counts as worse where it leaves the interval that was approved on
    the side of less effect (without an interval: where it falls at all), or where its interval no longer excludes 0.
    """
    if today.risk.exceeds(approved.risk):
        return f"It is of {today.risk} risk now and was approved as {approved.risk}."
    promised = (approved.expected_lift, approved.expected_lift_low, approved.expected_lift_high)
    promise = (today.expected_lift, today.expected_lift_low, today.expected_lift_high)
    if _is_weaker(promised, promise):
        return f"The promise has become worse: {_words(promise)} now, {_words(promised)} when it was approved."
    effects = (_effect(approved.evidence), _effect(today.evidence))
    if _is_weaker(*effects):
        return f"The evidence has become worse: {_words(effects[1])} now, {_words(effects[0])} when it was approved."
    ranks = [one.evidence.get("identification") for one in (approved, today)]
    if _falls(IDENTIFICATIONS, ranks[0], ranks[1]):
        return f"The evidence has become worse: its effect is {ranks[1]} now and was {ranks[0]}."
    return _guardrail_worse(approved.evidence, today.evidence)


_Estimate = tuple[float | None, float | None, float | None]


def _effect(evidence: Mapping[str, Any]) -> _Estimate:
    values = [evidence.get(f"effect{end}") for end in ("", "_low", "_high")]
    middle, low, high = (float(one) if isinstance(one, int | float) else None for one in values)
    return middle, low, high


def _is_weaker(approved: _Estimate, today: _Estimate) -> bool:
    if not approved[0]:
        return False
    if today[0] is None:
        return True
    # Seen from the side of the effect that was approved, which may be a fall.
    sign = 1 if approved[0] > 0 else -1
    near = 1 if sign > 0 else 2
    bound, bound_today = approved[near], today[near]
    least = sign * approved[0] if bound is None else min(sign * approved[0], sign * bound)
    if sign * today[0] < least:
        return True
    return bound is not None and sign * bound > 0 and bound_today is not None and sign * bound_today <= 0


def _words(estimate: _Estimate) -> str:
    middle, low, high = estimate
    if middle is None:
        return "it cannot be told"
    told = f"{middle:+.3g}"
    return told if low is None or high is None else f"{told} ({low:+.3g} to {high:+.3g})"


def _falls(order: Sequence[str], before: Any, after: Any) -> bool:
    """Whether one word of a known order comes before the other; words that are not in it are not compared."""
    return before in order and after in order and order.index(after) < order.index(before)


def _guardrail_worse(approved: Mapping[str, Any], today: Mapping[str, Any]) -> str | None:
    before = {one["name"]: one["status"] for one in approved.get("guardrails", [])}
    for one in today.get("guardrails", []):
        known = before.get(one["name"], GUARDRAIL_STATES[0])
        if _falls(GUARDRAIL_STATES[::-1], known, one["status"]):
            return f"The guardrail '{one['name']}' says {one['status']} now and said {known} when it was approved."
    return None
