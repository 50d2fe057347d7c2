"""Tables that describe and measure nothing: workflows, steps and the calendar."""

from datetime import date, timedelta

import polars as pl

from pipeline.common.time import day_number, end_of_day_us, numbered_day
from pipeline.schemas import performance
from pipeline.schemas.base import conform

WRITABLE_TYPES = ("abandonedBrowse", "abandonedCart", "emailFollowup", "singleWelcome")
WRITABLE_ACTIONS = ("signup", "ecomm_abandoned_browse", "ecomm_abandoned_cart")
"""Kinds of classic automations, and starts of delays, for which Mailchimp's API can write the delay of an e-mail."""


def workflows(workflows: pl.DataFrame, steps: pl.DataFrame) -> pl.DataFrame:
    """`marts.workflows` from `core.workflows` and `core.steps`."""
    sizes = steps.group_by("workflow_id").agg(pl.len().cast(pl.Int64).alias("steps"))
    named = workflows.join(sizes, on="workflow_id", how="left").with_columns(pl.col("steps").fill_null(0))
    return conform(named.sort("workflow_id"), performance.Workflows)


def steps(
    steps: pl.DataFrame,
    edges: pl.DataFrame,
    limits: pl.DataFrame,
    automations: pl.DataFrame,
    emails: pl.DataFrame,
    as_of: date,
) -> pl.DataFrame:
    """`marts.steps` from `core.steps` and `core.edges`: each step with its default next step, as planned tonight.

    Args:
        automations: latest rows of `lake.automations`.
        emails: latest rows of `lake.automation_emails`.
        limits: when each step may send, as constraints.yaml says: `quiet_from_hour`, `quiet_until_hour`,
            `allowed_weekdays` (list) and `hourly_cap` by `workflow_id` and `step_id`.
    """
    now = end_of_day_us(as_of) - 1
    names = steps.select(pl.col("step_key").alias("to_step_key"), pl.col("step_id").alias("next_step_id"))
    onward = (
        edges.filter(pl.col("is_default") & (pl.col("valid_from_us") <= now) & (pl.col("valid_to_us") > now))
        .sort("from_step_key", "delay_version", "to_step_key")
        .unique("from_step_key", keep="last", maintain_order=True)
        .join(names, on="to_step_key")
        .select(
            pl.col("from_step_key").alias("step_key"),
            "next_step_id",
            pl.col("delay_hours").alias("planned_delay_hours"),
            "grace_hours",
            pl.col("edge_source").alias("next_step_source"),
            "observed_people",
        )
    )
    allowed = limits.with_columns(pl.col("allowed_weekdays").cast(pl.List(pl.String)).list.join(","))
    named = steps.join(onward, on="step_key", how="left").join(allowed, on=["workflow_id", "step_id"], how="left")
    named = named.join(_writable(automations, emails), on=["workflow_id", "campaign_id"], how="left")
    return conform(named.sort("workflow_id", "position", "step_id"), performance.Steps)


def _writable(automations: pl.DataFrame, emails: pl.DataFrame) -> pl.DataFrame:
    """E-mails whose delay Mailchimp's API can write: `workflow_id`, `campaign_id` and `writable_delay_action`."""
    is_written = pl.col("workflow_type").is_in(WRITABLE_TYPES) & (pl.col("status") != "archived")
    found = emails.filter(pl.col("delay_action").is_in(WRITABLE_ACTIONS)).join(
        automations.filter(is_written), on="workflow_id", how="semi"
    )
    return found.select("workflow_id", campaign_id="step_id", writable_delay_action="delay_action")


def calendar(step_days: pl.DataFrame, entry_days: pl.DataFrame, as_of: date, maturity_days: int) -> pl.DataFrame:
    """`marts.calendar`: every day from the first fact of `reductions.step_days` or `entry_days` to tonight."""
    # On an empty account the calendar holds tonight alone.
    known = pl.concat([step_days.select("day"), entry_days.select("day")]).get_column("day")
    first = numbered_day(min([day_number(as_of), *known]))
    day = pl.col("day")
    frame = pl.DataFrame({"day": pl.date_range(first, as_of, eager=True)}).with_columns(
        year=day.dt.year(),
        quarter=day.dt.quarter(),
        month=day.dt.month(),
        iso_year=day.dt.iso_year(),
        iso_week=day.dt.week(),
        weekday=day.dt.weekday(),
        is_weekend=day.dt.weekday() >= 6,
        is_mature=day <= as_of - timedelta(days=maturity_days),
    )
    return conform(frame, performance.Calendar)
