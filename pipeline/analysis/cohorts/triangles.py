"""Cohorts by age: what those followed did, and where young cohorts are heading.

Here: triangles and metrics of each cohort by itself. Comparing cohorts, and what may be said about them, is in
`cohort_comparison`; the numbers of one triangle in `cohort_ladder`.
"""

from datetime import date

import numpy as np
import polars as pl
import polars.selectors as cs

from pipeline.analysis.cohorts.ladder import EntryGroups, build_triangle, wilson
from pipeline.common.time import to_date
from pipeline.schemas.base import conform, empty
from pipeline.schemas.cohorts import CohortMetrics, CohortTriangles

METHOD = "Aalen-Johansen incidence, chain ladder"
#: Half a year: by then a drip campaign has long said what it had to say.
TRIANGLE_WEEKS = 26
_GROUP = ["cohort_type", "workflow_id"]


def continuous_cells(cells: pl.DataFrame, workflows: pl.DataFrame) -> pl.DataFrame:
    """The cells of workflows that take people in all the time, as `cohort_triangles` wants them.

    Args:
        cells: `reductions.cohort_cells`.
        workflows: `core.workflows`.

    Returns:
        The cells with `workflow_id`, and `day` as a date. One-off campaigns are left out: everybody enters them on one
        day, so their cohorts would differ by how long ago people signed up, and never be of equal age.
    """
    continuous = workflows.filter(pl.col("kind") != "campaign").select("workflow_key", "workflow_id")
    return cells.join(continuous, on="workflow_key").with_columns(to_date("day"))


