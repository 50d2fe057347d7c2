"""Assets of the cohort tables: each calls one pure function of `pipeline/analysis`."""

from typing import Any

import polars as pl
from pandera.typing.polars import DataFrame

from pipeline.analysis.cohorts import comparison as cohort_comparison
from pipeline.analysis.cohorts import triangles as cohort_ages
from pipeline.charts.figures import cohort_chart
from pipeline.orchestration.asset import Night, asset
from pipeline.orchestration.picture import image
from pipeline.schemas import cohorts as marts
from pipeline.schemas import core, reductions


def _triangle_summary(rows: pl.DataFrame) -> dict[str, Any]:
    return {
        "cohorts": rows.select("cohort_type", "workflow_id", "cohort").n_unique(),
        "closed_cells": rows.filter("is_mature").height,
        "projected_cells": rows.filter("is_projected").height,
        **image(cohort_chart(rows)),
    }


@asset(marts.CohortTriangles, group="cohorts", summary=_triangle_summary)
def triangles(
    cells: DataFrame[reductions.CohortCells], workflows: DataFrame[core.CoreWorkflows], night: Night
) -> pl.DataFrame:
    """What cohorts did by weeks since entry, and where young cohorts are heading."""
    return cohort_ages.cohort_triangles(cohort_ages.continuous_cells(cells, workflows), as_of_day=night.as_of)


@asset(
    marts.CohortMetrics,
    group="cohorts",
    summary=lambda rows: {name: int(rows[name].sum()) for name in ("entrants", "followed", "conversions", "exits")},
)
def metrics(triangles: DataFrame[marts.CohortTriangles]) -> pl.DataFrame:
    """Each cohort at the last age that all of it has reached."""
    return cohort_ages.cohort_metrics(triangles)


@asset(
    marts.CohortComparison,
    group="cohorts",
    summary=lambda rows: {
        "compared": rows.filter(pl.col("status") == "ok").height,
        "not_enough_data": rows.filter(pl.col("status") != "ok").height,
        "people_compared": int(rows.filter(pl.col("status") == "ok")["followed"].sum()),
    },
)
def comparison(triangles: DataFrame[marts.CohortTriangles], night: Night) -> pl.DataFrame:
    """Cohorts against their mean at equal age."""
    return cohort_comparison.cohort_comparison(triangles, as_of_day=night.as_of)


@asset(
    marts.CohortInsights,
    group="cohorts",
    summary=lambda rows: {
        "insights": rows.height,
        "people_affected": int(rows["affected"].sum()),
        "above_or_below_mean": rows.filter(pl.col("insight_kind").str.ends_with("mean")).height,
    },
)
def insights(comparison: DataFrame[marts.CohortComparison], night: Night) -> pl.DataFrame:
    """What can be said about cohorts with confidence."""
    return cohort_comparison.cohort_insights(comparison, as_of_day=night.as_of)
