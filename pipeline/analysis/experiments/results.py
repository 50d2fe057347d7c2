"""The results of tests, night by night: lifts with intervals that hold at every look, and which claims are made.

Here: the control of errors over looks, arms and metrics. The statistics of one comparison are computed in `metrics`,
the critical values in `group_sequential` and `confidence_sequence`.
"""

from collections.abc import Sequence
from datetime import date

import polars as pl
from scipy.special import ndtr

from pipeline.analysis.experiments.metrics import compare, daily_contributions, lift_interval
from pipeline.analysis.experiments.plan import ExperimentPlan, plan_table
from pipeline.analysis.statistics import confidence_sequence, group_sequential
from pipeline.analysis.statistics.intervals import NORMAL_95, wilson_bounds
from pipeline.schemas.base import conform
from pipeline.schemas.experiments import ExperimentResults
from pipeline.schemas.vocabulary import GuardrailName, MetricKind, MetricName, MetricRole

FEWEST_EVENTS = 5.0
"""Cochran's rule: with fewer expected events, or fewer expected exposures without one, in the smaller arm a z-score is
not normal enough to decide anything."""
_WHO_COUNTS = {
    MetricName.CLICK: "click",
    MetricName.CONVERSION: "convert",
    MetricName.REVENUE: "pay",
    GuardrailName.UNSUBSCRIBE: "unsubscribe",
    GuardrailName.COMPLAINT: "complain",
}
"""What people do whom a metric counts."""

_COMPARISON = ["experiment_id", "metric", "arm"]
_TESTS = {
    **dict.fromkeys([*_COMPARISON, "kind", "role"], pl.String),
    "is_increase_good": pl.Boolean,
    "comparisons": pl.Int64,
    "planned_weight": pl.Float64,
}


def experiment_results(moments: pl.DataFrame, plans: Sequence[ExperimentPlan], *, as_of_day: date) -> pl.DataFrame:
    """Every night of every test, with intervals that remain valid although they are looked at every night.

    Args:
        moments: additive moments of all metrics and arms, from `reduce_exposures`. A day is used from the night on
            which its window has closed.
        plans: the frozen plans.
        as_of_day: tonight.

    Returns:
        One row per test, night, metric and treatment, in the columns of `experiment_results`. There are no nights after
        the last look, which is taken at information fraction 1 or on the end day.

    Decisions are two-sided group-sequential tests that spend alpha * t^3; open-ended tests use an asymptotic confidence
    sequence. Holm's procedure over arms and metrics is applied to the boundaries (Maurer and Bretz, 2013). A guardrail
    is tested alone at alpha, because missing a harm costs more than a false alarm. The intervals are repeated
    confidence intervals (Jennison and Turnbull, 1989) at alpha / comparisons, so that they exclude zero exactly where
    the first claim is made.
    """
    tests, moments = _numbered(_tests(plans), moments)
    nights = _nights(tests, as_of_day)
    sums = _running_sums(moments, tests, nights)
    looks = _with_information(sums, tests, nights, moments)
    decided = _with_holm(_with_intervals(compare(looks)))
    return _presented(decided)


