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


REALISED = "relative change against those kept out; bounds hold on all nights at once"
PLACE_MEAN = "share or currency"


@table("marts.realised_lift", ("optimization_id", "as_of_day", "metric"))
class RealisedLift(Table):
    """One row per applied change, night and metric: what it brought against those kept out, beside the promise."""

    optimization_id: pl.String = key("record")
    as_of_day: pl.Date = column("night of the look", "date")
    metric: pl.String = key("outcome that is compared")
    role: pl.String = column("what was promised, or a guardrail", isin=["primary", "guardrail"])
    is_latest: pl.Boolean = column("tonight's look")
    proposed_kind: pl.String = column("what was changed")
    workflow_id: pl.String = column("workflow; null where several", "id", nullable=True)
    step_id: pl.String = column("step; null where several", "id", nullable=True)
    first_day: pl.Date = column("first whole day of the change", "date")
    last_day: pl.Date = column("last one; null while it is in effect", "date", nullable=True)
    exposures: pl.Int64 = count("subscribers with the change, first message each, matured")
    held_out_exposures: pl.Int64 = count("subscribers kept out, first message each, matured")
    applied_mean: pl.Float64 = column("outcome per exposure with the change", PLACE_MEAN, nullable=True)
    applied_mean_low: pl.Float64 = column("95% bound", PLACE_MEAN, nullable=True)
    applied_mean_high: pl.Float64 = column("95% bound", PLACE_MEAN, nullable=True)
    held_out_mean: pl.Float64 = column("outcome per exposure of those kept out", PLACE_MEAN, nullable=True)
    held_out_mean_low: pl.Float64 = column("95% bound", PLACE_MEAN, nullable=True)
    held_out_mean_high: pl.Float64 = column("95% bound", PLACE_MEAN, nullable=True)
    promised_lift: pl.Float64 = column(LIFT, "ratio", nullable=True)
    promised_lift_low: pl.Float64 = column("95% bound", "ratio", nullable=True)
    promised_lift_high: pl.Float64 = column("95% bound", "ratio", nullable=True)
    realised_lift: pl.Float64 = column(REALISED, "ratio", nullable=True)
    realised_lift_low: pl.Float64 = column("95% bound", "ratio", nullable=True)
    realised_lift_high: pl.Float64 = column("95% bound", "ratio", nullable=True)
    incremental_total: pl.Float64 = column("outcomes that the change brought", "events or currency", nullable=True)
    incremental_total_low: pl.Float64 = column("95% bound", "events or currency", nullable=True)
    incremental_total_high: pl.Float64 = column("95% bound", "events or currency", nullable=True)
    is_significant: pl.Boolean = column("the bounds exclude 0, on this night or an earlier one")
    outcome: pl.String = column(
        "what became of it", isin=["measuring", "works", "less than promised", "harm", "not measured"]
    )
    status: pl.String = column("ok, or what is missing")
    method: pl.String = column("design and statistic")
