"""What goes on and does harm: anomalies, and rates that have decayed slowly."""

from datetime import timedelta

import polars as pl

from pipeline.analysis.opportunities.unit import ENDS, PERIOD_DAYS, STEP, named, percent, sums
from pipeline.analysis.statistics.intervals import NORMAL_95

# A decay is told by a drift, or by a window that is held against the level that remembers longer.
_SLOW_WINDOW_NIGHTS = 14
_IS_DECAY = (
    (pl.col("metric_kind") == "rate")
    & (pl.col("direction") == "down")
    & ((pl.col("anomaly_kind") == "drift") | (pl.col("window_nights") >= _SLOW_WINDOW_NIGHTS))
)
# The series were chosen by an alarm, so a decay is told only if it is surer than its interval says.
_SURE_SCORE = 3.29
_DECAY_DAYS = 90
"""How long a decay stays an opportunity after its first alarm, as long as the rate stays low."""


def from_anomalies(anomalies: pl.DataFrame, recent: pl.DataFrame, worth: pl.DataFrame) -> pl.DataFrame:
    """What the forecast promises beyond what happens; one opportunity per cause. Decays of a rate are told apart."""
    rows = (
        anomalies.filter((pl.col("scope") == "step") & pl.col("is_latest") & pl.col("is_adverse") & ~pl.col("is_muted"))
        .filter(~_IS_DECAY)
        .join(worth, on=[*STEP, "metric"], how="left")
        .join(sums(recent, "delivered"), on=STEP, how="left")
        .with_columns(
            messages=pl.when(pl.col("metric_kind") == "rate")
            .then(pl.col("delivered").fill_null(0))
            .otherwise(pl.lit(PERIOD_DAYS)),
        )
        .with_columns(
            ((pl.col(f"expected_value{end}") - pl.col("value")).clip(0) * pl.col("messages") * pl.col("worth")).alias(
                f"expected_gain{end}"
            )
            for end in ENDS
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
        ["cause_id", *STEP], keep="first", maintain_order=True
    )
    is_valued = pl.col("expected_gain").is_not_null()
    only = [pl.when(pl.col(name).n_unique() == 1).then(pl.col(name).first()).alias(name) for name in STEP]
    return (
        steps.group_by("cause_id", maintain_order=True)
        .agg(
            *only,
            pl.when(is_valued.any()).then(pl.col([f"expected_gain{end}" for end in ENDS]).sum()),
            pl.col("volume").sum(),
            pl.col("method").first(),
            since_day=pl.col("cause_first_day").min(),
            metrics=pl.col("metric").unique().sort().str.join(", "),
        )
        .with_columns(
            *named("anomaly", "anomalies", {"cause_id": "cause_id"}),
            identification=pl.lit("observational"),
            message=pl.format("{} out of line since {}.", "metrics", pl.col("since_day").cast(pl.String)),
            status=pl.when(pl.col("expected_gain").is_null()).then(
                pl.lit("not valued: what it costs in conversions is not known")
            ),
        )
        .drop("cause_id", "metrics")
    )


def from_decays(
    anomalies: pl.DataFrame, baselines: pl.DataFrame, recent: pl.DataFrame, worth: pl.DataFrame
) -> pl.DataFrame:
    """What a rate that has decayed would bring at its former level, against the last four weeks; one for each step.

    A slow decay begins long before it is told, so what counts as before ends two weeks ahead of the first alarm. The
    former level is the lower of the four weeks until then and of all weeks until then: a rate that falls back from an
    exceptional month has not decayed. Neither has one that has recovered since. Levels are medians of weeks, so that
    one mailing to many strangers makes no decay.
    """
    series = [*STEP, "metric"]
    first = (
        anomalies.filter(_IS_DECAY & pl.col("is_adverse") & ~pl.col("is_muted") & (pl.col("scope") == "step"))
        .filter(pl.col("day") > pl.col("as_of_day") - timedelta(days=_DECAY_DAYS))
        .group_by(series)
        .agg(pl.col("day").min().alias("first_day"), pl.col("method").first())
    )
    known = baselines.join(first, on=series).filter(pl.col("denominator") > 0, pl.col("status") != "not mature")
    last_day = pl.col("day").max().over(series)
    until = pl.col("first_day") - timedelta(days=PERIOD_DAYS // 2)
    weeks_ago = {
        "now": (last_day - pl.col("day")).dt.total_days() // 7,
        "before": (until - pl.col("day")).dt.total_days() // 7,
    }
    period = PERIOD_DAYS // 7
    times = {
        "now": pl.col("weeks_ago_now") < period,
        "before": pl.col("weeks_ago_before").is_between(0, period - 1),
        "ever": pl.col("weeks_ago_before") >= 0,
    }
    dated = known.with_columns(weeks.alias(f"weeks_ago_{time}") for time, weeks in weeks_ago.items())
    levels = [
        dated.filter(times[time])
        .group_by(*series, "first_day", "method", week=f"weeks_ago_{'now' if time == 'now' else 'before'}")
        .agg(pl.col("numerator", "denominator").sum())
        .group_by(*series, "first_day", "method")
        .agg(
            (pl.col("numerator") / pl.col("denominator")).median().alias(time),
            (pl.col("denominator").median() * pl.len()).alias(f"{time}_size"),
        )
        for time in times
    ]
    compared = (
        levels[0]
        .join(levels[1], on=[*series, "first_day", "method"])
        .join(levels[2], on=[*series, "first_day", "method"])
        .with_columns(before=pl.min_horizontal("before", "ever"))
    )
    variance = pl.sum_horizontal(
        pl.col(time) * (1 - pl.col(time)) / pl.col(f"{time}_size") for time in ("now", "before")
    )
    lost, reach = pl.col("before") - pl.col("now"), NORMAL_95 * variance.sqrt()
    bounds = {"": lost, "_low": lost - reach, "_high": lost + reach}
    found = (
        compared.filter(lost > _SURE_SCORE / NORMAL_95 * reach)
        .join(sums(recent, "delivered"), on=STEP)
        .join(worth, on=series, how="left")
        .with_columns(
            (bounds[end] * pl.col("delivered") * pl.col("worth")).alias(f"expected_gain{end}") for end in ENDS
        )
        .select(
            *STEP,
            "method",
            *named("decay", "metric_trends", {name: name for name in series}),
            *(f"expected_gain{end}" for end in ENDS),
            volume=pl.col("delivered"),
            since_day=pl.col("first_day"),
            former_rate=pl.col("before"),
            present_rate=pl.col("now"),
            identification=pl.lit("observational"),
            message=pl.format(
                "{} fell from {}% to {}%; told since {}.", "metric", percent("before"), percent("now"), "first_day"
            ),
            status=pl.when(pl.col("expected_gain").is_null()).then(
                pl.lit("not valued: what it costs in conversions is not known")
            ),
        )
    )
    # The metrics of a step decay together, so only the one that costs most counts.
    costliest = found.sort("expected_gain", "opportunity_id", descending=[True, False], nulls_last=True)
    return costliest.unique(STEP, keep="first", maintain_order=True)
