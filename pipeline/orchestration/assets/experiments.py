"""Assets of tests inside flow steps: each calls pure functions of `pipeline/analysis`."""

from dataclasses import dataclass
from typing import Any

import polars as pl
from pandera.typing.polars import DataFrame, LazyFrame

from pipeline.analysis.experiments import exposures, holdouts, registry
from pipeline.analysis.experiments.exposures import Facts
from pipeline.analysis.experiments.nights import looks
from pipeline.charts.figures import experiment_chart
from pipeline.config.experiments import load_experiments
from pipeline.config.flow_map import load_flow_map
from pipeline.config.holdouts import load_holdouts
from pipeline.orchestration.asset import Latest, Night, Scan, asset, preview
from pipeline.orchestration.picture import image
from pipeline.schemas import core, lake, loop
from pipeline.schemas import experiments as marts
from pipeline.schemas.vocabulary import Assigner

VERDICT = ["experiment_id", "verdict", "decided_day", "lift", "lift_low", "lift_high", "recommended_action", "status"]


@dataclass(frozen=True)
class Standing:
    """What is known of tests beside the facts: frozen plans, and the ledger's records."""

    plans: Latest[lake.ExperimentPlans]
    records: DataFrame[loop.Optimizations]


def _registered(facts: Facts, standing: Standing, night: Night) -> tuple[registry.Experiment, ...]:
    drafts, days = load_experiments(night.settings.definitions), night.settings.experiment_baseline_days
    started = registry.start_days(standing.records, as_of_day=night.as_of)
    return registry.register(drafts, standing.plans, facts, started, baseline_days=days, as_of_day=night.as_of)


@asset(lake.ExperimentPlans, group="experiments", kinds=("polars", "parquet"))
def frozen_plans(facts: Facts, standing: Standing, night: Night) -> pl.DataFrame:
    """Plans of tests that start, for good."""
    return registry.frozen_plans(_registered(facts, standing, night))


def _status_summary(rows: pl.DataFrame) -> dict[str, Any]:
    status = pl.col("status").str.split(":").list.first()
    return dict(rows.group_by(status).len().sort("status").iter_rows())


@asset(marts.Experiments, group="experiments", summary=_status_summary)
def experiments(facts: Facts, standing: Standing, night: Night) -> pl.DataFrame:
    """The tests of experiments.yaml with their plans."""
    return registry.experiment_table(_registered(facts, standing, night), as_of_day=night.as_of)


def _arm_summary(rows: pl.DataFrame) -> dict[str, Any]:
    counts = rows.group_by("experiment_id", "arm").len().sort("experiment_id", "arm").head(6)
    return {f"{test}: {arm}": count for test, arm, count in counts.iter_rows()}


@asset(marts.ExperimentAssignments, group="experiments", summary=_arm_summary)
def assigned(
    facts: Facts,
    standing: Standing,
    written: DataFrame[core.CoreWrittenValues],
    members: Scan[lake.Members],
    events: Scan[lake.Events],
    night: Night,
) -> pl.DataFrame:
    """Who has which arm: drawn by driptune, or as the sender told."""
    drafts = [one.draft for one in _registered(facts, standing, night) if one.is_frozen or one.can_be_started]
    fields = [draft.arm_field for draft in drafts if draft.assigned_by is Assigner.FIELD and draft.arm_field]
    by_events = [draft.experiment_id for draft in drafts if draft.assigned_by is Assigner.EVENTS]
    told = exposures.told(members, events, fields=fields, experiments=by_events)
    return exposures.assignments(drafts, facts, told, written, as_of_day=night.as_of)


def _result_summary(rows: pl.DataFrame) -> dict[str, Any]:
    return {
        "tests": rows["experiment_id"].n_unique(),
        "nights": rows.select("experiment_id", "as_of_day").n_unique(),
        "claims": rows.filter("is_significant").select("experiment_id", "metric", "arm").n_unique(),
        **image(experiment_chart(rows)),
    }


def _verdict_summary(rows: pl.DataFrame) -> dict[str, Any]:
    counts = dict(rows.group_by("verdict").len().sort("verdict").iter_rows())
    return {**counts, "verdicts": preview(rows.select(VERDICT))}


@asset(
    *(marts.ExperimentResults, marts.ExperimentVerdicts),
    group="experiments",
    summary=(_result_summary, _verdict_summary),
)
def look_at_experiments(
    facts: Facts,
    standing: Standing,
    arms: DataFrame[marts.ExperimentAssignments],
    written: DataFrame[core.CoreWrittenValues],
    night: Night,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Every night of every test, recomputed from what is known tonight, and the verdicts."""
    waits = {flow.wait_field for flow in load_flow_map(night.settings.definitions).flows if flow.wait_field}
    registered = _registered(facts, standing, night)
    return looks(registered, arms, facts, written, wait_fields=waits, as_of_day=night.as_of)


@asset(
    marts.MemberFieldValues,
    group="experiments",
    summary=lambda rows: dict(rows.group_by("field").len().sort("field").iter_rows()),
)
def field_values(
    facts: Facts, standing: Standing, arms: DataFrame[marts.ExperimentAssignments], night: Night
) -> pl.DataFrame:
    """What members are to hold for the tests that driptune assigns."""
    return registry.field_values(_registered(facts, standing, night), arms, facts)


@asset(marts.HoldoutMembers, group="experiments", summary=lambda rows: {"held_out": rows["subscriber_key"].n_unique()})
def held_out(subscribers: LazyFrame[core.CoreSubscribers], night: Night) -> pl.DataFrame:
    """Who is held out of which flow."""
    return holdouts.holdout_members(load_holdouts(night.settings.definitions), subscribers, as_of=night.as_of)


def _holdout_summary(rows: pl.DataFrame) -> dict[str, Any]:
    numbers = ["workflow_id", "attributed_revenue_amount", "incremental_revenue_amount", "status"]
    defined = rows.filter(pl.col("holdout_id").is_not_null())
    return {"hold_outs": defined.height, "revenue": preview(defined.select(numbers))}


@asset(marts.Holdouts, group="experiments", summary=_holdout_summary)
def incremental_revenue(facts: holdouts.RevenueFacts, events: Scan[lake.Events], night: Night) -> pl.DataFrame:
    """Attributed revenue of every flow beside what it really added."""
    defined, currency = load_holdouts(night.settings.definitions), night.settings.currency
    moments = holdouts.trigger_moments(defined, facts.workflows, facts.subscribers, events)
    return holdouts.holdout_results(defined, facts, moments, as_of=night.as_of, currency=currency)
