"""Assets of the cohort tables: each calls one pure function of `pipeline/analysis`."""

from datetime import date
from typing import Any

import polars as pl

from pipeline.analysis.cohorts import comparison as cohort_comparison
from pipeline.analysis.cohorts import triangles as cohort_ages
from pipeline.charts.figures import cohort_chart
from pipeline.orchestration.asset import table_asset
from pipeline.orchestration.picture import image
from pipeline.schemas import cohorts as marts
from pipeline.schemas import core, reductions
from pipeline.settings import Settings

GROUP = "cohorts"


def _triangle_summary(rows: pl.DataFrame) -> dict[str, Any]:
    return {
        "cohorts": rows.select("cohort_type", "workflow_id", "cohort").n_unique(),
        "closed_cells": rows.filter("is_mature").height,
        "projected_cells": rows.filter("is_projected").height,
        **image(cohort_chart(rows)),
    }


@table_asset(
    marts.CohortTriangles,
    group=GROUP,
    reads={"cells": reductions.CohortCells, "core_workflows": core.CoreWorkflows},
    summary=_triangle_summary,
)
def triangles(as_of: date, settings: Settings, cells: pl.DataFrame, core_workflows: pl.DataFrame) -> pl.DataFrame:
    """What cohorts did by weeks since entry, and where young ones are heading."""
    return cohort_ages.cohort_triangles(cohort_ages.continuous_cells(cells, core_workflows), as_of_day=as_of)


@table_asset(
    marts.CohortMetrics,
    group=GROUP,
    reads={"triangles": marts.CohortTriangles},
    summary=lambda rows: {name: int(rows[name].sum()) for name in ("entrants", "followed", "conversions", "exits")},
)
def metrics(as_of: date, settings: Settings, triangles: pl.DataFrame) -> pl.DataFrame:
    """Each cohort at the last age all of it has reached."""
    return cohort_ages.cohort_metrics(triangles)


@table_asset(
    marts.CohortComparison,
    group=GROUP,
    reads={"triangles": marts.CohortTriangles},
    summary=lambda rows: {
        "compared": rows.filter(pl.col("status") == "ok").height,
        "not_enough_data": rows.filter(pl.col("status") != "ok").height,
        "people_compared": int(rows.filter(pl.col("status") == "ok")["followed"].sum()),
    },
)
def comparison(as_of: date, settings: Settings, triangles: pl.DataFrame) -> pl.DataFrame:
    """Cohorts against their mean at equal age."""
    return cohort_comparison.cohort_comparison(triangles, as_of_day=as_of)


@table_asset(
    marts.CohortInsights,
    group=GROUP,
    reads={"comparison": marts.CohortComparison},
    summary=lambda rows: {
        "insights": rows.height,
        "people_affected": int(rows["affected"].sum()),
        "above_or_below_mean": rows.filter(pl.col("insight_kind").str.ends_with("mean")).height,
    },
)
def insights(as_of: date, settings: Settings, comparison: pl.DataFrame) -> pl.DataFrame:
    """What can be said about cohorts with confidence."""
    return cohort_comparison.cohort_insights(comparison, as_of_day=as_of)


cohort_assets = [triangles, metrics, comparison, insights]
