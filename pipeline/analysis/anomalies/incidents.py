"""What to tell people: alarms are joined to incidents, incidents to causes, and each cause is told once.

Here: grouping, severity, mutes and words. Whether a night is out of line is decided in `nights`.

Severity allows for a spread that is estimated: the normal score of an alarm is held against Student's t with as many
degrees of freedom as the forecast has days. In 3,000 plays of odd worlds a night of chance was once called one in a
hundred millions, after ten weeks of history.

The nights of an incident count together for its severity. A night of a small step's silence says little, so that a step
of the sample account that had been silent for 34 nights was called of medium severity, and had left the inbox.

A drift that leads far enough is grave, although no single night of it is. It was judged by the week that confirmed it,
against one week of old. But such a week was chosen for being out of line: most of the wrong incidents of the odd worlds
were drifts of rare events. A fortnight is compared now, and it must convince by itself unless all of it came after the
alarm.
"""

import numpy as np
import polars as pl
from scipy.special import ndtri, stdtr

from pipeline.analysis.anomalies.baseline import ALARM_PROBABILITY, two_sided
from pipeline.analysis.anomalies.nights import METHOD, SERIES, flagged
from pipeline.analysis.anomalies.tails import beta_binomial_score
from pipeline.schemas.base import conform, empty
from pipeline.schemas.monitoring import Anomalies
from pipeline.schemas.vocabulary import SEVERITIES

# With fewer steps a median says little, and the score of a step that expects no event hardly moves.
_FLEET_STEPS = 5
_FLEET_EVENTS = 1.0
# The variance of the median of n standard normals is this divided by n.
_MEDIAN_VARIANCE = np.pi / 2
_MEDIAN_HALF_LIFE_DAYS = 84.0
_MEDIAN_PRIOR_DAYS = 6.0
# Alarms at most this many days apart are the same incident.
_GAP_DAYS = 2
# An alarm is that severe if its nights are less probable than this.
SEVERITY_PROBABILITIES = {"medium": 1e-4, "high": 1e-7, "critical": 1e-9}
# A drift by this factor, from four weeks of old to the last fortnight, is grave, although no single night of it is. The
# four weeks ended four weeks ago, or eight: a decay that takes two months is not that far in one. A season of the year
# moves a volume by a third in that time, and chance a little further.
_GRAVE_FACTORS = {"rate": 0.6, "volume": 0.5}
_GRAVE_PROBABILITY = SEVERITY_PROBABILITIES["high"] / 2
_RECENT_DAYS = 14
_FORMER_DAYS = 28
_APART_DAYS = (28, 56)
# The nights that confirm a drift were chosen for being out of line, so a fortnight that holds them must convince by its
# own score. One that came after them adds to what they said; but the weeks before an alarm are often low by chance too.
_GRAVE_SCORE = 5.0
_GRAVE_SCORE_AFTERWARDS = 3.5
# A drift is confirmed on one night. People are told of it for a week; of a grave one until the week that it is held
# against has drifted too.
_DRIFT_TOLD_DAYS = 7
_GRAVE_DRIFT_TOLD_DAYS = 28
# The chance that a CUSUM passes its limit on a given night although nothing drifts, as the simulations measure it.
_DRIFT_PROBABILITY = 7e-4


def account_alerts(baselines: pl.DataFrame) -> pl.DataFrame:
    """Nights on which the median score of all steps moved, which make one alert instead of one for every step.

    Args:
        baselines: rows of `anomaly_baselines` of all days, because the spread of the median is learnt from them.

    Returns:
        One row per day and metric with at least five scored steps that expect an event: `steps`, `median_score`,
        `score` (the median divided by the spread that it had before that day, or by the spread that chance gives if
        that is larger), `tail_probability`, `direction` and `is_alert`.
    """
    medians = (
        baselines.filter((pl.col("status") == "ok") & (pl.col("expected_events") >= _FLEET_EVENTS))
        .group_by("metric", "metric_kind", "day")
        .agg(
            steps=pl.len().cast(pl.Int64),
            median_score=pl.col("night_score").median(),
            is_down_adverse=(pl.col("is_adverse") == (pl.col("direction") == "down")).mean() > 0.5,
            **{name: pl.col(name).sum() for name in ("numerator", "denominator", "expected_events")},
        )
        .filter(pl.col("steps") >= _FLEET_STEPS)
        .sort("metric", "day")
    )
    parts = [_score_medians(part) for part in medians.partition_by("metric", maintain_order=True)]
    return pl.concat(parts) if parts else _score_medians(medians)


