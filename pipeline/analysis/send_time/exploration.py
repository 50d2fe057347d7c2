"""The hour to mail each subscriber at: drawn by lot for a share of them, so that the lift of the rest can be known.

Here: the draw, its propensities, and which messages went out as assigned. Not here: which hour is best (`send_time`),
and what the drawn hours showed (`send_time_evaluation`).
"""

from collections.abc import Sequence
from datetime import date

import numpy as np
import polars as pl

from pipeline.common.sticky_hash import uniform_hash
from pipeline.common.time import day_number, numbered_day
from pipeline.schemas.base import conform
from pipeline.schemas.timing import SendTimeAssignments

#: A draw stands for four weeks: long enough for several messages, and a sender's field that changes every night helps
#: nobody.
PERIOD_DAYS = 28
METHOD = "uniform draw for the share that explores, recommended hour for the rest"


def assign_hours(subscribers: pl.DataFrame, *, share: float, allowed: Sequence[int], as_of_day: date) -> pl.DataFrame:
    """Assign every subscriber an hour for the period that tomorrow belongs to.

    Args:
        subscribers: rows of `subscriber_send_times`.
        share: share that explores, 0-1; drawn anew for each period by a hash of subscriber and period.
        allowed: local hours drawn from, each alike.
        as_of_day: tonight.

    Returns:
        Rows of `send_time_assignments`. `choice_probability` is the chance with which the assigned hour was going to be
        assigned, drawn or not. Those with neither a drawn nor a recommended hour are left out: they keep today's.
    """
    period = period_of(day_number(as_of_day) + 1)
    hours = np.asarray(allowed)
    key = subscribers["subscriber_key"]
    explores = uniform_hash(key, f"send time/{period}/explores") < share
    drawn = hours[(uniform_hash(key, f"send time/{period}/hour") * len(hours)).astype(np.int64)]
    recommended = subscribers["recommended_local_hour"].fill_null(-1).to_numpy()
    assigned = np.where(explores, drawn, recommended)
    probability = share / len(hours) * np.isin(assigned, hours) + (1 - share) * (assigned == recommended)
    frame = pl.DataFrame(
        {
            "subscriber_key": key,
            "assigned_local_hour": assigned,
            "is_randomised": explores,
            "choice_probability": probability,
        }
    ).filter(pl.col("assigned_local_hour") >= 0)
    return conform(
        frame.with_columns(
            as_of_day=pl.lit(as_of_day),
            period_first_day=pl.lit(numbered_day(PERIOD_DAYS * period)),
            method=pl.lit(METHOD),
        ),
        SendTimeAssignments,
    )


def logged_assignments(assignments: pl.DataFrame) -> pl.DataFrame:
    """The rows of `send_time_assignments` as the lake's log keeps them, by number of the period."""
    return assignments.select(
        "subscriber_key",
        (pl.col("period_first_day").to_physical().cast(pl.Int64) // PERIOD_DAYS).alias("period"),
        "assigned_local_hour",
        "is_randomised",
        "choice_probability",
    )


def sent_as_assigned(sends: pl.DataFrame, log: pl.DataFrame, *, used_from: date | None) -> pl.DataFrame:
    """Messages with the chance of their hour, null where the sender did not follow an assignment made before.

    Args:
        sends: one row per message: `subscriber_key`, `day` (number), `local_hour` and what else is known of it.
        log: rows of the lake's `send_time_assignments`.
        used_from: first day on which the sender followed the assignments; none = not yet.

    Returns:
        The messages from `used_from` on, with `propensity`; all of them without one while nothing is followed.
    """
    if used_from is None:
        return sends.with_columns(propensity=pl.lit(None, dtype=pl.Float64))
    assigned = log.select(
        "subscriber_key",
        "period",
        pl.col("assigned_local_hour").alias("local_hour"),
        pl.col("choice_probability").alias("propensity"),
        pl.col("as_of_day").alias("assigned_day"),
    )
    followed = sends.filter(pl.col("day") >= day_number(used_from)).with_columns(period=pl.col("day") // PERIOD_DAYS)
    joined = followed.join(assigned, on=["subscriber_key", "period", "local_hour"], how="left", maintain_order="left")
    return joined.with_columns(propensity=pl.when(pl.col("assigned_day") < pl.col("day")).then("propensity")).drop(
        "assigned_day", "period"
    )


def period_of(day: int) -> int:
    """Number of the period that a day, as days since 1970-01-01, belongs to."""
    return day // PERIOD_DAYS
