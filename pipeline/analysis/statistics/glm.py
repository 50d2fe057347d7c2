"""Generalised linear models: one Newton iteration and one set of binomial derivatives for every regression.

Here: the solver. Not here: the models, their priors and what their coefficients mean.
"""

from collections.abc import Callable

import numpy as np
from scipy.special import expit

from pipeline.analysis.statistics import Array

_MOST_STEPS = 50
_LARGEST_STEP = 2.0
_SMALLEST_CHANCE = 1e-9
"""Fitted probabilities stay this far from 0 and 1, so that every response keeps a weight."""


def newton(start: Array, step: Callable[[Array], Array], *, tolerance: float = 1e-10) -> Array:
    """The coefficients at which a concave log-likelihood or log-posterior is largest.

    Args:
        start: coefficients to begin with, of any shape.
        step: the Newton step at some coefficients, of the same shape: the inverse of the information times the score.
        tolerance: the iteration ends when no coefficient moves by more than this.

    Returns:
        The coefficients, of the same shape.

    With the expected information this is Fisher scoring, which is iteratively reweighted least squares (McCullagh and
    Nelder, 1989, section 2.5). A step that would move a coefficient by more than two is shortened, because full steps
    overshoot where outcomes are rare.
    """
    coefficients = start
    for _ in range(_MOST_STEPS):
        move = step(coefficients)
        largest = float(np.abs(move).max())
        coefficients = coefficients + move * min(1.0, _LARGEST_STEP / max(largest, 1e-12))
        if largest < tolerance:
            break
    return coefficients


def binomial_derivatives(
    design: Array, share: Array, trials: Array | float, coefficients: Array
) -> tuple[Array, Array]:
    """Score and information of a logistic regression.

    Args:
        design: covariates, shape (rows, coefficients).
        share: share of successes of each row, 0-1.
        trials: trials behind each share; may be an effective number.
        coefficients: log-odds per unit of each covariate.

    Returns:
        The score, shape (coefficients,), and the Fisher information, shape (coefficients, coefficients).
    """
    fitted = fitted_shares(design, coefficients)
    weight = trials * fitted * (1 - fitted)
    return design.T @ (trials * (share - fitted)), design.T @ (weight[:, None] * design)


def fitted_shares(design: Array, coefficients: Array) -> Array:
    """Fitted probability of every row of a design, shape (rows,)."""
    fitted: Array = np.clip(expit(design @ coefficients), _SMALLEST_CHANCE, 1 - _SMALLEST_CHANCE)
    return fitted


def fit_logistic(design: Array, share: Array, trials: Array, start: Array) -> tuple[Array, Array]:
    """Logistic regression by maximum likelihood; arguments as in `binomial_derivatives`.

    Returns:
        The coefficients and their covariance, the inverse of the information.
    """

    def step(coefficients: Array) -> Array:
        score, information = binomial_derivatives(design, share, trials, coefficients)
        return np.asarray(np.linalg.solve(information, score), dtype=np.float64)

    coefficients = newton(start, step)
    covariance = np.linalg.inv(binomial_derivatives(design, share, trials, coefficients)[1])
    return coefficients, np.asarray(covariance, dtype=np.float64)
