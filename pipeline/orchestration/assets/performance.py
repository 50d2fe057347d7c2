"""Assets of the performance tables: each calls one pure function of `pipeline/analysis`."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import polars as pl
from pandera.typing.polars import DataFrame, LazyFrame

from pipeline.analysis import industry
from pipeline.analysis.experiments import holdouts
from pipeline.analysis.performance import (
    announced,
    attribution,
    bottlenecks,
    dimensions,
    exits,
    funnel,
    links,
    metric_changes,
    reconciliation,
    step_metrics,
    stuck,
    time_to_next_step,
)
from pipeline.analysis.performance.journey_counts import journey_counts
from pipeline.charts.figures import funnel_chart
from pipeline.common.words import share
from pipeline.config.constraints import load_constraints
from pipeline.config.holdouts import load_holdouts
from pipeline.lake.store import Lake
from pipeline.orchestration.asset import Latest, Night, Scan, asset
from pipeline.orchestration.picture import image
from pipeline.schemas import core, lake, reductions
from pipeline.schemas import performance as marts
from pipeline.schemas.experiments import Holdouts
from pipeline.schemas.journeys.lake import JourneySteps, Recipients
from pipeline.schemas.journeys.marts import PublishedJourneys

COUNTS = ("sent", "delivered", "unique_human_clicks", "conversions")


def _sums(rows: pl.DataFrame, names: Sequence[str] = COUNTS) -> dict[str, Any]:
    return {name: int(rows[name].sum()) for name in names}


def _last_four_weeks(rows: pl.DataFrame) -> dict[str, Any]:
    return {f"{name}, 28 days": total for name, total in _sums(rows.filter(pl.col("window") == "28d")).items()}


@asset(marts.Workflows, group="performance")
def workflows(workflows: DataFrame[core.CoreWorkflows], steps: DataFrame[core.CoreSteps]) -> pl.DataFrame:
    """Workflows with their number of steps."""
    return dimensions.workflows(workflows, steps)


@asset(marts.Steps, group="performance")
def steps(
    steps: DataFrame[core.CoreSteps],
    edges: DataFrame[core.CoreEdges],
    automations: Latest[lake.Automations],
    emails: Latest[lake.AutomationEmails],
    night: Night,
) -> pl.DataFrame:
    """Steps with their default way on, and when they may send."""
    limits = load_constraints(night.settings.definitions).of_steps(steps)
    return dimensions.steps(steps, edges, limits, automations, emails, night.as_of)


@asset(marts.Calendar, group="performance")
def calendar(
    step_days: DataFrame[reductions.StepDays], entry_days: DataFrame[reductions.EntryDays], night: Night
) -> pl.DataFrame:
    """Every day from the first fact to tonight."""
    return dimensions.calendar(step_days, entry_days, night.as_of, night.settings.maturity_days)


@asset(marts.StepMetricsDaily, group="performance", summary=_sums)
def step_metrics_daily(
    step_days: DataFrame[reductions.StepDays],
    entry_days: DataFrame[reductions.EntryDays],
    credit_days: DataFrame[reductions.CreditDays],
    steps: DataFrame[core.CoreSteps],
    workflows: DataFrame[core.CoreWorkflows],
    night: Night,
) -> pl.DataFrame:
    """Counts by step and day."""
    days, currency = night.settings.maturity_days, night.settings.currency
    return step_metrics.step_metrics_daily(
        step_days, entry_days, credit_days, steps, workflows, as_of=night.as_of, maturity_days=days, currency=currency
    )


@asset(marts.StepMetrics, group="performance", summary=_last_four_weeks)
def step_metrics_by_window(daily: DataFrame[marts.StepMetricsDaily], night: Night) -> pl.DataFrame:
    """Counts and rates by step and window."""
    return step_metrics.step_metrics(daily, as_of=night.as_of)


@asset(marts.WorkflowMetrics, group="performance", summary=_last_four_weeks)
def workflow_metrics(
    daily: DataFrame[marts.StepMetricsDaily],
    steps: DataFrame[core.CoreSteps],
    results: DataFrame[Holdouts],
    facts: holdouts.RevenueFacts,
    events: Scan[lake.Events],
    night: Night,
) -> pl.DataFrame:
    """Counts and rates by workflow and window, and what the flow really added."""
    defined = load_holdouts(night.settings.definitions)
    moments = holdouts.trigger_moments(defined, facts.workflows, facts.subscribers, events)
    added = holdouts.incremental_by_window(defined, results, facts, moments, as_of=night.as_of)
    return step_metrics.workflow_metrics(daily, steps, added, as_of=night.as_of)


def _link_summary(rows: pl.DataFrame) -> dict[str, Any]:
    recent = rows.filter(pl.col("window") == "28d")
    return {
        "links, 28 days": recent.height,
        "clicked_by_nobody, 28 days": recent.filter(pl.col("unique_human_clicks") == 0).height,
    }


@asset(marts.StepLinks, group="performance", summary=_link_summary)
def clicked_links(
    link_days: DataFrame[reductions.LinkDays],
    step_days: DataFrame[reductions.StepDays],
    click_details: Latest[lake.ClickDetails],
    steps: DataFrame[core.CoreSteps],
    night: Night,
) -> pl.DataFrame:
    """Clicks by link and person."""
    return links.step_links(link_days, step_days, click_details, steps, as_of=night.as_of)


def _industry_summary(rows: pl.DataFrame) -> dict[str, Any]:
    return dict(rows.select("metric", "comparison").iter_rows())


@asset(marts.Industry, group="performance", summary=_industry_summary)
def beside_industry(
    daily: DataFrame[marts.StepMetricsDaily], reports: Latest[lake.Reports], night: Night
) -> pl.DataFrame:
    """The account's rates beside those of its industry."""
    return industry.industry(daily, reports, as_of=night.as_of)


