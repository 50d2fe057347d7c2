"""The one unit of all opportunities: conversions in four weeks that would not come otherwise.

A conversion is the goal of the workflow, or any conversion where it has none. Differences between groups are such
conversions as they are. Credited ones may have come without the message; a hold-out tells how many.
"""

from collections.abc import Mapping
from datetime import date, timedelta

import polars as pl

from pipeline.common.rates import WATCHED_RATES, WATCHED_VOLUMES

PERIOD_DAYS = 28
"""Whole weeks, so that every weekday counts alike."""

STEP = ["workflow_id", "step_id"]
ENDS = ("", "_low", "_high")
CLICK = "prompt_human_click_rate"

# Of each metric of which more is better, the count in `step_metrics_daily` whose events are worth some conversions.
_COUNT_BEHIND = {rate.name: rate.numerator for rate in WATCHED_RATES if rate.is_gain} | {
    volume: volume for volume in WATCHED_VOLUMES
}


def recent_days(daily: pl.DataFrame, as_of_day: date) -> pl.DataFrame:
    """The rows of the last four weeks."""
    return daily.filter(pl.col("day").is_between(as_of_day - timedelta(days=PERIOD_DAYS - 1), as_of_day))


def sums(daily: pl.DataFrame, *names: str) -> pl.DataFrame:
    """The counts of each step, summed."""
    return daily.group_by(STEP).agg(pl.col(names).sum())


def worth_of_events(daily: pl.DataFrame, holdouts: pl.DataFrame) -> pl.DataFrame:
    """What one event of each metric of a step is worth: `workflow_id`, `step_id`, `metric` and `worth`.

    Args:
        daily: rows of `step_metrics_daily`.
        holdouts: rows of `holdouts`.

    Returns:
        Credited conversions per event on mature days, times the share of them that would not have come otherwise.
    """
    counted = (
        daily.filter("is_mature")
        .group_by(STEP)
        .agg(pl.col(name).sum().cast(pl.Float64) for name in sorted({*_COUNT_BEHIND.values(), "conversions"}))
        .join(incremental_shares(daily, holdouts), on="workflow_id")
    )
    worth = pl.col("conversions") * pl.col("incremental_share")
    return pl.concat(
        counted.filter(pl.col(name) > 0).select(*STEP, metric=pl.lit(metric), worth=worth / pl.col(name))
        for metric, name in _COUNT_BEHIND.items()
    )


def incremental_shares(daily: pl.DataFrame, holdouts: pl.DataFrame) -> pl.DataFrame:
    """The share of credited conversions that would not have come otherwise, by workflow: `incremental_share`.

    It is the incremental revenue of the workflow's hold-out divided by the attributed one, else that of the account's
    hold-out; 1 where no hold-out tells it, and never below 0 or above 1.
    """
    known = holdouts.filter((pl.col("status") == "ok") & (pl.col("attributed_revenue_amount") > 0)).select(
        "workflow_id", share=(pl.col("incremental_revenue_amount") / pl.col("attributed_revenue_amount")).clip(0, 1)
    )
    of_account = known.filter(pl.col("workflow_id").is_null())["share"].to_list() or [1.0]
    return (
        daily.select("workflow_id")
        .unique()
        .join(known, on="workflow_id", how="left")
        .select("workflow_id", incremental_share=pl.col("share").fill_null(of_account[0]))
    )


def named(kind: str, table: str, keys: Mapping[str, str]) -> list[pl.Expr]:
    """`kind`, `opportunity_id`, and `evidence`, which names the rows of a table; `keys` are its columns -> ours."""
    where = " and ".join(f"{column} = '{{}}'" for column in keys)
    return [
        pl.lit(kind).alias("kind"),
        pl.format("/".join([kind, *("{}" for _ in keys)]), *keys.values()).alias("opportunity_id"),
        pl.format(f"marts.{table} where {where}", *keys.values()).alias("evidence"),
    ]


def percent(rate: str) -> pl.Expr:
    """A share in percent, as messages write it."""
    return (100 * pl.col(rate)).round(1)
