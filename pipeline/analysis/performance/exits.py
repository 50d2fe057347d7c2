"""Why journeys ended, by step and window."""

from datetime import date

import polars as pl

from pipeline.analysis.statistics.intervals import rate_with_interval
from pipeline.common.time import over_windows, to_date
from pipeline.schemas import performance
from pipeline.schemas.base import conform

METHOD = "Wilson"


def exit_reasons(exit_days: pl.DataFrame, steps: pl.DataFrame, *, as_of: date) -> pl.DataFrame:
    """`marts.exit_reasons`, from `reductions.exit_days` and `core.steps`.

    Returns:
        One row per step, window and reason: how many journeys ended in the step for this reason on a day of the window,
        and their share of all journeys that ended there, with Wilson's 95% interval.
    """
    keys = ["workflow_id", "step_id", "window"]
    ends = exit_days.join(steps.select("step_key", "workflow_id", "step_id"), on="step_key").with_columns(
        to_date("outcome_day")
    )
    table = (
        over_windows(ends, "outcome_day", as_of)
        .group_by(*keys, "exit_reason")
        .agg(exits=pl.col("subscribers").sum())
        .with_columns(ended=pl.col("exits").sum().over(keys))
        .with_columns(*rate_with_interval("exit_rate", "exits", "ended"))
        .with_columns(as_of_day=pl.lit(as_of), method=pl.lit(METHOD))
    )
    return conform(table.sort(*keys, "exit_reason"), performance.ExitReasons)
