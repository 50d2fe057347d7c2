"""What funnels, cohorts and delays show: transitions that lose too many, cohorts that lag, better delays."""

from datetime import date

import polars as pl

from pipeline.analysis.opportunities.unit import ENDS, STEP, incremental_shares, named, percent, sums
from pipeline.analysis.statistics import STATED_PROBABILITY

TRANSITION = {"workflow_id": "workflow_id", "from_step_id": "step_id", "to_step_id": "to_step_id"}


def from_bottlenecks(
    bottlenecks: pl.DataFrame, daily: pl.DataFrame, recent: pl.DataFrame, holdouts: pl.DataFrame, first: date
) -> pl.DataFrame:
    """The avoidable loss, scaled by the share of the step's entries that fell into the last four weeks.

    Those who are lost may reach the goal by themselves, so the loss is taken at its incremental share.
    """
    entries = sums(daily.filter(pl.col("day") >= first), "entries")
    now = sums(recent, "entries").rename({"entries": "entries_now"})
    share = pl.col("entries_now") / pl.col("entries")
    return (
        bottlenecks.filter((pl.col("status") == "ok") & (pl.col("avoidable_loss") > 0))
        .rename({"from_step_id": "step_id"})
        .join(entries, on=STEP)
        .join(now, on=STEP)
        .join(incremental_shares(daily, holdouts), on="workflow_id")
        .filter(pl.col("entries_now") > 0)
        .select(
            *STEP,
            "method",
            *named("bottleneck", "bottlenecks", TRANSITION),
            *(
                (pl.col(f"avoidable_loss{end}") * share * pl.col("incremental_share")).alias(f"expected_gain{end}")
                for end in ENDS
            ),
            gain_unit=pl.when(pl.col("loss_unit") == "goals")
            .then(pl.lit("conversions"))
            .otherwise(pl.lit("completions")),
            volume=(pl.col("entrants") * share).round().cast(pl.Int64),
            identification=pl.lit("not identified"),
            message=pl.format(
                "{}% of those in {} never reach {}; {}% is typical.",
                percent("drop_off_rate"),
                "step_id",
                "to_step_id",
                percent("benchmark_rate"),
            ),
        )
    )


def from_cohorts(comparison: pl.DataFrame, recent: pl.DataFrame) -> pl.DataFrame:
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
            *named("cohort", "cohort_comparison", {key: key for key in keys}),
            expected_gain=short_of_others("shrunk_rate"),
            expected_gain_low=short_of_others("shrunk_rate_high"),
            expected_gain_high=short_of_others("shrunk_rate_low"),
            identification=pl.lit("observational"),
            message=pl.format(
                "{} {} converts at {}% by week {}; the median of the others is {}%.",
                pl.col("cohort_type").str.replace_all("_", " "),
                "cohort",
                percent("shrunk_rate"),
                "age_weeks",
                percent("others_rate"),
            ),
        )
    )


def from_delays(delays: pl.DataFrame, recent: pl.DataFrame) -> pl.DataFrame:
    """Delays that convert better than today's, or may do so: to be changed or tested."""
    base = pl.col("conversions") / pl.col("entrants") * pl.col("entries")
    current = pl.col("current_delay_hours").round().cast(pl.Int64)
    is_compared = pl.col("recommended_delay_hours").is_not_null()
    return (
        delays.filter(pl.col("action").is_in(["change", "test"]) & (pl.col("entrants") > 0))
        .rename({"from_step_id": "step_id"})
        .join(sums(recent, "entries"), on=STEP)
        .filter(pl.col("entries") > 0)
        .select(
            *STEP,
            "method",
            "identification",
            *named("delay", "delay_recommendations", TRANSITION),
            *((pl.col(f"improvement{end}").clip(0) * base).alias(f"expected_gain{end}") for end in ENDS),
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
