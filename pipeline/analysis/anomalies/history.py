"""What the detector reads every night. How it judges is told in `nights`."""

from datetime import date, timedelta

import polars as pl

HISTORY_DAYS = 180
"""Half a year: twice what the baselines need, and quick to replay."""


def watched_history(daily: pl.DataFrame, workflows: pl.DataFrame, *, as_of_day: date) -> pl.DataFrame:
    """Daily counts of the last 180 days, as the detector of anomalies reads them.

    Args:
        daily: rows of `step_metrics_daily`.
        workflows: `workflow_id` and `kind`.
        as_of_day: tonight.

    Returns:
        The rows of that time. `entries` is null for every workflow without an event stream, and the detector skips
        nulls. Such a workflow counts an entry when a message is sent, so its entries would repeat `sent`; and members
        still in Mailchimp's queue are added for the last days, which would look like a rise. A journey whose entries
        are everywhere the messages sent has no event stream.
    """
    differs = daily.filter(pl.col("entries") != pl.col("sent")).get_column("workflow_id").unique().implode()
    has_stream = (pl.col("kind") == "flow") | ((pl.col("kind") == "journey") & pl.col("workflow_id").is_in(differs))
    told = workflows.filter(has_stream).get_column("workflow_id").implode()
    return daily.filter(pl.col("day") > as_of_day - timedelta(days=HISTORY_DAYS)).with_columns(
        entries=pl.when(pl.col("workflow_id").is_in(told)).then("entries")
    )
