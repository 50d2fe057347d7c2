"""How people engage with mail by the local weekday and hour at which it was sent: a description of what happened.

It is no reason to move a send, because what is mailed differs from hour to hour, too. The hours for each subscriber are
found in `subscribers`.
"""

from datetime import date, timedelta

import polars as pl
from scipy.special import betaincinv

from pipeline.analysis.send_time.counts import HOURS
from pipeline.analysis.statistics.intervals import rate_with_interval
from pipeline.common.time import is_recent
from pipeline.schemas.base import conform
from pipeline.schemas.timing import EngagementHours

METHOD = "clicks by people, shrunk to the workflow's rate by empirical Bayes (beta-binomial)"
FEWEST_EXPECTED = 5.0
"""With fewer expected clicks an hour is marked as thin."""
MOST_CONCENTRATION = 1e6
"""Where cells differ no more than by chance, the workflow's own rate counts like this many deliveries."""


def engagement_hours(hours_of_week: pl.DataFrame, workflows: pl.DataFrame, *, as_of: date, days: int) -> pl.DataFrame:
    """`marts.engagement_hours`, from `reductions.hours_of_week` and `core.workflows`.

    Args:
        days: number of days of sending, tonight included.

    Returns:
        One row per workflow (null = the whole account), local weekday and hour with a delivered message: the share of
        delivered messages that a person clicked, with Wilson's 95% interval, and the same shrunk.

    The shrunk rate is the mean of a posterior whose beta prior lies around the workflow's rate. The concentration of
    the prior comes from the variance between cells beyond chance, by moments (DerSimonian and Laird, 1986). Its
    interval allows for the workflow's rate being estimated (Morris, 1983): that of an account whose mail all goes out
    at one hour was a fiftieth as wide as the counted one.
    """
    recent = hours_of_week.filter(is_recent(as_of, days)).join(
        workflows.select("workflow_key", "workflow_id"), on="workflow_key"
    )
    every = pl.concat([recent, recent.with_columns(workflow_id=pl.lit(None, dtype=pl.String))])
    cells = every.group_by("workflow_id", "local_hour_of_week").agg(pl.col("delivered", "unique_human_clicks").sum())
    # Sorted, because the order of a sum changes its last digit, and with it the version of the publication.
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
    """Add `_mean`, the workflow's rate, and `shrunk_click_rate` with its 95% interval."""
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
    prior, rate = pl.col("_prior"), pl.col("shrunk_click_rate")
    known = known.with_columns(shrunk_click_rate=(x + prior * mean) / (n + prior))
    variance = rate * (1 - rate) / (n + prior + 1) + (prior / (n + prior)) ** 2 * chance / total
    # A beta distribution of this mean and variance.
    size = rate * (1 - rate) / variance - 1
    known = known.with_columns(_hits=rate * size, _misses=(1 - rate) * size)
    hits, misses = known["_hits"].to_numpy(), known["_misses"].to_numpy()
    return known.with_columns(
        shrunk_click_rate_low=pl.Series(betaincinv(hits, misses, 0.025)).fill_nan(None),
        shrunk_click_rate_high=pl.Series(betaincinv(hits, misses, 0.975)).fill_nan(None),
    )
