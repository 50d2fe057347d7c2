"""Nights that do not fit their forecast: baselines, alarms and trends of every step's rates and volumes.

Here belong the frames in and out. The forecast itself is in `anomaly_baseline`; what to tell whom, and which alarms
have one cause, is in `anomaly_incidents`.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Literal, NamedTuple

import numpy as np
import polars as pl
import polars.selectors as cs
from numpy.typing import NDArray

from pipeline.analysis.anomalies.baseline import replay
from pipeline.analysis.anomalies.state import WARM_UP_DAYS, Kind, Panel
from pipeline.analysis.anomalies.tails import predictive_band
from pipeline.schemas.base import conform, empty
from pipeline.schemas.monitoring import AnomalyBaselines, MetricTrends

METHOD = "discounted beta-binomial / negative binomial forecast, CUSUM"
BAND_SCORE = 1.959963984540054
TREND_DAYS = 7


class RateMetric(NamedTuple):
    """A rate by its columns, the direction that harms, and the days until it stands still (none: `is_mature` says)."""

    metric: str
    numerator: str
    denominator: str
    worse: Literal["lower", "higher"] = "lower"
    final_after_days: int | None = None


DEFAULT_RATES = (
    # Clicks within a day of sending: final a day later, so that a stop need not wait for Mailchimp's five days.
    RateMetric("prompt_human_click_rate", "prompt_human_clicks", "delivered", "lower", 1),
    RateMetric("conversion_rate", "conversions", "delivered"),
    RateMetric("unsubscribe_rate", "unsubscribes", "delivered", "higher"),
    RateMetric("complaint_rate", "complaints", "delivered", "higher"),
    RateMetric("hard_bounce_rate", "hard_bounces", "sent", "higher"),
)
DEFAULT_VOLUMES = ("entries", "sent")


def anomaly_baselines(
    daily: pl.DataFrame,
    *,
    as_of_day: date,
    rates: Sequence[tuple[str, str, str] | RateMetric] = DEFAULT_RATES,
    volumes: Sequence[str] = DEFAULT_VOLUMES,
    holidays: Sequence[date] = (),
) -> pl.DataFrame:
    """Forecast and score of every step, metric and day, each from the days before it alone.

    Args:
        daily: `day` (Date), `workflow_id`, `step_id` (String) and the counts that `rates` and `volumes` name; rows of
            the same day and step are added up. Days after `as_of_day` are ignored. Where `is_mature` is given and
            false, rates without `final_after_days` are neither scored nor learnt. A null count is unknown, not zero.
            Ninety days of history suffice, a year is better.
        as_of_day: tonight, the last day scored.
        rates: name, numerator column and denominator column of each rate.
        volumes: count columns watched for themselves. A volume exists from its first event on; from then a day
            without a row is a day of zero.
        holidays: days neither scored nor learnt.

    Returns:
        One row per day, step and metric (schema `AnomalyBaselines`), sorted. `expected_value` with its 95% band is the
        forecast; `night_score` the normal score of the night alone; `score` and `tail_probability` the strongest
        evidence over windows of 1, 3 (volumes also 7) nights that ends this night, the search paid for;
        `status` is 'ok', 'not enough data' (see `days_needed`), 'holiday', 'not mature', 'unknown' or 'nothing sent'.
    """
    known = daily.filter(pl.col("day") <= as_of_day)
    if known.is_empty():
        return empty(AnomalyBaselines)
    frames = []
    if rates:
        frames.append(_score_kind(known, "rate", [RateMetric(*rate) for rate in rates], as_of_day, holidays))
    if volumes:
        frames.append(
            _score_kind(known, "volume", [RateMetric(name, name, "") for name in volumes], as_of_day, holidays)
        )
    scored = pl.concat(frames).with_columns(as_of_day=pl.lit(as_of_day), method=pl.lit(METHOD))
    return conform(scored.sort("workflow_id", "step_id", "metric", "day"), AnomalyBaselines)


def flagged(baselines: pl.DataFrame) -> pl.DataFrame:
    """The alarms among the rows of `anomaly_baselines`: nights out of line and slow drift."""
    return baselines.filter(pl.col("is_anomaly") | (pl.col("change") == "drift"))


def metric_trends(baselines: pl.DataFrame) -> pl.DataFrame:
    """Course of each metric with its expected band and the days on which something changed.

    Args:
        baselines: rows of `anomaly_baselines`.

    Returns:
        One row per day, step and metric (schema `MetricTrends`): `value`, `smoothed_value` (the last seven days
        pooled), the band, and `change_marker`: null, 'anomaly', 'new level', 'former level', 'drift' or 'holiday'.
    """
    series = ["workflow_id", "step_id", "metric"]
    week = {"period": f"{TREND_DAYS}d", "index_column": "day", "group_by": series}
    ordered = baselines.sort(*series, "day").with_columns(pl.col("day").set_sorted())
    pooled = ordered.rolling(**week).agg(  # type: ignore[arg-type]
        numerators=pl.col("numerator").sum(), denominators=pl.col("denominator").sum(), days=pl.len()
    )
    marker = (
        pl.when(pl.col("change").is_not_null())
        .then("change")
        .when("is_anomaly")
        .then(pl.lit("anomaly"))
        .when(pl.col("status") == "holiday")
        .then(pl.lit("holiday"))
    )
    per = pl.when(pl.col("metric_kind") == "volume").then("days").otherwise("denominators")
    marked = ordered.join(pooled, on=[*series, "day"]).with_columns(
        change_marker=marker, smoothed_value=pl.when(per > 0).then(pl.col("numerators") / per)
    )
    return conform(marked.sort(*series, "day"), MetricTrends)


def _score_kind(
    daily: pl.DataFrame, kind: Kind, metrics: list[RateMetric], as_of_day: date, holidays: Sequence[date]
) -> pl.DataFrame:
    """Rows of all metrics of a kind, scored side by side in one panel."""
    columns = sorted({metric.numerator for metric in metrics} | {m.denominator for m in metrics if m.denominator})
    mature = pl.col("is_mature").all() if "is_mature" in daily.columns else pl.lit(True)
    added = (
        pl.when(pl.col(name).null_count() == 0).then(pl.col(name).sum()).cast(pl.Float64).alias(name)
        for name in columns
    )
    cells = daily.group_by("day", "workflow_id", "step_id").agg(*added, is_mature=mature)
    first = cells.get_column("day").min()
    assert isinstance(first, date)
    days = [first + timedelta(days=offset) for offset in range((as_of_day - first).days + 1)]
    steps = cells.select("workflow_id", "step_id").unique().sort("workflow_id", "step_id").with_row_index("column")
    placed = cells.join(steps, on=["workflow_id", "step_id"])
    row = (placed.get_column("day") - first).dt.total_days().to_numpy()
    column = placed.get_column("column").to_numpy()

    def matrix(name: str) -> NDArray[np.float64]:
        filled = np.zeros((len(days), steps.height))
        filled[row, column] = placed.get_column(name).to_numpy()
        return filled

    matrices = {name: matrix(name) for name in columns}
    present = np.zeros((len(days), steps.height), dtype=bool)
    present[row, column] = True
    is_mature = np.ones_like(present)
    is_mature[row, column] = placed.get_column("is_mature").to_numpy()
    holiday = np.array([day in holidays for day in days])[:, None]

    count = np.hstack([matrices[metric.numerator] for metric in metrics])
    if kind == "rate":
        exposure = np.hstack([matrices[metric.denominator] for metric in metrics])
        listed = np.tile(present, len(metrics))
        age = np.array([(as_of_day - day).days for day in days])[:, None]
        waits = [metric.final_after_days for metric in metrics]
        immature = np.hstack(
            [~is_mature if wait is None else np.broadcast_to(age < wait, present.shape) for wait in waits]
        )
    else:
        listed = np.maximum.accumulate(np.nan_to_num(count) > 0, axis=0)
        exposure = listed.astype(float)
        immature = np.zeros_like(listed)
    unknown = np.isnan(count) | np.isnan(exposure)
    usable = listed & ~unknown & ~immature & ~holiday & (exposure > 0)
    count, exposure = np.where(unknown, 0.0, count), np.where(unknown, 0.0, exposure)
    if kind == "rate":
        count = np.minimum(count, exposure)
    weekday = np.array([day.weekday() for day in days])
    fleet = np.repeat(np.arange(len(metrics)), steps.height)
    scored = replay(Panel(count, exposure, usable, weekday, fleet, kind))

    status = np.select(
        [np.broadcast_to(holiday, usable.shape), unknown, immature, exposure <= 0, scored.days < WARM_UP_DAYS],
        ["holiday", "unknown", "not mature", "nothing sent", "not enough data"],
        default="ok",
    )
    per = np.where(exposure > 0, exposure, 1.0)
    low, high = predictive_band(
        scored.expected, exposure=per if kind == "rate" else None, dispersion=scored.dispersion, score=BAND_SCORE
    )
    change = np.select(
        [scored.change == 1, scored.change == 2, scored.drift != 0], ["new level", "former level", "drift"], default=""
    )
    at_day, at_series = np.nonzero(listed)
    chosen = (at_day, at_series)
    scale = per[chosen]
    ok = status[chosen] == "ok"
    step = at_series % steps.height
    direction = np.where(scored.drift[chosen] != 0, scored.drift[chosen], np.sign(scored.window_score[chosen]))
    worse = np.array([-1 if metric.worse == "lower" else 1 for metric in metrics])[at_series // steps.height]
    frame = pl.DataFrame(
        {
            "day": pl.Series(np.array(days, dtype="datetime64[D]")[at_day]),
            "workflow_id": steps.get_column("workflow_id").gather(step),
            "step_id": steps.get_column("step_id").gather(step),
            "metric": pl.Series([metric.metric for metric in metrics]).gather(at_series // steps.height),
            "metric_kind": pl.Series([kind]).gather(np.zeros(len(step), dtype=int)),
            "numerator": np.where(unknown[chosen], np.nan, count[chosen]),
            "denominator": np.where(unknown[chosen] | (kind == "volume"), np.nan, exposure[chosen]),
            "value": np.where(unknown[chosen] | (exposure[chosen] <= 0), np.nan, count[chosen] / scale),
            "expected_value": np.where(ok, scored.expected[chosen] / scale, np.nan),
            "expected_value_low": np.where(ok, low[chosen] / scale, np.nan),
            "expected_value_high": np.where(ok, high[chosen] / scale, np.nan),
            "expected_events": np.where(ok, scored.expected[chosen], np.nan),
            "dispersion": np.where(ok, scored.dispersion[chosen], np.nan),
            "baseline_days": scored.days[chosen],
            "days_needed": np.maximum(WARM_UP_DAYS - scored.days[chosen], 0),
            "night_score": np.where(ok, scored.score[chosen], np.nan),
            "score": np.where(ok, scored.window_score[chosen], np.nan),
            "window_nights": scored.window[chosen],
            "tail_probability": np.where(ok, scored.probability[chosen], np.nan),
            "direction": pl.Series(["down", "none", "up"]).gather(direction.astype(int) + 1),
            "is_adverse": direction == worse,
            "is_anomaly": scored.flagged[chosen],
            "change": pl.Series(change[chosen].tolist(), dtype=pl.String).replace({"": None}),
            "status": pl.Series(status[chosen].tolist(), dtype=pl.String),
        }
    )
    return frame.with_columns(cs.float().fill_nan(None)).with_columns(pl.col("numerator", "denominator").cast(pl.Int64))
