"""The messages planned for those who are waiting tonight, by local day. Which of them fit is decided in `conflicts`."""

from datetime import date

import polars as pl

from pipeline.common.time import HOUR_US, end_of_day_us


def planned_sends(
    step_entries: pl.LazyFrame,
    steps: pl.DataFrame,
    edges: pl.DataFrame,
    subscribers: pl.LazyFrame,
    zone_offsets: pl.DataFrame,
    *,
    as_of: date,
) -> pl.DataFrame:
    """The next message of every subscriber who is waiting tonight.

    Args:
        step_entries: `core.step_entries`.
        steps: `core.steps`.
        edges: `core.edges`, for the planned delay where none was assigned.
        subscribers: `core.subscribers`, for their zones.
        zone_offsets: `core.zone_offsets`.
        as_of: tonight.

    Returns:
        `subscriber_key`, `workflow_id`, `step_id`, `local_day` (Date) and `planned_at` (Datetime, UTC), as `cap_sends`
        reads them. An overdue message is planned for the first moment after tonight.
    """
    end_us = end_of_day_us(as_of)
    transition = ["step_key", "to_step_key", "delay_version"]
    planned = edges.select(
        pl.col("from_step_key").alias("step_key"), "to_step_key", "delay_version", "delay_hours"
    ).unique(transition, keep="first", maintain_order=True)
    mailing = steps.filter((pl.col("kind") == "email") & (pl.col("status") == "active"))
    hours = pl.coalesce("assigned_delay_hours", "delay_hours", 0)
    due = (
        step_entries.filter((pl.col("entry_source") != "queue") & (pl.col("outcome_us") >= end_us))
        .filter(pl.col("entered_us") < end_us)
        .collect()
        .join(planned, on=transition, how="left")
        .with_columns(planned_us=pl.max_horizontal(pl.col("entered_us") + hours * HOUR_US, pl.lit(end_us)))
        .select("subscriber_key", "planned_us", step_key="to_step_key")
        .join(mailing.select("step_key", "workflow_id", "step_id"), on="step_key")
        .join(subscribers.select("subscriber_key", "zone").collect(), on="subscriber_key")
    )
    local = with_offsets(due, zone_offsets, "planned_us")
    return (
        local.with_columns(planned_at=pl.col("planned_us").cast(pl.Datetime("us")))
        .unique(["subscriber_key", "workflow_id", "step_id"], keep="first", maintain_order=True)
        .select(
            "subscriber_key",
            "workflow_id",
            "step_id",
            "planned_at",
            local_day=(pl.col("planned_us") + pl.col("offset_us")).cast(pl.Datetime("us")).dt.date(),
        )
        .sort("subscriber_key", "planned_at", "workflow_id", "step_id")
    )


def with_offsets(rows: pl.DataFrame, zone_offsets: pl.DataFrame, instant: str) -> pl.DataFrame:
    """The rows in the order of an instant, with the `offset_us` of their `zone` then; 0 in a zone that is not known."""
    return (
        rows.sort(instant)
        .join_asof(
            zone_offsets.select("zone", "offset_us", pl.col("from_us").alias(instant)).sort(instant),
            on=instant,
            by="zone",
            # Both sides are sorted above. Polars cannot check that by group and would warn.
            check_sortedness=False,
        )
        .with_columns(pl.col("offset_us").fill_null(0))
    )
