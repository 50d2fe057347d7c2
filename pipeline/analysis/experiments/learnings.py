"""What finished tests and applied changes taught, and where else the same could be tried.

What holds in one flow need not hold in another. So a learning never promises a lift elsewhere: it names a test to plan.
"""

from datetime import date

import polars as pl

from pipeline.schemas.base import conform
from pipeline.schemas.loop import Learnings
from pipeline.schemas.vocabulary import RealisedOutcome, Verdict

METHOD = "verdicts of tests and realised lifts, as they stand; like steps by kind and place in the flow"
FINISHED = (Verdict.WINNER, Verdict.NO_DIFFERENCE, Verdict.FUTILE, Verdict.HARM)
MEASURED = (RealisedOutcome.WORKS, RealisedOutcome.LESS, RealisedOutcome.HARM)
GOOD = (str(Verdict.WINNER), str(RealisedOutcome.WORKS), str(RealisedOutcome.LESS))
MOST_PLACES = 5
"""Places that are named. Nobody plans more tests of one question at once."""


def learnings(
    experiments: pl.DataFrame,
    verdicts: pl.DataFrame,
    records: pl.DataFrame,
    realised: pl.DataFrame,
    steps: pl.DataFrame,
    workflows: pl.DataFrame,
    *,
    as_of: date,
) -> pl.DataFrame:
    """`marts.learnings`: one row per finished test and per applied change whose effect is known.

    Args:
        experiments: `marts.experiments`.
        verdicts: `marts.experiment_verdicts`.
        records: `marts.optimizations`.
        realised: tonight's row of each applied change in `marts.realised_lift`.
        steps: `marts.steps`.
        workflows: `marts.workflows`.
        as_of: tonight.

    Returns:
        The question, the result with its interval, and where it held. `could_try` names steps of other active flows
        that are alike: of the same kind, and as well the first step of their flow, or a later one. `suggestion` says
        what to plan there.
    """
    tests = verdicts.filter(pl.col("verdict").is_in(FINISHED) & pl.col("decided_day").is_not_null()).join(
        experiments.select("experiment_id", question="hypothesis"), on="experiment_id"
    )
    changes = realised.filter(pl.col("outcome").is_in(MEASURED)).join(
        records.select("optimization_id", question="title"), on="optimization_id"
    )
    lifts = ("lift", "lift_low", "lift_high")
    common = ("question", "workflow_id", "step_id", "metric", *lifts, "outcome", "day")
    found = pl.concat(
        [
            tests.with_columns(metric="primary_metric", outcome="verdict", day="decided_day").select(
                pl.lit("test").alias("source"), pl.col("experiment_id").alias("source_id"), *common
            ),
            changes.with_columns(day="first_day", **{name: pl.col(f"realised_{name}") for name in lifts}).select(
                pl.lit("change").alias("source"), pl.col("optimization_id").alias("source_id"), *common
            ),
        ]
    )
    placed = found.join(_alike(steps, workflows), on=["workflow_id", "step_id"], how="left").with_columns(
        suggestion=pl.when(pl.col("could_try").is_not_null()).then(_suggestion())
    )
    stamped = placed.with_columns(as_of_day=pl.lit(as_of), method=pl.lit(METHOD))
    return conform(stamped.sort("day", "source", "source_id", descending=[True, False, False]), Learnings)


def _suggestion() -> pl.Expr:
    """A test to plan. Whatever was measured here is no promise there."""
    kept = pl.col("outcome").is_in(GOOD)
    return pl.format(
        "Plan a test of the same question in experiments.yaml{} Its result here is no promise there.",
        pl.when(kept).then(pl.lit(".")).otherwise(pl.lit(", only if your reason to expect more still stands.")),
    )


def _alike(steps: pl.DataFrame, workflows: pl.DataFrame) -> pl.DataFrame:
    """For each step the steps of other active flows that are of its kind and in a like place."""
    flows = workflows.filter(pl.col("kind") != "campaign").select("workflow_id", flow_status="status")
    known = steps.join(flows, on="workflow_id").with_columns(
        is_first=pl.col("position") == pl.col("position").min().over("workflow_id")
    )
    others = known.filter((pl.col("status") == "active") & (pl.col("flow_status") == "active")).select(
        "kind", "is_first", other_workflow="workflow_id", place=pl.format("{}/{}", "workflow_id", "step_id")
    )
    pairs = known.join(others, on=["kind", "is_first"]).filter(pl.col("other_workflow") != pl.col("workflow_id"))
    return (
        pairs.sort("place")
        .group_by("workflow_id", "step_id", maintain_order=True)
        .agg(could_try=pl.col("place").head(MOST_PLACES).str.join(", "), alike=pl.len().cast(pl.Int64))
    )
