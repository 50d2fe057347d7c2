"""The learning policy: logistic Thompson sampling learns which arm suits which subscriber.

Here are the model and the probabilities of its arms. Eligibility is in `rules`, the draw in `selection`, and the value
of a policy in `pipeline.analysis.statistics.policy_values`.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.special import expit
from threadpoolctl import threadpool_limits

from pipeline.analysis.statistics import Array, Mask
from pipeline.analysis.statistics.glm import binomial_derivatives, newton

RIDGE = 4.0
"""Prior precision of every standardised coefficient. Its prior standard deviation is half a log-odds unit."""

DRAWS = 200
"""Posterior draws. They give the probability of being best with a standard error of at most 0.035."""

_BASE_RATE_RIDGE = 0.01
_NEVER = -1e9
_CHUNK = 256
"""Subscribers scored at a time. The scores of so many fit into the processor's cache."""


@dataclass(frozen=True)
class PolicyModel:
    """Posterior of a logistic model with effects common to all arms and effects of single arms.

    Attributes:
        arms: names of the arms, in the order of the parameters.
        features: numeric columns of the subscriber table.
        centre: mean of each feature in the log.
        scale: standard deviation of each feature in the log, or 1 if the feature is constant.
        mode: shape (1 + arms, 1 + features). The first row is common to all arms, the others are the deviations of each
            arm. The first column is the intercept.
        factor: upper Cholesky factor of the posterior precision of the flattened mode.
        outcomes: number of outcomes that the model has learned from.
    """

    arms: tuple[str, ...]
    features: tuple[str, ...]
    centre: Array
    scale: Array
    mode: Array
    factor: Array
    outcomes: int

    @property
    def version(self) -> str:
        """Hash of everything that the choice depends on, for the log."""
        digest = hashlib.sha256(repr((self.arms, self.features, self.outcomes)).encode())
        for array in (self.centre, self.scale, self.mode, self.factor):
            digest.update(np.round(array, 9).tobytes())
        return digest.hexdigest()[:16]

    def coefficients(self) -> Array:
        """Log-odds coefficients of each arm at the posterior mode, shape (arms, 1 + features)."""
        log_odds: np.ndarray = self.mode[0] + self.mode[1:]
        return log_odds

    def draws(self) -> Array:
        """Posterior draws of the coefficients, shape (draws, arms, 1 + features). Equal versions give equal draws."""
        generator = np.random.default_rng(int(self.version, 16))
        noise = generator.standard_normal((self.mode.size, DRAWS))
        sample = self.mode.ravel()[:, None] + solve_triangular(self.factor, noise)
        sample = sample.T.reshape(DRAWS, *self.mode.shape)
        drawn: np.ndarray = sample[:, :1] + sample[:, 1:]
        return drawn

    def design(self, subscribers: pl.DataFrame) -> Array:
        """Intercept and standardised features of each subscriber. A missing value is taken as the mean."""
        return _design(subscribers, self.features, self.centre, self.scale)

    def expected(self, subscribers: pl.DataFrame) -> Array:
        """Expected outcome of every arm for every subscriber, shape (subscribers, arms)."""
        design = self.design(subscribers)
        # Column by column: a matrix product rounds one row alone differently from the same row among many.
        log_odds = sum(design[:, [column]] * effects for column, effects in enumerate(self.coefficients().T))
        probability: np.ndarray = expit(log_odds)
        return probability


def fit_policy(log: pl.DataFrame, *, arms: Sequence[str], features: Sequence[str]) -> PolicyModel:
    """Learn from logged decisions.

    Args:
        log: one row per decision: `arm`, `is_matured`, `outcome` (0 or 1) and the features as known at the decision.
            Rows whose outcome is not final yet, and arms that no longer exist, are left out.
        arms: the arms to choose from.
        features: numeric or boolean columns.

    Returns:
        The posterior by Laplace's method. Without outcomes it is the prior, under which each arm is equally likely to
        be the best.
    """
    usable = log.filter(pl.col("is_matured") & pl.col("arm").is_in(list(arms)) & pl.col("outcome").is_not_null())
    raw = _numeric(usable, features)
    present = np.isfinite(raw)
    counts = np.maximum(present.sum(axis=0), 1)
    centre = np.where(present, raw, 0.0).sum(axis=0) / counts
    deviation = np.sqrt((np.where(present, raw - centre, 0.0) ** 2).sum(axis=0) / counts)
    scale = np.where(deviation > 1e-12, deviation, 1.0)
    design = _design(usable, features, centre, scale)
    outcome = usable["outcome"].cast(pl.Float64).to_numpy()
    arm = usable["arm"].replace_strict(list(arms), list(range(len(arms))), return_dtype=pl.Int64).to_numpy()
    members = [np.flatnonzero(arm == number) for number in range(len(arms))]
    mode, factor = _laplace([(design[rows], outcome[rows]) for rows in members], design.shape[1])
    return PolicyModel(tuple(arms), tuple(features), centre, scale, mode, factor, len(outcome))


