"""Assets of the performance tables: each calls one pure function of `pipeline/analysis`."""

from collections.abc import Sequence
from datetime import date
from functools import partial
from typing import Any

import polars as pl

from pipeline.analysis.performance import (
    announced,
    attribution,
    bottlenecks,
    dimensions,
    exits,
    funnel,
    metric_changes,
    reconciliation,
    step_metrics,
    stuck,
    time_to_next_step,
)
from pipeline.orchestration.asset import table_asset
from pipeline.schemas import core, lake, reductions
from pipeline.schemas import performance as marts
from pipeline.settings import Settings

GROUP = "performance"


@table_asset(marts.Workflows, group=GROUP, reads={"core_workflows": core.CoreWorkflows, "core_steps": core.CoreSteps})
def workflows(as_of: date, settings: Settings, core_workflows: pl.DataFrame, core_steps: pl.DataFrame) -> pl.DataFrame:
    """Workflows with their number of steps."""
    return dimensions.workflows(core_workflows, core_steps)


@table_asset(marts.Steps, group=GROUP, reads={"core_steps": core.CoreSteps, "core_edges": core.CoreEdges})
def steps(as_of: date, settings: Settings, core_steps: pl.DataFrame, core_edges: pl.DataFrame) -> pl.DataFrame:
    """Steps with their default way on."""
    return dimensions.steps(core_steps, core_edges, as_of)


@table_asset(marts.Calendar, group=GROUP, reads={"step_days": reductions.StepDays, "entry_days": reductions.EntryDays})
def calendar(as_of: date, settings: Settings, step_days: pl.DataFrame, entry_days: pl.DataFrame) -> pl.DataFrame:
    """Every day from the first fact to tonight."""
    return dimensions.calendar(step_days, entry_days, as_of, settings.maturity_days)


COUNTS = ("sent", "delivered", "unique_human_clicks", "conversions")


def _sums(rows: pl.DataFrame, names: Sequence[str] = COUNTS) -> dict[str, Any]:
    return {name: int(rows[name].sum()) for name in names}


def _last_four_weeks(rows: pl.DataFrame, names: Sequence[str] = COUNTS) -> dict[str, Any]:
    return {f"{name}, 28 days": total for name, total in _sums(rows.filter(pl.col("window") == "28d"), names).items()}


@table_asset(
    marts.StepMetricsDaily,
    group=GROUP,
    reads={
        "step_days": reductions.StepDays,
        "entry_days": reductions.EntryDays,
        "credit_days": reductions.CreditDays,
        "core_steps": core.CoreSteps,
        "core_workflows": core.CoreWorkflows,
    },
    summary=_sums,
)
def step_metrics_daily(
    as_of: date,
    settings: Settings,
    step_days: pl.DataFrame,
    entry_days: pl.DataFrame,
    credit_days: pl.DataFrame,
    core_steps: pl.DataFrame,
    core_workflows: pl.DataFrame,
) -> pl.DataFrame:
    """Counts by step and day."""
    return step_metrics.step_metrics_daily(
        step_days,
        entry_days,
        credit_days,
        core_steps,
        core_workflows,
        as_of=as_of,
        maturity_days=settings.maturity_days,
        currency=settings.currency,
    )


@table_asset(marts.StepMetrics, group=GROUP, reads={"daily": marts.StepMetricsDaily}, summary=_last_four_weeks)
def step_metrics_by_window(as_of: date, settings: Settings, daily: pl.DataFrame) -> pl.DataFrame:
    """Counts and rates by step and window."""
    return step_metrics.step_metrics(daily, as_of=as_of)


@table_asset(
    marts.WorkflowMetrics,
    group=GROUP,
    reads={"daily": marts.StepMetricsDaily, "core_steps": core.CoreSteps},
    summary=_last_four_weeks,
)
def workflow_metrics(as_of: date, settings: Settings, daily: pl.DataFrame, core_steps: pl.DataFrame) -> pl.DataFrame:
    """Counts and rates by workflow and window."""
    return step_metrics.workflow_metrics(daily, core_steps, as_of=as_of)


