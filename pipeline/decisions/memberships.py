"""Stays: from when to when each subscriber is in a workflow, computed from entries into its steps.

What two stays mean for each other is in `conflicts`.
"""

from collections.abc import Sequence
from datetime import date

import polars as pl

from pipeline.common.time import DAY_US, HOUR_US, day_number, end_of_day_us


def stays(step_entries: pl.LazyFrame, workflows: pl.DataFrame, *, as_of: date, days: int) -> pl.DataFrame:
    """Stays that reach into the last `days` days. Entries into steps that follow each other are one stay.

    Args:
        step_entries: `core.step_entries`.
        workflows: `core.workflows`.
        as_of: tonight.
        days: how far back.

    Returns:
        One row per stay: `subscriber_key`, `workflow_id`, `entered_day`, and `exited_day`, which is null while the
        subscriber is in it tonight. A stay ends at the latest when planned delay and grace have passed.
    """
    end_us = end_of_day_us(as_of)
    person = ["subscriber_key", "workflow_key"]
    latest_end = pl.col("outcome_us").cum_max().shift(1).over(person)
    goes_on = (pl.col("entered_us") <= latest_end).fill_null(False)
    known = step_entries.filter(pl.col("day") <= day_number(as_of)).select(*person, "entered_us", "outcome_us")
    reaching = known.filter(pl.col("outcome_us") >= end_us - days * DAY_US).select(person).unique()
    return (
        # Most people are in no workflow any more, and the streaming engine does not hold their entries.
        known.join(reaching, on=person, how="semi")
        .collect(engine="streaming")
        .sort(*person, "entered_us", "outcome_us")
        .with_columns(stay=(~goes_on).cum_sum())
        .group_by(*person, "stay")
        .agg(pl.col("entered_us").min(), pl.col("outcome_us").max())
        .filter(pl.col("outcome_us") >= end_us - days * DAY_US)
        .join(workflows.select("workflow_key", "workflow_id"), on="workflow_key")
        .select(
            "subscriber_key",
            "workflow_id",
            _day(pl.col("entered_us")).alias("entered_day"),
            pl.when(pl.col("outcome_us") < end_us).then(_day(pl.col("outcome_us"))).alias("exited_day"),
        )
        .sort("subscriber_key", "workflow_id", "entered_day")
    )


def planned_stays(entries: pl.DataFrame, workflow_id: str, path_hours: Sequence[int], *, as_of: date) -> pl.DataFrame:
    """The stays that a workflow which has not run yet would have had.

    Args:
        entries: `subscriber_key` and `entered_us` of those whom its trigger would have let in.
        workflow_id: the workflow.
        path_hours: hours from entry to each of its messages.
        as_of: tonight.

    Returns:
        As `stays`.
    """
    end_us = end_of_day_us(as_of)
    left_us = pl.col("entered_us") + max(path_hours, default=0) * HOUR_US
    return entries.select(
        "subscriber_key",
        pl.lit(workflow_id).alias("workflow_id"),
        _day(pl.col("entered_us")).alias("entered_day"),
        pl.when(left_us < end_us).then(_day(left_us)).alias("exited_day"),
    )


def planned_messages(entries: pl.DataFrame, path_hours: Sequence[int], *, as_of: date) -> pl.DataFrame:
    """The messages that a workflow which has not run yet would have sent: `subscriber_key`, `day` (Date)."""
    end_us = end_of_day_us(as_of)
    sent = entries.join(pl.DataFrame({"hours": path_hours}, schema={"hours": pl.Int64}), how="cross").with_columns(
        sent_us=pl.col("entered_us") + pl.col("hours") * HOUR_US
    )
    return sent.filter(pl.col("sent_us") < end_us).select("subscriber_key", day=_day(pl.col("sent_us")))


def _day(instant_us: pl.Expr) -> pl.Expr:
    return (instant_us // DAY_US).cast(pl.Int32).cast(pl.Date)
