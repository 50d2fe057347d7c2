"""Whether a headline rate changed from one four weeks to the next, by workflow and for the whole account.

Only closed days are compared, because a rate of the last days still moves. Single days out of line are the business of
`anomalies`.
"""

from datetime import date, timedelta

import polars as pl

from pipeline.analysis.statistics.intervals import share_of, wilson_bounds
from pipeline.common.rates import HEADLINE_RATES
from pipeline.schemas.base import conform
from pipeline.schemas.performance import MetricChanges

PERIOD_DAYS = 28
METHOD = "Newcombe's hybrid interval at effective numbers"
_SERIES = ["workflow_id", "metric"]


def metric_changes(step_metrics_daily: pl.DataFrame, *, as_of: date, maturity_days: int) -> pl.DataFrame:
    """`marts.metric_changes`, from `marts.step_metrics_daily`.

    Args:
        maturity_days: days until a message's rates stop moving.

    Returns:
        One row per workflow (null = the whole account) and rate with mail in either period. The periods are the last 28
        closed days and the 28 days before them. `rate_difference` is the later rate minus the earlier one, with its
        95% interval; `change` is 'up' or 'down' where the interval excludes zero.

    The interval of the difference is Newcombe's (1998, method 10), from the Wilson intervals of both rates. Days differ
    by more than chance, because steps and audiences do. So both denominators are divided by Pearson's dispersion of the
    days around the rate of their period, where that is above one.
    """
    last_day = as_of - timedelta(days=maturity_days)
    days = _by_day(step_metrics_daily, last_day)
    sums = days.group_by(*_SERIES, "is_current").agg(pl.col("numerator", "denominator").sum())
    both = _side(sums, True, "").join(
        _side(sums, False, "previous_"), on=_SERIES, how="full", coalesce=True, nulls_equal=True
    )
    is_gain = pl.col("metric").is_in([rate.name for rate in HEADLINE_RATES if rate.is_gain])
    counts = ["numerator", "denominator", "previous_numerator", "previous_denominator"]
    found = (
        both.with_columns(pl.col(counts).fill_null(0))
        .join(_dispersion(days), on=_SERIES, how="left", nulls_equal=True)
        .with_columns(dispersion=pl.col("dispersion").fill_null(1.0).clip(1.0))
        .with_columns(*_rate("current_rate", ""), *_rate("previous_rate", "previous_"))
        .with_columns(*_difference())
        .with_columns(change=_change())
        .with_columns(
            is_adverse=pl.col("change") == pl.when(is_gain).then(pl.lit("down")).otherwise(pl.lit("up")),
            as_of_day=pl.lit(as_of),
            first_day=pl.lit(last_day - timedelta(days=PERIOD_DAYS - 1)),
            last_day=pl.lit(last_day),
            method=pl.lit(METHOD),
        )
    )
    return conform(found.sort("workflow_id", "metric", nulls_last=False), MetricChanges)


def _by_day(daily: pl.DataFrame, last_day: date) -> pl.DataFrame:
    """Numerator and denominator by workflow (null = account), metric, period and day."""
    closed = daily.filter(
        (pl.col("day") <= last_day) & (pl.col("day") > last_day - timedelta(days=2 * PERIOD_DAYS))
    ).with_columns(is_current=pl.col("day") > last_day - timedelta(days=PERIOD_DAYS))
    account = closed.with_columns(workflow_id=pl.lit(None, dtype=pl.String))
    counted = pl.concat([closed, account])
    parts = [
        counted.group_by("workflow_id", "is_current", "day")
        .agg(numerator=pl.col(rate.numerator).sum(), denominator=pl.col(rate.denominator).sum())
        .with_columns(metric=pl.lit(rate.name))
        for rate in HEADLINE_RATES
    ]
    # Sorted, because the order of a sum changes its last digit, and with it the version of the publication.
    return pl.concat(parts).filter(pl.col("denominator") > 0).sort(*_SERIES, "day")


def _dispersion(days: pl.DataFrame) -> pl.DataFrame:
    """Pearson's chi-square of the days about their period's rate, over its degrees of freedom."""
    period = [*_SERIES, "is_current"]
    rate = pl.col("numerator").sum().over(period) / pl.col("denominator").sum().over(period)
    expected = rate * pl.col("denominator")
    pearson = (pl.col("numerator") - expected) ** 2 / (expected * (1 - rate))
    freedom = pl.len() - pl.col("is_current").n_unique()
    return (
        days.with_columns(pearson=pl.when(rate.is_between(0, 1, closed="none")).then(pearson).otherwise(0.0))
        .group_by(_SERIES)
        .agg(dispersion=pl.when(freedom > 0).then(pl.col("pearson").sum() / freedom))
    )


def _side(sums: pl.DataFrame, is_current: bool, prefix: str) -> pl.DataFrame:
    side = sums.filter(pl.col("is_current") == is_current).drop("is_current")
    return side.rename({name: f"{prefix}{name}" for name in ("numerator", "denominator")})


def _rate(name: str, prefix: str) -> list[pl.Expr]:
    numerator, denominator = pl.col(f"{prefix}numerator"), pl.col(f"{prefix}denominator")
    rate = share_of(numerator, denominator)
    low, high = wilson_bounds(rate, denominator / pl.col("dispersion"))
    return [rate.alias(name), low.alias(f"{name}_low"), high.alias(f"{name}_high")]


def _difference() -> list[pl.Expr]:
    now, low, high = (pl.col(f"current_rate{end}") for end in ("", "_low", "_high"))
    before, before_low, before_high = (pl.col(f"previous_rate{end}") for end in ("", "_low", "_high"))
    down = ((now - low) ** 2 + (before_high - before) ** 2).sqrt()
    up = ((high - now) ** 2 + (before - before_low) ** 2).sqrt()
    return [
        (now - before).alias("rate_difference"),
        (now - before - down).alias("rate_difference_low"),
        (now - before + up).alias("rate_difference_high"),
    ]


def _change() -> pl.Expr:
    return (
        pl.when(pl.col("rate_difference").is_null())
        .then(pl.lit("not comparable"))
        .when(pl.col("rate_difference_low") > 0)
        .then(pl.lit("up"))
        .when(pl.col("rate_difference_high") < 0)
        .then(pl.lit("down"))
        .otherwise(pl.lit("no clear change"))
    )