def _change_summary(changes: pl.DataFrame) -> dict[str, Any]:
    clear = changes.filter(pl.col("change").is_in(["up", "down"]))
    return {
        "compared": changes.height,
        "clear_changes": clear.height,
        "for_the_worse": int(changes["is_adverse"].sum()),
    }


@table_asset(marts.MetricChanges, group=GROUP, reads={"daily": marts.StepMetricsDaily}, summary=_change_summary)
def changed_rates(as_of: date, settings: Settings, daily: pl.DataFrame) -> pl.DataFrame:
    """Every rate against four weeks before."""
    return metric_changes.metric_changes(daily, as_of=as_of, maturity_days=settings.maturity_days)


FUNNEL_COUNTS = ("entrants", "advanced", "lost", "goal_exits", "waiting")
FUNNEL_READS = {
    "transitions": reductions.FunnelTransitions,
    "hours": reductions.TransitionHours,
    "core_steps": core.CoreSteps,
    "core_edges": core.CoreEdges,
}


@table_asset(marts.Funnel, group=GROUP, reads=FUNNEL_READS, summary=partial(_sums, names=FUNNEL_COUNTS))
def drop_off(
    as_of: date,
    settings: Settings,
    transitions: pl.DataFrame,
    hours: pl.DataFrame,
    core_steps: pl.DataFrame,
    core_edges: pl.DataFrame,
) -> pl.DataFrame:
    """Drop-off between consecutive steps, with intervals and the people still waiting."""
    return funnel.funnel(transitions, hours, core_steps, core_edges, as_of=as_of, funnel_days=settings.funnel_days)


@table_asset(
    marts.TimeToNextStep,
    group=GROUP,
    reads={"hours": reductions.TransitionHours, "core_steps": core.CoreSteps, "core_edges": core.CoreEdges},
    summary=partial(_sums, names=("entrants", "advanced", "waiting")),
)
def time_to_next(
    as_of: date, settings: Settings, hours: pl.DataFrame, core_steps: pl.DataFrame, core_edges: pl.DataFrame
) -> pl.DataFrame:
    """Quantiles of the time to the next step by version of the delay."""
    return time_to_next_step.time_to_next_step(
        hours, core_steps, core_edges, as_of=as_of, funnel_days=settings.funnel_days
    )


def _exits(rows: pl.DataFrame) -> dict[str, Any]:
    recent = rows.filter(pl.col("window") == "28d").group_by("exit_reason").agg(pl.col("exits").sum())
    return {f"{reason}, 28 days": exits for reason, exits in recent.sort("exit_reason").iter_rows()}


@table_asset(
    marts.ExitReasons,
    group=GROUP,
    reads={"exit_days": reductions.ExitDays, "core_steps": core.CoreSteps},
    summary=_exits,
)
def exit_reasons(as_of: date, settings: Settings, exit_days: pl.DataFrame, core_steps: pl.DataFrame) -> pl.DataFrame:
    """Why journeys end, by step and window."""
    return exits.exit_reasons(exit_days, core_steps, as_of=as_of)


def _credited(rows: pl.DataFrame) -> dict[str, Any]:
    recent = rows.filter(pl.col("window") == "28d").group_by("view").agg(pl.col("conversions", "revenue_amount").sum())
    return {
        name: value
        for view, conversions, revenue in recent.sort("view").iter_rows()
        for name, value in (
            (f"conversions by {view}, 28 days", conversions),
            (f"revenue by {view}, 28 days", float(revenue)),
        )
    }