def _change_summary(changes: pl.DataFrame) -> dict[str, Any]:
    return {
        "compared": changes.height,
        "clear_changes": changes.filter(pl.col("change").is_in(["up", "down"])).height,
        "for_the_worse": int(changes["is_adverse"].sum()),
    }


@asset(marts.MetricChanges, group="performance", summary=_change_summary)
def changed_rates(daily: DataFrame[marts.StepMetricsDaily], night: Night) -> pl.DataFrame:
    """Every rate against four weeks before."""
    return metric_changes.metric_changes(daily, as_of=night.as_of, maturity_days=night.settings.maturity_days)


def _funnel_summary(rows: pl.DataFrame) -> dict[str, Any]:
    """The counts, where most is lost in words, which Dagster shows at once, and the drawing of that workflow."""
    sums = _sums(rows, names=("entrants", "advanced", "lost", "goal_exits", "waiting"))
    worst = rows.drop_nulls("drop_off_rate").sort("lost", descending=True).head(1)
    named = rows.with_columns(transition=pl.concat_str("from_step_id", pl.lit(" to "), "to_step_id"))
    for row in worst.iter_rows(named=True):
        lost = share(row["drop_off_rate"], row["drop_off_rate_low"], row["drop_off_rate_high"])
        told = f"{row['workflow_id']}, {row['from_step_id']} to {row['to_step_id']}: {lost}"
        return {**sums, "most_lost": told, **image(funnel_chart(named.filter(workflow_id=row["workflow_id"])))}
    return sums


@asset(marts.Funnel, group="performance", summary=_funnel_summary)
def drop_off(
    transitions: DataFrame[reductions.FunnelTransitions],
    hours: DataFrame[reductions.TransitionHours],
    steps: DataFrame[core.CoreSteps],
    edges: DataFrame[core.CoreEdges],
    night: Night,
) -> pl.DataFrame:
    """Drop-off between consecutive steps, with intervals and the people still waiting."""
    days = night.settings.funnel_days
    return funnel.funnel(transitions, hours, steps, edges, as_of=night.as_of, funnel_days=days)


@asset(marts.TimeToNextStep, group="performance", summary=partial(_sums, names=("entrants", "advanced", "waiting")))
def time_to_next(
    hours: DataFrame[reductions.TransitionHours],
    steps: DataFrame[core.CoreSteps],
    edges: DataFrame[core.CoreEdges],
    night: Night,
) -> pl.DataFrame:
    """Quantiles of the time to the next step by version of the delay."""
    days = night.settings.funnel_days
    return time_to_next_step.time_to_next_step(hours, steps, edges, as_of=night.as_of, funnel_days=days)


def _exits(rows: pl.DataFrame) -> dict[str, Any]:
    recent = rows.filter(pl.col("window") == "28d").group_by("exit_reason").agg(pl.col("exits").sum())
    return {f"{reason}, 28 days": exits for reason, exits in recent.sort("exit_reason").iter_rows()}


@asset(marts.ExitReasons, group="performance", summary=_exits)
def exit_reasons(
    exit_days: DataFrame[reductions.ExitDays], steps: DataFrame[core.CoreSteps], night: Night
) -> pl.DataFrame:
    """Why journeys end, by step and window."""
    return exits.exit_reasons(exit_days, steps, as_of=night.as_of)


def _credited(rows: pl.DataFrame) -> dict[str, Any]:
    recent = rows.filter(pl.col("window") == "28d").group_by("view").agg(pl.col("conversions", "revenue_amount").sum())
    found: dict[str, Any] = {}
    for view, conversions, revenue in recent.sort("view").iter_rows():
        found[f"conversions by {view}, 28 days"] = conversions
        found[f"revenue by {view}, 28 days"] = float(revenue)
    return found