def _score_medians(medians: pl.DataFrame) -> pl.DataFrame:
    """Score one metric's medians against their own discounted spread."""
    median = medians.get_column("median_score").to_numpy()
    chance = _MEDIAN_VARIANCE / medians.get_column("steps").to_numpy()
    decay = 0.5 ** (1 / _MEDIAN_HALF_LIFE_DAYS)
    scores = np.zeros(len(median))
    squares, weight = _MEDIAN_PRIOR_DAYS, _MEDIAN_PRIOR_DAYS
    for day, value in enumerate(median):
        spread = max(squares / weight, 1.0)
        scores[day] = value / np.sqrt(chance[day] * spread)
        if two_sided(scores[day]) >= ALARM_PROBABILITY:
            squares, weight = decay * squares + value**2 / chance[day], decay * weight + 1
    probability = two_sided(scores)
    return medians.with_columns(
        score=pl.Series(scores),
        tail_probability=pl.Series(probability),
        direction=pl.Series(np.where(scores > 0, "up", "down").tolist(), dtype=pl.String),
        is_alert=pl.Series(probability < ALARM_PROBABILITY),
    )


def anomalies(baselines: pl.DataFrame, *, mutes: pl.DataFrame | None = None) -> pl.DataFrame:
    """All alarms of steps and of the account, each with its severity, incident, cause and mute.

    Args:
        baselines: rows of `anomaly_baselines` of all days.
        mutes: `workflow_id`, `step_id`, `metric` (String, null = any), `until` (Date, the last day muted).

    Returns:
        One row per alarm, in the columns of `anomalies`. An incident is a run of alarms of one metric of one step, in
        which a day may be missing. The cause of an alarm is the account if the account's median moved the same way
        that day; else the workflow if at least two steps, and half of those scored, moved the same way that day; else
        the step. A cause, too, is a run of days in which a day may be missing.
    """
    latest = baselines.filter(pl.col("status") == "ok").group_by("metric").agg(latest_day=pl.col("day").max())
    if latest.is_empty():
        return empty(Anomalies)
    alerts = account_alerts(baselines)
    rows = pl.concat([_step_rows(baselines), _account_rows(alerts, baselines)], how="diagonal")
    moved = alerts.filter("is_alert").select("day", "metric", "direction", is_account=pl.lit(True))
    scored = (
        baselines.filter(pl.col("status") == "ok")
        .group_by("workflow_id", "day")
        .agg(steps_scored=pl.col("step_id").n_unique())
    )
    together = (
        rows.filter(pl.col("scope") == "step")
        .group_by("workflow_id", "day", "direction")
        .agg(steps_moved=pl.col("step_id").n_unique())
        .join(scored, on=["workflow_id", "day"], how="left")
        .with_columns(is_workflow=(pl.col("steps_moved") >= 2) & (2 * pl.col("steps_moved") >= pl.col("steps_scored")))
    )
    caused = rows.join(moved, on=["day", "metric", "direction"], how="left").join(
        together, on=["workflow_id", "day", "direction"], how="left"
    )
    cause_scope = (
        pl.when((pl.col("scope") == "account") | pl.col("is_account"))
        .then(pl.lit("account"))
        .when("is_workflow")
        .then(pl.lit("workflow"))
        .otherwise(pl.lit("step"))
    )
    step = pl.concat_str("workflow_id", "step_id", separator="/")
    series = pl.concat_str(pl.coalesce(step, pl.lit("account")), "metric", separator="/")
    cause = (
        pl.when(pl.col("cause_scope") == "account")
        .then(pl.lit("account"))
        .when(pl.col("cause_scope") == "workflow")
        .then("workflow_id")
        .otherwise(step)
    )
    named = (
        caused.with_columns(cause_scope=cause_scope)
        .with_columns(series=series, cause=cause)
        .pipe(_number_runs, "series", "incident")
        .pipe(_number_runs, "cause", "cause")
        .with_columns(
            anomaly_id=pl.concat_str("series", pl.col("day").cast(pl.String), pl.col("anomaly_kind"), separator="/"),
            severity=_severity(_run_probability()),
        )
        .join(latest, on="metric", how="left")
        .with_columns(
            is_latest=pl.when(pl.col("is_far").fill_null(False))
            .then(pl.col("day") > pl.col("latest_day").dt.offset_by(f"-{_GRAVE_DRIFT_TOLD_DAYS}d"))
            .when(pl.col("anomaly_kind") == "drift")
            .then(pl.col("day") > pl.col("latest_day").dt.offset_by(f"-{_DRIFT_TOLD_DAYS}d"))
            .otherwise(pl.col("day") == pl.col("latest_day"))
        )
    )
    return conform(_mute(named, mutes).sort("day", "cause_id", "anomaly_id"), Anomalies)


