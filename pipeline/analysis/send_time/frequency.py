"""How people take the next message after few or many: a description of what happened, and no advice.

Who gets much mail differs from who gets little. Engaged people enter more flows, and whoever could not stand the mail
has left already. Only a test that draws the frequency could tell what it does.
"""

from datetime import date, timedelta
from itertools import pairwise

import polars as pl

from pipeline.analysis.statistics.intervals import rate_with_interval
from pipeline.common.time import day_number
from pipeline.schemas.base import conform
from pipeline.schemas.timing import FrequencyPressure

METHOD = "messages by those before them; Wilson; expected from the rates of their steps"
CLASSES = {"7d": (0, 1, 2, 3, 4, 5, 7, 10), "28d": (0, 1, 2, 4, 6, 8, 12, 16, 20)}
"""The least number of earlier messages of each class, by period. The last class has no upper end."""


def frequency_pressure(
    frequency_days: pl.DataFrame, workflows: pl.DataFrame, *, as_of: date, days: int, maturity_days: int
) -> pl.DataFrame:
    """`marts.frequency_pressure`, from `reductions.frequency_days` and `core.workflows`.

    Args:
        frequency_days: messages by step, day, and number of messages before them.
        workflows: the workflows.
        as_of: tonight.
        days: number of days of sending, of which the last is the last one whose rates no longer change.
        maturity_days: days until the rates of a message stop moving.

    Returns:
        One row per workflow (null = the whole account), period and class of messages that the recipient had got in that
        period: how many people clicked the next message and how many unsubscribed by it, each with Wilson's 95%
        interval. Beside them stands what the rates of the same steps over all classes would give (indirect
        standardisation): it shows how far a difference comes from the steps alone, such as first steps, which few
        messages precede. Messages of one person are not independent, so the intervals are somewhat too narrow.
    """
    last_day = as_of - timedelta(days=maturity_days)
    first_day = last_day - timedelta(days=days - 1)
    recent = frequency_days.filter(pl.col("day").is_between(day_number(first_day), day_number(last_day)))
    of_step = pl.col("delivered").sum().over("step_key")
    expected = recent.with_columns(
        (pl.col("delivered") * pl.col(count).sum().over("step_key") / of_step).alias(f"expected_{count}")
        for count in ("unique_human_clicks", "unsubscribes")
    ).join(workflows.select("workflow_key", "workflow_id"), on="workflow_key")
    every = pl.concat([expected, expected.with_columns(workflow_id=pl.lit(None, dtype=pl.String))])
    found = pl.concat([_classes(every, period) for period in CLASSES])
    table = found.with_columns(
        *rate_with_interval("human_click_rate", "unique_human_clicks", "delivered"),
        *rate_with_interval("unsubscribe_rate", "unsubscribes", "delivered"),
        expected_human_click_rate=pl.col("expected_unique_human_clicks") / pl.col("delivered"),
        expected_unsubscribe_rate=pl.col("expected_unsubscribes") / pl.col("delivered"),
        identification=pl.lit("observational"),
        first_day=pl.lit(first_day),
        last_day=pl.lit(last_day),
        as_of_day=pl.lit(as_of),
        method=pl.lit(METHOD),
    )
    return conform(table.sort("workflow_id", "period", "messages_from", nulls_last=False), FrequencyPressure)


def _classes(rows: pl.DataFrame, period: str) -> pl.DataFrame:
    """The counts of each workflow by class of messages in a period."""
    starts = CLASSES[period]
    ends = {start: following - 1 for start, following in pairwise(starts)}
    breaks = pl.DataFrame({"messages_from": starts}, schema={"messages_from": pl.Int64}).set_sorted("messages_from")
    # Sorted, because the order of a sum changes its last digit, and with it the version of the publication.
    classed = rows.sort(f"messages_{period}", "workflow_id", "step_key", "day", "messages_7d", "messages_28d")
    counts = ("delivered", "unique_human_clicks", "unsubscribes")
    return (
        classed.join_asof(breaks, left_on=f"messages_{period}", right_on="messages_from")
        .group_by("workflow_id", "messages_from", maintain_order=True)
        .agg(pl.col(*counts, "expected_unique_human_clicks", "expected_unsubscribes").sum())
        .with_columns(
            period=pl.lit(period),
            messages_to=pl.col("messages_from").replace_strict(ends, default=None, return_dtype=pl.Int64),
        )
    )
