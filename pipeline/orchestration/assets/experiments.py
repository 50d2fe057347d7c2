"""Assets of tests inside flow steps: each calls pure functions of `pipeline/analysis`."""

from datetime import date
from typing import Any

import polars as pl

from pipeline.analysis.experiments import exposures as experiment_exposures
from pipeline.analysis.experiments import registry as experiment_registry
from pipeline.analysis.experiments.draft import Assigner
from pipeline.analysis.experiments.exposures import Facts
from pipeline.analysis.experiments.nights import looks
from pipeline.charts.figures import experiment_chart
from pipeline.config.experiments import load_experiments
from pipeline.orchestration.asset import log_asset, preview, table_asset, tables_asset
from pipeline.orchestration.picture import image
from pipeline.schemas import core, lake
from pipeline.schemas import experiments as marts
from pipeline.settings import Settings

GROUP = "experiments"
FACTS = {
    "steps": core.CoreSteps,
    "workflows": core.CoreWorkflows,
    "messages": core.CoreMessages,
    "conversions": core.CoreConversions,
    "subscribers": core.CoreSubscribers,
}
PLANS = {"plans": lake.ExperimentPlans}
VERDICT = ["experiment_id", "verdict", "decided_day", "lift", "lift_low", "lift_high", "recommended_action", "status"]


def _registered(
    as_of: date, settings: Settings, plans: pl.DataFrame, facts: Facts
) -> tuple[experiment_registry.Experiment, ...]:
    drafts = load_experiments(settings.definitions)
    days = settings.experiment_baseline_days
    return experiment_registry.register(drafts, plans, facts, baseline_days=days, as_of_day=as_of)


@log_asset(lake.ExperimentPlans, group=GROUP, reads=FACTS, reads_lake=PLANS)
def frozen_plans(as_of: date, settings: Settings, plans: pl.DataFrame, **facts: pl.DataFrame) -> pl.DataFrame:
    """Plans of tests that start, for good."""
    return experiment_registry.frozen_plans(_registered(as_of, settings, plans, Facts(**facts)))


@table_asset(
    marts.Experiments,
    group=GROUP,
    reads=FACTS,
    reads_lake=PLANS,
    summary=lambda rows: dict(
        rows.group_by(pl.col("status").str.split(":").list.first()).len().sort("status").iter_rows()
    ),
)
def experiments(as_of: date, settings: Settings, plans: pl.DataFrame, **facts: pl.DataFrame) -> pl.DataFrame:
    """The tests of experiments.yaml with their plans."""
    found = _registered(as_of, settings, plans, Facts(**facts))
    return experiment_registry.experiment_table(found, as_of_day=as_of)


@table_asset(
    marts.ExperimentAssignments,
    group=GROUP,
    reads=FACTS,
    reads_lake=PLANS,
    scans_lake={"members": lake.Members, "events": lake.Events},
    summary=lambda rows: {
        f"{test}: {arm}": count
        for test, arm, count in rows.group_by("experiment_id", "arm").len().sort("experiment_id", "arm").head(6).rows()
    },
)
def assigned(
    as_of: date,
    settings: Settings,
    plans: pl.DataFrame,
    members: pl.LazyFrame,
    events: pl.LazyFrame,
    **facts: pl.DataFrame,
) -> pl.DataFrame:
    """Who has which arm: drawn by driptune, or as the sender told."""
    core_facts = Facts(**facts)
    drafts = [one.draft for one in _registered(as_of, settings, plans, core_facts) if one.is_frozen]
    told = experiment_exposures.told(
        members,
        events,
        fields=[draft.arm_field for draft in drafts if draft.assigned_by is Assigner.FIELD and draft.arm_field],
        experiments=[draft.experiment_id for draft in drafts if draft.assigned_by is Assigner.EVENTS],
    )
    return experiment_exposures.assignments(drafts, core_facts, told, as_of_day=as_of)


def _verdict_summary(rows: pl.DataFrame) -> dict[str, Any]:
    counts = dict(rows.group_by("verdict").len().sort("verdict").iter_rows())
    return {**counts, "verdicts": preview(rows.select(VERDICT))}


@tables_asset(
    [marts.ExperimentResults, marts.ExperimentVerdicts],
    group=GROUP,
    reads=FACTS | {"arms": marts.ExperimentAssignments},
    reads_lake=PLANS,
    summaries={
        marts.ExperimentResults: lambda rows: {
            "tests": rows["experiment_id"].n_unique(),
            "nights": rows.select("experiment_id", "as_of_day").n_unique(),
            "claims": rows.filter("is_significant").select("experiment_id", "metric", "arm").n_unique(),
            **image(experiment_chart(rows)),
        },
        marts.ExperimentVerdicts: _verdict_summary,
    },
)
def look_at_experiments(
    as_of: date, settings: Settings, plans: pl.DataFrame, arms: pl.DataFrame, **facts: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Every night of every test, recomputed from what is known tonight, and the verdicts."""
    core_facts = Facts(**facts)
    return looks(_registered(as_of, settings, plans, core_facts), arms, core_facts, as_of_day=as_of)


@table_asset(
    marts.MemberFieldValues,
    group=GROUP,
    reads=FACTS | {"arms": marts.ExperimentAssignments},
    reads_lake=PLANS,
    summary=lambda rows: dict(rows.group_by("field").len().sort("field").iter_rows()),
)
def field_values(
    as_of: date, settings: Settings, plans: pl.DataFrame, arms: pl.DataFrame, **facts: pl.DataFrame
) -> pl.DataFrame:
    """What the sender's merge fields should hold."""
    core_facts = Facts(**facts)
    return experiment_registry.field_values(_registered(as_of, settings, plans, core_facts), arms, core_facts)


experiment_assets = [frozen_plans, experiments, assigned, look_at_experiments, field_values]
