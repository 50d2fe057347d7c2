"""How surprising a count is under its forecast, as a normal score of its tail probability.

Here: the predictive distributions of counts. Forecasts are estimated in `baseline`. Tail probabilities are mid-p: half
of the probability of the observed count itself belongs to the tail.
"""

import numpy as np
from scipy.special import betainc, betaln, gammaln, nbdtrik, ndtr, ndtri

from pipeline.analysis.statistics import Array

# Beyond eight standard deviations floating point cannot tell tails apart, and an alarm is certain long before.
SCORE_LIMIT = 8.0
_TAIL_FLOOR = 6.3e-16
# Up to these numbers the exact sum is cheap. Above them the variance-stabilised normal errs by less than 0.1 at three
# standard deviations.
_EXACT_EXPECTED = 25.0
_EXACT_COUNT = 50.0
# A smaller dispersion differs from none by less than the rounding error of `betaln`.
_SMALLEST_DISPERSION = 1e-4
# The hyperbolic sine of more than twice this number is beyond floating point.
_LARGEST_SCALE = 300.0
# The dispersion of failures where nearly all succeed. What is relative to the successes would allow any number.
_LARGEST_OF_FAILURES = 4.0


def _score(lower: Array, upper: Array) -> Array:
    """Normal score of a pair of tails, computed from the smaller one, in which floating point is precise."""
    smaller = np.clip(np.minimum(lower, upper), _TAIL_FLOOR, 0.5)
    score: Array = np.where(lower <= upper, 1.0, -1.0) * ndtri(smaller)
    return score


def _beta_binomial_exact(count: Array, trials: Array, rate: Array, dispersion: Array) -> Array:
    """The score by summing the probabilities of all smaller counts, one column per count."""
    concentration = np.maximum((1 - rate) / (rate * dispersion) - 1, 0.2)
    alpha, beta = rate * concentration, (1 - rate) * concentration
    below = np.arange(int(count.max(initial=0)))
    left = trials[:, None] - below
    step = left * (alpha[:, None] + below) / ((below + 1) * np.maximum(beta[:, None] + left - 1, 1e-12))
    none = np.exp(betaln(alpha, beta + trials) - betaln(alpha, beta))
    mass = none[:, None] * np.cumprod(np.column_stack([np.ones(len(count)), np.maximum(step, 0.0)]), axis=1)
    positions = np.arange(mass.shape[1])
    at = mass[np.arange(len(count)), count.astype(int)]
    lower = np.where(positions < count[:, None], mass, 0.0).sum(axis=1) + at / 2
    return _score(lower, 1 - lower)


def beta_binomial_score(count: Array, trials: Array, rate: Array, dispersion: Array) -> Array:
    """Normal score of a count of successes under an overdispersed binomial.

    Args:
        count: successes observed.
        trials: trials, at least one.
        rate: expected share in (0, 1).
        dispersion: squared coefficient of variation of the day's true rate around `rate`. The variance of the count is
            `trials * rate * (1 - rate) + (trials * rate)**2 * dispersion`.

    Returns:
        Scores between -8 and 8, standard normal if the forecast is true.

    For small counts this is the exact beta-binomial tail. For large ones it is a normal on the scale asinh(sqrt(odds)),
    which stabilises the variance: it is the square root where chance dominates, and the logit where the day's own
    variation does.
    """
    flipped = rate > 0.5
    count = np.where(flipped, trials - count, count)
    of_failures = np.minimum(dispersion * (rate / (1 - rate)) ** 2, np.maximum(dispersion, _LARGEST_OF_FAILURES))
    dispersion = np.where(flipped, of_failures, dispersion)
    rate = np.where(flipped, 1 - rate, rate)
    dispersion = np.maximum(dispersion, _SMALLEST_DISPERSION)
    expected = trials * rate
    odds = (count + 0.25) * trials / (trials - count + 0.25)
    expected_odds = expected / (1 - rate)
    stretch = 2 * (1 - rate) / np.sqrt(dispersion)
    score = stretch * (np.arcsinh(np.sqrt(dispersion * odds)) - np.arcsinh(np.sqrt(dispersion * expected_odds)))
    exact = expected <= _EXACT_EXPECTED
    if exact.any():
        # The exact score of a smaller count is a lower bound, and where few are expected far above the normal one.
        counted = np.minimum(count[exact], _EXACT_COUNT)
        found = _beta_binomial_exact(counted, trials[exact], rate[exact], dispersion[exact])
        score[exact] = np.where(count[exact] <= _EXACT_COUNT, found, np.maximum(found, score[exact]))
    limited: Array = np.clip(np.where(flipped, -score, score), -SCORE_LIMIT, SCORE_LIMIT)
    return limited


def negative_binomial_score(count: Array, expected: Array, dispersion: Array) -> Array:
    """Normal score of a count under a negative binomial with variance `expected + dispersion * expected**2`.

    Args:
        count: events observed.
        expected: mean, positive.
        dispersion: squared coefficient of variation of the mean.

    Returns:
        Scores between -8 and 8, standard normal if the forecast is true.
    """
    size = 1 / np.maximum(dispersion, _SMALLEST_DISPERSION)
    none = size / (size + expected)
    low = count <= expected
    beyond = betainc(
        np.where(low, size, count + 1),
        np.where(low, np.maximum(count, 1), size),
        np.where(low, none, 1 - none),
    )
    beyond = np.where(low & (count < 1), 0.0, beyond)
    log_at = gammaln(count + size) - gammaln(size) - gammaln(count + 1) + size * np.log(none)
    tail = beyond + np.exp(log_at + count * np.log1p(-none)) / 2
    return np.where(low, _score(tail, 1 - tail), _score(1 - tail, tail))


def predictive_band(expected: Array, exposure: Array | None, dispersion: Array, score: float) -> tuple[Array, Array]:
    """The counts between which the forecast lies with the probability of `score` standard deviations to both sides.

    For a volume they are quantiles of the negative binomial, between two counts by interpolation; for a rate they lie
    on the variance-stabilised scale of the beta-binomial.

    Args:
        expected: mean count, positive.
        exposure: trials of a rate; none for a volume.
        dispersion: squared coefficient of variation of the mean.
        score: half width in standard deviations.

    Returns:
        Lower and upper count; the lower one is never negative, and the upper one never above the trials.
    """
    dispersion = np.maximum(dispersion, _SMALLEST_DISPERSION)
    if exposure is None:
        size = 1 / dispersion
        none = size / (size + expected)
        # Where nearly every day has a count of zero, both quantiles lie below the mean, and the band would too.
        low, high = (nbdtrik(ndtr(side), size, none) for side in (-score, score))
        return np.minimum(low, expected), np.maximum(high, expected)
    left = 1 - expected / exposure
    centre = np.arcsinh(np.sqrt(dispersion * expected / left))
    half = score * np.sqrt(dispersion) / (2 * left)
    odds = [
        np.sinh(scale) ** 2 / dispersion
        for scale in (np.maximum(centre - half, 0.0), np.minimum(centre + half, _LARGEST_SCALE))
    ]
    low, high = (one / (1 + one / exposure) for one in odds)
    return low, high
