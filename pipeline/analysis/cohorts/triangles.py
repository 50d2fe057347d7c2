"""Cohorts by age: what those who were followed did, and where young cohorts are heading.

Here: the triangle and the metrics of each cohort by itself. The numbers of a triangle are computed in `ladder`; cohorts
are compared in `comparison`.
"""

from datetime import date

import numpy as np
import polars as pl
import polars.selectors as cs

from pipeline.analysis.cohorts.ladder import EntryGroups, triangle
from pipeline.analysis.statistics.intervals import rate_with_interval, wilson_bounds
from pipeline.common.time import to_date
from pipeline.schemas.base import conform, empty
from pipeline.schemas.cohorts import CohortMetrics, CohortTriangles

METHOD = "Aalen-Johansen incidence, chain ladder"
TRIANGLE_WEEKS = 26
"""Half a year: by then a drip campaign has said what it had to say."""

_GROUP = ["cohort_type", "workflow_id"]
_COUNTS = ["entrants", "conversions", "exits"]
_PROJECTION = ["projected_rate", "projected_rate_low", "projected_rate_high", "is_projected", "is_mature"]


def continuous_cells(cells: pl.DataFrame, workflows: pl.DataFrame) -> pl.DataFrame:
    """The cells of the workflows that people enter at any time, as `cohort_triangles` reads them.

    Args:
        cells: `reductions.cohort_cells`.
        workflows: `core.workflows`.

    Returns:
        The cells with `workflow_id`, and the day of entry as the date `day`. One-off campaigns are left out: everybody
        enters them on one day, so their cohorts would differ by how long ago people signed up, and could never be
        compared at equal age.
    """
    continuous = workflows.filter(pl.col("kind") != "campaign").select("workflow_key", "workflow_id")
    entered = cells.drop("day").rename({"entry_day": "day"})
    return entered.join(continuous, on="workflow_key").with_columns(to_date("day"))


def cohort_triangles(cells: pl.DataFrame, *, as_of_day: date, weeks: int = TRIANGLE_WEEKS) -> pl.DataFrame:
    """Cumulative conversions and exits of every cohort by weeks since entry.

    Args:
        cells: one row per `cohort_type`, `cohort`, `workflow_id` (String), `day` (Date of entry) and `age_weeks` (whole
            weeks since entry) with the additive counts `entrants` (in week 0), `conversions` (first ones) and `exits`
            (unsubscribes before any conversion). A cohort that entered in one week may come with that week's last
            day. Entries after `as_of_day` are ignored.
        as_of_day: tonight. Week a of those who entered on day d has closed when d + 7 (a + 1) <= as_of_day.
        weeks: the ages 0 to `weeks` - 1 are reported.

    Returns:
        One row per cohort and age, in the columns of `cohort_triangles`. Rates are among the entrants whose week has
        closed, and null where there are none. `projected_rate` is of all entrants, with open weeks by the chain ladder.

    Intervals are Wilson's at 95%; that of the incidence is taken at the number of entrants that would give its variance
    if all of them were followed.
    """
    known = cells.filter((pl.col("day") <= as_of_day) & (pl.col("age_weeks") < weeks))
    if known.is_empty():
        return empty(CohortTriangles)
    closed_weeks = ((pl.lit(as_of_day) - pl.col("day")).dt.total_days() // 7).clip(0, weeks)
    keys = [*_GROUP, "cohort", "followed_weeks", "age_weeks"]
    counted = known.with_columns(followed_weeks=closed_weeks).group_by(keys).agg(pl.col(_COUNTS).sum()).sort(keys)
    parts = [_triangle_rows(part, weeks) for part in counted.partition_by(_GROUP, maintain_order=True)]
    is_known = pl.col("followed") > 0
    low, high = wilson_bounds(pl.col("incidence_rate"), pl.col("incidence_size"))
    rows = (
        pl.concat(parts)
        .with_columns(cs.float().fill_nan(None))
        .with_columns(
            *rate_with_interval("conversion_rate", "conversions", "followed"),
            incidence_rate_low=low,
            incidence_rate_high=high,
            is_mature=pl.col("followed") == pl.col("entrants"),
            as_of_day=pl.lit(as_of_day),
            method=pl.lit(METHOD),
            status=pl.when(is_known).then(pl.lit("ok")).otherwise(pl.lit("not enough data: week not closed")),
        )
        .with_columns(is_projected=~pl.col("is_mature") & pl.col("projected_rate").is_not_null())
    )
    return conform(rows, CohortTriangles)


def _triangle_rows(part: pl.DataFrame, weeks: int) -> pl.DataFrame:
    """The cells of one workflow and cohort type as rows by cohort and age."""
    cohorts = part.get_column("cohort").unique().sort()
    group = ["cohort", "followed_weeks"]
    groups = part.select(group).unique().sort(group).with_row_index("group")
    placed = part.join(groups, on=group)
    at = (placed.get_column("group").to_numpy(), placed.get_column("age_weeks").to_numpy())
    counts = {name: np.zeros((groups.height, weeks)) for name in _COUNTS}
    for name, matrix in counts.items():
        matrix[at] = placed.get_column(name).to_numpy()
    columns = triangle(
        EntryGroups(
            cohort=np.searchsorted(cohorts.to_numpy(), groups.get_column("cohort").to_numpy()),
            followed_weeks=groups.get_column("followed_weeks").to_numpy(),
            entrants=counts["entrants"].sum(axis=1),
            conversions=counts["conversions"],
            exits=counts["exits"],
        )
    )
    return pl.DataFrame(
        {
            "cohort": np.repeat(cohorts.to_numpy(), weeks),
            "age_weeks": np.tile(np.arange(weeks), len(cohorts)),
            **{name: values.ravel() for name, values in columns.items()},
        }
    ).with_columns(pl.lit(part.item(0, name)).alias(name) for name in _GROUP)


def cohort_metrics(triangles: pl.DataFrame) -> pl.DataFrame:
    """Each cohort at its last complete age, and its projection to the oldest age that any cohort of its kind reached.

    Args:
        triangles: rows of `cohort_triangles`.

    Returns:
        One row per cohort, in the columns of `cohort_metrics`. A cohort of which no week has closed for all entrants is
        described at week 0, by those entrants who are followed, if any.
    """
    if triangles.is_empty():
        return empty(CohortMetrics)
    keys = [*_GROUP, "cohort"]
    horizon = triangles.filter(pl.col("followed") > 0).group_by(_GROUP).agg(horizon=pl.col("age_weeks").max())
    last = pl.col("age_weeks").filter("is_mature").max()
    own = (
        triangles.with_columns(last_complete_age_weeks=last.over(keys))
        .filter(pl.col("age_weeks") == pl.col("last_complete_age_weeks").fill_null(0))
        .drop(_PROJECTION)
    )
    ahead = (
        triangles.join(horizon, on=_GROUP)
        .filter(pl.col("age_weeks") == pl.col("horizon"))
        .select(*keys, "horizon", *_PROJECTION)
    )
    rows = (
        own.with_columns(rate_with_interval("exit_rate", "exits", "followed"))
        .join(ahead, on=keys, how="left")
        .with_columns(
            pl.col("is_projected", "is_mature").fill_null(False),
            projected_age_weeks=pl.when(pl.col("projected_rate").is_not_null()).then("horizon"),
        )
    )
    return conform(rows.sort(keys), CohortMetrics)