@table_asset(
    marts.RevenueAttribution,
    group=GROUP,
    reads={
        "credit_days": reductions.CreditDays,
        "step_days": reductions.StepDays,
        "core_steps": core.CoreSteps,
    },
    summary=_credited,
)
def revenue_attribution(
    as_of: date, settings: Settings, credit_days: pl.DataFrame, step_days: pl.DataFrame, core_steps: pl.DataFrame
) -> pl.DataFrame:
    """Conversions and revenue credited to each step, by both rules."""
    return attribution.revenue_attribution(credit_days, step_days, core_steps, as_of=as_of, currency=settings.currency)


def _worst(rows: pl.DataFrame) -> dict[str, Any]:
    if rows.is_empty():
        return {}
    worst = rows.sort("rank").row(0, named=True)
    return {name: worst[name] for name in ("workflow_id", "from_step_id", "to_step_id", "first_rank_probability")}


@table_asset(
    marts.Bottlenecks,
    group=GROUP,
    reads={
        "drop_off": marts.Funnel,
        "exit_days": reductions.ExitDays,
        "credit_days": reductions.CreditDays,
        "core_steps": core.CoreSteps,
        "core_workflows": core.CoreWorkflows,
    },
    summary=_worst,
)
def avoidable_losses(
    as_of: date,
    settings: Settings,
    drop_off: pl.DataFrame,
    exit_days: pl.DataFrame,
    credit_days: pl.DataFrame,
    core_steps: pl.DataFrame,
    core_workflows: pl.DataFrame,
) -> pl.DataFrame:
    """Transitions ranked by avoidable loss."""
    return bottlenecks.bottlenecks(
        drop_off, exit_days, credit_days, core_steps, core_workflows, as_of=as_of, funnel_days=settings.funnel_days
    )


@table_asset(
    marts.StuckSubscribers,
    group=GROUP,
    reads={
        "step_entries": core.CoreStepEntries,
        "departures": core.CoreDepartures,
        "conversions": core.CoreConversions,
        "subscribers": core.CoreSubscribers,
        "messages": core.CoreMessages,
        "steps": core.CoreSteps,
        "workflows": core.CoreWorkflows,
    },
    reads_lake={"events": lake.Events, "automation_queue": lake.AutomationQueue},
    summary=lambda rows: {"people": rows.height, "causes": rows["cause"].n_unique()},
)
def stuck_subscribers(as_of: date, settings: Settings, **frames: pl.DataFrame) -> pl.DataFrame:
    """Who is stuck tonight, where and why."""
    return stuck.stuck_subscribers(**frames, as_of=as_of)


@table_asset(
    marts.Reconciliation,
    group=GROUP,
    reads={
        "step_days": reductions.StepDays,
        "core_steps": core.CoreSteps,
        "messages": core.CoreMessages,
        "engagements": core.CoreEngagements,
    },
    reads_lake={"reports": lake.Reports},
    scans_lake={
        "sources": lake.Sources,
        "members": lake.Members,
        "sends": lake.Sends,
        "orders": lake.Orders,
        "renamed": lake.Renamed,
    },
    summary=lambda rows: dict(rows["reason"].value_counts().iter_rows()),
)
def reconciled(
    as_of: date,
    settings: Settings,
    step_days: pl.DataFrame,
    core_steps: pl.DataFrame,
    messages: pl.DataFrame,
    engagements: pl.DataFrame,
    reports: pl.DataFrame,
    **scans: pl.LazyFrame,
) -> pl.DataFrame:
    """Our counts held against Mailchimp's reports and listings."""
    listed = announced.collections(**scans, as_of=as_of)
    return reconciliation.reconciliation(
        step_days, core_steps, reports, messages.lazy(), engagements.lazy(), listed, as_of=as_of
    )


performance_assets = [
    workflows,
    steps,
    calendar,
    step_metrics_daily,
    step_metrics_by_window,
    workflow_metrics,
    changed_rates,
    drop_off,
    time_to_next,
    exit_reasons,
    revenue_attribution,
    avoidable_losses,
    stuck_subscribers,
    reconciled,
]
