"""One list of what could be won, over all analyses, in one unit: additional conversions in four weeks.

Here: translation into this unit, and ranking. Every figure comes from the rows that `evidence` names.
"""

from collections.abc import Mapping
from datetime import date, timedelta

import polars as pl

from pipeline.analysis.statistics import STATED_PROBABILITY
from pipeline.common.rates import WATCHED_RATES, WATCHED_VOLUMES
from pipeline.schemas.base import conform, empty
from pipeline.schemas.monitoring import Opportunities

PERIOD_DAYS = 28
"""Whole weeks, so that every weekday counts alike."""

# Of each metric of which more is better, the count in `step_metrics_daily` whose events are worth some conversions.
_COUNT_BEHIND = {rate.name: rate.numerator for rate in WATCHED_RATES if rate.is_gain} | {
    volume: volume for volume in WATCHED_VOLUMES
}
_STEP = ["workflow_id", "step_id"]
_TRANSITION = {"workflow_id": "workflow_id", "from_step_id": "step_id", "to_step_id": "to_step_id"}
_ENDS = ("", "_low", "_high")
_UNIT = "conversions"
_OK = "ok"


def opportunities(
    bottlenecks: pl.DataFrame,
    anomalies: pl.DataFrame,
    comparison: pl.DataFrame,
    cells: pl.DataFrame,
    delays: pl.DataFrame,
    daily: pl.DataFrame,
    *,
    as_of_day: date,
    funnel_days: int,
) -> pl.DataFrame:
    """The opportunities of all analyses, ranked by the conversions that they would add in four weeks.

    Args:
        bottlenecks: rows of `bottlenecks`. The gain is the avoidable loss, scaled to the entries of four weeks.
        anomalies: rows of `anomalies`. The gain is what the forecast promises beyond what happens, for steps that are
            harmed, as long as the cause goes on and is not muted.
        comparison: rows of `cohort_comparison`. The gain is the distance to the mean, for cohorts surely below it.
        cells: entrants by cohort, as `cohort_triangles` reads them. A cohort that nobody joins any more has no gain.
        delays: rows of `delay_recommendations`. The gain is the improvement, where a change is recommended. A
            test has none.
        daily: rows of `step_metrics_daily`, from which volumes come, and conversions per click, message and entry.
        as_of_day: tonight.
        funnel_days: days of entry on which `bottlenecks` rests.

    Returns:
        One row per opportunity, in the columns of `opportunities`. Intervals are those of the evidence; the conversions
        per click or message are taken as known. Several gains may count the same conversions, so they do not add up.
    """
    first = as_of_day - timedelta(days=PERIOD_DAYS - 1)
    recent = daily.filter(pl.col("day").is_between(first, as_of_day))
    parts = [
        _from_bottlenecks(bottlenecks, daily, recent, as_of_day - timedelta(days=funnel_days - 1)),
        _from_anomalies(anomalies, daily, recent),
        _from_cohorts(comparison, cells.filter(pl.col("day").is_between(first, as_of_day))),
        _from_delays(delays, recent),
    ]
    found = pl.concat(parts, how="diagonal_relaxed")
    if found.is_empty():
        return empty(Opportunities)
    unit = pl.col("gain_unit").fill_null(_UNIT)
    ranked = found.with_columns(unit, pl.col("status").fill_null(_OK)).sort(
        pl.col("gain_unit") != _UNIT,
        "expected_gain",
        "opportunity_id",
        descending=[False, True, False],
        nulls_last=True,
    )
    return conform(
        ranked.with_columns(rank=pl.int_range(1, pl.len() + 1, dtype=pl.Int64), as_of_day=pl.lit(as_of_day)),
        Opportunities,
    )


