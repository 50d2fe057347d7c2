"""Tails of counts against scipy."""

import numpy as np
import pytest
from scipy import stats

from pipeline.analysis.anomalies.tails import beta_binomial_score, negative_binomial_score, predictive_band


@pytest.mark.parametrize(("count", "trials", "rate", "dispersion"), [(0, 300, 0.02, 0.02), (14, 900, 0.006, 0.3)])
def test_small_counts_have_the_exact_mid_p_of_the_beta_binomial(count, trials, rate, dispersion):
    concentration = (1 - rate) / (rate * dispersion) - 1
    reference = stats.betabinom(trials, rate * concentration, (1 - rate) * concentration)
    expected = stats.norm.ppf(reference.cdf(count) - reference.pmf(count) / 2)
    ours = beta_binomial_score(*(np.array([float(x)]) for x in (count, trials, rate, dispersion)))
    assert ours[0] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.7])
def test_large_counts_are_close_to_the_beta_binomial(rate):
    trials, dispersion = 5_000, 0.01 * (1 - rate)
    concentration = (1 - rate) / (rate * dispersion) - 1
    reference = stats.betabinom(trials, rate * concentration, (1 - rate) * concentration)
    counts = reference.ppf(stats.norm.cdf([-2.0, 0.0, 2.0])).astype(float)
    expected = stats.norm.ppf(reference.cdf(counts) - reference.pmf(counts) / 2)
    ours = beta_binomial_score(counts, *(np.full(3, value) for value in (float(trials), rate, dispersion)))
    assert ours == pytest.approx(expected, abs=0.2)


@pytest.mark.parametrize("count", [0.0, 5.0, 30.0, 90.0])
def test_volumes_have_the_exact_mid_p_of_the_negative_binomial(count):
    mean, dispersion = 30.0, 0.1
    reference = stats.nbinom(1 / dispersion, 1 / (1 + mean * dispersion))
    tail = min(reference.cdf(count), reference.sf(count - 1)) - reference.pmf(count) / 2
    ours = negative_binomial_score(np.array([count]), np.array([mean]), np.array([dispersion]))
    assert abs(ours[0]) == pytest.approx(-stats.norm.ppf(tail), abs=1e-6)


@pytest.mark.parametrize(
    ("mean", "dispersion"), [(0.05, 100.0), (0.05, 1.0), (5.0, 0.1), (1_000.0, 0.5), (20_000.0, 0.01)]
)
def test_the_band_of_a_volume_has_the_quantiles_of_the_negative_binomial(mean, dispersion):
    band = predictive_band(np.array([mean]), None, np.array([dispersion]), 1.96)
    reference = stats.nbinom(1 / dispersion, 1 / (1 + mean * dispersion))
    for bound, tail in zip(band, (0.025, 0.975), strict=True):
        # Quantiles are whole numbers, and the band lies between two of them.
        assert reference.ppf(tail) - 1 <= bound[0] <= max(reference.ppf(tail), mean)


def test_the_band_of_a_rare_volume_holds_its_mean():
    """Of a campaign that is sent once, nearly every day has none."""
    means, dispersions = (axis.ravel() for axis in np.meshgrid([1e-6, 1e-3, 0.03, 5.0], [1e-4, 0.5, 500.0]))
    low, high = predictive_band(means, None, dispersions, 3.0)
    assert (low <= means).all()
    assert (means <= high).all()


def test_the_band_holds_the_scores_it_promises():
    expected, trials, dispersion = (np.array([x]) for x in (400.0, 10_000.0, 0.02))
    for bound in predictive_band(expected, trials, dispersion, 1.96):
        assert abs(beta_binomial_score(bound, trials, expected / trials, dispersion)[0]) == pytest.approx(
            1.96, abs=0.02
        )
