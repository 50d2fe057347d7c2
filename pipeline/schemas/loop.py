"""The loop as published: what is proposed, decided and applied, and each event of it."""

import polars as pl

from pipeline.schemas.base import Table, column, count, key, share, table
from pipeline.schemas.performance import Timestamp

LIFT = "relative change expected; null where the data do not identify it"


@table("marts.optimizations", ("optimization_id",))
class Optimizations(Table):
    """One row per proposed change: what it is, the evidence, and what has become of it."""

    optimization_id: pl.String = key("record; the same for the same change at the same base")
    revision: pl.Int64 = count("events so far")
    kind: pl.String = column("what is to be changed")
    target: pl.String = column("what it is changed at")
    title: pl.String = column("the change in one line")
    workflow_id: pl.String = column("workflow; null where several", "id", nullable=True)
    step_id: pl.String = column("step; null where several", "id", nullable=True)
    before: pl.String = column("JSON object of what stands now")
    after: pl.String = column("JSON object of the change")
    apply_kind: pl.String = column(
        "how it reaches Mailchimp: delays and status, fields of members, or a person's hands",
        isin=["api_patch", "member_fields", "manual"],
    )
    status: pl.String = column("where it stands")
    evidence: pl.String = column("JSON object: n, effect with interval, method, identification, guardrails, chart")
    evidence_hash: pl.String = column("SHA-256 of the evidence: what an approver has seen")
    expected_lift: pl.Float64 = column(LIFT, "ratio", nullable=True)
    expected_lift_low: pl.Float64 = column("95% bound", "ratio", nullable=True)
    expected_lift_high: pl.Float64 = column("95% bound", "ratio", nullable=True)
    expected_value: pl.Float64 = column("more conversions in four weeks", "conversions", nullable=True)
    risk: pl.String = column("how much harm it could do", isin=["low", "medium", "high"])
    holdout_share: pl.Float64 = share("people kept out, against whom the effect is measured", nullable=False)
    created_at: Timestamp = column("first proposed", "UTC")
    expires_at: Timestamp = column("lapses unless decided", "UTC")
    approvals: pl.Int64 = count("people who said yes")
    approvals_required: pl.Int64 = count("people who must say yes")
    decided_by: pl.String = column("who decided", nullable=True)
    decided_at: Timestamp = column("when", "UTC", nullable=True)
    reason: pl.String = column("reason of the last decision", nullable=True)
    applied_day: pl.Date = column("first day on which it is in effect", "date", nullable=True)


@table("marts.optimization_events", ("sequence",))
class OptimizationEvents(Table):
    """One row per event of the ledger, chained by hashes: none can be changed or taken out unseen."""

    sequence: pl.Int64 = count("number of the event in the ledger")
    optimization_id: pl.String = key("record")
    revision: pl.Int64 = count("number of the event in the record")
    event_type: pl.String = column("what happened")
    actor: pl.String = column("who did it")
    occurred_at: Timestamp = column("when", "UTC")
    reason: pl.String = column("reason given", nullable=True)
    previous_hash: pl.String = column("hash of the event before, of whichever record")
    hash: pl.String = column("SHA-256 over this event and the hash before")
