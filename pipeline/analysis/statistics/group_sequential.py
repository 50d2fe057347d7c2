"""Group-sequential boundaries: how large a z-score must be at each look so that all looks together err with alpha.

Here: how the error is spent over the looks, the boundary by numerical integration, and the power that it leaves. Not
here: z-scores and verdicts.
"""

from functools import cache

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

SPENDING_POWER = 3
"""Spending alpha * t^3 keeps 97% of the power of a single look and spends little on the first, noisy weeks."""

MANY_LOOKS = 240
"""Number of looks assumed when a sample is planned; with 60 looks the power differs by 0.001 only."""

MOST_LOOKS = 1_000
"""A test of more looks uses the boundary of so many: almost three years of nights. A finer step than that of so many
looks is too fine for the quadrature, and the boundaries of 1,000 and of more looks hardly differ."""

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(160)
_LARGEST_Z = 9.0


def spent_alpha(fraction: np.ndarray, alpha: float) -> np.ndarray:
    """Type I error spent up to an information fraction: alpha * t^3 (Lan and DeMets, 1983; Kim and DeMets, 1987)."""
    return np.asarray(alpha * np.minimum(fraction, 1.0) ** SPENDING_POWER)


@cache
def boundary(alpha: float, looks: int = MANY_LOOKS) -> np.ndarray:
    """Two-sided critical values of |z| at equally spaced looks.

    Args:
        alpha: two-sided error over all looks together.
        looks: number of looks K; look k is taken at information fraction k / K.

    Returns:
        K critical values. Without an effect, the probability of crossing at look k or before is alpha * (k/K)^3.

    The density of the score among the paths that have not stopped is carried from look to look by Gauss-Legendre
    quadrature (Armitage, McPherson and Rowe, 1969; Jennison and Turnbull, 2000, chapter 19).
    """
    increments = np.diff(spent_alpha(np.arange(1, looks + 1) / looks, alpha), prepend=0.0)
    step = np.sqrt(1.0 / looks)
    values = np.empty(looks)
    nodes, mass = np.zeros(1), np.ones(1)
    for look, increment in enumerate(increments):
        scale = np.sqrt((look + 1) / looks)
        values[look] = brentq(_excess, 0.0, _LARGEST_Z, args=(scale, nodes, mass, step, increment), xtol=1e-10)
        nodes, mass = _carry(values[look] * scale, nodes, mass, step)
    values.setflags(write=False)
    return values


def critical_values(fraction: np.ndarray, alpha: float, looks: int = MANY_LOOKS) -> np.ndarray:
    """The boundary at any information fractions.

    Args:
        fraction: matured sample / planned sample; above 1 the last value holds.
        alpha: two-sided error over all looks together.
        looks: planned number of looks, of which `MOST_LOOKS` count; with fewer looks the error is smaller.

    Returns:
        Critical values of |z|, interpolated between the equally spaced looks; infinite before the first look, where
        nothing may be decided.
    """
    looks = min(looks, MOST_LOOKS)
    planned = np.arange(1, looks + 1) / looks
    fraction = np.asarray(fraction, dtype=float)
    return np.where(fraction < planned[0] - 1e-9, np.inf, np.interp(fraction, planned, boundary(alpha, looks)))


def power(drift: float, alpha: float, looks: int = MANY_LOOKS) -> float:
    """Probability of crossing the upper boundary when the final z-score has mean `drift`."""
    step = np.sqrt(1.0 / looks)
    nodes, mass, crossed = np.zeros(1), np.ones(1), 0.0
    for look, critical in enumerate(boundary(alpha, looks), start=1):
        edge = critical * np.sqrt(look / looks)
        nodes = nodes + drift / looks
        crossed += mass @ ndtr((nodes - edge) / step)
        nodes, mass = _carry(edge, nodes, mass, step)
    return float(crossed)


@cache
def needed_drift(alpha: float, target_power: float) -> float:
    """Mean of the final z-score at which a test that is looked at every night has the target power."""
    fixed = ndtri(1 - alpha / 2) + ndtri(target_power)
    return float(brentq(lambda drift: power(drift, alpha) - target_power, fixed * 0.9, fixed * 1.5, xtol=1e-6))


def _excess(z: float, scale: float, nodes: np.ndarray, mass: np.ndarray, step: float, increment: float) -> float:
    edge = z * scale
    return float(mass @ (ndtr((-edge - nodes) / step) + ndtr((nodes - edge) / step))) - increment


def _carry(edge: float, nodes: np.ndarray, mass: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    """The density after one more step, inside the boundary, as quadrature nodes and masses."""
    inside = edge * _NODES
    density = np.exp(-0.5 * ((inside[:, None] - nodes) / step) ** 2) @ mass / (step * np.sqrt(2 * np.pi))
    return inside, edge * _WEIGHTS * density
