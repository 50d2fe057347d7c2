"""The forecast of every night and how the night compares with it, for every step and metric.

Here: the tables that go in and come out. The forecast itself is made in `baseline`, from the parts in `state` and
`tails`; which alarms have one cause is decided in `incidents`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl
import polars.selectors as cs

from pipeline.analysis.anomalies.baseline import replay
from pipeline.analysis.anomalies.state import WARM_UP_DAYS, Kind, Panel
from pipeline.analysis.anomalies.tails import predictive_band
from pipeline.analysis.statistics import Array, Mask
from pipeline.analysis.statistics.intervals import NORMAL_95
from pipeline.common.rates import WATCHED_RATES, WATCHED_VOLUMES, Rate
from pipeline.schemas.base import conform, empty
from pipeline.schemas.monitoring import AnomalyBaselines, MetricTrends

METHOD = "discounted beta-binomial / negative binomial forecast, CUSUM"
TREND_DAYS = 7
_STEP = ["workflow_id", "step_id"]
SERIES = [*_STEP, "metric"]


def anomaly_baselines(
    daily: pl.DataFrame,
    *,
    as_of_day: date,
    rates: Sequence[Rate] = WATCHED_RATES,
    volumes: Sequence[str] = WATCHED_VOLUMES,
    holidays: Sequence[date] = (),
) -> pl.DataFrame:
    """Forecast and score of every step, metric and day. Each forecast uses the days before its day only.

    Args:
        daily: counts by day, as in `step_metrics_daily`: `day` (Date), `workflow_id`, `step_id`, and the counts that
            `rates` and `volumes` name. Rows of the same day and step are added up, and days after `as_of_day` are
            ignored. A null count means that the count is not known; it does not mean zero. Where a column `is_mature`
            is false, rates without `final_after_days` are neither scored nor learnt. Ninety days of history suffice; a
            year is better.
        as_of_day: tonight, the last day that is scored.
        rates: the rates to forecast.
        volumes: the counts to forecast by themselves. The series of a volume begins with its first event; after that
            a day without a row is a day of zero.
        holidays: days that are neither scored nor learnt.

    Returns:
        One row per day, step and metric, in the columns of `anomaly_baselines`. `expected_value` is the forecast, with
        its 95% band. `night_score` is the normal score of the night alone. `score` and `tail_probability` are the
        strongest evidence among windows of one, three, seven, 14 and 28 nights (for volumes up to seven) that end with
        this night; the probability accounts for the search among windows. `status` is 'ok', 'not enough data'
        (`days_needed` says how many days are missing), 'holiday', 'not mature', 'unknown' or 'nothing sent'.
    """
    known = daily.filter(pl.col("day") <= as_of_day)
    if known.is_empty():
        return empty(AnomalyBaselines)
    names = {*(name for rate in rates for name in (rate.numerator, rate.denominator)), *volumes}
    cells = _cells(known, sorted(names), as_of_day)
    parts = []
    if rates:
        parts.append(_scored_rows(cells, _rate_series(cells, rates), holidays))
    if volumes:
        parts.append(_scored_rows(cells, _volume_series(cells, volumes), holidays))
    scored = pl.concat(parts).with_columns(as_of_day=pl.lit(as_of_day), method=pl.lit(METHOD))
    return conform(scored.sort(*_STEP, "metric", "day"), AnomalyBaselines)


def flagged(baselines: pl.DataFrame) -> pl.DataFrame:
    """The alarms among the rows of `anomaly_baselines`: nights out of line, and nights that confirm a slow drift."""
    return baselines.filter(pl.col("is_anomaly") | (pl.col("change") == "drift"))


def metric_trends(baselines: pl.DataFrame, versions: pl.DataFrame) -> pl.DataFrame:
    """The course of each metric, its expected band, and the days on which something changed.

    Args:
        baselines: rows of `anomaly_baselines`.
        versions: rows of `journeys`; the first day of each version after the first one is marked.

    Returns:
        One row per day, step and metric, in the columns of `metric_trends`: the value of the day, `smoothed_value` (the
        counts of seven days pooled), the band, and `change_marker`: null, 'anomaly', 'new level', 'former level',
        'drift', 'new version' or 'holiday'.
    """
    marker = (
        pl.when(pl.col("change").is_not_null())
        .then("change")
        .when("is_anomaly")
        .then(pl.lit("anomaly"))
        .when(pl.col("is_new_version").fill_null(False))
        .then(pl.lit("new version"))
        .when(pl.col("status") == "holiday")
        .then(pl.lit("holiday"))
    )
    begun = versions.filter(pl.col("version") > 1).select("workflow_id", day="first_day", is_new_version=pl.lit(True))
    pooled = baselines.join(weekly_values(baselines), on=[*SERIES, "day"])
    known = pooled.join(begun.unique(), on=["workflow_id", "day"], how="left")
    return conform(known.with_columns(change_marker=marker).sort(*SERIES, "day"), MetricTrends)


def weekly_values(baselines: pl.DataFrame) -> pl.DataFrame:
    """The counts of the seven days up to each day, pooled.

    Returns:
        The series and `day`, the `numerators`, the `units` that they are counted among (messages, or days of a volume),
        and `smoothed_value`, their ratio.
    """
    per = pl.when(pl.col("metric_kind") == "volume").then("days").otherwise("denominators")
    return (
        baselines.sort(*SERIES, "day")
        .with_columns(pl.col("day").set_sorted())
        .rolling("day", period=f"{TREND_DAYS}d", group_by=[*SERIES, "metric_kind"])
        .agg(numerators=pl.col("numerator").sum(), denominators=pl.col("denominator").sum(), days=pl.len())
        .select(
            *SERIES, "day", "numerators", smoothed_value=pl.when(per > 0).then(pl.col("numerators") / per), units=per
        )
    )


@dataclass(frozen=True)
class _Cells:
    """Counts by day and step.

    Attributes:
        days: every day from the first one to tonight.
        steps: `workflow_id` and `step_id`, in the order of the columns of the matrices.
        counts: matrices of (days, steps) by the name of the count; zero where there is no row.
        is_present: whether there is a row.
        is_mature: false where a row says so.
    """

    days: list[date]
    steps: pl.DataFrame
    counts: Mapping[str, Array]
    is_present: Mask
    is_mature: Mask


@dataclass(frozen=True)
class _Series:
    """The series of all metrics of one kind, metric by metric; matrices are (days, series).

    Attributes:
        worse: the direction that harms, by metric: -1 = down, 1 = up.
        counts: numerators, or the volume; NaN where not known.
        exposure: denominators, or 1 where a volume exists.
        is_listed: whether the cell makes a row of the table.
        is_immature: whether the count may still change.
    """

    kind: Kind
    metrics: Sequence[str]
    worse: Sequence[int]
    counts: Array
    exposure: Array
    is_listed: Mask
    is_immature: Mask


def _cells(daily: pl.DataFrame, names: list[str], as_of_day: date) -> _Cells:
    is_mature = pl.col("is_mature").all() if "is_mature" in daily.columns else pl.lit(True)
    summed = (pl.when(pl.col(name).null_count() == 0).then(pl.col(name).sum()).cast(pl.Float64) for name in names)
    cells = daily.group_by("day", *_STEP).agg(
        *(count.alias(name) for count, name in zip(summed, names, strict=True)), is_mature=is_mature
    )
    first: date = cells.get_column("day").min()  # type: ignore[assignment]
    days = [first + timedelta(days=offset) for offset in range((as_of_day - first).days + 1)]
    steps = cells.select(_STEP).unique().sort(_STEP)
    placed = cells.join(steps.with_row_index("column"), on=_STEP)
    at = (
        (placed.get_column("day") - first).dt.total_days().to_numpy(),
        placed.get_column("column").to_numpy(),
    )
    shape = (len(days), steps.height)
    counts = {name: np.zeros(shape) for name in names}
    for name, matrix in counts.items():
        matrix[at] = placed.get_column(name).to_numpy()
    is_present, mature = np.zeros(shape, dtype=bool), np.ones(shape, dtype=bool)
    is_present[at] = True
    mature[at] = placed.get_column("is_mature").to_numpy()
    return _Cells(days, steps, counts, is_present, mature)


def _rate_series(cells: _Cells, rates: Sequence[Rate]) -> _Series:
    age = np.arange(len(cells.days))[::-1, None]
    waits = [rate.final_after_days for rate in rates]
    immature = [
        ~cells.is_mature if wait is None else np.broadcast_to(age < wait, cells.is_mature.shape) for wait in waits
    ]
    return _Series(
        kind="rate",
        metrics=[rate.name for rate in rates],
        worse=[-1 if rate.is_gain else 1 for rate in rates],
        counts=np.hstack([cells.counts[rate.numerator] for rate in rates]),
        exposure=np.hstack([cells.counts[rate.denominator] for rate in rates]),
        is_listed=np.tile(cells.is_present, len(rates)),
        is_immature=np.hstack(immature),
    )


def _volume_series(cells: _Cells, volumes: Sequence[str]) -> _Series:
    counts = np.hstack([cells.counts[volume] for volume in volumes])
    has_begun = np.maximum.accumulate(np.nan_to_num(counts) > 0, axis=0)
    return _Series(
        kind="volume",
        metrics=volumes,
        worse=[-1] * len(volumes),
        counts=counts,
        exposure=has_begun.astype(float),
        is_listed=has_begun,
        is_immature=np.zeros_like(has_begun),
    )


def _scored_rows(cells: _Cells, series: _Series, holidays: Sequence[date]) -> pl.DataFrame:
    """Score all series of one kind side by side, and lay the listed cells out as rows."""
    is_rate = series.kind == "rate"
    holiday = np.array([day in holidays for day in cells.days])[:, None]
    unknown = np.isnan(series.counts) | np.isnan(series.exposure)
    exposure = np.where(unknown, 0.0, series.exposure)
    count = np.where(unknown, 0.0, np.minimum(series.counts, exposure) if is_rate else series.counts)
    usable = series.is_listed & ~unknown & ~series.is_immature & ~holiday & (exposure > 0)
    weekday = np.array([day.weekday() for day in cells.days])
    fleet = np.repeat(np.arange(len(series.metrics)), cells.steps.height)
    scored = replay(Panel(count, exposure, usable, weekday, fleet, series.kind))

    status = np.select(
        [
            np.broadcast_to(holiday, usable.shape),
            unknown,
            series.is_immature,
            exposure <= 0,
            scored.days < WARM_UP_DAYS,
        ],
        ["holiday", "unknown", "not mature", "nothing sent", "not enough data"],
        default="ok",
    )
    per = np.where(exposure > 0, exposure, 1.0)
    low, high = predictive_band(scored.expected, per if is_rate else None, scored.dispersion, NORMAL_95)
    change = np.select(
        [scored.change == 1, scored.change == 2, scored.drift != 0], ["new level", "former level", "drift"], default=""
    )
    direction = np.where(scored.drift != 0, scored.drift, np.sign(scored.window_score)).astype(int)
    worse = np.repeat(series.worse, cells.steps.height)
    day, place = chosen = np.nonzero(series.is_listed)
    metric, step = np.divmod(place, cells.steps.height)

    def where(condition: Mask, values: Array) -> Array:
        return np.where(condition, values, np.nan)[chosen]

    ok = status == "ok"
    frame = pl.DataFrame(
        {
            "day": pl.Series(np.array(cells.days, dtype="datetime64[D]")[day]),
            **{name: cells.steps.get_column(name).gather(step) for name in _STEP},
            "metric": pl.Series(series.metrics, dtype=pl.String).gather(metric),
            "metric_kind": pl.repeat(series.kind, len(step), eager=True),
            "numerator": where(~unknown, count),
            "denominator": where(~unknown & is_rate, exposure),
            "value": where(~unknown & (exposure > 0), count / per),
            "expected_value": where(ok, scored.expected / per),
            "expected_value_low": where(ok, low / per),
            "expected_value_high": where(ok, high / per),
            "expected_events": where(ok, scored.expected),
            "dispersion": where(ok, scored.dispersion),
            "baseline_days": scored.days[chosen],
            "days_needed": np.maximum(WARM_UP_DAYS - scored.days[chosen], 0),
            "night_score": where(ok, scored.score),
            "score": where(ok, scored.window_score),
            "window_nights": scored.window[chosen],
            "tail_probability": where(ok, scored.probability),
            "direction": pl.Series(["down", "none", "up"]).gather(direction[chosen] + 1),
            "is_adverse": (direction == worse)[chosen],
            "is_anomaly": scored.flagged[chosen],
            "change": pl.Series(change[chosen].tolist(), dtype=pl.String).replace({"": None}),
            "status": pl.Series(status[chosen].tolist(), dtype=pl.String),
        }
    )
    return frame.with_columns(cs.float().fill_nan(None)).with_columns(pl.col("numerator", "denominator").cast(pl.Int64))
