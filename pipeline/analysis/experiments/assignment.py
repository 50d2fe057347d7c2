"""Which arm a subscriber gets, for good.

Not here: the plan of a test, and its results.
"""

from collections.abc import Mapping

import numpy as np
import polars as pl

from pipeline.common.sticky_hash import uniform_hash


def assign_arms(
    subscribers: pl.DataFrame, *, experiment_id: str, salt: str, shares: Mapping[str, float]
) -> pl.DataFrame:
    """Give every subscriber an arm by a hash of key and salt, so that nobody's arm ever changes.

    Args:
        subscribers: `subscriber_key` (Int64), unique.
        experiment_id: the test.
        salt: the salt of the test.
        shares: declared share of each arm, in the order of the draft; they sum to 1.

    Returns:
        One row per subscriber: `experiment_id`, `subscriber_key`, `arm`, `assignment_probability` (the declared share)
        and `method`.
    """
    edges = np.cumsum(list(shares.values()))[:-1]
    position = pl.Series(np.searchsorted(edges, uniform_hash(subscribers["subscriber_key"], salt), side="right"))
    return subscribers.select(
        "subscriber_key",
        experiment_id=pl.lit(experiment_id),
        arm=pl.Series(list(shares), dtype=pl.String).gather(position),
        assignment_probability=pl.Series(list(shares.values()), dtype=pl.Float64).gather(position),
        method=pl.lit("salted splitmix64 hash, sticky"),
    )
