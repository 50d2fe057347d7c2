"""The approval policy: who may decide what, and for how long a proposal stands, as `approvals.yaml` says."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType

from pipeline.optimizations.record import Proposal
from pipeline.schemas.vocabulary import ProposalKind as Kind
from pipeline.schemas.vocabulary import Risk

POLICY_ACTOR = "approvals.yaml"
"""Name under which a change within the bounds of automatic approval is approved."""


@dataclass(frozen=True)
class Approver:
    """Somebody who may decide, up to a risk."""

    name: str
    highest_risk: Risk


@dataclass(frozen=True)
class AutomaticApproval:
    """Low-risk changes that pass by themselves, because a person has said within which bounds."""

    kinds: frozenset[Kind]
    largest_lift: float


@dataclass(frozen=True)
class ApprovalPolicy:
    """Who may decide what. Without approvers nobody may."""

    approvers: tuple[Approver, ...] = ()
    four_eyes_from: Risk = Risk.HIGH
    expiry_days: int = 14
    expiry_days_by_kind: Mapping[Kind, int] = field(default_factory=lambda: MappingProxyType({}))
    cool_down_days: int = 14
    automatic: AutomaticApproval | None = None
    trusted_proxy_header: str | None = None

    def approver(self, name: str) -> Approver | None:
        """The approver of that name, or none."""
        return next((one for one in self.approvers if one.name == name), None)

    def expires_at(self, kind: Kind, now: datetime) -> datetime:
        """When a proposal made now ceases to stand."""
        return now + timedelta(days=self.expiry_days_by_kind.get(kind, self.expiry_days))

    def approvals_required(self, risk: Risk) -> int:
        """How many people must say yes."""
        return 1 if self.four_eyes_from.exceeds(risk) else 2

    def may_approve(self, name: str, proposal: Proposal) -> bool:
        """Whether an approval of that name counts for the proposal today."""
        if name == POLICY_ACTOR:
            return self.passes_by_itself(proposal)
        approver = self.approver(name)
        is_known = approver is not None and not proposal.risk.exceeds(approver.highest_risk)
        return is_known and name != proposal.author

    def passes_by_itself(self, proposal: Proposal) -> bool:
        """Whether the proposal lies within the bounds of automatic approval."""
        return (
            self.automatic is not None
            and proposal.risk is Risk.LOW
            and proposal.kind in self.automatic.kinds
            and proposal.expected_lift is not None
            and abs(proposal.expected_lift) <= self.automatic.largest_lift
        )
