import time

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from pipeline.analysis.statistics import confidence_sequence, group_sequential
from pipeline.analysis.statistics.group_sequential import (
    MANY_LOOKS,
    MOST_LOOKS,
    boundary,
    critical_values,
    needed_drift,
    power,
    spent_alpha,
)

LOOKS = 4


def _inside(critical: np.ndarray, drift: float = 0.0) -> float:
    """Probability that no look crosses, from scipy's multivariate normal distribution."""
    fraction = np.arange(1, len(critical) + 1) / len(critical)
    correlation = np.sqrt(np.minimum.outer(fraction, fraction) / np.maximum.outer(fraction, fraction))
    z = multivariate_normal(drift * np.sqrt(fraction), correlation, allow_singular=True)
    return float(z.cdf(critical, lower_limit=-critical, rng=np.random.default_rng(0)))


@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_crossing_up_to_each_look_spends_what_was_planned(alpha):
    critical = boundary(alpha, LOOKS)
    for look in range(1, LOOKS + 1):
        correlation_of_first = _first_looks(critical, look)
        assert 1 - correlation_of_first == pytest.approx(spent_alpha(np.array(look / LOOKS), alpha), abs=2e-5)


def _first_looks(critical: np.ndarray, look: int) -> float:
    # The first looks of K have the correlations of that many looks: only ratios of fractions matter.
    return _inside(critical[:look])


def test_one_look_is_the_fixed_horizon_test():
    assert boundary(0.05, 1)[0] == pytest.approx(norm.ppf(0.975))
    assert power(3.0, 0.05, 1) == pytest.approx(norm.sf(norm.ppf(0.975) - 3.0))


def test_power_agrees_with_the_multivariate_normal_distribution():
    drift = 3.2
    crossing_either_side = 1 - _inside(boundary(0.05, LOOKS), drift)
    assert power(drift, 0.05, LOOKS) == pytest.approx(crossing_either_side, abs=1e-4)


def test_the_needed_drift_has_the_promised_power():
    assert power(needed_drift(0.05, 0.9), 0.05) == pytest.approx(0.9, abs=1e-5)


def test_looking_every_night_costs_at_most_three_points_of_power():
    fixed = norm.ppf(0.975) + norm.ppf(0.9)
    assert power(fixed, 0.05) >= 0.87


def test_nothing_is_decided_before_the_first_look_and_the_last_value_holds_after_the_end():
    critical = critical_values(np.array([0.0, 0.001, 1.0, 1.3]), 0.05)
    assert np.isinf(critical[:2]).all()
    assert critical[2] == critical[3] == boundary(0.05)[-1]


def test_ten_thousand_tests_of_sixty_looks_take_less_than_a_second_once_cached():
    boundary(0.05)
    fractions = np.tile(np.arange(1, 61) / 60, 10_000)
    started = time.process_time()
    critical_values(fractions, 0.05)
    assert time.process_time() - started < 1


def test_the_confidence_sequence_holds_over_many_looks_and_is_wider_than_a_fixed_interval():
    rng = np.random.default_rng(5)
    steps = 2_000
    fraction = np.arange(1, steps + 1) / 400
    critical = confidence_sequence.critical_values(fraction, 0.05)
    z = rng.normal(size=(1_000, steps)).cumsum(axis=1) / np.sqrt(np.arange(1, steps + 1))
    crossed = (np.abs(z) > critical).any(axis=1).mean()
    assert crossed <= 0.05
    assert (critical > norm.ppf(0.975)).all()
    assert np.isinf(confidence_sequence.critical_values(np.array([0.0]), 0.05)).all()


def test_the_boundary_is_shared_and_cannot_be_changed_by_a_caller():
    with pytest.raises(ValueError, match="read-only"):
        group_sequential.boundary(0.05)[0] = 0.0


def test_a_test_of_more_nights_than_a_life_has_is_decided_like_one_of_a_thousand():
    """The sample of a test in a tiny account may take decades."""
    fraction = np.array([0.0001, 0.01, 0.5, 1.0])
    assert (critical_values(fraction, 0.05, 21_168) == critical_values(fraction, 0.05, MOST_LOOKS)).all()
    assert boundary(0.05, MOST_LOOKS)[-1] == pytest.approx(boundary(0.05, MANY_LOOKS)[-1], abs=0.02)
