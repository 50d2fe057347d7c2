"""Assets of coordination: which workflows collide, tonight and over the past month."""

from typing import Any

import polars as pl
from pandera.typing.polars import DataFrame, LazyFrame

from pipeline.analysis.send_time.inputs import below_cap
from pipeline.charts.figures import conflict_chart
from pipeline.common.people import only_mailable
from pipeline.common.written import standing
from pipeline.config.conflicts import load_conflict_rules
from pipeline.config.constraints import load_constraints
from pipeline.config.flow_map import FlowMap, load_flow_map
from pipeline.decisions import conflicts, releases
from pipeline.decisions.memberships import stays
from pipeline.decisions.planned_sends import planned_sends
from pipeline.optimizations.record import canonical
from pipeline.orchestration.asset import Night, asset
from pipeline.orchestration.picture import image
from pipeline.schemas import core, loop, timing
from pipeline.schemas import decisions as marts
from pipeline.schemas.base import empty
from pipeline.schemas.experiments import Holdouts


def _conflict_summary(rows: pl.DataFrame) -> dict[str, Any]:
    return {
        "subscribers": rows["subscriber_key"].n_unique(),
        "conflicts": rows.height,
        "of_high_severity": rows.filter(pl.col("severity") == "high").height,
        "pairs_of_workflows": rows.select("workflow_id", "prevailing_workflow_id").n_unique(),
    }


@asset(marts.WorkflowConflicts, group="decisions", summary=_conflict_summary)
def workflow_conflicts(
    entries: LazyFrame[core.CoreStepEntries],
    workflows: DataFrame[core.CoreWorkflows],
    subscribers: LazyFrame[core.CoreSubscribers],
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
    entries: LazyFrame[core.CoreStepEntries], workflows: DataFrame[core.CoreWorkflows], night: Night
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
    entries: LazyFrame[core.CoreStepEntries],
    steps: DataFrame[core.CoreSteps],
    edges: DataFrame[core.CoreEdges],
    subscribers: LazyFrame[core.CoreSubscribers],
    zone_offsets: DataFrame[core.CoreZoneOffsets],
    workflows: DataFrame[core.CoreWorkflows],
    night: Night,
) -> pl.DataFrame:
    """Planned messages beyond the cap of a local day, and the day that each fits into."""
    cap = load_constraints(night.settings.definitions).frequency_cap
    if cap is None or cap.days != 1:
        return empty(marts.CappedSends)
    planned = planned_sends(entries, steps, edges, subscribers, zone_offsets, as_of=night.as_of)
    return _moved(only_mailable(planned, subscribers), workflows, cap.messages, night)


def _moved(planned: pl.DataFrame, workflows: pl.DataFrame, daily_cap: int, night: Night) -> pl.DataFrame:
    moved = conflicts.cap_sends(planned, workflows, daily_cap=daily_cap).filter("is_capped").drop("is_capped")
    method = f"at most {daily_cap} a local day, by priority"
    return moved.with_columns(as_of_day=pl.lit(night.as_of), method=pl.lit(method))


def _release_summary(rows: pl.DataFrame) -> dict[str, Any]:
    return {"flows": rows.height, **rows.select(pl.col("planned", "late", "held_back").sum()).row(0, named=True)}


@asset(
    *(loop.ReleaseStarts, loop.ReleasePlan),
    group="decisions",
    summary=(_release_summary, lambda rows: {"people": rows.height}),
)
def planned_releases(
    entries: LazyFrame[core.CoreStepEntries],
    messages: LazyFrame[core.CoreMessages],
    steps: DataFrame[core.CoreSteps],
    subscribers: LazyFrame[core.CoreSubscribers],
    zone_offsets: DataFrame[core.CoreZoneOffsets],
    hours: DataFrame[timing.SubscriberSendTimes],
    collisions: DataFrame[marts.WorkflowConflicts],
    kept_out: DataFrame[Holdouts],
    written: DataFrame[core.CoreWrittenValues],
    night: Night,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Who waits for a flow that driptune releases, and when each is let in."""
    definitions, as_of = night.settings.definitions, night.as_of
    constraints = load_constraints(definitions)
    released = releases.released_steps(_flow_starts(load_flow_map(definitions)), steps)
    limits = constraints.of_steps(released)
    people = only_mailable(releases.waiting(entries, messages, released, standing(written, as_of)), subscribers)
    over_cap = people.head(0)
    if cap := constraints.frequency_cap:
        allowed = below_cap(people, messages, as_of=as_of, most=cap.messages, days=cap.days)
        over_cap = people.join(allowed, on="subscriber_key", how="anti")
    plan = releases.release_plan(
        people, hours, limits, subscribers, zone_offsets, collisions, over_cap, kept_out,
        as_of=as_of, late_hours=night.settings.release_late_hours,
        are_late_spread=constraints.late_releases == "spread",
    )  # fmt: skip
    return releases.release_starts(released, plan, limits, as_of=as_of), plan


def _flow_starts(flow_map: FlowMap) -> list[releases.FlowStart]:
    return [
        releases.FlowStart(
            flow.id,
            canonical(flow.deliver.start),
            (flow.steps[0].delay or 0) if flow.steps else 0,
            flow.release_at_most,
            flow.wait_field,
        )
        for flow in flow_map.flows
        if flow.released_by and flow.deliver
    ]
