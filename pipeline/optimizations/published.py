"""The ledger as tables: what `optimizations` and `optimization_events` publish of it. Pure."""

from collections.abc import Sequence

import polars as pl

from pipeline.optimizations.record import Record, canonical
from pipeline.optimizations.states import Event
from pipeline.schemas.base import conform, empty
from pipeline.schemas.loop import OptimizationEvents, Optimizations

_OF_PROPOSAL = ("kind", "target", "title", "workflow_id", "step_id", "apply_kind", "risk", "holdout_share")
_LIFTS = ("expected_lift", "expected_lift_low", "expected_lift_high", "expected_gain")
_OF_RECORD = ("optimization_id", "revision", "status", "approvals_required", "decided_by", "reason", "applied_day")
_INSTANTS = ("created_at", "expires_at", "decided_at")


def optimizations(records: Sequence[Record]) -> pl.DataFrame:
    """One row per record (schema `Optimizations`)."""
    rows = []
    for record in records:
        proposal = record.proposal
        row = {name: getattr(proposal, name) for name in (*_OF_PROPOSAL, *_LIFTS)}
        row |= {name: getattr(record, name) for name in (*_OF_RECORD, *_INSTANTS)}
        row |= {name: canonical(getattr(proposal, name)) for name in ("before", "after", "evidence")}
        row |= {"evidence_hash": proposal.evidence_hash, "approvals": len(record.approvals)}
        row |= {"standing_holdout_share": record.holdout_share}
        rows.append({name: str(value) if isinstance(value, str) else value for name, value in row.items()})
    if not rows:
        return empty(Optimizations)
    frame = pl.DataFrame(rows, infer_schema_length=None)
    return conform(frame.with_columns(_without_zone(name) for name in _INSTANTS), Optimizations)


def optimization_events(events: Sequence[Event]) -> pl.DataFrame:
    """One row per event (schema `OptimizationEvents`)."""
    if not events:
        return empty(OptimizationEvents)
    names = ("sequence", "optimization_id", "revision", "actor", "occurred_at", "previous_hash", "hash")
    rows = [
        {name: getattr(event, name) for name in names}
        | {"event_type": str(event.event_type), "reason": event.payload.get("reason")}
        for event in events
    ]
    frame = pl.DataFrame(rows, infer_schema_length=None)
    return conform(frame.with_columns(_without_zone("occurred_at")), OptimizationEvents)


def _without_zone(name: str) -> pl.Expr:
    return pl.col(name).cast(pl.Datetime("us", "UTC")).dt.replace_time_zone(None)
