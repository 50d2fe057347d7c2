"""What to tell people: alarms are joined to incidents, incidents to causes, and each cause is told once.

Here: grouping, severity, mutes and words. Whether a night is out of line is decided in `nights`.
"""

import numpy as np
import polars as pl

from pipeline.analysis.anomalies.baseline import ALARM_PROBABILITY, two_sided
from pipeline.analysis.anomalies.nights import METHOD, SERIES, flagged, weekly_values
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
# An alarm with a tail probability below one of these is that severe. The first comes by chance once per step in about
# thirty years, the last never.
SEVERITY_PROBABILITIES = {"medium": 1e-4, "high": 1e-6, "critical": 1e-9}
# A drift by this factor, from one week to the week four weeks later, is grave, although no single night of it is.
_GRAVE_FACTOR = 0.6
# Weeks of a few events differ by as much without any reason.
_GRAVE_SCORE = 2.8
_GRAVE_PROBABILITY = SEVERITY_PROBABILITIES["high"] / 2
_APART_DAYS = 28
# A drift is confirmed on one night. People are told of it for a week; of a grave one until the week that it is held
# against has drifted too.
_DRIFT_TOLD_DAYS = 7
_GRAVE_DRIFT_TOLD_DAYS = _APART_DAYS
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
            severity=_severity(),
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
        `is_new` (no alarm before the last day), `is_muted` (every alarm is muted), and `message`.
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
            direction=_only("direction"),
            is_new=pl.col("is_latest").all(),
            is_latest=pl.col("is_latest").any(),
        )
        .filter("is_latest")
    )
    where = (
        pl.when(pl.col("cause_scope") == "account")
        .then(pl.lit("The whole account"))
        .when(pl.col("cause_scope") == "workflow")
        .then(pl.format("Workflow {}", "workflow_id"))
        .otherwise(pl.format("Workflow {}, step {}", "workflow_id", "step_id"))
    )
    way = pl.col("direction").replace_strict({"up": "above", "down": "below"}, default="off")
    return (
        causes.sort("rank", "affected", "cause_id", descending=[True, True, False])
        .with_columns(
            message=pl.format("{}: {} {} the forecast since {}.", where, "metrics", way, "first_day"),
        )
        .drop("rank", "direction", "is_latest")
    )


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
    graded = (
        flagged(baselines)
        .join(_far_drifts(baselines), on=[*SERIES, "day"], how="left")
        .with_columns(is_far=(pl.col("far_direction") == pl.col("direction")).fill_null(False))
    )
    of_drift = pl.when(pl.col("is_far")).then(_GRAVE_PROBABILITY).otherwise(_DRIFT_PROBABILITY)
    return graded.with_columns(
        scope=pl.lit("step"),
        anomaly_kind=kind,
        is_far=is_drift & pl.col("is_far"),
        tail_probability=pl.when(is_drift).then(of_drift).otherwise("tail_probability"),
        affected=pl.coalesce("denominator", away).fill_null(0),
    )


def _far_drifts(baselines: pl.DataFrame) -> pl.DataFrame:
    """`far_direction` by series and day: where its week surely lies, by the grave factor, of that four weeks before."""
    weeks = weekly_values(baselines)
    known = ("smoothed_value", "numerators", "units")
    before = weeks.with_columns(pl.col("day").dt.offset_by(f"{_APART_DAYS}d")).rename(
        {name: f"former_{name}" for name in known}
    )
    ratio = pl.col("smoothed_value") / pl.col("former_smoothed_value")
    # Both weeks have their events by chance at the rate of both together.
    together = (pl.col("numerators") + pl.col("former_numerators")) / (pl.col("units") + pl.col("former_units"))
    error = (together * (1 / pl.col("units") + 1 / pl.col("former_units"))).sqrt()
    is_sure = (pl.col("smoothed_value") - pl.col("former_smoothed_value")).abs() > _GRAVE_SCORE * error
    direction = pl.when(ratio <= _GRAVE_FACTOR).then(pl.lit("down")).when(ratio >= 1 / _GRAVE_FACTOR).then(pl.lit("up"))
    return weeks.join(before, on=[*SERIES, "day"]).select(
        *SERIES, "day", far_direction=pl.when(is_sure).then(direction)
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


def _severity() -> pl.Expr:
    severity = pl.lit("low")
    for name, probability in SEVERITY_PROBABILITIES.items():
        severity = pl.when(pl.col("tail_probability") < probability).then(pl.lit(name)).otherwise(severity)
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
