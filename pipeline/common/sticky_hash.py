"""A salted hash to a number in [0, 1): the same in every run, version and language.

Here: the hash, which assignment of tests, hold-outs and draws of policies share, and who is kept out of a change.
"""

import hashlib

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


def is_held_out(keys: pl.Series, optimization_id: str, share: float) -> pl.Series:
    """Who is kept out of a record's change, by a sticky hash: the same people every night.

    Args:
        keys: subscriber keys (Int64).
        optimization_id: the record; two records never share a hold-out.
        share: share of people kept out, 0-1.
    """
    return pl.Series("is_held_out", uniform_hash(keys, f"holdout/{optimization_id}") < share)


def _splitmix(value: np.ndarray) -> np.ndarray:
    value = value + _GOLDEN
    value = (value ^ (value >> np.uint64(30))) * _MIX_1
    value = (value ^ (value >> np.uint64(27))) * _MIX_2
    return np.asarray(value ^ (value >> np.uint64(31)))
