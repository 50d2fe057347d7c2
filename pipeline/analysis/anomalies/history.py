"""What the detector of anomalies is given every night. How it judges is in `anomalies`."""

from datetime import date, timedelta

import polars as pl

#: Half a year: twice what the baselines need, and quick to replay.
HISTORY_DAYS = 180


def watched_history(daily: pl.DataFrame, workflows: pl.DataFrame, *, as_of_day: date) -> pl.DataFrame:
    """The counts to be judged, of the last half year.

    Args:
        daily: rows of `step_metrics_daily`.
        workflows: `workflow_id` and `kind`.
        as_of_day: tonight.

    Returns:
        The rows of that time. `entries` is null, thus not watched, where no events tell them: those of automations
        and campaigns are the sends, and for the last days also who still waits in the queue, a rise that is none.
    """
    told = workflows.filter(pl.col("kind") == "flow").get_column("workflow_id").implode()
    return daily.filter(pl.col("day") > as_of_day - timedelta(days=HISTORY_DAYS)).with_columns(
        entries=pl.when(pl.col("workflow_id").is_in(told)).then("entries")
    )
