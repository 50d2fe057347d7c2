"""When those who go on to the next step do so."""

from datetime import date

import polars as pl

from pipeline.analysis.statistics.competing_risks import life_table
from pipeline.common.time import day_number
from pipeline.schemas import performance
from pipeline.schemas.base import conform

TRANSITION = ["workflow_key", "from_step_key", "to_step_key"]
VERSION = [*TRANSITION, "delay_version"]
QUANTILES = {"p25_hours": 0.25, "median_hours": 0.5, "p75_hours": 0.75}
METHOD = "quantiles of the Aalen-Johansen incidence of advancing, waiting censored"
NOBODY_ADVANCED = "nobody has advanced yet"
# Sums of shares miss their total by rounding, which must not push a quantile past the last hour.
ROUNDING = 1e-12


def time_to_next_step(
    transition_hours: pl.DataFrame, steps: pl.DataFrame, edges: pl.DataFrame, *, as_of: date, funnel_days: int
) -> pl.DataFrame:
    """`marts.time_to_next_step`, from `reductions.transition_hours`, `core.steps` and `core.edges`.

    Args:
        funnel_days: days of entry used, tonight included.

    Returns:
        One row per transition and version of its delay that somebody entered: quartiles, in hours, of the time from
        entry to the next step among those who reach it.

    They are quantiles of the Aalen-Johansen incidence of advancing: losses and goals compete with it, and those who
    wait tonight are censored. Without losses and goals this is the Kaplan-Meier quantile.
    """
    entered = entered_until(transition_hours, as_of, funnel_days)
    counts = entered.group_by(VERSION).agg(
        entrants=pl.col("subscribers").sum(),
        advanced=pl.col("subscribers").filter(_is_seen() & (pl.col("outcome") == "advanced")).sum(),
        waiting=pl.col("subscribers").filter(~_is_seen()).sum(),
    )
    delays = edges.select(
        "from_step_key", "to_step_key", "delay_version", pl.col("delay_hours").alias("planned_delay_hours")
    )
    table = (
        counts.join(quantiles(increments(transition_hours, as_of, funnel_days), VERSION), on=VERSION, how="left")
        .join(delays, on=["from_step_key", "to_step_key", "delay_version"], how="left")
        .join(step_names(steps, "from"), on="from_step_key")
        .join(step_names(steps, "to").drop("workflow_id"), on="to_step_key")
        .with_columns(
            status=pl.when(pl.col("median_hours").is_null()).then(pl.lit(NOBODY_ADVANCED)).otherwise(pl.lit("ok")),
            as_of_day=pl.lit(as_of),
            method=pl.lit(METHOD),
        )
    )
    return conform(table.sort("workflow_id", "from_step_id", "to_step_id", "delay_version"), performance.TimeToNextStep)


def transition_quantiles(transition_hours: pl.DataFrame, *, as_of: date, funnel_days: int) -> pl.DataFrame:
    """The quartiles by transition. Versions of its delay are mixed in proportion to their entrants."""
    entrants = (
        entered_until(transition_hours, as_of, funnel_days).group_by(VERSION).agg(entrants=pl.col("subscribers").sum())
    )
    weighted = increments(transition_hours, as_of, funnel_days).join(entrants, on=VERSION)
    mixed = (
        weighted.with_columns(increment=pl.col("increment") * pl.col("entrants"))
        .group_by(*TRANSITION, "elapsed")
        .agg(pl.col("increment").sum())
    )
    return quantiles(mixed, TRANSITION)


def increments(transition_hours: pl.DataFrame, as_of: date, funnel_days: int) -> pl.DataFrame:
    """Share of entrants that advance in each hour since entry, by transition and version of the delay.

    Only the day of entry is known. So an hour counts as observed if it has passed whatever the hour of entry was: an
    entrant of e days ago is followed for 24 e hours.
    """
    table = entered_until(transition_hours, as_of, funnel_days).with_columns(
        elapsed=pl.col("elapsed_hours"), observed=24 * pl.col("days_ago") - 1
    )
    return life_table(table, VERSION).select(*VERSION, "elapsed", pl.col("advanced_increment").alias("increment"))


def quantiles(increments: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Quartiles of the time to advance among those who do, interpolated within the hour.

    Args:
        increments: `increment` by `keys` and `elapsed` (hours).
        keys: what makes a group.

    Returns:
        One row per group in which anybody advanced: `p25_hours`, `median_hours`, `p75_hours`.
    """
    curve = (
        increments.filter(pl.col("increment") > 0)
        .sort(*keys, "elapsed")
        .with_columns(part=pl.col("increment") / pl.col("increment").sum().over(keys))
        .with_columns(reached=pl.col("part").cum_sum().over(keys))
    )
    return curve.group_by(keys).agg(
        (pl.col("elapsed") + (share - pl.col("reached") + pl.col("part")) / pl.col("part"))
        .filter(pl.col("reached") >= share - ROUNDING)
        .first()
        .alias(name)
        for name, share in QUANTILES.items()
    )


def entered_until(transitions: pl.DataFrame, as_of: date, funnel_days: int) -> pl.DataFrame:
    """Rows of entrants of the last `funnel_days` days up to tonight, with `days_ago`."""
    tonight = day_number(as_of)
    return transitions.with_columns(days_ago=tonight - pl.col("day")).filter(
        pl.col("days_ago").is_between(0, funnel_days - 1)
    )


def step_names(steps: pl.DataFrame, end: str) -> pl.DataFrame:
    """`{end}_step_key`, `{end}_step_id` and `workflow_id` of every step."""
    return steps.select(
        pl.col("step_key").alias(f"{end}_step_key"), pl.col("step_id").alias(f"{end}_step_id"), "workflow_id"
    )


def _is_seen() -> pl.Expr:
    return pl.col("elapsed_hours") < 24 * pl.col("days_ago")
