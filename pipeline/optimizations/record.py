"""What a proposed change is made of, and the words for its kinds and states. This module holds values only.

Storing a record belongs to `ledger`, deciding about it to `review`.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from pipeline.schemas.vocabulary import SEVERITIES, ApplyKind, MetricName, Risk
from pipeline.schemas.vocabulary import ProposalKind as Kind
from pipeline.schemas.vocabulary import RecordStatus as Status

OPEN = (Status.PENDING, Status.APPROVED, Status.APPLYING)
"""States in which a target takes no second record."""
ASLEEP = (Status.STALE, Status.EXPIRED, Status.SUPERSEDED)
"""Nobody spoke against these: they lapsed, gave way to another change, or the data no longer said it."""
IN_EFFECT = (Status.APPLIED, Status.VERIFIED)
"""States in which the change stands in the account."""


def canonical(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spaces. NaN and infinity are refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Measure(_Frozen):
    """By what a change is to be judged: an outcome, and the days after a message within which it counts.

    `step_ids` are the steps whose messages count, where these are not those of the proposal's own step.
    """

    metric: MetricName
    window_days: int
    step_ids: tuple[str, ...] = ()


class LiftPlan(_Frozen):
    """The sample at which a change is judged: how many people count in both arms, and how many days that takes.

    Without days no date can be told. The measurement is then open-ended, and tightest at these people.
    """

    people: int
    days: int | None = None


class Proposal(_Frozen):
    """A change somebody may approve, with the evidence for it.

    Attributes:
        kind: what is to be changed.
        target: what it is changed at, such as `onboarding/start`; a kind and target have one open record.
        title: the change in one line.
        workflow_id: the workflow concerned; none where several.
        step_id: the step concerned; none where several.
        before: what stands now.
        after: the change itself, as `apply_kind` reads it.
        apply_kind: how it reaches Mailchimp.
        base_version: hash of what the change rests on; when that moves, the record is stale.
        evidence: n, effect with its interval, method, identification, window, data and code version, guardrails, rows,
            chart; JSON.
        expected_lift: relative, with its interval; none where the data do not identify it.
        expected_gain: conversions in four weeks.
        risk: how much harm it could do.
        author: who proposes; may not approve.
        holdout_share: share of people kept out, against whom the effect is measured.
        measure: by what the effect is judged; none where nothing is to be measured.
        plan: at which sample it is judged; none where nothing is promised, or nothing is known of the place.
    """

    kind: Kind
    target: str
    title: str
    workflow_id: str | None = None
    step_id: str | None = None
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    apply_kind: ApplyKind
    base_version: str
    evidence: Mapping[str, Any]
    expected_lift: float | None = None
    expected_lift_low: float | None = None
    expected_lift_high: float | None = None
    # Ledgers of older releases call it by the name of the forecasts.
    expected_gain: float | None = Field(default=None, validation_alias=AliasChoices("expected_gain", "expected_value"))
    risk: Risk
    author: str = "driptune"
    holdout_share: float = 0.1
    measure: Measure | None = None
    plan: LiftPlan | None = None

    @property
    def is_by_hand(self) -> bool:
        """Whether a person makes the change."""
        return self.apply_kind is ApplyKind.MANUAL

    @property
    def writes_field(self) -> bool:
        """Whether driptune writes a member field: the change itself, or who is kept out of one made by hand."""
        return "field" in self.after

    @property
    def field(self) -> str:
        """The means by which driptune writes to members, as `pipeline.common.means` writes it."""
        return str(self.after["field"])

    @property
    def is_written_to(self) -> tuple[bool, bool]:
        """Whether driptune writes to those with the change, and to those kept out of it."""
        has_value = "source" in self.after or "value" in self.after
        has_other = "holdout_source" in self.after or "holdout_value" in self.after
        return self.writes_field and has_value, self.writes_field and has_other

    @property
    def is_all_by_hand(self) -> bool:
        """Whether nothing of it is driptune's to write, not even who is kept out."""
        return self.is_by_hand and not self.writes_field

    @property
    def optimization_id(self) -> str:
        """The same for the same change at the same base, whatever night proposes it."""
        return digest([self.kind, self.target, self.after, self.base_version])[:16]

    @property
    def evidence_hash(self) -> str:
        """SHA-256 of the evidence: what an approver has seen."""
        return digest(self.evidence)


