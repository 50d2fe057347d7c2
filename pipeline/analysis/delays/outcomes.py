"""What the comparison of delays reads: who is mature, who converted in time, and which delay is in use tonight.

Not here: any comparison (`recommendations`).
"""

from datetime import date

import polars as pl

from pipeline.common.time import day_number, end_of_day_us

BLOCK_DAYS = 28
"""Days of entry that are compared with each other: short enough for one season, long enough for every delay."""


def delay_outcomes(
    assigned_delays: pl.DataFrame, steps: pl.DataFrame, *, as_of: date, horizon_days: int
) -> pl.DataFrame:
    """Mature entrants and conversions of every assigned delay, from `reductions.assigned_delays` and `core.steps`.

    Args:
        horizon_days: calendar days from the entry in which a conversion counts; 60 at most.

    Returns:
        One row per transition, `segment`, `entry_block`, `assigned_delay_hours` and `is_randomised`: the `entrants`
        whose horizon has passed tonight, and the `conversions` among them.
    """
    is_in_time = pl.col("day") <= pl.col("entry_day") + horizon_days
    return (
        assigned_delays.filter(pl.col("entry_day") + horizon_days <= day_number(as_of))
        .pipe(_named, steps)
        .group_by(
            "workflow_id",
            "from_step_id",
            "to_step_id",
            "segment",
            (pl.col("entry_day") // BLOCK_DAYS).alias("entry_block"),
            "assigned_delay_hours",
            pl.col("is_delay_randomised").alias("is_randomised"),
        )
        .agg(
            entrants=pl.col("entrants").sum(),
            conversions=pl.col("conversions").filter(is_in_time).sum(),
        )
    )


def current_delays(edges: pl.DataFrame, steps: pl.DataFrame, *, as_of: date) -> pl.DataFrame:
    """`current_delay_hours` of every transition at the end of tonight, from `core.edges` and `core.steps`."""
    end_us = end_of_day_us(as_of)
    return (
        edges.filter((pl.col("valid_from_us") < end_us) & (pl.col("valid_to_us") >= end_us))
        .pipe(_named, steps)
        .select("workflow_id", "from_step_id", "to_step_id", current_delay_hours=pl.col("delay_hours"))
    )


def _named(frame: pl.DataFrame, steps: pl.DataFrame) -> pl.DataFrame:
    """With the ids of both steps of a transition beside their keys."""
    ids = steps.select("workflow_id", "step_id", "step_key")
    start = ids.rename({"step_key": "from_step_key", "step_id": "from_step_id"})
    end = ids.select(to_step_key="step_key", to_step_id="step_id")
    return frame.join(start, on="from_step_key", how="inner").join(end, on="to_step_key", how="inner")