@asset(marts.RevenueAttribution, group="performance", summary=_credited)
def revenue_attribution(
    credit_days: DataFrame[reductions.CreditDays],
    step_days: DataFrame[reductions.StepDays],
    steps: DataFrame[core.CoreSteps],
    night: Night,
) -> pl.DataFrame:
    """Conversions and revenue credited to each step, by both rules."""
    currency = night.settings.currency
    return attribution.revenue_attribution(credit_days, step_days, steps, as_of=night.as_of, currency=currency)


def _worst(rows: pl.DataFrame) -> dict[str, Any]:
    if rows.is_empty():
        return {}
    worst = rows.sort("rank").row(0, named=True)
    return {name: worst[name] for name in ("workflow_id", "from_step_id", "to_step_id", "first_rank_probability")}


@asset(marts.Bottlenecks, group="performance", summary=_worst)
def avoidable_losses(
    drop_off: DataFrame[marts.Funnel],
    exit_days: DataFrame[reductions.ExitDays],
    credit_days: DataFrame[reductions.CreditDays],
    steps: DataFrame[core.CoreSteps],
    workflows: DataFrame[core.CoreWorkflows],
    night: Night,
) -> pl.DataFrame:
    """Transitions ranked by avoidable loss."""
    days = night.settings.funnel_days
    return bottlenecks.bottlenecks(
        drop_off, exit_days, credit_days, steps, workflows, as_of=night.as_of, funnel_days=days
    )


def _causes(rows: pl.DataFrame) -> dict[str, Any]:
    return {"people": rows.height, "causes": rows["cause"].n_unique()}


@dataclass(frozen=True)
class Queues:
    """Who waits, as Mailchimp shows it: by name in classic automations, by number in journeys."""

    queue: Latest[lake.AutomationQueue]
    journey_steps: Latest[JourneySteps]


@asset(marts.StuckSubscribers, group="performance", summary=_causes)
def stuck_subscribers(
    entries: LazyFrame[core.CoreStepEntries],
    departures: LazyFrame[core.CoreDepartures],
    conversions: LazyFrame[core.CoreConversions],
    subscribers: LazyFrame[core.CoreSubscribers],
    messages: LazyFrame[core.CoreMessages],
    events: Scan[lake.Events],
    waiting: Queues,
    steps: DataFrame[core.CoreSteps],
    workflows: DataFrame[core.CoreWorkflows],
    night: Night,
) -> pl.DataFrame:
    """Who is stuck tonight, where and why."""
    queues = (waiting.queue, waiting.journey_steps)
    return stuck.stuck_subscribers(
        entries, departures, conversions, subscribers, messages, events, *queues, steps, workflows, as_of=night.as_of
    )


def _reasons(rows: pl.DataFrame) -> dict[str, Any]:
    return dict(rows["reason"].value_counts().iter_rows())


@dataclass(frozen=True)
class Listings:
    """What Mailchimp's listings held, with all versions."""

    sources: Scan[lake.Sources]
    members: Scan[lake.Members]
    sends: Scan[lake.Sends]
    orders: Scan[lake.Orders]
    renamed: Scan[lake.Renamed]


@dataclass(frozen=True)
class JourneyPeople:
    """Who is in which journey, by Mailchimp's count and by our facts."""

    versions: DataFrame[PublishedJourneys]
    journey_steps: Latest[JourneySteps]
    step_entries: LazyFrame[core.CoreStepEntries]
    edges: DataFrame[core.CoreEdges]
    subscribers: LazyFrame[core.CoreSubscribers]
    recipients: Latest[Recipients]


@asset(marts.Reconciliation, group="performance", summary=_reasons)
def reconciled(
    step_days: DataFrame[reductions.StepDays],
    steps: DataFrame[core.CoreSteps],
    reports: Latest[lake.Reports],
    messages: LazyFrame[core.CoreMessages],
    engagements: LazyFrame[core.CoreEngagements],
    listings: Listings,
    people: JourneyPeople,
    store: Lake,
    night: Night,
) -> pl.DataFrame:
    """Our counts held against Mailchimp's reports, listings and journeys."""
    in_journeys = journey_counts(
        **vars(people), messages=messages, steps=steps, sources=listings.sources, as_of=night.as_of
    )
    found = announced.collections(**vars(listings), forgotten=store.people_forgotten, as_of=night.as_of)
    listed = pl.concat([found, in_journeys])
    later = announced.not_held_yet(listings.sources, as_of=night.as_of)
    of_journeys = steps.join(people.versions.filter("can_reenter"), on="workflow_id", how="semi")["campaign_id"]
    again = pl.concat([of_journeys.drop_nulls(), people.recipients.filter(pl.col("feed_sends") > 1)["campaign_id"]])
    return reconciliation.reconciliation(
        step_days, steps, reports, messages, engagements, listed, later, again, as_of=night.as_of
    )
