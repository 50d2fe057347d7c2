"""How people engage with mail by the local hour and weekday at which it was sent: a description.

What is mailed at an hour differs too, so this is no ground for moving anybody: that is `send_time`'s business.
"""

from datetime import date, timedelta

import polars as pl
from scipy.stats import beta

from pipeline.analysis.statistics.intervals import rate_with_interval
from pipeline.common.time import day_number
from pipeline.schemas.base import conform
from pipeline.schemas.timing import EngagementHours

HOURS = 24
METHOD = "clicks by people, shrunk to the workflow's rate by empirical Bayes (beta-binomial)"
#: Clicks to expect below which an hour is too thin to say anything: the rule of thumb for counts.
FEWEST_EXPECTED = 5.0
#: Where cells differ no more than by chance, this many deliveries stand behind the workflow's own rate.
MOST_CONCENTRATION = 1e6


def engagement_hours(hours_of_week: pl.DataFrame, workflows: pl.DataFrame, *, as_of: date, days: int) -> pl.DataFrame:
    """`marts.engagement_hours`.

    Args:
        hours_of_week: `reductions.hours_of_week`.
        workflows: `core.workflows`.
        as_of: tonight.
        days: length of the period.

    Returns:
        One row per workflow (null = the whole account), local weekday and hour with a delivered message.

    Each cell's rate is the mean of its posterior under a beta prior about the workflow's rate, whose concentration
    comes from the variance between cells beyond chance, by moments (DerSimonian and Laird, 1986).
    """
    tonight = day_number(as_of)
    recent = hours_of_week.filter(pl.col("day").is_between(tonight - days + 1, tonight)).join(
        workflows.select("workflow_key", "workflow_id"), on="workflow_key"
    )
    every = pl.concat([recent, recent.with_columns(workflow_id=pl.lit(None, dtype=pl.String))])
    cells = every.group_by("workflow_id", "local_hour_of_week").agg(pl.col("delivered", "unique_human_clicks").sum())
    # In order, because sums of fractions differ in their last digit by it, and with them the version of a publication.
    found = _shrunk(cells.sort("workflow_id", "local_hour_of_week")).with_columns(
        *rate_with_interval("human_click_rate", "unique_human_clicks", "delivered"),
        local_weekday=pl.col("local_hour_of_week") // HOURS,
        local_hour=pl.col("local_hour_of_week") % HOURS,
        is_thin=pl.col("delivered") * pl.col("_mean") < FEWEST_EXPECTED,
        first_day=pl.lit(as_of - timedelta(days=days - 1)),
        as_of_day=pl.lit(as_of),
        method=pl.lit(METHOD),
    )
    return conform(found.sort("workflow_id", "local_weekday", "local_hour", nulls_last=False), EngagementHours)


def _shrunk(cells: pl.DataFrame) -> pl.DataFrame:
    """With `_mean`, the workflow's rate, and `shrunk_click_rate` with its 95% interval."""
    n, x = pl.col("delivered"), pl.col("unique_human_clicks")
    total = n.sum().over("workflow_id")
    known = cells.with_columns(_mean=x.sum().over("workflow_id") / total)
    mean, chance = pl.col("_mean"), pl.col("_mean") * (1 - pl.col("_mean"))
    scatter = (n * (x / n - mean) ** 2).sum().over("workflow_id")
    freedom = pl.len().over("workflow_id") - 1
    weight = total - (n**2).sum().over("workflow_id") / total
    between = (scatter - freedom * chance) / weight
    concentration = pl.when(between > 0).then(chance / between - 1).clip(1.0, MOST_CONCENTRATION)
    known = known.with_columns(_prior=concentration.fill_null(MOST_CONCENTRATION).fill_nan(MOST_CONCENTRATION))
    known = known.with_columns(_hits=x + pl.col("_prior") * mean, _misses=n - x + pl.col("_prior") * (1 - mean))
    hits, misses = known["_hits"].to_numpy(), known["_misses"].to_numpy()
    return known.with_columns(
        shrunk_click_rate=pl.col("_hits") / (pl.col("_hits") + pl.col("_misses")),
        shrunk_click_rate_low=pl.Series(beta.ppf(0.025, hits, misses)).fill_nan(None),
        shrunk_click_rate_high=pl.Series(beta.ppf(0.975, hits, misses)).fill_nan(None),
    )
