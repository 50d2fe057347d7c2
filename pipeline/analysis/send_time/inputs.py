"""What the send-time analyses read, from reductions and facts: activity by hour, sends, and who is to be mailed.

Not here: any estimate.
"""

from datetime import date

import polars as pl

from pipeline.analysis.send_time.profiles import HOURS
from pipeline.common.time import day_number, end_of_day_us

COUNTS = ["sends", "human_opens", "human_clicks", "behaviour_events"]


def activity_hours(subscriber_hours: pl.DataFrame, *, as_of: date, days: int) -> pl.DataFrame:
    """The last `days` days up to tonight, summed by subscriber and local hour of the week.

    Args:
        subscriber_hours: `reductions.subscriber_hours`.
        as_of: tonight.
        days: length of the period.

    Returns:
        `subscriber_key`, `local_hour_of_week` and the counts, as `analyse_send_times` reads them.
    """
    recent = subscriber_hours.filter(_is_recent(as_of, days))
    return recent.group_by("subscriber_key", "local_hour_of_week").agg(pl.col(COUNTS).sum())


def engaged_sends(messages: pl.DataFrame, *, as_of: date, days: int) -> pl.DataFrame:
    """Messages of the last `days` days that did not bounce, and whether a human opened or clicked them.

    Args:
        messages: `core.messages`.
        as_of: tonight.
        days: length of the period.

    Returns:
        One row per message: `subscriber_key`, `day`, `local_hour` (0-23, of sending), `is_engaged`. An open of mail of
        which machine opens cannot be known engages nobody.
    """
    is_opened = pl.col("has_machine_marks") & (pl.col("human_opens") > 0)
    return messages.filter(_is_recent(as_of, days) & pl.col("bounce_kind").is_null()).select(
        "subscriber_key",
        "day",
        local_hour=pl.col("local_hour_of_week") % HOURS,
        is_engaged=is_opened | (pl.col("human_clicks") > 0),
    )


def audience(step_entries: pl.DataFrame, steps: pl.DataFrame, *, as_of: date) -> pl.DataFrame:
    """Who waits tonight for the mail of which step.

    Args:
        step_entries: `core.step_entries`.
        steps: `core.steps`.
        as_of: tonight.

    Returns:
        One row per `workflow_id`, `step_id` and `subscriber_key`: those whose wait for the next step is not over, and
        those whom Mailchimp holds in a step's queue, of active steps that mail.
    """
    is_queued = pl.col("entry_source") == "queue"
    waiting = step_entries.filter(~is_queued & (pl.col("outcome_us") >= end_of_day_us(as_of)))
    expected = pl.concat(
        [
            waiting.select("subscriber_key", step_key="to_step_key").drop_nulls(),
            step_entries.filter(is_queued).select("subscriber_key", "step_key"),
        ]
    )
    mailing = steps.filter((pl.col("kind") == "email") & (pl.col("status") == "active"))
    return (
        expected.unique()
        .join(mailing.select("step_key", "workflow_id", "step_id"), on="step_key", how="inner")
        .select("workflow_id", "step_id", "subscriber_key")
    )


def below_cap(audience: pl.DataFrame, messages: pl.DataFrame, *, as_of: date, most: int, days: int) -> pl.DataFrame:
    """The audience without those who got `most` messages within the last `days` days: for them no hour is right.

    Args:
        audience: one row per step and `subscriber_key`.
        messages: `core.messages`.
        as_of: tonight.
        most: messages a subscriber may get.
        days: within so many days.
    """
    sent = messages.filter(_is_recent(as_of, days)).group_by("subscriber_key").len()
    return audience.join(sent.filter(pl.col("len") >= most), on="subscriber_key", how="anti")


def _is_recent(as_of: date, days: int) -> pl.Expr:
    tonight = day_number(as_of)
    return pl.col("day").is_between(tonight - days + 1, tonight)
