"""Assets of the monitoring tables: each calls one pure function of `pipeline/analysis`."""

from typing import Any

import polars as pl
from pandera.typing.polars import DataFrame

from pipeline.analysis.anomalies import incidents, nights
from pipeline.analysis.anomalies.history import watched_history
from pipeline.analysis.cohorts.triangles import continuous_cells
from pipeline.analysis.opportunities import ranking
from pipeline.analysis.opportunities.unit import STEP
from pipeline.charts.figures import opportunity_chart, trend_chart
from pipeline.config.mutes import load_mutes
from pipeline.decisions.targets import better_policies
from pipeline.orchestration.asset import Night, asset
from pipeline.orchestration.picture import image
from pipeline.schemas import core, decisions, performance, reductions
from pipeline.schemas import monitoring as marts
from pipeline.schemas.journeys.marts import PublishedJourneys


def _baseline_summary(rows: pl.DataFrame) -> dict[str, Any]:
    return {
        "series": rows.select("workflow_id", "step_id", "metric").n_unique(),
        "scored": rows.filter(pl.col("status") == "ok").height,
        "not_enough_data": rows.filter(pl.col("status") == "not enough data").height,
        "out_of_line": int(rows["is_anomaly"].sum()),
    }


@asset(marts.AnomalyBaselines, group="monitoring", summary=_baseline_summary)
def baselines(
    daily: DataFrame[performance.StepMetricsDaily], workflows: DataFrame[core.CoreWorkflows], night: Night
) -> pl.DataFrame:
    """What each night was expected to be, from the nights before it alone."""
    history = watched_history(daily, workflows, as_of_day=night.as_of)
    return nights.anomaly_baselines(history, as_of_day=night.as_of, holidays=night.settings.holidays)


def _alarm_summary(rows: pl.DataFrame) -> dict[str, Any]:
    return {
        "alarms": rows.height,
        "causes": rows["cause_id"].n_unique(),
        "causes_going_on": rows.filter("is_latest")["cause_id"].n_unique(),
        "muted": int(rows["is_muted"].sum()),
    }


@asset(marts.Anomalies, group="monitoring", summary=_alarm_summary)
def anomalies(baselines: DataFrame[marts.AnomalyBaselines], night: Night) -> pl.DataFrame:
    """Nights out of line, with the cause that they share and the mutes that stand."""
    return incidents.anomalies(baselines, mutes=load_mutes(night.settings.definitions))


def _trend_summary(rows: pl.DataFrame) -> dict[str, Any]:
    return {
        "series": rows.select("workflow_id", "step_id", "metric").n_unique(),
        "nights": rows["day"].n_unique(),
        "marked_nights": rows["change_marker"].count(),
        **image(trend_chart(rows)),
    }


@asset(marts.MetricTrends, group="monitoring", summary=_trend_summary)
def trends(baselines: DataFrame[marts.AnomalyBaselines], versions: DataFrame[PublishedJourneys]) -> pl.DataFrame:
    """The course of every metric with its expected band, and the nights on which its journey changed."""
    return nights.metric_trends(baselines, versions)


def _best(rows: pl.DataFrame) -> dict[str, Any]:
    if rows.is_empty():
        return {}
    best = rows.sort("rank").row(0, named=True)
    return {
        "opportunities": rows.height,
        "randomised": rows.filter(pl.col("identification") == "randomised").height,
        "best_expected_gain": None if best["expected_gain"] is None else round(best["expected_gain"], 1),
        "best": best["message"],
        **image(opportunity_chart(rows)),
    }


@asset(marts.Opportunities, group="monitoring", summary=_best)
def ranked_opportunities(
    findings: ranking.Findings,
    policies: DataFrame[decisions.PolicyValues],
    points: DataFrame[decisions.DecisionPoints],
    cells: DataFrame[reductions.CohortCells],
    workflows: DataFrame[core.CoreWorkflows],
    night: Night,
) -> pl.DataFrame:
    """What could be won, over all analyses."""
    better = better_policies(policies).join(points.select("decision_point_id", *STEP), on="decision_point_id")
    entrants, days = continuous_cells(cells, workflows), night.settings.funnel_days
    return ranking.opportunities(findings, better, entrants, as_of_day=night.as_of, funnel_days=days)