def _from_bottlenecks(
    bottlenecks: pl.DataFrame, daily: pl.DataFrame, recent: pl.DataFrame, first: date
) -> pl.DataFrame:
    """The avoidable loss, scaled by the share of the step's entries that fell into the last four weeks."""
    entries = _sums(daily.filter(pl.col("day") >= first), "entries")
    now = _sums(recent, "entries").rename({"entries": "entries_now"})
    share = pl.col("entries_now") / pl.col("entries")
    return (
        bottlenecks.filter((pl.col("status") == _OK) & (pl.col("avoidable_loss") > 0))
        .rename({"from_step_id": "step_id"})
        .join(entries, on=_STEP)
        .join(now, on=_STEP)
        .filter(pl.col("entries_now") > 0)
        .select(
            *_STEP,
            "method",
            *_named("bottleneck", "bottlenecks", _TRANSITION),
            *((pl.col(f"avoidable_loss{end}") * share).alias(f"expected_gain{end}") for end in _ENDS),
            gain_unit=pl.when(pl.col("loss_unit") == "goals").then(pl.lit(_UNIT)).otherwise(pl.lit("completions")),
            volume=(pl.col("entrants") * share).round().cast(pl.Int64),
            identification=pl.lit("not identified"),
            message=pl.format(
                "{}% of those in {} never reach {}; {}% is typical.",
                _percent("drop_off_rate"),
                "step_id",
                "to_step_id",
                _percent("benchmark_rate"),
            ),
        )
    )


def _from_anomalies(anomalies: pl.DataFrame, daily: pl.DataFrame, recent: pl.DataFrame) -> pl.DataFrame:
    """What the forecast promises beyond what happens; one opportunity per cause."""
    rows = (
        anomalies.filter((pl.col("scope") == "step") & pl.col("is_latest") & pl.col("is_adverse") & ~pl.col("is_muted"))
        .join(_conversions_per_event(daily), on=[*_STEP, "metric"], how="left")
        .join(_sums(recent, "delivered"), on=_STEP, how="left")
        .with_columns(
            messages=pl.when(pl.col("metric_kind") == "rate")
            .then(pl.col("delivered").fill_null(0))
            .otherwise(pl.lit(PERIOD_DAYS)),
        )
        .with_columns(
            ((pl.col(f"expected_value{end}") - pl.col("value")).clip(0) * pl.col("messages") * pl.col("worth")).alias(
                f"expected_gain{end}"
            )
            for end in _ENDS
        )
        .with_columns(
            volume=pl.when(pl.col("metric_kind") == "rate")
            .then("messages")
            .otherwise(PERIOD_DAYS * pl.col("expected_value"))
            .round()
            .cast(pl.Int64)
        )
    )
    # The metrics of a step fall together, so only the one that costs most counts. The steps of a cause add up.
    steps = rows.sort("expected_gain", descending=True, nulls_last=True).unique(
        ["cause_id", *_STEP], keep="first", maintain_order=True
    )
    is_valued = pl.col("expected_gain").is_not_null()
    only = [pl.when(pl.col(name).n_unique() == 1).then(pl.col(name).first()).alias(name) for name in _STEP]
    return (
        steps.group_by("cause_id", maintain_order=True)
        .agg(
            *only,
            pl.when(is_valued.any()).then(pl.col([f"expected_gain{end}" for end in _ENDS]).sum()),
            pl.col("volume").sum(),
            pl.col("method").first(),
            pl.col("cause_first_day").min(),
            metrics=pl.col("metric").unique().sort().str.join(", "),
        )
        .with_columns(
            *_named("anomaly", "anomalies", {"cause_id": "cause_id"}),
            identification=pl.lit("observational"),
            message=pl.format("{} out of line since {}.", "metrics", pl.col("cause_first_day").cast(pl.String)),
            status=pl.when(pl.col("expected_gain").is_null()).then(
                pl.lit("not valued: what it costs in conversions is not known")
            ),
        )
        .drop("cause_id", "cause_first_day", "metrics")
    )