def severity_rank() -> pl.Expr:
    """The place of column `severity` among the severities, from 0 for the mildest."""
    return pl.col("severity").replace_strict({name: place for place, name in enumerate(SEVERITIES)})


def notifications(found: pl.DataFrame) -> pl.DataFrame:
    """One row per cause that still goes on: it has an alarm on the last day for which its metric is scored.

    Args:
        found: rows of `anomalies`.

    Returns:
        The gravest first: `cause_id`, `cause_scope`, `workflow_id` and `step_id` (null where there are several),
        `first_day`, `last_day`, `severity` (the worst), `metrics`, `alarms`, `steps`, `affected`, `is_adverse`,
        `is_new` (no alarm before the last day), and `is_muted` (every alarm is muted).
    """
    causes = (
        found.with_columns(rank=severity_rank())
        .sort("rank", "day", descending=True)
        .group_by("cause_id", maintain_order=True)
        .agg(
            pl.col("cause_scope").first(),
            _only("workflow_id"),
            _only("step_id"),
            pl.col("rank").max(),
            first_day=pl.col("cause_first_day").min(),
            last_day=pl.col("day").max(),
            severity=pl.col("severity").first(),
            metrics=pl.col("metric").unique().sort().str.join(", "),
            alarms=pl.len().cast(pl.Int64),
            steps=pl.struct("workflow_id", "step_id").filter(pl.col("scope") == "step").n_unique().cast(pl.Int64),
            affected=pl.col("affected").filter(pl.col("scope") == "step").sum(),
            is_adverse=pl.col("is_adverse").any(),
            is_muted=pl.col("is_muted").all(),
            is_new=pl.col("is_latest").all(),
            is_latest=pl.col("is_latest").any(),
        )
        .filter("is_latest")
    )
    return causes.sort("rank", "affected", "cause_id", descending=[True, True, False]).drop("rank", "is_latest")


def _only(name: str) -> pl.Expr:
    """The value that all rows of a group share; null where they differ."""
    return pl.when(pl.col(name).n_unique() == 1).then(pl.col(name).first()).alias(name)


def _step_rows(baselines: pl.DataFrame) -> pl.DataFrame:
    is_drift = (pl.col("change") == "drift") & ~pl.col("is_anomaly")
    kind = (
        pl.when(is_drift)
        .then(pl.lit("drift"))
        .when((pl.col("metric_kind") == "volume") & (pl.col("numerator") == 0))
        .then(pl.lit("silence"))
        .when(pl.col("window_nights") > 1)
        .then(pl.lit("nights"))
        .otherwise(pl.lit("night"))
    )
    away = (pl.col("numerator") - pl.col("expected_events")).abs().round().cast(pl.Int64)
    graded = flagged(baselines).join(_far_drifts(baselines), on=[*SERIES, "day"], how="left")
    is_far = pl.col("is_far").fill_null(False)
    of_drift = pl.when(is_far).then(_GRAVE_PROBABILITY).otherwise(_DRIFT_PROBABILITY)
    return graded.with_columns(
        scope=pl.lit("step"),
        anomaly_kind=kind,
        is_far=is_drift & is_far,
        tail_probability=pl.when(is_drift).then(of_drift).otherwise("tail_probability"),
        affected=pl.coalesce("denominator", away).fill_null(0),
    )


