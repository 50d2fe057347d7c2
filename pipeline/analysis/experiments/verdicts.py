"""The verdict of each test tonight, and what to do about it.

Here: decisions from nightly results, guardrails and the sample ratio. Not here: the statistics on which they rest.
"""

from collections.abc import Sequence
from datetime import date

import polars as pl
from polars import selectors

from pipeline.analysis.experiments.lift import shrink_lifts
from pipeline.analysis.experiments.plan import LONGEST_PLAN_DAYS, ExperimentPlan, plan_table
from pipeline.common.words import lift
from pipeline.schemas.base import conform
from pipeline.schemas.experiments import ExperimentVerdicts
from pipeline.schemas.vocabulary import MetricRole, Verdict

_ACTIONS = {
    Verdict.INVALID: "Discard the results: arms did not receive their shares. Repair the assignment and start anew.",
    Verdict.HARM: "Send everyone the control: an arm does harm, and no other arm can reach the planned lift.",
    Verdict.FUTILE: "Stop: the planned lift is excluded. Keep the control and test something bolder.",
    Verdict.NO_DIFFERENCE: "Keep the control: whatever the difference is, it is smaller than the planned lift.",
    Verdict.NO_ANSWER: "Keep the control: the sample was too small to tell. Plan a longer test or a larger change.",
}

_MISMATCHES = {
    "experiment_id": pl.String,
    "day": pl.Date,
    "mismatch_probability": pl.Float64,
    "has_mismatch": pl.Boolean,
}
METHOD = "first decisive night; lift shrunk by hierarchical normal prior"