def _from_cohorts(comparison: pl.DataFrame, recent: pl.DataFrame) -> pl.DataFrame:
    """The distance to the others of cohorts that people still join and that are surely more than a tenth below them."""
    keys = ["cohort_type", "workflow_id", "cohort"]
    joined = recent.group_by(keys).agg(volume=pl.col("entrants").sum()).filter(pl.col("volume") > 0)

    def short_of_others(rate: str) -> pl.Expr:
        return (pl.col("others_rate") - pl.col(rate)).clip(0) * pl.col("volume")

    return (
        comparison.filter(pl.col("below_probability") > STATED_PROBABILITY)
        .join(joined, on=keys)
        .select(
            "workflow_id",
            "method",
            "volume",
            *_named("cohort", "cohort_comparison", {key: key for key in keys}),
            expected_gain=short_of_others("shrunk_rate"),
            expected_gain_low=short_of_others("shrunk_rate_high"),
            expected_gain_high=short_of_others("shrunk_rate_low"),
            identification=pl.lit("observational"),
            message=pl.format(
                "{} {} converts at {}% by week {}; the median of the others is {}%.",
                "cohort_type",
                "cohort",
                _percent("shrunk_rate"),
                "age_weeks",
                _percent("others_rate"),
            ),
        )
    )


def _from_delays(delays: pl.DataFrame, recent: pl.DataFrame) -> pl.DataFrame:
    """Delays that convert better than today's, or may do so: to be changed or tested."""
    base = pl.col("conversions") / pl.col("entrants") * pl.col("entries")
    current = pl.col("current_delay_hours").round().cast(pl.Int64)
    is_compared = pl.col("recommended_delay_hours").is_not_null()
    return (
        delays.filter(pl.col("action").is_in(["change", "test"]) & (pl.col("entrants") > 0))
        .rename({"from_step_id": "step_id"})
        .join(_sums(recent, "entries"), on=_STEP)
        .filter(pl.col("entries") > 0)
        .select(
            *_STEP,
            "method",
            "identification",
            *_named("delay", "delay_recommendations", _TRANSITION),
            *((pl.col(f"improvement{end}").clip(0) * base).alias(f"expected_gain{end}") for end in _ENDS),
            volume=pl.col("entries"),
            message=pl.when(is_compared)
            .then(
                pl.format(
                    "{} {} h instead of {} h before {}.",
                    pl.col("action").str.to_titlecase(),
                    pl.col("recommended_delay_hours").round().cast(pl.Int64),
                    current,
                    "to_step_id",
                )
            )
            .otherwise(pl.format("Test another delay than {} h before {}.", current, "to_step_id")),
            status=pl.when(pl.col("improvement").is_null()).then(
                pl.lit("not valued: only a test can tell what another delay brings")
            ),
        )
    )


def _named(kind: str, table: str, keys: Mapping[str, str]) -> list[pl.Expr]:
    """`kind`, `opportunity_id`, and `evidence`, which names the rows of a table; `keys` are its columns -> ours."""
    where = " and ".join(f"{column} = '{{}}'" for column in keys)
    return [
        pl.lit(kind).alias("kind"),
        pl.format("/".join([kind, *("{}" for _ in keys)]), *keys.values()).alias("opportunity_id"),
        pl.format(f"marts.{table} where {where}", *keys.values()).alias("evidence"),
    ]


def _sums(daily: pl.DataFrame, name: str) -> pl.DataFrame:
    return daily.group_by(_STEP).agg(pl.col(name).sum())


def _conversions_per_event(daily: pl.DataFrame) -> pl.DataFrame:
    """`worth` of one event of each metric of a step: the conversions credited to the step, divided by its events."""
    sums = (
        daily.filter("is_mature")
        .group_by(_STEP)
        .agg(pl.col(name).sum().cast(pl.Float64) for name in sorted({*_COUNT_BEHIND.values(), "conversions"}))
    )
    return pl.concat(
        sums.filter(pl.col(name) > 0).select(*_STEP, metric=pl.lit(metric), worth=pl.col("conversions") / pl.col(name))
        for metric, name in _COUNT_BEHIND.items()
    )


def _percent(rate: str) -> pl.Expr:
    return (100 * pl.col(rate)).round(1)
