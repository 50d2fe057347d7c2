"""Assets of coordination: which workflows collide, tonight and over the past month."""

from typing import Any

import polars as pl
from pandera.typing.polars import DataFrame

from pipeline.charts.figures import conflict_chart
from pipeline.common.mailable import only_mailable
from pipeline.config.conflicts import load_conflict_rules
from pipeline.config.constraints import load_constraints
from pipeline.decisions import conflicts
from pipeline.decisions.memberships import stays
from pipeline.decisions.planned_sends import planned_sends
from pipeline.orchestration.asset import Night, asset
from pipeline.orchestration.picture import image
from pipeline.schemas import core
from pipeline.schemas import decisions as marts
from pipeline.schemas.base import empty


def _conflict_summary(rows: pl.DataFrame) -> dict[str, Any]:
    return {
        "subscribers": rows["subscriber_key"].n_unique(),
        "conflicts": rows.height,
        "of_high_severity": rows.filter(pl.col("severity") == "high").height,
        "pairs_of_workflows": rows.select("workflow_id", "prevailing_workflow_id").n_unique(),
    }


@asset(marts.WorkflowConflicts, group="decisions", summary=_conflict_summary)
def workflow_conflicts(
    entries: DataFrame[core.CoreStepEntries],
    workflows: DataFrame[core.CoreWorkflows],
    subscribers: DataFrame[core.CoreSubscribers],
    night: Night,
) -> pl.DataFrame:
    """Conflicts of everybody who is in several workflows tonight and can be mailed, resolved by priority."""
    tonight = only_mailable(stays(entries, workflows, as_of=night.as_of, days=0), subscribers)
    inside = tonight.filter(pl.col("exited_day").is_null())
    rules = load_conflict_rules(night.settings.definitions)
    return conflicts.workflow_conflicts(inside, workflows, rules, as_of_day=night.as_of)


def _replay_summary(rows: pl.DataFrame) -> dict[str, Any]:
    return {
        "pairs_of_workflows": rows.height,
        "collisions": int(rows["collisions"].sum()),
        "collision_days": int(rows["collision_days"].sum()),
        **image(conflict_chart(rows)),
    }


@asset(marts.ConflictReplay, group="decisions", summary=_replay_summary)
def conflict_replay(
    entries: DataFrame[core.CoreStepEntries], workflows: DataFrame[core.CoreWorkflows], night: Night
) -> pl.DataFrame:
    """What would have collided in the past month under tonight's rules."""
    past = stays(entries, workflows, as_of=night.as_of, days=conflicts.REPLAY_DAYS)
    rules = load_conflict_rules(night.settings.definitions)
    return conflicts.conflict_replay(past, workflows, rules, as_of_day=night.as_of)


def _moved_summary(rows: pl.DataFrame) -> dict[str, Any]:
    return {
        "messages_moved": rows.height,
        "subscribers": rows["subscriber_key"].n_unique(),
        "workflows": rows["workflow_id"].n_unique(),
    }


@asset(marts.CappedSends, group="decisions", summary=_moved_summary)
def capped_sends(
    entries: DataFrame[core.CoreStepEntries],
    steps: DataFrame[core.CoreSteps],
    edges: DataFrame[core.CoreEdges],
    subscribers: DataFrame[core.CoreSubscribers],
    zone_offsets: DataFrame[core.CoreZoneOffsets],
    workflows: DataFrame[core.CoreWorkflows],
    night: Night,
) -> pl.DataFrame:
    """Planned messages beyond the cap of a local day, and the day that each fits into."""
    cap = load_constraints(night.settings.definitions).frequency_cap
    if cap is None or cap.days != 1:
        return empty(marts.CappedSends)
    planned = planned_sends(
        only_mailable(entries, subscribers), steps, edges, subscribers, zone_offsets, as_of=night.as_of
    )
    return _moved(planned, workflows, cap.messages, night)


def _moved(planned: pl.DataFrame, workflows: pl.DataFrame, daily_cap: int, night: Night) -> pl.DataFrame:
    moved = conflicts.cap_sends(planned, workflows, daily_cap=daily_cap).filter("is_capped").drop("is_capped")
    method = f"at most {daily_cap} a local day, by priority"
    return moved.with_columns(as_of_day=pl.lit(night.as_of), method=pl.lit(method))