def experiment_verdicts(
    results: pl.DataFrame,
    plans: Sequence[ExperimentPlan],
    *,
    as_of_day: date,
    mismatches: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """One verdict per test: that of its first decisive night. No later night changes it.

    Args:
        results: from `experiment_results`, of the same plans and night.
        plans: the frozen plans.
        as_of_day: tonight.
        mismatches: from `sample_ratio_mismatch`; none where there is no exposure yet.

    Returns:
        One row per test, in the columns of `experiment_verdicts`. 'winner': an arm is claimed to be better; it is the
        one with the largest lift that no guardrail vetoes. 'futile': the intervals of all arms lie below the planned
        lift. 'harm': the same, and an arm was worse on the primary metric or a guardrail by then. An arm
        that does harm while others may still win is named in the action. 'invalid': a mismatch was found before the
        decision. 'no difference': the intervals of all arms lie within the planned lift on both sides. 'ended without
        an answer': the last look came without a decision. 'plan too long': nothing is decided, and the planned lift
        takes more than 180 days to show. `status` is 'refused' after the end of the plan.
    """
    frame = _plan_frame(plans)
    treatments = _arm_events(results, frame)
    decisions = _decisions(treatments, results, frame, mismatches, as_of_day)
    return _presented(decisions, results, as_of_day)


def too_long(plan: ExperimentPlan) -> str:
    """What to do about a plan that takes too long, with what could be known in time."""
    known = "no lift shows" if plan.reachable_lift is None else f"{lift(plan.reachable_lift)} shows"
    return (
        f"Plan for more, or for an outcome that comes more often, such as clicks: {lift(plan.minimum_lift)} takes "
        f"{plan.planned_days:,} days to show, and in {LONGEST_PLAN_DAYS} days {known}."
    )


def _plan_frame(plans: Sequence[ExperimentPlan]) -> pl.DataFrame:
    told = [
        {
            "experiment_id": plan.experiment_id,
            "primary_metric": plan.primary.name,
            "is_increase_good": plan.primary.is_increase_good,
            "too_long": too_long(plan) if plan.is_too_long else None,
            "plan_hash": plan.plan_hash,
        }
        for plan in plans
    ]
    names = {
        "experiment_id": pl.String,
        "primary_metric": pl.String,
        "is_increase_good": pl.Boolean,
        "too_long": pl.String,
        "plan_hash": pl.String,
    }
    return plan_table(plans).join(pl.DataFrame(told, schema=names), on="experiment_id")


def _arm_events(results: pl.DataFrame, plans: pl.DataFrame) -> pl.DataFrame:
    """One row per treatment: the first nights on which it was better, harmful and futile."""
    direction = pl.when("is_increase_good").then(1.0).otherwise(-1.0)
    is_primary = pl.col("role") == MetricRole.PRIMARY
    is_worse = pl.col("is_significant") & (pl.col("z_score") * direction < 0)
    is_better = is_primary & pl.col("is_significant") & (pl.col("z_score") * direction > 0)
    best_possible = pl.when("is_increase_good").then("lift_high").otherwise(-pl.col("lift_low"))
    is_same = (pl.col("lift_low") > -pl.col("minimum_lift")) & (pl.col("lift_high") < pl.col("minimum_lift"))
    is_harmful = is_worse & pl.col("role").is_in([MetricRole.PRIMARY, MetricRole.GUARDRAIL])
    return (
        results.join(plans.select("experiment_id", "minimum_lift"), on="experiment_id")
        .group_by("experiment_id", "arm")
        .agg(
            better_day=pl.col("as_of_day").filter(is_better).min(),
            harm_day=pl.col("as_of_day").filter(is_harmful).min(),
            futile_day=pl.col("as_of_day").filter(is_primary & (best_possible < pl.col("minimum_lift"))).min(),
            same_day=pl.col("as_of_day").filter(is_primary & is_same).min(),
        )
        .with_columns(
            better_day=pl.when(pl.col("harm_day").is_null() | (pl.col("harm_day") > pl.col("better_day"))).then(
                "better_day"
            )
        )
    )


def _decisions(
    arms: pl.DataFrame,
    results: pl.DataFrame,
    plans: pl.DataFrame,
    mismatches: pl.DataFrame | None,
    as_of_day: date,
) -> pl.DataFrame:
    """One row per test: the `verdict` of its first decisive night, and `decided_day`."""
    by_test = (
        arms.sort("arm")
        .with_columns(out_day=pl.min_horizontal("harm_day", "futile_day"))
        .group_by("experiment_id")
        .agg(
            winner_day=pl.col("better_day").min(),
            harmful_arms=pl.col("arm").filter(pl.col("harm_day").is_not_null()).str.join(", "),
            first_harm_day=pl.col("harm_day").min(),
            futile_day=pl.when(pl.col("out_day").null_count() == 0).then(pl.col("out_day").max()),
            same_day=pl.when(pl.col("same_day").null_count() == 0).then(pl.col("same_day").max()),
        )
        .with_columns(
            harmful_arms=pl.when(pl.col("first_harm_day").is_not_null()).then("harmful_arms"),
            harm_day=pl.when(pl.col("first_harm_day") <= pl.col("futile_day")).then("futile_day"),
        )
    )
    ends = results.filter("is_last_look").group_by("experiment_id").agg(last_day=pl.col("as_of_day").max())
    told = pl.DataFrame(schema=_MISMATCHES) if mismatches is None else mismatches
    found = (
        told.filter(pl.col("day") <= as_of_day)
        .group_by("experiment_id")
        .agg(
            pl.col("mismatch_probability").min(),
            pl.col("has_mismatch").any(),
            invalid_day=pl.col("day").filter("has_mismatch").min(),
        )
    )
    days = {
        Verdict.INVALID: "invalid_day",
        Verdict.HARM: "harm_day",
        Verdict.WINNER: "winner_day",
        Verdict.NO_DIFFERENCE: "same_day",
        Verdict.FUTILE: "futile_day",
        Verdict.NO_ANSWER: "last_day",
    }
    joined = (
        plans.join(by_test, on="experiment_id", how="left")
        .join(ends, on="experiment_id", how="left")
        .join(found, on="experiment_id", how="left")
        .with_columns(decided_day=pl.min_horizontal(*days.values()))
    )
    verdict = (
        pl.when(pl.col("too_long").is_null())
        .then(pl.lit(Verdict.CONTINUE.value))
        .otherwise(pl.lit(Verdict.PLAN_TOO_LONG.value))
    )
    for name, day in reversed(days.items()):
        verdict = pl.when(pl.col(day) == pl.col("decided_day")).then(pl.lit(name.value)).otherwise(verdict)
    return joined.with_columns(verdict=verdict)


def _presented(decisions: pl.DataFrame, results: pl.DataFrame, as_of_day: date) -> pl.DataFrame:
    """Add the arm that the verdict is about, with its lift as measured and as it is to be expected."""
    primary = results.filter(pl.col("role") == MetricRole.PRIMARY)
    latest = (
        primary.join(decisions.select("experiment_id", "decided_day", "verdict"), on="experiment_id")
        .filter(pl.col("decided_day").is_null() | (pl.col("as_of_day") <= pl.col("decided_day")))
        .filter(pl.col("as_of_day") == pl.col("as_of_day").max().over("experiment_id"))
    )
    direction = pl.when("is_increase_good").then(1.0).otherwise(-1.0)
    harmed = (
        results.filter("is_significant", pl.col("role") == MetricRole.GUARDRAIL)
        .filter(pl.col("z_score") * direction < 0)
        .group_by("experiment_id", "arm")
        .agg(vetoed_day=pl.col("as_of_day").min(), vetoed_by=pl.col("metric").unique().sort().str.join(", "))
    )
    shown = (
        shrink_lifts(latest)
        .join(harmed, on=["experiment_id", "arm"], how="left")
        .with_columns(is_vetoed=(pl.col("vetoed_day") <= pl.col("as_of_day")).fill_null(False))
        .with_columns(
            preference=pl.when(pl.col("is_vetoed") & (pl.col("verdict") == Verdict.WINNER))
            .then(-2.0)
            .when(pl.col("is_significant"))
            # Without conversions of the control there is no relative lift, and the score tells which arm is best.
            .then(pl.coalesce(pl.col("lift") * direction, pl.col("z_score") * direction))
            .otherwise((pl.col("lift") * direction).clip(upper_bound=0.0).fill_null(0.0) - 1.0)
        )
        .sort("experiment_id", "preference", "arm", descending=[False, True, False])
        .group_by("experiment_id", maintain_order=True)
        .first()
    )
    vetoes = harmed.group_by("experiment_id").agg(
        vetoed_by=pl.format("{}: {}", "arm", "vetoed_by").sort().str.join("; ")
    )
    is_past = ~pl.col("is_open_ended") & (
        (pl.lit(as_of_day) > pl.col("end_day")) | (pl.lit(as_of_day) > pl.col("last_day")).fill_null(False)
    )
    measured = ("exposures", "control_exposures", "lift", "lift_low", "lift_high")
    outcome = shown.select(
        "experiment_id",
        "arm",
        "look",
        "information_fraction",
        "exposures",
        "control_exposures",
        selectors.contains("lift"),
        result_status="status",
    )
    tonight = (
        primary.sort("as_of_day")
        .group_by("experiment_id", "arm", maintain_order=True)
        .last()
        .select("experiment_id", "arm", pl.col(measured).name.prefix("latest_"), latest_day="as_of_day")
    )
    table = (
        decisions.join(outcome, on="experiment_id", how="left")
        .join(tonight, on=["experiment_id", "arm"], how="left")
        .join(vetoes, on="experiment_id", how="left")
        .with_columns(
            winner_arm=pl.when(pl.col("verdict") == Verdict.WINNER).then("arm"),
            looks=pl.col("look").fill_null(0),
            information_fraction=pl.col("information_fraction").fill_null(0.0),
            recommended_action=_action(),
            status=pl.when(is_past)
            .then(pl.lit("refused: the plan has ended and takes no further looks"))
            .otherwise(pl.col("result_status").fill_null("not enough data: no exposure has matured")),
            as_of_day=pl.lit(as_of_day, dtype=pl.Date),
            method=pl.lit(METHOD),
        )
    )
    return conform(table.sort("experiment_id"), ExperimentVerdicts)


def _action() -> pl.Expr:
    """What to do, with the name of the arm to send or to stop sending."""
    expected = (pl.col("shrunk_lift") * 100).round(1)
    is_winner = pl.col("verdict") == Verdict.WINNER
    return (
        pl.when(is_winner & expected.is_null())
        .then(pl.format("Send everyone arm {}: the control brought nothing. Keep a hold-out.", "arm"))
        .when(is_winner)
        .then(pl.format("Send everyone arm {}: a change of {}% is to be expected. Keep a hold-out.", "arm", expected))
        .when(pl.col("decided_day").is_null() & pl.col("harmful_arms").is_not_null())
        .then(pl.format("Stop sending arm {}: it does harm. Let the other arms run.", "harmful_arms"))
        .when(pl.col("verdict") == Verdict.PLAN_TOO_LONG)
        .then("too_long")
        .when(pl.col("verdict") == Verdict.CONTINUE)
        .then(pl.lit("Let the test run; nothing is to be decided tonight."))
        .otherwise(
            pl.col("verdict").replace_strict({name.value: text for name, text in _ACTIONS.items()}, default=None)
        )
    )
