"""The hour at which to mail each subscriber: drawn by lot for a share of them, so that the lift of the hours is known.

Drawing is the first step: it makes hours known that were never used. Who has no better hour is otherwise left alone.

Here: the draw, its probabilities, and which messages went out as assigned. Which hour is best is decided in
`subscribers`; what the drawn hours showed is estimated in `evaluation`.
"""

from collections.abc import Sequence
from datetime import date

import numpy as np
import polars as pl

from pipeline.common.sticky_hash import uniform_hash
from pipeline.common.time import day_number, numbered_day
from pipeline.common.written import stood_when_sent
from pipeline.schemas.base import conform
from pipeline.schemas.timing import SendTimeAssignments

PERIOD_DAYS = 28
"""A draw holds for four weeks, which is long enough for several messages."""
METHOD = "uniform draw for the share that explores, recommended hour for those of whom one is known"


def assign_hours(
    subscribers: pl.DataFrame, stands: pl.DataFrame, *, share: float, allowed: Sequence[int], as_of_day: date
) -> pl.DataFrame:
    """Assign every subscriber an hour for the period that tomorrow belongs to.

    Args:
        subscribers: rows of `subscriber_send_times`.
        stands: the hours that stand in the account tonight, as rows of `core.written_values`.
        share: share of subscribers whose hour is drawn, 0-1; a hash of subscriber and period says who they are.
        allowed: local hours from which is drawn, each with the same probability.
        as_of_day: tonight.

    Returns:
        Rows of `send_time_assignments`. `choice_probability` is the probability that the assigned hour would be
        assigned, by lot or by recommendation. Subscribers without a drawn hour, of whom no better hour than today's is
        known, are left out, so that nothing moves their mail. Where an hour stands for them since an earlier draw, they
        get back today's hour. `drawn_local_hour` is the hour while hours are only drawn and none is recommended.
    """
    period = period_of(day_number(as_of_day) + 1)
    hours = np.asarray(allowed)
    key = subscribers["subscriber_key"]
    explores = uniform_hash(key, f"send time/{period}/explores") < share
    drawn = hours[(uniform_hash(key, f"send time/{period}/hour") * len(hours)).astype(np.int64)]
    holds = key.is_in(stands["subscriber_key"].implode()).to_numpy()
    current = subscribers["current_local_hour"].fill_null(-1).to_numpy()
    is_own = (subscribers["fallback_level"] == "subscriber").to_numpy()
    recommended = np.where(is_own, subscribers["recommended_local_hour"].fill_null(-1).to_numpy(), current)
    recommended = np.where(holds | (recommended != current), recommended, -1)
    assigned = np.where(explores, drawn, recommended)
    by_lot_alone = np.where(explores, drawn, np.where(holds, current, -1))
    probability = share / len(hours) * np.isin(assigned, hours) + (1 - share) * (assigned == recommended)
    frame = pl.DataFrame(
        {
            "subscriber_key": key,
            "assigned_local_hour": assigned,
            "drawn_local_hour": pl.Series(by_lot_alone).replace(-1, None),
            "is_randomised": explores,
            "choice_probability": probability,
        }
    ).filter(pl.col("assigned_local_hour") >= 0)
    served = frame.join(
        stands.select("subscriber_key", "value"), on="subscriber_key", how="left", maintain_order="left"
    )
    return conform(
        served.with_columns(
            is_served=pl.col("value").eq_missing(pl.col("assigned_local_hour").cast(pl.String)),
            as_of_day=pl.lit(as_of_day),
            period_first_day=pl.lit(numbered_day(PERIOD_DAYS * period)),
            method=pl.lit(METHOD),
        ),
        SendTimeAssignments,
    )


def logged_assignments(assignments: pl.DataFrame) -> pl.DataFrame:
    """The rows of `send_time_assignments` as the lake's log keeps them, with the number of the period."""
    return assignments.select(
        "subscriber_key",
        (pl.col("period_first_day").to_physical().cast(pl.Int64) // PERIOD_DAYS).alias("period"),
        "assigned_local_hour",
        "is_randomised",
        "choice_probability",
    )


def sent_as_assigned(
    sends: pl.DataFrame, log: pl.DataFrame, written: pl.DataFrame, *, followed: pl.DataFrame
) -> pl.DataFrame:
    """Messages with the probability of their hour; null where the sender did not follow an earlier assignment.

    Args:
        sends: one row per message: `subscriber_key`, `step_key`, `sent_us`, `day` (number), `local_hour` and any other
            columns.
        log: rows of the lake's `send_time_assignments`.
        written: the hours that stood in the account, as rows of `core.written_values`.
        followed: `step_key` of the steps whose flow sends at the assigned hour, and `followed_from`, the first day on
            which it does.

    Returns:
        The messages of these steps from that day on, with `propensity`. It is null unless the hour of the message was
        assigned, was written, and stood when the message was sent. While no flow follows: all messages, without one.
    """
    if followed.is_empty():
        return sends.with_columns(propensity=pl.lit(None, dtype=pl.Float64))
    since = followed.with_columns(_from=pl.col("followed_from").to_physical().cast(pl.Int64)).drop("followed_from")
    mine = sends.join(since, on="step_key").filter(pl.col("day") >= pl.col("_from")).drop("_from")
    stood = stood_when_sent(mine.select("subscriber_key", "step_key", "sent_us").unique(), written)
    hours = stood.with_columns(_hour=pl.col("value").cast(pl.Int64, strict=False)).drop("value")
    assigned = log.select(
        "subscriber_key",
        "period",
        pl.col("assigned_local_hour").alias("local_hour"),
        pl.col("choice_probability").alias("propensity"),
        pl.col("as_of_day").alias("assigned_day"),
    )
    joined = (
        mine.with_columns(period=pl.col("day") // PERIOD_DAYS)
        .join(assigned, on=["subscriber_key", "period", "local_hour"], how="left", maintain_order="left")
        .join(hours, on=["subscriber_key", "step_key", "sent_us"], how="left", maintain_order="left")
    )
    is_served = (pl.col("assigned_day") < pl.col("day")) & (pl.col("_hour") == pl.col("local_hour"))
    return joined.with_columns(propensity=pl.when(is_served).then("propensity")).drop("assigned_day", "period", "_hour")


def with_draws(sends: pl.DataFrame, log: pl.DataFrame, told: pl.DataFrame) -> pl.DataFrame:
    """All messages with `is_drawn`: the message went out at the hour that was drawn by lot for the subscriber.

    Args:
        sends: one row per message, as `sent_as_assigned` takes them.
        log: rows of the lake's `send_time_assignments`.
        told: the messages as `sent_as_assigned` returns them.
    """
    lots = log.filter("is_randomised").select("subscriber_key", "period", local_hour="assigned_local_hour")
    key = ["subscriber_key", "step_key", "sent_us"]
    drawn = (
        told.filter(pl.col("propensity").is_not_null())
        .with_columns(period=pl.col("day") // PERIOD_DAYS)
        .join(lots, on=["subscriber_key", "period", "local_hour"], how="semi")
        .select(*key, is_drawn=pl.lit(True))
    )
    return sends.join(drawn, on=key, how="left", maintain_order="left").with_columns(
        pl.col("is_drawn").fill_null(False)
    )


def period_of(day: int) -> int:
    """Number of the period to which a day number belongs."""
    return day // PERIOD_DAYS
