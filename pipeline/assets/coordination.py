"""Assets of coordination: which workflows collide, tonight and over the past month."""

from datetime import date
from typing import Any

import polars as pl

from pipeline.assets.describing import table_asset
from pipeline.decisions import conflicts
from pipeline.decisions.memberships import stays
from pipeline.ingest.conflicts import load_conflict_rules
from pipeline.reports.charts import conflict_chart, image
from pipeline.schemas import core
from pipeline.schemas import decisions as marts
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


coordination_assets = [workflow_conflicts, conflict_replay]