class Approval(_Frozen):
    """One person's yes."""

    actor: str
    given_at: datetime


class Record(_Frozen):
    """A proposal and what has become of it.

    The change is in effect from `applied_day` until the day before `rolled_back_day`. From `watched_from_day` on, its
    effect is known and `watch_share` alone are kept out. Of a change made by hand `is_holdout_set` says that those kept
    out are marked in Mailchimp. `details` holds counts and measures, never what
    a person holds: events cannot be erased when a person is forgotten.
    """

    proposal: Proposal
    optimization_id: str
    revision: int
    status: Status
    created_at: datetime
    expires_at: datetime
    approvals_required: int
    approvals: tuple[Approval, ...] = ()
    decided_by: str | None = None
    decided_at: datetime | None = None
    reason: str | None = None
    applied_day: date | None = None
    rolled_back_day: date | None = None
    watched_from_day: date | None = None
    watch_share: float | None = None
    is_holdout_set: bool = False
    details: Mapping[str, Any] = {}

    @property
    def holdout_share(self) -> float:
        """Share of people who are kept out now."""
        return self.proposal.holdout_share if self.watch_share is None else self.watch_share

    @property
    def is_due(self) -> bool:
        """Whether driptune itself has something to write for the record, or to put back."""
        if self.status is Status.ROLLING_BACK:
            return True
        is_open = self.status in (Status.APPROVED, Status.APPLYING) and not self.is_holdout_set
        return is_open and not self.proposal.is_all_by_hand

    @property
    def is_kept_in_step(self) -> bool:
        """Whether people who come later are to get the record's value too, or to be marked as kept out."""
        is_standing = self.proposal.writes_field and self.proposal.kind is not Kind.ROLLBACK
        is_marked = self.is_holdout_set and self.status is Status.APPLYING
        return is_standing and (self.status in IN_EFFECT or is_marked)

    @property
    def awaits_hand(self) -> bool:
        """Whether it is approved and a person can make the change now: those kept out, if any, are marked."""
        is_ready = self.is_holdout_set if self.proposal.writes_field else self.status is Status.APPROVED
        return self.proposal.is_by_hand and is_ready and self.status in (Status.APPROVED, Status.APPLYING)


def severity(proposal: Proposal) -> str | None:
    """How grave the alarm is that a proposal is about; none for a proposal that is about no alarm."""
    told = {row.get("severity") for row in proposal.evidence.get("rows", [])}
    return next((one for one in reversed(SEVERITIES) if one in told), None) if proposal.kind is Kind.ANOMALY else None


def most_urgent_first(records: Iterable[Record]) -> list[Record]:
    """The records: alarms first, the gravest before the others and what has stopped first, then what promises most."""
    return sorted(records, key=_rank)


def _rank(record: Record) -> tuple[int, bool, float, float]:
    made = record.proposal
    alarm = severity(made)
    goes_on = not alarm or all(row.get("value") != 0 for row in made.evidence["rows"])
    gains = -(made.expected_gain or 0), -(made.expected_lift or 0)
    return -SEVERITIES.index(alarm) if alarm else 1, goes_on, *gains


def in_charge(records: Iterable[Record]) -> list[Record]:
    """The records that are kept in step: of several that write the same field, the one applied last.

    An earlier one is in charge again once the later one was taken back.
    """
    latest = {record.proposal.field: record for record in sorted(records, key=_applied) if record.is_kept_in_step}
    return list(latest.values())


def ends_of(records: Iterable[Record]) -> dict[str, date]:
    """The day from which each record that has ended is no longer in effect, by id.

    A record ends when it is rolled back, or when another one that writes the same field is applied after it.
    """
    ended: dict[str, date] = {}
    standing: dict[str, Record] = {}
    for record in sorted((one for one in records if one.applied_day), key=_applied):
        assert record.applied_day is not None
        if record.rolled_back_day is not None:
            ended[record.optimization_id] = record.rolled_back_day
        if not record.proposal.writes_field or record.proposal.kind is Kind.ROLLBACK:
            continue
        before = standing.get(record.proposal.field)
        if before is not None:
            day = min(record.applied_day, ended.get(before.optimization_id, record.applied_day))
            ended[before.optimization_id] = day
        standing[record.proposal.field] = record
    return ended


def _applied(record: Record) -> tuple[date, datetime]:
    return record.applied_day or date.max, record.decided_at or record.created_at
