"""`approvals.yaml`: who may decide, for how long a proposal stands, and what may pass by itself.

Only the file's shape belongs here; what follows from it is in `pipeline/optimizations/approval_policy.py`.
"""

from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import Field, model_validator

from pipeline.config.reader import Definition, Location, Misplaced, Name, load_definition
from pipeline.optimizations.approval_policy import ApprovalPolicy, Approver, AutomaticApproval
from pipeline.optimizations.record import Kind, Risk

APPROVALS_FILE = "approvals.yaml"
DEFAULTS = ApprovalPolicy()


class _Approver(Definition):
    id: Name
    highest_risk: Risk = Risk.HIGH


class _Automatic(Definition):
    kinds: tuple[Kind, ...]
    largest_lift: float = Field(gt=0, le=1)


class _Approvals(Definition):
    approvers: tuple[_Approver, ...] = ()
    four_eyes_from: Risk = DEFAULTS.four_eyes_from
    expiry_days: int = Field(default=DEFAULTS.expiry_days, ge=1, le=365)
    expiry_days_by_kind: dict[Kind, int] = Field(default_factory=dict)
    cool_down_days: int = Field(default=DEFAULTS.cool_down_days, ge=0, le=365)
    automatic: _Automatic | None = None
    trusted_proxy_header: Name | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Any:
        names = [one.id for one in self.approvers]
        twice: list[tuple[Location, str]] = [
            (("approvers", place, "id"), f"'{name}' stands here twice. Keep one.")
            for place, name in enumerate(names)
            if name in names[:place]
        ]
        if twice:
            raise Misplaced(twice)
        return self


def load_approvals(folder: Path) -> ApprovalPolicy:
    """The policy of a definitions folder; without a file nobody may decide.

    Raises:
        DefinitionsError: naming every mistake with file, line and field.
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
