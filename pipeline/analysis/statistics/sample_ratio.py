"""Sample-ratio mismatch: whether the arms of a test receive the shares that were declared.

Here: the sequential test of the counts of exposures. What follows from a mismatch is decided in `verdicts`.
"""

import numpy as np
import polars as pl
from scipy.special import gammaln, logsumexp

from pipeline.analysis.statistics import Array

CONCENTRATIONS = (30.0, 300.0, 3_000.0, 30_000.0)
"""Prior weights of the declared shares, mixed in equal parts. They expect deviations of about 9, 3, 0.9 and 0.3
percentage points from 50/50: coarse ones, which few people show, and fine ones, which only many people show."""

_IMPOSSIBLE = 1e9
"""Log evidence of an exposure in an arm with share 0; finite, because differences of it are taken."""

MISMATCH_ALPHA = 0.01
"""Chance that a correctly split test is ever called a mismatch; small, because a mismatch makes a test invalid."""


def sample_ratio_mismatch(exposures: pl.DataFrame) -> pl.DataFrame:
    """Test of the declared shares that remains valid if it is looked at every night.

    Args:
        exposures: one row per (`experiment_id`, `day`, `arm`) with `exposures` of that day (all, matured or not) and
            the declared `share` of the arm on that day (0-1; every arm has a row, and the shares of a day sum to 1).
            Days with equal shares form a regime; a ramp has several.

    Returns:
        One row per (`experiment_id`, `day`): `total_exposures` so far, `mismatch_probability` (the sequential p-value,
        which is the smallest inverse Bayes factor so far), and `has_mismatch`, which stays true once it is.

    The Bayes factor compares a mixture of Dirichlet-multinomials with the declared multinomial. For each concentration
    it is multiplied over the regimes. If the shares are as declared, it ever exceeds 100 with a probability of at most
    0.01 (Lindon and Malek, 2022), which holds for a mixture as for each of its parts.
    """
    cumulative = (
        exposures.sort("experiment_id", "day", "arm")
        .with_columns(
            regime=pl.concat_str(pl.col("arm"), pl.col("share").round(9), separator="=")
            .str.join(",")
            .over("experiment_id", "day")
        )
        .with_columns(reached=pl.col("exposures").cum_sum().over("experiment_id", "regime", "arm"))
    )
    parts = [f"evidence_{number}" for number in range(len(CONCENTRATIONS))]
    terms = [pl.Series(name, _terms(cumulative, size)) for name, size in zip(parts, CONCENTRATIONS, strict=True)]
    by_regime = (
        cumulative.with_columns(terms)
        .group_by("experiment_id", "day", "regime")
        .agg(pl.col(*parts, "reached", "exposures").sum())
        .sort("experiment_id", "day")
    )
    total = by_regime["reached"].to_numpy().astype(float)
    by_day = by_regime.with_columns(
        pl.col(name) - pl.Series(gammaln(size + total) - gammaln(size))
        for name, size in zip(parts, CONCENTRATIONS, strict=True)
    ).with_columns(
        # What a regime has gained since its last day, added up over all regimes.
        (pl.col(name) - pl.col(name).shift(1, fill_value=0.0).over("experiment_id", "regime"))
        .cum_sum()
        .over("experiment_id")
        for name in parts
    )
    evidence = logsumexp(by_day.select(parts).to_numpy(), axis=1) - np.log(len(parts))
    return (
        by_day.with_columns(evidence=pl.Series(evidence))
        .select(
            "experiment_id",
            "day",
            total_exposures=pl.col("exposures").cum_sum().over("experiment_id").cast(pl.Int64),
            mismatch_probability=(-pl.col("evidence").clip(0.0, 700.0).cum_max().over("experiment_id")).exp(),
        )
        .with_columns(has_mismatch=pl.col("mismatch_probability") <= MISMATCH_ALPHA)
    )


def _terms(cumulative: pl.DataFrame, concentration: float) -> Array:
    """What each arm adds to the log evidence of one concentration, up to the part that all arms share."""
    reached = cumulative["reached"].to_numpy().astype(float)
    share = cumulative["share"].to_numpy()
    prior = concentration * share
    with np.errstate(divide="ignore", invalid="ignore"):
        term = gammaln(prior + reached) - gammaln(prior) - np.where(reached > 0, reached * np.log(share), 0.0)
    unexpected = (share == 0) & (reached > 0)
    terms: Array = np.where(share > 0, term, np.where(unexpected, _IMPOSSIBLE, 0.0))
    return terms
