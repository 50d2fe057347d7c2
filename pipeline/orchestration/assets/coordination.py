"""Assets of coordination: which workflows collide, tonight and over the past month."""

from datetime import date
from typing import Any

import polars as pl

from pipeline.charts.figures import conflict_chart
from pipeline.config.conflicts import load_conflict_rules
from pipeline.config.constraints import load_constraints
from pipeline.decisions import conflicts
from pipeline.decisions.memberships import stays
from pipeline.decisions.planned_sends import planned_sends
from pipeline.orchestration.asset import table_asset
from pipeline.orchestration.picture import image
from pipeline.schemas import core
from pipeline.schemas import decisions as marts
from pipeline.schemas.base import conform, empty
from pipeline.settings import Settings

GROUP = "decisions"
READS = {"step_entries": core.CoreStepEntries, "core_workflows": core.CoreWorkflows}


def _conflict_summary(rows: pl.DataFrame) -> dict[str, Any]:
    return {
        "subscribers": rows["subscriber_key"].n_unique(),
        "conflicts": rows.height,
        "of_high_severity": rows.filter(pl.col("severity") == "high").height,
        "pairs_of_workflows": rows.select("workflow_id", "prevailing_workflow_id").n_unique(),
    }


@table_asset(marts.WorkflowConflicts, group=GROUP, reads=READS, summary=_conflict_summary)
def workflow_conflicts(
    as_of: date, settings: Settings, step_entries: pl.DataFrame, core_workflows: pl.DataFrame
) -> pl.DataFrame:
    """Conflicts of everybody who is in several workflows tonight, resolved by priority."""
    inside = stays(step_entries, core_workflows, as_of=as_of, days=0).filter(pl.col("exited_day").is_null())
    rules = load_conflict_rules(settings.definitions)
    return conflicts.workflow_conflicts(inside, core_workflows, rules, as_of_day=as_of)


def _replay_summary(rows: pl.DataFrame) -> dict[str, Any]:
    return {
        "pairs_of_workflows": rows.height,
        "collisions": int(rows["collisions"].sum()),
        "collision_days": int(rows["collision_days"].sum()),
        **image(conflict_chart(rows)),
    }


@table_asset(marts.ConflictReplay, group=GROUP, reads=READS, summary=_replay_summary)
def conflict_replay(
    as_of: date, settings: Settings, step_entries: pl.DataFrame, core_workflows: pl.DataFrame
) -> pl.DataFrame:
    """What would have collided in the past month under tonight's rules."""
    past = stays(step_entries, core_workflows, as_of=as_of, days=conflicts.REPLAY_DAYS)
    rules = load_conflict_rules(settings.definitions)
    return conflicts.conflict_replay(past, core_workflows, rules, as_of_day=as_of)


@table_asset(
    marts.CappedSends,
    group=GROUP,
    reads=READS
    | {
        "steps": core.CoreSteps,
        "edges": core.CoreEdges,
        "subscribers": core.CoreSubscribers,
        "zone_offsets": core.CoreZoneOffsets,
    },
    summary=lambda rows: {
        "messages_moved": rows.height,
        "subscribers": rows["subscriber_key"].n_unique(),
        "workflows": rows["workflow_id"].n_unique(),
    },
)
def capped_sends(
    as_of: date,
    settings: Settings,
    step_entries: pl.DataFrame,
    core_workflows: pl.DataFrame,
    steps: pl.DataFrame,
    edges: pl.DataFrame,
    subscribers: pl.DataFrame,
    zone_offsets: pl.DataFrame,
) -> pl.DataFrame:
    """Planned messages beyond the cap of a local day, and the day each fits into."""
    cap = load_constraints(settings.definitions).frequency_cap
    if cap is None or cap.days != 1:
        return empty(marts.CappedSends)
    planned = planned_sends(step_entries, steps, edges, subscribers, zone_offsets, as_of=as_of)
    moved = conflicts.cap_sends(planned, core_workflows, daily_cap=cap.messages).filter("is_capped")
    method = f"at most {cap.messages} a local day, by priority"
    return conform(
        moved.drop("is_capped").with_columns(as_of_day=pl.lit(as_of), method=pl.lit(method)), marts.CappedSends
    )


coordination_assets = [workflow_conflicts, conflict_replay, capped_sends]
