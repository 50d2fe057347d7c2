"""The delay-response curve of one transition: how often entrants convert under each delay.

Here: standardised log-rates with their covariance, and draws from their posterior, as matrices of stratum and delay.
Which entrants may be compared, and what is recommended, is decided in `recommendations`.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.analysis.statistics import Array
from pipeline.analysis.statistics.glm import newton

SPREAD_SCALE = 0.3
"""Scale of the half-Cauchy prior of the spread between delays: most real curves differ by less than 30%."""
SPREAD_GRID = np.geomspace(0.002, 2.0, 80)
PSEUDO_CONVERSIONS = 0.5
"""Added to every delay, so that the log-rate of a delay without conversions is finite (Jeffreys)."""


@dataclass(frozen=True)
class FittedCurve:
    """A multiplicative fit: the rate of stratum s under delay d is level_s x exp(effect_d); the effects sum to zero.

    Attributes:
        effects: log-rate of each delay minus their mean, shape (delays,).
        covariance: sandwich covariance of `effects`, shape (delays, delays), of rank delays - 1.
        entrants: shape (strata, delays).
        conversions: shape (strata, delays).
    """

    effects: Array
    covariance: Array
    entrants: Array
    conversions: Array


@dataclass(frozen=True)
class Curve:
    """Posterior draws, both of shape (draws, delays).

    Attributes:
        effects: relative conversion of each delay; only the ratios between delays have a meaning.
        rates: conversion rate of each delay in the population of all strata, 0-1.
    """

    effects: Array
    rates: Array


def fit_curve(entrants: Array, conversions: Array) -> FittedCurve:
    """Log-rates of the delays, standardised over strata.

    Args:
        entrants: counts, shape (strata, delays); zero where a delay was not used. Every delay must be linked to the
            others through strata that they share.
        conversions: counts of the same shape; at least one in all.

    This is a Poisson regression with a level for every stratum and the binomial variance by the sandwich formula
    ('modified Poisson', Zou, 2004). So no cell needs to be filled, and the effects do not depend on which delay was
    used when, or for whom.
    """
    share = conversions.sum(axis=1, keepdims=True) / np.maximum(entrants.sum(axis=1, keepdims=True), 1)
    expected = entrants * share
    pseudo = PSEUDO_CONVERSIONS * expected / np.maximum(expected.sum(axis=0), 1e-12)
    exposure = entrants + np.divide(pseudo, share, out=np.zeros_like(pseudo), where=share > 0)
    observed = conversions + pseudo
    informative = observed.sum(axis=1) > 0
    exposure, observed = exposure[informative], observed[informative]

    def step(effects: Array) -> Array:
        fitted, mix = _fitted(effects, exposure, observed)
        return np.asarray(np.linalg.pinv(_information(fitted, mix), hermitian=True) @ (observed - fitted).sum(axis=0))

    effects = newton(np.zeros(entrants.shape[1]), step)
    fitted, mix = _fitted(effects, exposure, observed)
    variance = fitted * np.clip(1 - fitted / np.maximum(exposure, 1e-12), 0.0, 1.0)
    bread = np.linalg.pinv(_information(fitted, mix), hermitian=True)
    cross = variance.T @ mix
    meat = np.diag(variance.sum(axis=0)) - cross - cross.T + (mix * variance.sum(axis=1, keepdims=True)).T @ mix
    return FittedCurve(effects - effects.mean(), bread @ meat @ bread, entrants, conversions)


def posterior_curve(fit: FittedCurve, draws: int, rng: np.random.Generator) -> Curve:
    """Draw the effects and rates of the delays from their posterior.

    The effects are normal around their mean with a common spread. The spread has a half-Cauchy prior (Gelman, 2006) and
    is integrated over a grid; the mean has a flat prior, which working with contrasts amounts to (Morris, 1983).
    """
    delays = len(fit.effects)
    contrasts = _contrasts(delays)
    observed = contrasts @ fit.effects
    values, vectors = np.linalg.eigh(contrasts @ fit.covariance @ contrasts.T)
    values = np.maximum(values, 1e-12)
    rotated = vectors.T @ observed
    total = values + SPREAD_GRID[:, None] ** 2
    log_weight = -0.5 * (np.log(total) + rotated**2 / total).sum(axis=1)
    log_weight += np.log(np.gradient(SPREAD_GRID)) - np.log1p((SPREAD_GRID / SPREAD_SCALE) ** 2)
    weight = np.exp(log_weight - log_weight.max())

    spread = SPREAD_GRID[rng.choice(len(SPREAD_GRID), size=draws, p=weight / weight.sum())]
    shrinkage = spread[:, None] ** 2 / (spread[:, None] ** 2 + values)
    sample = shrinkage * rotated + np.sqrt(shrinkage * values) * rng.standard_normal((draws, delays - 1))
    effects = np.exp(sample @ vectors.T @ contrasts)
    return Curve(effects, _rates(fit, effects, rng))


def _fitted(effects: Array, exposure: Array, observed: Array) -> tuple[Array, Array]:
    weight = exposure * np.exp(effects)
    mix = weight / weight.sum(axis=1, keepdims=True)
    return mix * observed.sum(axis=1, keepdims=True), mix


def _information(fitted: Array, mix: Array) -> Array:
    return np.asarray(np.diag(fitted.sum(axis=0)) - fitted.T @ mix)


def _contrasts(delays: int) -> Array:
    """Orthonormal basis of the contrasts between delays, shape (delays - 1, delays)."""
    basis, _ = np.linalg.qr(np.column_stack([np.ones(delays), np.eye(delays)[:, :-1]]))
    return basis[:, 1:].T


def _rates(fit: FittedCurve, effects: Array, rng: np.random.Generator) -> Array:
    """The rates if everybody in all strata had had the same delay; their level has the error of all conversions."""
    stratum_conversions = fit.conversions.sum(axis=1)
    population = fit.entrants.sum(axis=1)
    levels = stratum_conversions / (effects @ fit.entrants.T)
    total = stratum_conversions.sum()
    noise = np.sqrt((1 - total / population.sum()) / total) * rng.standard_normal(len(effects))
    overall = (levels @ population) / population.sum() * np.exp(noise)
    return np.asarray(np.minimum(effects * overall[:, None], 1.0))
