"""The numbers of one cohort triangle: outcomes of those followed, incidence with a competing exit, and projection.

Here: matrices over entry groups and ages. Tables are made in `triangles`; cohorts are judged against each other in
`comparison`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, nbdtrik

from pipeline.analysis.statistics import Array, Mask

_PSEUDO_CONVERSIONS = 0.5
MINIMUM_AT_RISK = 30
"""A projection goes on to a week only if so many people were still to be won in it, in all cohorts together."""


@dataclass(frozen=True)
class EntryGroups:
    """Entrants of one workflow and cohort type, grouped by cohort and weeks of follow-up.

    Attributes:
        cohort: cohort of each group, 0-based.
        followed_weeks: weeks that have closed for the whole group.
        entrants: entrants of each group.
        conversions: first conversions by week since entry, (groups, ages).
        exits: unsubscribes before any conversion by week since entry, (groups, ages).
    """

    cohort: NDArray[np.int64]
    followed_weeks: NDArray[np.int64]
    entrants: Array
    conversions: Array
    exits: Array


def triangle(groups: EntryGroups) -> dict[str, Array]:
    """The triangle of all cohorts of one workflow and cohort type.

    Args:
        groups: entry groups with their outcomes.

    Returns:
        Matrices of (cohorts, ages), named as in `cohort_triangles`: the counts `entrants` (in all), `followed` (whose
        week has closed), `conversions` and `exits` (cumulative, of those followed) and `at_risk` (followed, and neither
        converted nor gone before the week); `incidence_rate` with `incidence_size`, the number of entrants that
        would give its variance if all were followed; `projected_rate` of all entrants with its 95% prediction interval.
        Rates are NaN where they are not known.

    The incidence is the Aalen-Johansen estimate (Aalen and Johansen, 1978) in whole weeks, with its variance by the
    delta method. The projection is the chain ladder over entry groups, with the errors of its factors and a dispersion
    from its own residuals (Mack, 1993, in the form for counts).
    """
    ages = groups.conversions.shape[1]
    member = (groups.cohort[None, :] == np.arange(groups.cohort.max() + 1)[:, None]).astype(float)
    closed = groups.followed_weeks[:, None] > np.arange(ages)[None, :]
    converted = np.cumsum(groups.conversions, axis=1)
    gone = np.cumsum(groups.exits, axis=1)
    left = groups.entrants[:, None] - converted - gone + groups.conversions + groups.exits
    followed = member @ (closed * groups.entrants[:, None])
    at_risk = np.maximum(member @ (closed * left), 0.0)
    incidence, size = _incidence(
        at_risk, member @ (closed * groups.conversions), member @ (closed * groups.exits), followed
    )
    entrants = np.repeat((member @ groups.entrants)[:, None], ages, axis=1)
    projected, low, high = _project(groups, member, closed, converted, (closed * left).sum(axis=0))
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "entrants": entrants,
            "followed": followed,
            "conversions": member @ (closed * converted),
            "exits": member @ (closed * gone),
            "at_risk": at_risk,
            "incidence_rate": incidence,
            "incidence_size": size,
            "projected_rate": projected / entrants,
            "projected_rate_low": low / entrants,
            "projected_rate_high": high / entrants,
        }


def _incidence(at_risk: Array, converted: Array, gone: Array, followed: Array) -> tuple[Array, Array]:
    """Aalen-Johansen incidence of conversion, and the entrants that would give its variance if all were followed."""
    safe = np.maximum(at_risk, 1.0)
    out = converted + gone
    staying = np.cumprod(1 - out / safe, axis=1)
    before = np.column_stack([np.ones(len(staying)), staying[:, :-1]])
    # Its parts are rounded, so that those of a week in which everybody converts may add up to a little more than one.
    incidence = np.minimum(np.cumsum(before * converted / safe, axis=1), 1.0)
    # The variance of F_t is the sum over weeks j of (F_t-F_j)^2 a_j + b_j - 2 (F_t-F_j) c_j, expanded to running sums.
    a = np.where(at_risk > out, out / (safe * np.maximum(at_risk - out, 1.0)), 0.0)
    b = before**2 * converted * (safe - converted) / safe**3
    c = before * converted / safe**2
    moments = [np.cumsum(term, axis=1) for term in (a, a * incidence, a * incidence**2, b, c, c * incidence)]
    variance = (
        incidence**2 * moments[0]
        - 2 * incidence * moments[1]
        + moments[2]
        + moments[3]
        - 2 * incidence * moments[4]
        + 2 * moments[5]
    )
    spread = incidence * (1 - incidence)
    size = np.where((spread > 0) & (variance > 0), spread / np.maximum(variance, 1e-300), followed)
    size = np.minimum(size, np.maximum(followed[:, :1], 1.0))
    return np.where(followed > 0, incidence, np.nan), size


def _project(
    groups: EntryGroups, member: Array, closed: Mask, converted: Array, at_risk: Array
) -> tuple[Array, Array, Array]:
    """Conversions of all entrants by each age, with 95% prediction bounds; none past a week with few at risk."""
    ages = converted.shape[1]
    later = (closed[:, 1:] * converted[:, 1:]).sum(axis=0)
    earlier = (closed[:, 1:] * converted[:, :-1]).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        factor = np.concatenate([[1.0], later / earlier])
        growth = np.cumsum(np.log(factor))
        noise = np.cumsum(np.concatenate([[0.0], (factor[1:] - 1) / (factor[1:] * earlier)]))
    known = np.isfinite(growth)
    dispersion = _dispersion(closed, converted, factor)

    last = np.maximum(groups.followed_weeks - 1, 0).clip(max=ages - 1)
    reached = converted[np.arange(len(last)), last]
    # A group without a closed week is taken to be average.
    fresh = groups.followed_weeks == 0
    seen = closed[:, 0]
    first_rate = converted[seen, 0].sum() / max(groups.entrants[seen].sum(), 1.0)
    reached = np.where(fresh, groups.entrants * first_rate, reached)
    base = np.where(known[last], growth[last], 0.0)
    with np.errstate(invalid="ignore", over="ignore"):
        multiple = np.where(closed, 1.0, np.exp(growth[None, :] - base[:, None]))
        error = np.where(closed, 0.0, multiple * np.sqrt(np.maximum(noise[None, :] - noise[last][:, None], 0.0)))
        total = np.where(closed, converted, reached[:, None] * multiple)
    given = np.where(closed, converted, np.where(fresh, 0.0, reached)[:, None])
    open_part = total - given
    entrants = (member @ groups.entrants)[:, None]
    # What is still to come varies by chance, by the error of the group's own level, which few conversions tell, and by
    # the errors of the factors, which all groups share. The bounds assume half a conversion more than was seen, so that
    # a cohort without conversions is not certain to stay without.
    likely = reached + _PSEUDO_CONVERSIONS * groups.entrants / np.maximum(member.T @ entrants[:, 0], 1.0)
    with np.errstate(invalid="ignore"):
        expected = np.where(closed, 0.0, likely[:, None] * (multiple - np.where(fresh, 0.0, 1.0)[:, None]))
        chance = expected + np.where(closed, 0.0, likely[:, None] * (multiple - 1) ** 2)
        mean = member @ open_part
        centre = member @ expected
        variance = dispersion * (member @ chance + (member @ (likely[:, None] * error)) ** 2)
        certain = member @ given
    low, high = _prediction_bounds(mean, centre, variance)
    is_carried = np.logical_and.accumulate(at_risk >= MINIMUM_AT_RISK)[None, :] | (
        (member @ (~closed * groups.entrants[:, None])) == 0
    )
    is_usable = np.isfinite(mean) & ((member @ seen.astype(float)) > 0)[:, None] & is_carried
    bounds = [np.minimum(np.where(is_usable, value, np.nan), entrants) for value in (mean, low, high)]
    projected, below, above = (np.minimum(certain + value, entrants) for value in bounds)
    return projected, below, above


def _prediction_bounds(mean: Array, centre: Array, variance: Array) -> tuple[Array, Array]:
    """Bounds of 95% of negative binomial counts, widened to hold `mean`; zero where none are expected."""
    with np.errstate(invalid="ignore"):
        size = centre**2 / np.maximum(variance - centre, 1e-9)
    is_known = centre > 0
    safe_centre, safe_size = np.where(is_known, centre, 1.0), np.where(is_known, size.clip(1e-3, 1e9), 1.0)
    share = safe_size / (safe_size + safe_centre)
    low = np.where(is_known, np.minimum(_quantile(0.025, safe_size, share), mean), 0.0)
    high = np.where(is_known, np.maximum(_quantile(0.975, safe_size, share), mean), 0.0)
    return low, high


def _quantile(probability: float, size: Array, share: Array) -> Array:
    """The smallest count whose negative binomial distribution function reaches `probability`.

    `scipy.stats.nbinom` says the same, but importing `scipy.stats` takes as long as a small night's analyses.
    """
    above = np.ceil(nbdtrik(probability, size, share))
    below = np.maximum(above - 1, 0)
    smallest: Array = np.where(betainc(size, below + 1, share) >= probability, below, above)
    return smallest


def _dispersion(closed: Mask, converted: Array, factor: Array) -> float:
    """Pearson dispersion of the ladder's increments, at least one."""
    before = converted[:, :-1]
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = before * (factor[1:] - 1)
        squares = (converted[:, 1:] - before - expected) ** 2 / (expected * factor[1:])
    used = closed[:, 1:] & (expected > 0)
    freedom = int(used.sum()) - int(used.any(axis=0).sum())
    return max(1.0, float(squares[used].sum() / freedom)) if freedom > 0 else 1.0