def _far_drifts(baselines: pl.DataFrame) -> pl.DataFrame:
    """The series and day of the drifts that surely led as far as the grave factor, or did in the next four weeks."""
    drifts = baselines.filter(pl.col("change") == "drift").select(*SERIES, "metric_kind", "direction", drift_day="day")
    scored = baselines.filter((pl.col("status") == "ok") & ~pl.col("is_anomaly")).join(drifts, on=SERIES, how="semi")
    former = _pooled(scored, _FORMER_DAYS, "former").drop("dispersion")
    apart = pl.concat(former.with_columns(pl.col("day").dt.offset_by(f"{days}d")) for days in _APART_DAYS)
    compared = _pooled(scored, _RECENT_DAYS, "recent").join(apart, on=[*SERIES, "day"])
    events, units = pl.col("recent") + pl.col("former"), pl.col("recent_units") + pl.col("former_units")
    # Given all events, those of the fortnight are binomial; days that vary by themselves scatter its share more.
    share = pl.col("recent_units") / units
    scatter = pl.col("dispersion") * (1 - share) ** 2 * (1 / _RECENT_DAYS + 1 / _FORMER_DAYS)
    told = compared.filter(events > 0).select(
        *SERIES,
        "day",
        "recent",
        events=events,
        share=share,
        scatter=scatter,
        ratio=pl.col("recent") / pl.col("recent_units") * pl.col("former_units") / pl.col("former"),
    )
    numbers = [told.get_column(name).cast(pl.Float64).to_numpy() for name in ("recent", "events", "share", "scatter")]
    factor = pl.col("metric_kind").replace_strict(_GRAVE_FACTORS)
    is_far = (
        pl.when(pl.col("direction") == "down").then(pl.col("ratio") <= factor).otherwise(pl.col("ratio") >= 1 / factor)
    )
    since = (pl.col("day") - pl.col("drift_day")).dt.total_days()
    is_after = since.is_between(_RECENT_DAYS, _GRAVE_DRIFT_TOLD_DAYS - 1)
    reach = pl.when(is_after).then(_GRAVE_SCORE_AFTERWARDS).otherwise(_GRAVE_SCORE)
    return (
        told.with_columns(score=pl.Series(beta_binomial_score(*numbers)))
        .join(drifts, on=SERIES)
        .filter(since.is_between(0, _GRAVE_DRIFT_TOLD_DAYS - 1))
        .filter(is_far & (pl.col("score").abs() > reach))
        .select(*SERIES, day="drift_day", is_far=pl.lit(True))
        .unique()
    )


def _pooled(rows: pl.DataFrame, days: int, name: str) -> pl.DataFrame:
    """Events of the days up to each day, the units that they are counted among, and the mean dispersion."""
    rolled = rows.sort(*SERIES, "day").with_columns(pl.col("day").set_sorted())
    units = pl.when(pl.col("metric_kind") == "volume").then(1).otherwise("denominator").sum()
    return rolled.rolling("day", period=f"{days}d", group_by=SERIES).agg(
        pl.col("numerator").sum().alias(name), units.alias(f"{name}_units"), pl.col("dispersion").mean()
    )


def _account_rows(alerts: pl.DataFrame, baselines: pl.DataFrame) -> pl.DataFrame:
    rate = pl.col("metric_kind") == "rate"
    per = pl.when(rate).then("denominator").otherwise(1)
    away = (pl.col("numerator") - pl.col("expected_events")).abs().round().cast(pl.Int64)
    return alerts.filter("is_alert").with_columns(
        scope=pl.lit("account"),
        as_of_day=pl.lit(baselines.item(0, "as_of_day")),
        workflow_id=pl.lit(None, dtype=pl.String),
        step_id=pl.lit(None, dtype=pl.String),
        anomaly_kind=pl.lit("night"),
        window_nights=pl.lit(1, dtype=pl.Int64),
        value=pl.col("numerator") / per,
        expected_value=pl.col("expected_events") / per,
        denominator=pl.when(rate).then("denominator"),
        affected=pl.when(rate).then("denominator").otherwise(away),
        is_adverse=pl.col("is_down_adverse") == (pl.col("direction") == "down"),
        method=pl.lit(METHOD),
    )