def _laplace(by_arm: list[tuple[Array, Array]], width: int) -> tuple[Array, Array]:
    """Mode and Cholesky factor of the precision, by Newton's method on the blocks of the arms."""
    precision = np.full((1 + len(by_arm), width), RIDGE)
    precision[0, 0] = _BASE_RATE_RIDGE

    def step(mode: Array) -> Array:
        gradient, hessian = _derivatives(by_arm, mode, precision)
        direction: Array = cho_solve((cholesky(hessian), False), gradient.ravel()).reshape(mode.shape)
        return direction

    mode: Array = newton(np.zeros(precision.shape), step, tolerance=1e-7)
    return mode, cholesky(_derivatives(by_arm, mode, precision)[1])


def _derivatives(by_arm: list[tuple[Array, Array]], mode: Array, precision: Array) -> tuple[Array, Array]:
    """Gradient of the log-posterior and its negative Hessian."""
    width = mode.shape[1]
    gradient = -precision * mode
    hessian = np.diag(precision.ravel())
    common = slice(0, width)
    for number, (design, outcome) in enumerate(by_arm, start=1):
        score, block = binomial_derivatives(design, outcome, 1.0, mode[0] + mode[number])
        gradient[0] += score
        gradient[number] += score
        own = slice(number * width, (number + 1) * width)
        for rows, columns in ((common, common), (common, own), (own, common), (own, own)):
            hessian[rows, columns] += block
    return gradient, hessian


def best_probabilities(model: PolicyModel, subscribers: pl.DataFrame, eligible: Mask) -> Array:
    """Posterior probability that each arm is the best of those eligible.

    Args:
        model: the posterior.
        subscribers: one row per subscriber with the model's features.
        eligible: boolean, shape (subscribers, arms).

    Returns:
        Shape (subscribers, arms). Rows sum to 1, or to 0 if no arm is eligible.
    """
    arms = len(model.arms)
    draws = model.draws().astype(np.float32).transpose(1, 0, 2)
    # One column per arm is 1 where the arm is not eligible, so that the one product also rules these arms out.
    barred = np.repeat(np.float32(_NEVER) * np.eye(arms, dtype=np.float32), DRAWS, axis=0)
    weights = np.hstack([draws.reshape(arms * DRAWS, -1), barred])
    design = np.hstack([model.design(subscribers), ~eligible]).astype(np.float32)
    wins = np.empty(eligible.shape, dtype=np.uint8)
    # Always the same shape: a product rounds one row alone differently from the same row among many.
    chunk = np.zeros((_CHUNK, design.shape[1]), dtype=np.float32)
    scores = np.empty((arms * DRAWS, _CHUNK), dtype=np.float32)
    by_arm = scores.reshape(arms, DRAWS, _CHUNK)
    # For products as small as these, waiting for a second thread costs more than it gains.
    with threadpool_limits(limits=1, user_api="blas"):
        for start in range(0, len(design), _CHUNK):
            rows = min(_CHUNK, len(design) - start)
            chunk[:rows] = design[start : start + rows]
            np.matmul(weights, chunk.T, out=scores)
            best = by_arm.max(axis=0)
            for number in range(arms):
                won = (by_arm[number] == best).view(np.uint8)
                wins[start : start + rows, number] = np.add.reduce(won, axis=0, dtype=np.uint8)[:rows]
    share: np.ndarray = wins * eligible / DRAWS
    return share


def floored(probabilities: Array, eligible: Mask, floor: float) -> Array:
    """Choice probabilities with no eligible arm below about `floor`. A row is all 0 if no arm is eligible."""
    raised = np.where(eligible, np.maximum(probabilities, floor), 0.0)
    total = raised.sum(axis=1, keepdims=True)
    floored: np.ndarray = np.divide(raised, total, out=np.zeros_like(raised), where=total > 0)
    return floored


def _numeric(frame: pl.DataFrame, features: Sequence[str]) -> Array:
    if not features:
        return np.zeros((frame.height, 0))
    return frame.select(pl.col(name).cast(pl.Float64).fill_null(float("nan")) for name in features).to_numpy()


def _design(frame: pl.DataFrame, features: Sequence[str], centre: Array, scale: Array) -> Array:
    standardised = (_numeric(frame, features) - centre) / scale
    standardised[~np.isfinite(standardised)] = 0.0
    return np.hstack([np.ones((frame.height, 1)), standardised])
