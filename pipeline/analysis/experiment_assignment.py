"""Who gets which arm: a salted hash that gives the same answer in every run, version and language.

Here: the hash and the assignment. Not here: the plan of a test or its results.
"""

import hashlib
from collections.abc import Mapping
from datetime import date

import numpy as np
import polars as pl

_GOLDEN, _MIX_1, _MIX_2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
"""Constants of splitmix64 (Steele, Lea and Flood, 2014)."""


def uniform_hash(keys: pl.Series, salt: str) -> np.ndarray:
    """A number in [0, 1) for each key that depends on nothing but the key and the salt.

    Args:
        keys: Int64 keys.
        salt: names the purpose, such as an experiment id; different salts give independent numbers.

    Returns:
        Float64 array of the length of `keys`: two rounds of splitmix64, keyed by 128 bits of the salt's SHA-256.
    """
    digest = hashlib.sha256(salt.encode()).digest()
    mixed = keys.to_numpy().astype(np.int64).view(np.uint64)
    for part in (digest[:8], digest[8:16]):
        mixed = _splitmix(mixed ^ np.uint64(int.from_bytes(part, "little")))
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _splitmix(value: np.ndarray) -> np.ndarray:
    value = value + _GOLDEN
    value = (value ^ (value >> np.uint64(30))) * _MIX_1
    value = (value ^ (value >> np.uint64(27))) * _MIX_2
    return value ^ (value >> np.uint64(31))


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
