"""Drop-off between steps: who went on, who was lost, who reached the goal first, and who is still waiting."""

from datetime import date, timedelta

import polars as pl

from pipeline.analysis.performance.time_to_next_step import (
    TRANSITION,
    VERSION,
    entered_until,
    step_names,
    transition_quantiles,
)
from pipeline.analysis.statistics.competing_risks import incidences, life_table
from pipeline.analysis.statistics.intervals import wilson_bounds
from pipeline.schemas import performance
from pipeline.schemas.base import conform

METHOD = "Aalen-Johansen by version of the delay, Wilson interval at the effective sample size"
NO_ENTRANTS = "no entrants"
NOT_FOLLOWED = "nobody followed to planned wait + grace yet"
# A version of a delay counts once at most this share of its entrants has no outcome at the end of follow-up. Those few
# may still be lost, so they widen the interval upwards.
UNDECIDED_LIMIT = 0.1


def funnel(
    funnel_transitions: pl.DataFrame,
    transition_hours: pl.DataFrame,
    steps: pl.DataFrame,
    edges: pl.DataFrame,
    *,
    as_of: date,
    funnel_days: int,
) -> pl.DataFrame:
    """`marts.funnel`, from the transitions in `reductions`, by day and by hour, and from `core.steps` and `core.edges`.

    Args:
        funnel_days: days of entry used, tonight included.

    Returns:
        One row per transition, planned ones without entrants included: counts as of tonight, the estimates of
        `drop_off`, and quartiles of the time to the next step.
    """
    planned = edges.select(TRANSITION).unique()
    estimates = drop_off(funnel_transitions, as_of=as_of, funnel_days=funnel_days)
    times = transition_quantiles(transition_hours, as_of=as_of, funnel_days=funnel_days)
    counts = ("entrants", "advanced", "lost", "timeouts", "goal_exits", "waiting")
    table = (
        pl.concat([planned, estimates.select(TRANSITION)])
        .unique()
        .join(estimates, on=TRANSITION, how="left")
        .join(times, on=TRANSITION, how="left")
        .join(step_names(steps, "from"), on="from_step_key")
        .join(step_names(steps, "to").drop("workflow_id"), on="to_step_key")
        .with_columns(pl.col(*counts).fill_null(0), pl.col("status").fill_null(NO_ENTRANTS))
        .with_columns(is_mature=pl.col("waiting") == 0, as_of_day=pl.lit(as_of), method=pl.lit(METHOD))
        .with_columns(first_day=pl.lit(as_of - timedelta(days=funnel_days - 1)))
    )
    return conform(table.sort("workflow_id", "from_step_id", "to_step_id"), performance.Funnel)


def drop_off(funnel_transitions: pl.DataFrame, *, as_of: date, funnel_days: int) -> pl.DataFrame:
    """Share of entrants lost on the way to the next step. Those who still wait are censored, not lost.

    Args:
        funnel_transitions: `reductions.funnel_transitions`: entries by transition, version of the delay, day of entry,
            outcome and calendar days until it. Outcomes after tonight are treated as unknown.
        as_of: tonight.
        funnel_days: days of entry used, tonight included.

    Returns:
        One row per (workflow_key, from_step_key, to_step_key) with entrants: the counts `entrants`, `advanced`,
        `lost` (of them `timeouts`), `goal_exits` and `waiting`; the shares (0-1) `drop_off_rate` with its 95% interval,
        `advance_rate` and `goal_rate`; `effective_entrants`, the number of fully followed entrants that would give the
        same variance; and `status`.

    For each version of the delay the estimate is the Aalen-Johansen cumulative incidence of loss, with advancing and
    goal as competing outcomes (Andersen et al., 1993). The versions of which at least nine in ten entrants have an
    outcome are averaged by their entrants. The interval is Wilson's at the effective number of entrants,
    F (1 - F) / variance (Rothman, 1978), which keeps its coverage for small and extreme shares.
    """
    entered = entered_until(funnel_transitions, as_of, funnel_days).with_columns(
        elapsed=pl.col("elapsed_days"), observed=pl.col("days_ago")
    )
    versions = incidences(life_table(entered, VERSION), VERSION).filter(pl.col("undecided") <= UNDECIDED_LIMIT)
    combined = (
        versions.join(_counts(entered, VERSION), on=VERSION)
        .with_columns(weight=pl.col("entrants") / pl.col("entrants").sum().over(TRANSITION))
        .group_by(TRANSITION)
        .agg(
            *(
                (pl.col(name) * pl.col("weight")).sum().clip(0.0, 1.0)
                for name in ("drop_off_rate", "advance_rate", "goal_rate", "undecided")
            ),
            (pl.col("weight") ** 2 * pl.col("drop_off_variance")).sum().alias("variance"),
            (pl.col("entrants") - pl.col("waiting")).sum().alias("decided"),
            pl.col("entrants").sum().alias("followed"),
        )
        .with_columns(_effective_entrants())
    )
    low, _ = wilson_bounds(pl.col("drop_off_rate"), pl.col("effective_entrants"))
    at_most = (pl.col("drop_off_rate") + pl.col("undecided")).clip(0.0, 1.0)
    _, high = wilson_bounds(at_most, pl.col("effective_entrants"))
    status = pl.when(pl.col("drop_off_rate").is_null()).then(pl.lit(NOT_FOLLOWED)).otherwise(pl.lit("ok"))
    return (
        _counts(entered, TRANSITION)
        .join(combined.drop("variance", "decided", "followed"), on=TRANSITION, how="left")
        .with_columns(drop_off_rate_low=low, drop_off_rate_high=high, status=status)
        .drop("undecided")
        .sort(TRANSITION)
    )


def _counts(entered: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    is_seen = pl.col("elapsed") <= pl.col("observed")

    def having(*outcomes: str) -> pl.Expr:
        return pl.col("subscribers").filter(is_seen & pl.col("outcome").is_in(outcomes)).sum()

    return entered.group_by(keys).agg(
        entrants=pl.col("subscribers").sum(),
        advanced=having("advanced"),
        lost=having("lost", "timeout"),
        timeouts=having("timeout"),
        goal_exits=having("goal"),
        waiting=pl.col("subscribers").filter(~is_seen).sum(),
    )


def _effective_entrants() -> pl.Expr:
    """Fully followed entrants that would give this variance; if none or all were lost, those with an outcome."""
    spread = pl.col("drop_off_rate") * (1 - pl.col("drop_off_rate"))
    return (
        pl.when((pl.col("variance") > 0) & (spread > 0))
        .then((spread / pl.col("variance")).clip(upper_bound=pl.col("followed").cast(pl.Float64)))
        .otherwise(pl.col("decided").cast(pl.Float64))
        .alias("effective_entrants")
    )
