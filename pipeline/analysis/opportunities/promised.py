"""What tests and drawn choices promise: winners, better policies and better hours."""

import polars as pl

from pipeline.analysis.opportunities.unit import CLICK, ENDS, PERIOD_DAYS, STEP, named, percent, sums
from pipeline.schemas.vocabulary import MetricName, MetricRole, ProposalKind, RecordStatus, Verdict

_IN_PLACE = (RecordStatus.APPLYING, RecordStatus.APPLIED, RecordStatus.VERIFIED)
_REVENUE = pl.col("revenue_amount").cast(pl.Float64)


def from_winners(
    verdicts: pl.DataFrame, results: pl.DataFrame, records: pl.DataFrame, recent: pl.DataFrame, worth: pl.DataFrame
) -> pl.DataFrame:
    """The lift to be expected of winners that are not yet sent to everybody.

    It counts for the people who would get the control: their share in the test, of the step's messages. A lift of
    clicks or revenue is taken at what a click, or a conversion, is worth at this step.
    """
    is_sent = (pl.col("kind") == ProposalKind.EXPERIMENT_WINNER) & pl.col("status").is_in(_IN_PLACE)
    sent_to_all = records.filter(is_sent).select(experiment_id="target")
    control = (
        results.filter(pl.col("role") == MetricRole.PRIMARY)
        .sort("as_of_day")
        .group_by("experiment_id", "arm", maintain_order=True)
        .agg(pl.col("metric", "control_metric_mean").last())
    )
    click = worth.filter(pl.col("metric") == CLICK).select(*STEP, click_worth="worth")
    volumes = recent.group_by(STEP).agg(pl.col("delivered", "conversions").sum(), revenue=_REVENUE.sum())
    base = pl.col("control_metric_mean") * (
        pl.when(pl.col("metric") == MetricName.CLICK)
        .then("click_worth")
        .when(pl.col("metric") == MetricName.REVENUE)
        .then(pl.when(pl.col("revenue") > 0).then(pl.col("conversions") / pl.col("revenue")))
        .otherwise(1.0)
    )
    without = pl.col("control_exposures") / (pl.col("exposures") + pl.col("control_exposures")) * pl.col("delivered")
    return (
        verdicts.filter(pl.col("verdict") == Verdict.WINNER)
        .join(sent_to_all, on="experiment_id", how="anti")
        .join(control, left_on=["experiment_id", "winner_arm"], right_on=["experiment_id", "arm"])
        .join(volumes, on=STEP)
        .join(click, on=STEP, how="left")
        .with_columns(
            (pl.col(f"shrunk_lift{end}").clip(0) * base * without).alias(f"expected_gain{end}") for end in ENDS
        )
        .select(
            *STEP,
            "method",
            *named("winner", "experiment_verdicts", {"experiment_id": "experiment_id"}),
            *(f"expected_gain{end}" for end in ENDS),
            volume=without.round().cast(pl.Int64),
            identification=pl.lit("randomised"),
            message=pl.when(pl.col("shrunk_lift").is_null())
            .then(pl.format("Arm {} won; the control brought nothing.", "winner_arm"))
            .otherwise(
                pl.format("Arm {} won: {}% more of {} to be expected.", "winner_arm", percent("shrunk_lift"), "metric")
            ),
            status=pl.when(pl.col("expected_gain").is_null()).then(
                pl.lit("not valued: what the lift is worth in conversions is not known")
            ),
        )
    )


def from_policies(policies: pl.DataFrame, recent: pl.DataFrame) -> pl.DataFrame:
    """The gain of a policy that surely earns more than the one that is served, at every decision of four weeks."""
    return policies.join(sums(recent, "entries"), on=STEP).select(
        *STEP,
        "method",
        *named("policy", "policy_values", {"decision_point_id": "decision_point_id", "policy": "policy"}),
        *((pl.col(f"gain{end}").clip(0) * pl.col("entries")).alias(f"expected_gain{end}") for end in ENDS),
        volume="entries",
        identification=pl.lit("randomised"),
        message=pl.format("'{}' earns more than what is served at {}.", "policy", "decision_point_id"),
    )


def from_send_times(lift: pl.DataFrame, recent: pl.DataFrame, worth: pl.DataFrame) -> pl.DataFrame:
    """The lift of the recommended hours, where drawn hours have shown one: more clicks, at what a click is worth."""
    clicks = sums(recent, "prompt_human_clicks", "delivered").join(worth.filter(pl.col("metric") == CLICK), on=STEP)
    total = clicks.select((pl.col("prompt_human_clicks") * pl.col("worth")).sum()).item()
    shown = lift.filter("is_lift_shown").sort("estimator").head(1)
    return shown.select(
        *(pl.lit(None, dtype=pl.String).alias(name) for name in STEP),
        "method",
        *named("send time", "send_time_lift", {"estimator": "estimator"}),
        *((pl.col(f"engagement_lift{end}").clip(0) * total).alias(f"expected_gain{end}") for end in ENDS),
        volume=pl.lit(clicks["delivered"].sum(), dtype=pl.Int64),
        identification=pl.lit("randomised"),
        message=pl.format(
            "The recommended hours engage {}% better, as {} days of mail would show.",
            percent("engagement_lift"),
            pl.lit(PERIOD_DAYS),
        ),
    )
