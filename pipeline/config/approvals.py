"""`approvals.yaml`: who may approve, when a proposal lapses, and what may be approved by itself: the approval policy.

Only the shape of the file is checked here. Its rules are applied in `pipeline/optimizations/approval_policy.py`.
"""

from collections.abc import Iterable
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import Field

from pipeline.config.reader import Definition, Mistake, Name, load_definition, repeated_ids
from pipeline.optimizations.approval_policy import ApprovalPolicy, Approver, AutomaticApproval
from pipeline.schemas.vocabulary import ProposalKind, Risk

APPROVALS_FILE = "approvals.yaml"
DEFAULTS = ApprovalPolicy()


class _Approver(Definition):
    id: Name
    highest_risk: Risk = Risk.HIGH


class _Automatic(Definition):
    kinds: tuple[ProposalKind, ...]
    largest_lift: float = Field(gt=0, le=1)


class _Approvals(Definition):
    approvers: tuple[_Approver, ...] = ()
    four_eyes_from: Risk = DEFAULTS.four_eyes_from
    expiry_days: int = Field(default=DEFAULTS.expiry_days, ge=1, le=365)
    expiry_days_by_kind: dict[ProposalKind, int] = Field(default_factory=dict)
    cool_down_days: int = Field(default=DEFAULTS.cool_down_days, ge=0, le=365)
    automatic: _Automatic | None = None
    trusted_proxy_header: Name | None = None

    def mistakes(self, known: Any) -> Iterable[Mistake]:
        return repeated_ids(self.approvers, "approvers")


def load_approvals(folder: Path) -> ApprovalPolicy:
    """The approval policy of a definitions folder. Without the file nobody may approve anything.

    Raises:
        DefinitionsError: names every mistake with file, line and field.
    """
    read = load_definition(folder / APPROVALS_FILE, _Approvals)
    written = read.automatic
    automatic = AutomaticApproval(frozenset(written.kinds), written.largest_lift) if written else None
    return ApprovalPolicy(
        approvers=tuple(Approver(one.id, one.highest_risk) for one in read.approvers),
        four_eyes_from=read.four_eyes_from,
        expiry_days=read.expiry_days,
        expiry_days_by_kind=MappingProxyType(dict(read.expiry_days_by_kind)),
        cool_down_days=read.cool_down_days,
        automatic=automatic,
        trusted_proxy_header=read.trusted_proxy_header,
    )
