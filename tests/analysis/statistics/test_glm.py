"""The solver of regressions: against statsmodels, and where full Newton steps would fail."""

import numpy as np
import pytest
import statsmodels.api as sm

from pipeline.analysis.statistics.glm import binomial_derivatives, fit_logistic, newton


def test_coefficients_and_covariance_are_those_of_statsmodels() -> None:
    random = np.random.default_rng(1)
    design = np.column_stack([np.ones(200), random.normal(size=(200, 2))])
    trials = random.integers(1, 50, 200).astype(float)
    successes = random.binomial(trials.astype(int), 1 / (1 + np.exp(2 - design[:, 1])))
    coefficients, covariance = fit_logistic(design, successes / trials, trials, np.zeros(3))
    reference = sm.GLM(np.column_stack([successes, trials - successes]), design, family=sm.families.Binomial()).fit()
    assert coefficients == pytest.approx(reference.params)
    assert covariance == pytest.approx(reference.cov_params())


def test_the_score_vanishes_at_the_fit_even_where_outcomes_are_rare() -> None:
    """From a start far away an undamped step would leave the range in which the information can be inverted."""
    design = np.column_stack([np.ones(4), [0.0, 0.0, 1.0, 1.0]])
    share, trials = np.array([1e-4, 2e-4, 1e-3, 2e-3]), np.full(4, 1e5)
    coefficients, _ = fit_logistic(design, share, trials, np.array([3.0, 0.0]))
    score, _ = binomial_derivatives(design, share, trials, coefficients)
    assert score == pytest.approx(np.zeros(2), abs=1e-6)


def test_the_iteration_keeps_the_shape_of_its_coefficients() -> None:
    target = np.array([[1.0, -3.0], [5.0, 0.5]])
    assert newton(np.zeros((2, 2)), lambda at: target - at) == pytest.approx(target)