def _numbered(tests: pl.DataFrame, moments: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The names of tests, metrics and arms as numbers in the order of the names, which join and sort faster."""
    named = {"experiment_id": ["experiment_id"], "metric": ["metric"], "arm": ["arm", "control"]}
    for kind, columns in named.items():
        names = pl.concat([moments[kind], *(tests[column] for column in columns)])
        numbers = pl.Enum(names.unique().sort())
        tests = tests.with_columns(pl.col(columns).cast(numbers))
        moments = moments.with_columns(pl.col(kind).cast(numbers))
    return tests, moments


def _tests(plans: Sequence[ExperimentPlan]) -> pl.DataFrame:
    """One row per comparison with what its plan says about it."""
    rows = [
        {
            "experiment_id": plan.experiment_id,
            "metric": metric.name,
            "arm": arm,
            "kind": metric.kind,
            "role": metric.role,
            "is_increase_good": metric.is_increase_good,
            "comparisons": 1 if metric.role is MetricRole.GUARDRAIL else plan.comparisons,
            "planned_weight": plan.planned_exposures / (1 / share + 1 / plan.shares[0][1]),
        }
        for plan in plans
        for metric in plan.metrics
        for arm, share in plan.shares[1:]
    ]
    return pl.DataFrame(rows, schema=_TESTS).join(plan_table(plans), on="experiment_id", maintain_order="left")


def _nights(tests: pl.DataFrame, as_of_day: date) -> pl.DataFrame:
    """One row per test and night from the first matured day on."""
    last = pl.when("is_open_ended").then(pl.lit(as_of_day)).otherwise(pl.min_horizontal("end_day", pl.lit(as_of_day)))
    return (
        tests.unique("experiment_id", maintain_order=True)
        .select("experiment_id", first=pl.col("start_day") + pl.duration(days="window_days"), last=last)
        .filter(pl.col("first") <= pl.col("last"))
        .select("experiment_id", as_of_day=pl.date_ranges("first", "last"))
        .explode("as_of_day", empty_as_null=False)
    )


def _running_sums(moments: pl.DataFrame, tests: pl.DataFrame, nights: pl.DataFrame) -> pl.DataFrame:
    """The stratified sums of every comparison on every night, over mature exposures."""
    daily = daily_contributions(moments, tests)
    sums = [name for name in daily.columns if name not in (*_COMPARISON, "kind", "exposed_day")]
    return (
        tests.join(nights, on="experiment_id")
        .with_columns(exposed_day=pl.col("as_of_day") - pl.duration(days="window_days"))
        .join(daily.drop("kind"), on=[*_COMPARISON, "exposed_day"], how="left")
        .sort(*_COMPARISON, "as_of_day")
        .with_columns(pl.col(name).fill_null(0.0).cum_sum().over(_COMPARISON) for name in sums)
    )


def _with_information(
    sums: pl.DataFrame, tests: pl.DataFrame, nights: pl.DataFrame, moments: pl.DataFrame
) -> pl.DataFrame:
    """Add the information fraction of each night, and drop the nights after the last look."""
    plan = ["experiment_id", "window_days", "planned_exposures", "end_day", "is_open_ended"]
    primary = tests.filter(pl.col("role") == MetricRole.PRIMARY).select(*plan, "metric").unique()
    arrived = moments.group_by("experiment_id", "metric", "exposed_day").agg(pl.col("exposures").sum())
    fractions = (
        primary.join(nights, on="experiment_id")
        .with_columns(exposed_day=pl.col("as_of_day") - pl.duration(days="window_days"))
        .join(arrived, on=["experiment_id", "metric", "exposed_day"], how="left")
        .sort("experiment_id", "as_of_day")
        .with_columns(
            sample_fraction=pl.col("exposures").fill_null(0).cum_sum().over("experiment_id")
            / pl.col("planned_exposures"),
            look=pl.int_range(1, pl.len() + 1).over("experiment_id"),
        )
        .with_columns(
            is_last_look=~pl.col("is_open_ended")
            & ((pl.col("sample_fraction") >= 1) | (pl.col("as_of_day") == pl.col("end_day")))
        )
        .filter(~pl.col("is_last_look").shift(1, fill_value=False).cum_max().over("experiment_id"))
        .select("experiment_id", "as_of_day", "sample_fraction", "look", "is_last_look")
    )
    # Under an uneven split exposures inform less than planned; n1 n0 / (n1 + n0) per week measures by how much.
    return sums.join(fractions, on=["experiment_id", "as_of_day"]).with_columns(
        information_fraction=pl.min_horizontal("sample_fraction", pl.col("weight") / pl.col("planned_weight"))
    )


def _critical_values(rows: pl.DataFrame, level: pl.Expr) -> pl.Series:
    """Critical |z| of each row at error `level`; the last look uses the boundary of the planned end.

    If there is less information than planned by then, this errs less than promised.
    """
    keyed = rows.select(
        position=pl.int_range(pl.len()),
        level=level,
        looks="planned_looks",
        open="is_open_ended",
        fraction=pl.when("is_last_look").then(1.0).otherwise("information_fraction"),
    )
    parts = []
    for (alpha, looks, is_open), group in keyed.group_by("level", "looks", "open"):
        fraction = group["fraction"].to_numpy()
        critical = (
            confidence_sequence.critical_values(fraction, alpha)
            if is_open
            else group_sequential.critical_values(fraction, alpha, looks)
        )
        parts.append(group.with_columns(critical=pl.Series(critical)))
    if not parts:
        return pl.Series("critical_z", [], dtype=pl.Float64)
    return pl.concat(parts).sort("position")["critical"].alias("critical_z")


def _with_intervals(rows: pl.DataFrame) -> pl.DataFrame:
    """Add the repeated confidence interval, and whether there is enough data to say anything."""
    rows = rows.with_columns(_critical_values(rows, pl.col("alpha") / pl.col("comparisons")))
    events = pl.col("total") + pl.col("control_total")
    everyone = pl.col("exposures") + pl.col("control_exposures")
    rarer = pl.min_horizontal(events, everyone - events)
    smaller = pl.min_horizontal("exposures", "control_exposures")
    is_rate = pl.col("kind") == MetricKind.RATE
    # For amounts, (sum)^2 / (sum of squares) is the number of equal payments that would scatter as much.
    payments = pl.min_horizontal(
        pl.when(pl.col(f"{side}squares") > 0)
        .then(pl.col(f"{side}total") ** 2 / pl.col(f"{side}squares"))
        .otherwise(0.0)
        for side in ("", "control_")
    )
    expected = (
        pl.when(is_rate).then(pl.when(everyone > 0).then(rarer * smaller / everyone).otherwise(0.0)).otherwise(payments)
    )
    low, high = lift_interval(pl.col("critical_z"))
    return (
        rows.with_columns(expected_events=expected, is_common=is_rate & (events > everyone - events))
        .with_columns(is_enough=(pl.col("expected_events") >= FEWEST_EVENTS) & pl.col("z_score").is_not_null())
        .with_columns(
            lift_low=pl.when("is_enough").then(low),
            lift_high=pl.when("is_enough").then(high),
        )
    )


def _with_holm(rows: pl.DataFrame) -> pl.DataFrame:
    """Mark from which night on each claim is made; after r of m claims the next needs the bound of alpha / (m - r)."""
    family = (
        pl.when(pl.col("role") == MetricRole.GUARDRAIL)
        .then(pl.concat_str(pl.lit("guardrail "), "metric", pl.lit(" "), "arm"))
        .otherwise(pl.lit("claims"))
    )
    rows = rows.with_columns(family=family, claimed_day=pl.lit(None, dtype=pl.Date))
    group = ["experiment_id", "family"]
    candidates = rows.filter("is_enough").with_columns(since=pl.lit(date.min))
    claims = []
    most_comparisons = max(rows["comparisons"].to_list(), default=0)
    for rejected in range(most_comparisons):
        candidates = candidates.filter(pl.col("comparisons") > rejected)
        if candidates.is_empty():
            break
        level = pl.col("alpha") / (pl.col("comparisons") - rejected)
        crossing = (
            candidates.with_columns(_critical_values(candidates, level))
            .filter((pl.col("z_score").abs() >= pl.col("critical_z")) & (pl.col("as_of_day") >= pl.col("since")))
            .sort("as_of_day", pl.col("z_score").abs(), descending=[False, True])
            .group_by(group, maintain_order=True)
            .first()
            .select(*group, "metric", "arm", claimed="as_of_day")
        )
        claims.append(crossing)
        candidates = (
            candidates.join(crossing.select(*group, "claimed"), on=group)
            .with_columns(since=pl.col("claimed"))
            .drop("claimed")
            .join(crossing, on=[*group, "metric", "arm"], how="anti")
        )
    if not claims:
        return rows.with_columns(is_significant=pl.lit(False))
    return rows.join(pl.concat(claims), on=[*group, "metric", "arm"], how="left").with_columns(
        is_significant=(pl.col("as_of_day") >= pl.col("claimed")).fill_null(False)
    )


def _presented(rows: pl.DataFrame) -> pl.DataFrame:
    """The published columns: levels of both arms with fixed-sample intervals, and the lift with its repeated one."""
    shown = pl.col("is_enough")
    missing = (FEWEST_EVENTS - pl.col("expected_events")).ceil().cast(pl.Int64).clip(lower_bound=1)
    known = {str(metric): what for metric, what in _WHO_COUNTS.items()}
    does = pl.col("metric").cast(pl.String).replace_strict(known)
    # The rarer side decides: people who do it, or people who do not.
    rarer = pl.when("is_common").then(pl.lit("do not ") + does).otherwise(does)
    statistic = {
        MetricKind.RATE: "Cochran-Mantel-Haenszel by week",
        MetricKind.MEAN: "winsorised stratified mean, CUPED",
        MetricKind.RATIO: "stratified ratio, delta method",
    }
    table = rows.with_columns(
        pl.when(shown).then(pl.col("z_score", "log_lift", "log_lift_standard_error")),
        better_probability=pl.when(shown).then(_better_probability()),
        **_level("metric", ""),
        **_level("control_metric", "control_"),
        metric_total="total",
        control_metric_total="control_total",
        # An arm in which nobody did it has lost all, which has no logarithm.
        lift=pl.when(shown & (pl.col("control_level") > 0) & (pl.col("treated_level") >= 0)).then(
            pl.col("treated_level") / pl.col("control_level") - 1
        ),
        critical_z=pl.when(pl.col("critical_z").is_finite()).then("critical_z"),
        status=pl.when(shown)
        .then(pl.lit("ok"))
        .otherwise(pl.format("not enough data: the smaller arm needs about {} more of those who {}", missing, rarer)),
        method=pl.when("is_open_ended")
        .then(pl.lit("asymptotic confidence sequence, "))
        .otherwise(pl.lit("group-sequential alpha*t^3, Holm, "))
        + pl.col("kind").replace_strict(statistic),
    )
    return conform(table.sort("experiment_id", "as_of_day", "metric", "arm"), ExperimentResults)


def _better_probability() -> pl.Expr:
    """The posterior probability that the treatment is better, under a flat prior."""
    towards_good = pl.when("is_increase_good").then("z_score").otherwise(-pl.col("z_score"))
    return towards_good.map_batches(
        lambda scores: pl.Series(ndtr(scores.to_numpy())).fill_nan(None), return_dtype=pl.Float64
    )


def _level(name: str, side: str) -> dict[str, pl.Expr]:
    """Mean per exposure with its 95% interval, Wilson's for a rate and normal for an amount; null without exposures."""
    n, total, squares = pl.col(f"{side}exposures"), pl.col(f"{side}total"), pl.col(f"{side}squares")
    mean = total / n
    wilson_low, wilson_high = wilson_bounds(mean, n)
    normal_half = NORMAL_95 * ((squares / n - mean**2).clip(lower_bound=0.0) / n).sqrt()
    is_rate = pl.col("kind") == MetricKind.RATE
    return {
        f"{name}_mean": pl.when(n > 0).then(mean),
        f"{name}_mean_low": pl.when((n > 0) & is_rate).then(wilson_low).when(n > 0).then(mean - normal_half),
        f"{name}_mean_high": pl.when((n > 0) & is_rate).then(wilson_high).when(n > 0).then(mean + normal_half),
    }