def cohort_triangles(cells: pl.DataFrame, *, as_of_day: date, weeks: int = TRIANGLE_WEEKS) -> pl.DataFrame:
    """Cumulative conversions and exits of every cohort by weeks since entry.

    Args:
        cells: one row per `cohort_type`, `cohort`, `workflow_id` (String), `day` (Date of entry) and `age_weeks` (whole
            weeks since entry) with the additive counts `entrants` (in week 0), `conversions` (first ones) and `exits`
            (unsubscribes before any conversion). A cohort that entered in one week may come with that week's last
            day. Entries after `as_of_day` are ignored.
        as_of_day: tonight. Week a of those who entered on day d has closed when d + 7 (a + 1) <= as_of_day.
        weeks: ages 0 to `weeks` - 1 are reported.

    Returns:
        One row per cohort and age (schema `CohortTriangles`). Rates are among the entrants whose week has closed, and
        null where there are none; `projected_rate` is of all entrants, with weeks still open by the chain ladder.
    """
    known = cells.filter((pl.col("day") <= as_of_day) & (pl.col("age_weeks") < weeks))
    if known.is_empty():
        return empty(CohortTriangles)
    closed_weeks = ((pl.lit(as_of_day) - pl.col("day")).dt.total_days() // 7).clip(0, weeks)
    counted = (
        known.with_columns(followed_weeks=closed_weeks)
        .group_by(*_GROUP, "cohort", "followed_weeks", "age_weeks")
        .agg(pl.col("entrants", "conversions", "exits").sum())
        .sort(*_GROUP, "cohort", "followed_weeks", "age_weeks")
    )
    parts = [_triangle_rows(part, weeks) for part in counted.partition_by(_GROUP, maintain_order=True)]
    needed = pl.when(pl.col("followed") > 0).then(pl.lit("ok")).otherwise(pl.lit("not enough data: week not closed"))
    rows = pl.concat(parts).with_columns(as_of_day=pl.lit(as_of_day), method=pl.lit(METHOD), status=needed)
    return conform(rows.with_columns(cs.float().fill_nan(None)), CohortTriangles)


def _triangle_rows(part: pl.DataFrame, weeks: int) -> pl.DataFrame:
    """Rows of one workflow and cohort type."""
    cohorts = part.get_column("cohort").unique().sort()
    groups = part.select("cohort", "followed_weeks").unique().sort("cohort", "followed_weeks").with_row_index("group")
    placed = part.join(groups, on=["cohort", "followed_weeks"])
    at = (placed.get_column("group").to_numpy(), placed.get_column("age_weeks").to_numpy())
    matrices = {}
    for name in ("entrants", "conversions", "exits"):
        matrices[name] = np.zeros((groups.height, weeks))
        matrices[name][at] = placed.get_column(name).to_numpy()
    triangle = build_triangle(
        EntryGroups(
            cohort=np.searchsorted(cohorts.to_numpy(), groups.get_column("cohort").to_numpy()),
            followed_weeks=groups.get_column("followed_weeks").to_numpy(),
            entrants=matrices["entrants"].sum(axis=1),
            conversions=matrices["conversions"],
            exits=matrices["exits"],
        )
    )
    entrants = np.repeat(triangle.entrants[:, None], weeks, axis=1)
    followed = triangle.followed
    low, high = wilson(triangle.conversions, followed)
    with np.errstate(invalid="ignore", divide="ignore"):
        columns = {
            "entrants": entrants.astype(np.int64),
            "followed": followed.astype(np.int64),
            "conversions": triangle.conversions.astype(np.int64),
            "exits": triangle.exits.astype(np.int64),
            "at_risk": triangle.at_risk.astype(np.int64),
            "conversion_rate": triangle.conversions / followed,
            "conversion_rate_low": low,
            "conversion_rate_high": high,
            "incidence_rate": triangle.incidence.clip(max=1.0),
            "incidence_rate_low": triangle.incidence_low,
            "incidence_rate_high": triangle.incidence_high,
            "is_mature": followed == entrants,
            "projected_rate": triangle.projected / entrants,
            "projected_rate_low": triangle.projected_low / entrants,
            "projected_rate_high": triangle.projected_high / entrants,
        }
    keys = part.select(_GROUP).head(1)
    return pl.DataFrame(
        {
            "cohort_type": [keys.item(0, "cohort_type")] * followed.size,
            "workflow_id": [keys.item(0, "workflow_id")] * followed.size,
            "cohort": np.repeat(cohorts.to_numpy(), weeks),
            "age_weeks": np.tile(np.arange(weeks), len(cohorts)),
            **{name: values.ravel() for name, values in columns.items()},
        }
    ).with_columns(is_projected=~pl.col("is_mature") & pl.col("projected_rate").is_not_nan())


def cohort_metrics(triangles: pl.DataFrame) -> pl.DataFrame:
    """Each cohort at its last complete age, and its projection to the oldest age any cohort of its kind has closed.

    Args:
        triangles: rows of `cohort_triangles`.

    Returns:
        One row per cohort (schema `CohortMetrics`). A cohort with no week closed for all its entrants is described at
        week 0 by those followed, if any.
    """
    if triangles.is_empty():
        return empty(CohortMetrics)
    keys = [*_GROUP, "cohort"]
    horizon = triangles.filter(pl.col("followed") > 0).group_by(_GROUP).agg(horizon=pl.col("age_weeks").max())
    last = pl.col("age_weeks").filter("is_mature").max()
    own = (
        triangles.with_columns(last_complete_age_weeks=last.over(keys))
        .filter(pl.col("age_weeks") == pl.col("last_complete_age_weeks").fill_null(0))
        .drop("projected_rate", "projected_rate_low", "projected_rate_high", "is_projected", "is_mature")
    )
    ahead = (
        triangles.join(horizon, on=_GROUP)
        .filter(pl.col("age_weeks") == pl.col("horizon"))
        .select(
            *keys, "horizon", "projected_rate", "projected_rate_low", "projected_rate_high", "is_projected", "is_mature"
        )
    )
    exit_low, exit_high = wilson(
        own.get_column("exits").cast(pl.Float64).to_numpy(), own.get_column("followed").cast(pl.Float64).to_numpy()
    )
    rows = (
        own.with_columns(
            exit_rate=pl.when(pl.col("followed") > 0).then(pl.col("exits") / pl.col("followed")),
            exit_rate_low=pl.Series(exit_low).fill_nan(None),
            exit_rate_high=pl.Series(exit_high).fill_nan(None),
        )
        .join(ahead, on=keys, how="left")
        .with_columns(
            projected_age_weeks=pl.when(pl.col("projected_rate").is_not_null()).then("horizon"),
            is_projected=pl.col("is_projected").fill_null(False),
            is_mature=pl.col("is_mature").fill_null(False),
        )
    )
    return conform(rows.sort(keys), CohortMetrics)
