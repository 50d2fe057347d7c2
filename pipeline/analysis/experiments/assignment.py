"""Who gets which arm, for good.

Here: the sticky assignment. Not here: the plan of a test or its results.
"""

from collections.abc import Mapping
from datetime import date

import numpy as np
import polars as pl

from pipeline.common.sticky_hash import uniform_hash


def assign_arms(
    subscribers: pl.DataFrame,
    *,
    experiment_id: str,
    salt: str,
    shares: Mapping[str, float],
    as_of_day: date,
    previous: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Give every subscriber an arm; whoever has one keeps it.

    Args:
        subscribers: `subscriber_key` (Int64), unique.
        experiment_id: the test.
        salt: the frozen salt of the plan.
        shares: declared share of each arm, in the plan's order; they sum to 1.
        as_of_day: tonight.
        previous: the assignments logged so far, shaped like the result; they win over the hash, so a ramp of the
            shares moves nobody.

    Returns:
        One row per subscriber: `experiment_id`, `subscriber_key`, `arm`, `assigned_day`, `assignment_probability`
        (the declared share when assigned), `as_of_day`, `method`.
    """
    arms = list(shares)
    edges = np.cumsum(list(shares.values()))[:-1]
    position = np.searchsorted(edges, uniform_hash(subscribers["subscriber_key"], salt), side="right")
    fresh = subscribers.select(
        pl.lit(experiment_id).alias("experiment_id"),
        "subscriber_key",
        arm=pl.Series(arms, dtype=pl.String).gather(pl.Series(position)),
        assigned_day=pl.lit(as_of_day, dtype=pl.Date),
        assignment_probability=pl.Series(list(shares.values()), dtype=pl.Float64).gather(pl.Series(position)),
    )
    if previous is not None:
        logged = previous.filter(pl.col("experiment_id") == experiment_id).select(fresh.columns)
        fresh = pl.concat([logged, fresh.join(logged, on="subscriber_key", how="anti")])
    return fresh.with_columns(
        as_of_day=pl.lit(as_of_day, dtype=pl.Date), method=pl.lit("salted splitmix64 hash, sticky")
    ).sort("subscriber_key")
