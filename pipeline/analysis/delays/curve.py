"""The delay-response curve of one transition, as matrices of stratum x delay.

Here: the standardised log-rates with their covariance, and the posterior draws of a normal empirical Bayes.
Not here: which rows may be compared and what is recommended (`pipeline.analysis.delays.recommendations`).
"""

from dataclasses import dataclass

import numpy as np

from pipeline.analysis.statistics import Array
from pipeline.analysis.statistics.glm import newton

#: Scale of the half-Cauchy prior of the spread between delays: most real curves differ by less than 30%.
SPREAD_SCALE = 0.3
SPREAD_GRID = np.geomspace(0.002, 2.0, 80)
#: Half an expected conversion per delay keeps a delay without any conversion finite (Jeffreys).
PSEUDO_CONVERSIONS = 0.5


@dataclass(frozen=True)
class FittedCurve:
    """Multiplicative fit: rate of stratum s under delay d = level_s x exp(effect_d), effects summing to zero.

    Attributes:
        effects: log-rate of each delay against their mean, shape (delays,).
        covariance: sandwich covariance of `effects`, shape (delays, delays), rank delays - 1.
        entrants: stratum x delay.
        conversions: stratum x delay.
    """

    effects: Array
    covariance: Array
    entrants: Array
    conversions: Array


@dataclass(frozen=True)
class Curve:
    """Posterior draws, both of shape (draws, delays).

    Attributes:
        effects: relative conversion of each delay (a ratio; only ratios between delays have a meaning).
        rates: conversion rate of each delay in the population of all strata, in 0-1.
    """

    effects: Array
    rates: Array


def fit_curve(entrants: Array, conversions: Array) -> FittedCurve:
    """Log-rates of the delays, standardised over strata.

    Args:
        entrants: counts, shape (strata, delays); zeros where a delay was not used. Every delay must be linked to the
            others through strata they share.
        conversions: counts of the same shape, at least one in all.

    A Poisson regression with a level per stratum, its binomial variance by the sandwich ('modified Poisson', Zou
    2004): no cell needs to be filled, and a change of mix or season between delays does not touch the effects.
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
        return np.linalg.pinv(_information(fitted, mix), hermitian=True) @ (observed - fitted).sum(axis=0)

    effects = newton(np.zeros(entrants.shape[1]), step)
    fitted, mix = _fitted(effects, exposure, observed)
    variance = fitted * np.clip(1 - fitted / np.maximum(exposure, 1e-12), 0.0, 1.0)
    bread = np.linalg.pinv(_information(fitted, mix), hermitian=True)
    cross = variance.T @ mix
    meat = np.diag(variance.sum(axis=0)) - cross - cross.T + (mix * variance.sum(axis=1, keepdims=True)).T @ mix
    return FittedCurve(effects - effects.mean(), bread @ meat @ bread, entrants, conversions)


def posterior_curve(fit: FittedCurve, draws: int, rng: np.random.Generator) -> Curve:
    """Draw the delays' effects and rates from their posterior.

    Effects ~ normal around their mean with a common spread; the spread is integrated over a grid under a half-Cauchy
    prior, the mean under a flat one (by working in contrasts). Gelman (2006); Morris (1983).
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
    return np.diag(fitted.sum(axis=0)) - fitted.T @ mix


def _contrasts(delays: int) -> Array:
    """Orthonormal basis of the contrasts between delays, shape (delays - 1, delays)."""
    basis, _ = np.linalg.qr(np.column_stack([np.ones(delays), np.eye(delays)[:, :-1]]))
    return basis[:, 1:].T


def _rates(fit: FittedCurve, effects: Array, rng: np.random.Generator) -> Array:
    """Rates had everybody in all strata had the same delay; the level's own noise is that of all conversions."""
    stratum_conversions = fit.conversions.sum(axis=1)
    population = fit.entrants.sum(axis=1)
    levels = stratum_conversions / (effects @ fit.entrants.T)
    total = stratum_conversions.sum()
    noise = np.sqrt((1 - total / population.sum()) / total) * rng.standard_normal(len(effects))
    overall = (levels @ population) / population.sum() * np.exp(noise)
    return np.minimum(effects * overall[:, None], 1.0)
