"""How the detector would have done on the user's own history: the alarms raised, and the planted incidents found.

Here: replays of what happened, with known effects planted. The detector itself is in `nights`.
"""

from collections.abc import Sequence
from datetime import date, timedelta

import polars as pl

from pipeline.analysis.anomalies.nights import METHOD, anomaly_baselines
from pipeline.common.rates import WATCHED_RATES, WATCHED_VOLUMES

EFFECTS = {"stop": 0.0, "halving": 0.5}
"""The effects that are planted: what they leave of the counts."""

NIGHTS = (1, 3, 7)
_STEP = ["workflow_id", "step_id", "metric"]


def trial_on_history(daily: pl.DataFrame, *, as_of_day: date, holidays: Sequence[date] = ()) -> pl.DataFrame:
    """Alarms on the history as it is, and how soon planted incidents are found.

    Args:
        daily: as for `anomaly_baselines`.
        as_of_day: tonight; incidents are planted into its last seven nights.
        holidays: days that are left out.

    Returns:
        One row per metric and effect ('stop', 'halving'). `step_days` were scored before the planting, with `alarms`,
        in which a run of nights counts once. `alarms_per_thousand` step-days is an upper bound of the false alarms,
        because real incidents are among them. `found_1_rate`, `found_3_rate` and `found_7_rate` are the shares of the
        `series` planted into that are found by that night, including the nights until the metric is final.
    """
    first = as_of_day - timedelta(days=max(NIGHTS) - 1)
    counts = sorted({rate.numerator for rate in WATCHED_RATES} | set(WATCHED_VOLUMES))
    history = anomaly_baselines(daily, as_of_day=as_of_day, holidays=holidays)
    quiet = _alarm_rates(history.filter((pl.col("day") < first) & (pl.col("status") == "ok")))
    parts = []
    for effect, left in EFFECTS.items():
        parts.append(pl.DataFrame(schema={"metric": pl.String, "effect": pl.String}))
        for name in counts:
            planted = pl.when(pl.col("day") >= first).then((pl.col(name) * left).round()).otherwise(pl.col(name))
            replayed = anomaly_baselines(
                daily.with_columns(planted.cast(pl.Int64).alias(name)),
                as_of_day=as_of_day,
                rates=[rate for rate in WATCHED_RATES if rate.numerator == name],
                volumes=[volume for volume in WATCHED_VOLUMES if volume == name],
                holidays=holidays,
            )
            parts.append(_found(replayed, first).with_columns(effect=pl.lit(effect)))
    found = pl.concat(parts, how="diagonal_relaxed")
    status = pl.when(pl.col("series") > 0).then(pl.lit("ok")).otherwise(pl.lit("not enough data"))
    return (
        found.join(quiet, on="metric", how="left")
        .with_columns(as_of_day=pl.lit(as_of_day), method=pl.lit(METHOD), status=status)
        .sort("metric", "effect")
    )


def _alarm_rates(scored: pl.DataFrame) -> pl.DataFrame:
    """Alarms of a scored history; a run of nights counts once."""
    starts = pl.col("is_anomaly") & ~pl.col("is_anomaly").shift(1, fill_value=False).over(_STEP)
    return (
        scored.sort(*_STEP, "day")
        .with_columns(is_start=starts)
        .group_by("metric")
        .agg(step_days=pl.len().cast(pl.Int64), alarms=pl.col("is_start").sum().cast(pl.Int64))
        .with_columns(alarms_per_thousand=1000 * pl.col("alarms") / pl.col("step_days"))
    )


def _found(replayed: pl.DataFrame, first: date) -> pl.DataFrame:
    """Shares of series that are found within some nights of the planting, among those that could be scored then."""
    last = pl.lit(first + timedelta(days=max(NIGHTS) - 1))
    waits = replayed.group_by("metric").agg(
        wait=(last - pl.col("day").filter(pl.col("status") != "not mature").max()).dt.total_days()
    )
    night = (pl.col("day") - first).dt.total_days() + 1 + pl.col("wait")
    series = (
        replayed.join(waits, on="metric")
        .filter((pl.col("day") >= first) & (pl.col("status") == "ok"))
        .group_by(_STEP)
        .agg(found=night.filter("is_anomaly").min())
    )
    return series.group_by("metric").agg(
        series=pl.len().cast(pl.Int64),
        **{f"found_{nights}_rate": (pl.col("found") <= nights).fill_null(False).mean() for nights in NIGHTS},
    )