def _number_runs(rows: pl.DataFrame, subject: str, name: str) -> pl.DataFrame:
    """Add `{name}_id` and `{name}_first_day`: runs of days of one subject in which single days may be missing.

    A grave drift goes on for weeks between the nights that confirm it.
    """
    reach = pl.when(pl.col("is_far").fill_null(False).any()).then(_GRAVE_DRIFT_TOLD_DAYS).otherwise(_GAP_DAYS)
    days = rows.group_by(subject, "day").agg(reach=reach).sort(subject, "day")
    apart = pl.col("day").diff().over(subject).dt.total_days()
    first = (apart > pl.col("reach").shift(1).over(subject)).fill_null(True)
    runs = (
        days.with_columns(run=first.cum_sum())
        .with_columns(pl.col("day").min().over("run").alias(f"{name}_first_day"))
        .drop("run")
    )
    numbered = rows.join(runs, on=[subject, "day"])
    identifier = pl.format("{}@{}", subject, f"{name}_first_day")
    return numbered.with_columns(identifier.alias(f"{name}_id"))


def _run_probability() -> pl.Expr:
    """How probable the nights of an incident are together, from its first alarm to this one; of a drift, its own.

    Nights are independent under the forecast. Windows overlap, so of each later night only the night itself counts. A
    night that moved the other way begins anew. No night counts for more than an alarm needs: else the first one would
    speak for all that follow, whatever they are.
    """
    is_drift = pl.col("anomaly_kind") == "drift"
    is_same_way = (pl.col("night_score") > 0) == (pl.col("direction") == "up")
    score = pl.when(is_same_way & ~is_drift).then(pl.col("night_score").abs()).fill_null(0.0)
    of_night = score.map_batches(lambda scores: pl.Series(two_sided(scores.to_numpy())), return_dtype=pl.Float64)
    run = ["incident_id", "direction", is_drift]
    is_first = (pl.col("day") == pl.col("day").min().over(run)) & ~is_drift
    alone = pl.struct("tail_probability", "baseline_days").map_batches(_of_estimated_spread, return_dtype=pl.Float64)
    factor = pl.when(is_first).then(alone).otherwise(of_night)
    together = factor.clip(ALARM_PROBABILITY).log().cum_sum().over(run, order_by="day").exp()
    return pl.when(is_drift).then("tail_probability").otherwise(pl.min_horizontal(alone, together))


def _of_estimated_spread(alarms: pl.Series) -> pl.Series:
    """The tail probabilities of alarms, if the spread of the forecast is only known from so many days.

    Of the account's alarms, which have no days of their own, they stay as they are.
    """
    probability, days = (alarms.struct.field(name).to_numpy() for name in ("tail_probability", "baseline_days"))
    of_t = 2 * stdtr(days, ndtri(probability / 2))
    return pl.Series(np.where(np.isnan(days), probability, of_t))


def _severity(probability: pl.Expr) -> pl.Expr:
    severity = pl.lit("low")
    for name, limit in SEVERITY_PROBABILITIES.items():
        severity = pl.when(probability < limit).then(pl.lit(name)).otherwise(severity)
    return severity


def _mute(rows: pl.DataFrame, mutes: pl.DataFrame | None) -> pl.DataFrame:
    if mutes is None or mutes.is_empty():
        return rows.with_columns(is_muted=pl.lit(False), muted_until=pl.lit(None, dtype=pl.Date))
    keys = ["workflow_id", "step_id", "metric"]
    wanted = mutes.select(*(pl.col(key).cast(pl.String).alias(f"mute_{key}") for key in keys), "until")
    matches = pl.all_horizontal(
        *((pl.col(f"mute_{key}").is_null() | pl.col(f"mute_{key}").eq_missing(pl.col(key))) for key in keys),
        pl.col("day") <= pl.col("until"),
    )
    until = (
        rows.select("anomaly_id", "day", *keys)
        .join(wanted, how="cross")
        .filter(matches)
        .group_by("anomaly_id")
        .agg(muted_until=pl.col("until").max())
    )
    return rows.join(until, on="anomaly_id", how="left").with_columns(is_muted=pl.col("muted_until").is_not_null())
