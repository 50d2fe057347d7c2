"""What the analyses of send times read: activity by hour, sends, and who is to be mailed. Nothing is estimated here."""

from datetime import date

import polars as pl

from pipeline.analysis.send_time.counts import HOURS
from pipeline.common.time import end_of_day_us, is_recent

COUNTS = ["sends", "human_opens", "human_clicks", "behaviour_events"]


def activity_hours(subscriber_hours: pl.LazyFrame, *, as_of: date, days: int) -> pl.DataFrame:
    """Counts of `reductions.subscriber_hours` by local hour of the week, a row for each of the last `days` days."""
    recent = subscriber_hours.filter(is_recent(as_of, days))
    return recent.select("subscriber_key", "local_hour_of_week", *COUNTS).collect()


def engaged_sends(messages: pl.LazyFrame, *, as_of: date, days: int) -> pl.DataFrame:
    """Messages of the last `days` days that did not bounce, from `core.messages`.

    Returns:
        One row per message: `subscriber_key`, `step_key`, `sent_us`, `day`, `local_hour` (0-23, of sending), and
        `is_engaged`: whether a person opened or clicked it. Opens do not count where opens by machines cannot be told
        apart.
    """
    is_opened = pl.col("has_machine_marks") & (pl.col("human_opens") > 0)
    delivered = messages.filter(is_recent(as_of, days) & pl.col("bounce_kind").is_null())
    return delivered.select(
        "subscriber_key",
        "step_key",
        "sent_us",
        "day",
        local_hour=pl.col("local_hour_of_week") % HOURS,
        is_engaged=is_opened | (pl.col("human_clicks") > 0),
    ).collect()


def audience(step_entries: pl.LazyFrame, steps: pl.DataFrame, *, as_of: date) -> pl.DataFrame:
    """Who waits tonight for the mail of which step, from `core.step_entries` and `core.steps`.

    Returns:
        One row per `workflow_id`, `step_id` and `subscriber_key`, of active steps that mail: subscribers whose wait for
        the step is not over, and those in the step's queue at Mailchimp.
    """
    is_queued = pl.col("entry_source") == "queue"
    waiting = step_entries.filter(~is_queued & (pl.col("outcome_us") >= end_of_day_us(as_of)))
    expected = pl.concat(
        [
            waiting.select("subscriber_key", step_key="to_step_key").drop_nulls().collect(),
            step_entries.filter(is_queued).select("subscriber_key", "step_key").collect(),
        ]
    )
    mailing = steps.filter((pl.col("kind") == "email") & (pl.col("status") == "active"))
    return (
        expected.unique()
        .join(mailing.select("step_key", "workflow_id", "step_id"), on="step_key", how="inner")
        .select("workflow_id", "step_id", "subscriber_key")
    )


def below_cap(audience: pl.DataFrame, messages: pl.LazyFrame, *, as_of: date, most: int, days: int) -> pl.DataFrame:
    """The audience without those who got `most` messages (rows of `core.messages`) within the last `days` days."""
    sent = messages.filter(is_recent(as_of, days)).group_by("subscriber_key").len()
    return audience.join(sent.filter(pl.col("len") >= most).collect(), on="subscriber_key", how="anti")
