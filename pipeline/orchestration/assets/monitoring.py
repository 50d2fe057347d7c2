"""Assets of the monitoring tables: each calls one pure function of `pipeline/analysis`."""

from datetime import date
from typing import Any

import polars as pl

from pipeline.analysis import opportunities
from pipeline.analysis.anomalies import incidents as anomaly_incidents
from pipeline.analysis.anomalies import nights
from pipeline.analysis.anomalies.history import watched_history
from pipeline.analysis.cohorts.triangles import continuous_cells
from pipeline.charts.figures import opportunity_chart, trend_chart
from pipeline.config.mutes import load_mutes
from pipeline.orchestration.asset import table_asset
from pipeline.orchestration.picture import image
from pipeline.schemas import cohorts, core, performance, reductions, timing
from pipeline.schemas import monitoring as marts
from pipeline.settings import Settings

GROUP = "monitoring"


@table_asset(
    marts.AnomalyBaselines,
    group=GROUP,
    reads={"daily": performance.StepMetricsDaily, "core_workflows": core.CoreWorkflows},
    summary=lambda rows: {
        "series": rows.select("workflow_id", "step_id", "metric").n_unique(),
        "scored": rows.filter(pl.col("status") == "ok").height,
        "not_enough_data": rows.filter(pl.col("status") == "not enough data").height,
        "out_of_line": int(rows["is_anomaly"].sum()),
    },
)
def baselines(as_of: date, settings: Settings, daily: pl.DataFrame, core_workflows: pl.DataFrame) -> pl.DataFrame:
    """What each night was expected to be, from the nights before it alone."""
    history = watched_history(daily, core_workflows, as_of_day=as_of)
    return nights.anomaly_baselines(history, as_of_day=as_of, holidays=settings.holidays)


@table_asset(
    marts.Anomalies,
    group=GROUP,
    reads={"baselines": marts.AnomalyBaselines},
    summary=lambda rows: {
        "alarms": rows.height,
        "causes": rows["cause_id"].n_unique(),
        "causes_going_on": rows.filter("is_latest")["cause_id"].n_unique(),
        "muted": int(rows["is_muted"].sum()),
    },
)
def detected(as_of: date, settings: Settings, baselines: pl.DataFrame) -> pl.DataFrame:
    """Nights out of line, with the cause they share and the mutes that stand."""
    return anomaly_incidents.anomalies(baselines, mutes=load_mutes(settings.definitions))


def _trend_summary(rows: pl.DataFrame) -> dict[str, Any]:
    return {
        "series": rows.select("workflow_id", "step_id", "metric").n_unique(),
        "nights": rows["day"].n_unique(),
        "marked_nights": rows["change_marker"].count(),
        **image(trend_chart(rows)),
    }


@table_asset(marts.MetricTrends, group=GROUP, reads={"baselines": marts.AnomalyBaselines}, summary=_trend_summary)
def trends(as_of: date, settings: Settings, baselines: pl.DataFrame) -> pl.DataFrame:
    """The course of every metric with its expected band."""
    return nights.metric_trends(baselines)


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


@table_asset(
    marts.Opportunities,
    group=GROUP,
    reads={
        "avoidable_losses": performance.Bottlenecks,
        "detected": marts.Anomalies,
        "comparison": cohorts.CohortComparison,
        "cells": reductions.CohortCells,
        "core_workflows": core.CoreWorkflows,
        "delays": timing.DelayRecommendations,
        "daily": performance.StepMetricsDaily,
    },
    summary=_best,
)
def ranked_opportunities(
    as_of: date,
    settings: Settings,
    avoidable_losses: pl.DataFrame,
    detected: pl.DataFrame,
    comparison: pl.DataFrame,
    cells: pl.DataFrame,
    core_workflows: pl.DataFrame,
    delays: pl.DataFrame,
    daily: pl.DataFrame,
) -> pl.DataFrame:
    """What could be won, over all analyses."""
    return opportunities.opportunities(
        avoidable_losses,
        detected,
        comparison,
        continuous_cells(cells, core_workflows),
        delays,
        daily,
        as_of_day=as_of,
        funnel_days=settings.funnel_days,
    )


monitoring_assets = [baselines, detected, trends, ranked_opportunities]
