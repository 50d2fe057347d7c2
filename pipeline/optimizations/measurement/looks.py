"""Every night of a change that is measured: by its plan until the answer, and by an open-ended sequence from then on.

Here: which nights belong to the plan, when the answer came, and when it is to be expected. Not here: the statistics of
one night, which are those of tests, and who is exposed.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date

import polars as pl

from pipeline.analysis.experiments.plan import ExperimentPlan
from pipeline.analysis.experiments.results import experiment_results
from pipeline.optimizations.measurement.sizing import WATCH_ALPHA
from pipeline.schemas.vocabulary import MeasurementPhase as Phase
from pipeline.schemas.vocabulary import MetricRole

SPARE_SHARE = 0.25
"""Time beyond the plan's days, for traffic that falls short. After it the plan ends with the people it has."""
_EXPECTED_DAYS = 7
"""Days of planned traffic that the traffic so far is mixed with, so that one quiet day moves the date by little."""
_ENDS = ("", "_low", "_high")


def lift_looks(moments: pl.DataFrame, plans: Sequence[ExperimentPlan], *, as_of_day: date) -> pl.DataFrame:
    """Every night of every change, with intervals that hold on all nights at once.

    Args:
        moments: additive moments of all metrics and arms, as `experiment_results` reads them.
        plans: one for each change. One that is not open-ended ends with its sample, or on its end day.
        as_of_day: tonight.

    Returns:
        The columns of `experiment_results` with `phase`; `expected_answer_day` (null without a plan); from the night of
        the answer on `answered_day` and that night's `answered_lift` with `answered_lift_low` and `answered_lift_high`;
        and, of this night and all before it, `has_risen` and `has_fallen` (the metric was shown to be higher, or lower,
        than without the change).

    A plan is a group-sequential test at `PLAN_ALPHA`, so a difference may be shown long before its end. It answers at
    its end all the same, and keeps its shares until then: a lift that is read off on the first night that shows it is
    too large (in simulations by 14% of the promise), because chance chose the night. All nights after the answer use
    all people so far, and an asymptotic confidence sequence at `WATCH_ALPHA` that is tightest at the plan's sample. So
    both together err no more often than 0.05.
    """
    judged = experiment_results(moments, plans, as_of_day=as_of_day)
    answers = _answers(judged, plans)
    answered = dict(answers.select("experiment_id", "answered_day").iter_rows())
    later = [replace(plan, is_open_ended=True, alpha=WATCH_ALPHA) for plan in plans if plan.experiment_id in answered]
    watched = experiment_results(moments, later, as_of_day=as_of_day).join(answers, on="experiment_id")
    until = judged.join(answers, on="experiment_id", how="left")
    is_open = pl.col("experiment_id").is_in([plan.experiment_id for plan in plans if plan.is_open_ended])
    nights = pl.concat(
        [
            until.filter((pl.col("as_of_day") <= pl.col("answered_day")).fill_null(True)).with_columns(
                phase=pl.when(is_open).then(pl.lit(Phase.OPEN_ENDED)).otherwise(pl.lit(Phase.PLANNED))
            ),
            watched.filter(pl.col("as_of_day") > pl.col("answered_day")).with_columns(phase=pl.lit(Phase.WATCHING)),
        ]
    )
    by_night = nights.sort("experiment_id", "as_of_day", "metric")
    return by_night.pipe(_expected, plans).pipe(_so_far)


def _answers(judged: pl.DataFrame, plans: Sequence[ExperimentPlan]) -> pl.DataFrame:
    """For each plan that has ended the night of its answer, and that night's lift."""
    planned = [plan.experiment_id for plan in plans if not plan.is_open_ended]
    is_answer = (pl.col("role") == MetricRole.PRIMARY) & pl.col("is_last_look")
    return judged.filter(pl.col("experiment_id").is_in(planned) & is_answer).select(
        "experiment_id",
        answered_day="as_of_day",
        **{f"answered_lift{end}": pl.col(f"lift{end}") for end in _ENDS},
    )


def _expected(nights: pl.DataFrame, plans: Sequence[ExperimentPlan]) -> pl.DataFrame:
    """Add the day of the expected answer: from the people so far, and never after the plan's end."""
    rows = [
        (plan.experiment_id, plan.start_day, plan.window_days, plan.planned_exposures, plan.planned_days, plan.end_day)
        for plan in plans
        if not plan.is_open_ended
    ]
    names = ("experiment_id", "start_day", "window_days", "planned_exposures", "planned_days", "end_day")
    kinds = (pl.String, pl.Date, pl.Int64, pl.Int64, pl.Int64, pl.Date)
    table = pl.DataFrame(rows, schema=dict(zip(names, kinds, strict=True)), orient="row")
    so_far = pl.col("exposures") + pl.col("control_exposures")
    days = (pl.col("as_of_day") - pl.col("start_day")).dt.total_days() - pl.col("window_days") + 1
    planned_daily = pl.col("planned_exposures") / pl.col("planned_days")
    daily = (_EXPECTED_DAYS * planned_daily + so_far) / (_EXPECTED_DAYS + days)
    missing = ((pl.col("planned_exposures") - so_far) / daily).ceil().cast(pl.Int64).clip(lower_bound=1)
    expected = pl.min_horizontal(pl.col("as_of_day") + pl.duration(days=missing), "end_day")
    has_answer = pl.col("as_of_day") >= pl.col("answered_day")
    answer = ("answered_day", *(f"answered_lift{end}" for end in _ENDS))
    return (
        nights.join(table, on="experiment_id", how="left", maintain_order="left")
        .with_columns(expected_answer_day=pl.when(has_answer).then("answered_day").otherwise(expected))
        .with_columns(pl.when(has_answer).then(name).alias(name) for name in answer)
        .drop("start_day", "window_days", "planned_days", "end_day")
    )


def _so_far(nights: pl.DataFrame) -> pl.DataFrame:
    """Add what was shown on each night or before it; the nights come in their order."""
    crosses = (pl.col("status") == "ok") & (pl.col("z_score").abs() >= pl.col("critical_z"))
    shown = {"has_risen": pl.col("z_score") > 0, "has_fallen": pl.col("z_score") < 0}
    return nights.with_columns(
        (crosses & side)
        .fill_null(False)
        .cast(pl.Int8)
        .cum_max()
        .over("experiment_id", "metric")
        .cast(pl.Boolean)
        .alias(name)
        for name, side in shown.items()
    ).with_columns(is_significant=pl.col("has_risen") | pl.col("has_fallen"))
