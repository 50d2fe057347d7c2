"""Group-sequential boundaries: how large a z-score must be at each look so that all looks together err with alpha.

Here: spending, the boundary by numerical integration, the power it leaves. Not here: z-scores and verdicts.
"""

from functools import cache

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr
from scipy.stats import norm

SPENDING_POWER = 3
"""Kim-DeMets rho: alpha * t^3 keeps 97% of the fixed-horizon power and spends little on the first, noisy weeks."""

DENSE_LOOKS = 240
"""The boundary is made for this many equally spaced looks, far more than nights. Whoever looks less often, or at
other fractions, errs less: so one cached boundary per alpha serves every test. Against a boundary for exactly 60
looks this costs 0.1 point of power."""

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(160)
_LARGEST_Z = 9.0


def spent_alpha(fraction: np.ndarray, alpha: float) -> np.ndarray:
    """Type I error spent up to an information fraction: alpha * t^3 (Lan and DeMets, 1983; Kim and DeMets, 1987)."""
    return alpha * np.minimum(fraction, 1.0) ** SPENDING_POWER


@cache
def boundary(alpha: float, looks: int = DENSE_LOOKS) -> np.ndarray:
    """Two-sided critical values of |z| at equally spaced looks.

    Args:
        alpha: two-sided error over all looks together.
        looks: number of looks K; look k is taken at information fraction k / K.

    Returns:
        K critical values, read-only. Crossing at look k or before has probability alpha * (k/K)^3 under no effect.

    The density of the score process among the paths not yet stopped is carried from look to look by Gauss-Legendre
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


def critical_values(fraction: np.ndarray, alpha: float) -> np.ndarray:
    """The boundary at any information fractions.

    Args:
        fraction: matured sample / planned sample; from 1 on the last value holds.
        alpha: two-sided error over all looks together.

    Returns:
        Critical values of |z|; infinite before the first of the dense looks, where nothing may be decided.
    """
    look = np.clip(np.floor(np.asarray(fraction) * DENSE_LOOKS + 1e-9).astype(int), 0, DENSE_LOOKS)
    return np.concatenate([[np.inf], boundary(alpha)])[look]


def power(drift: float, alpha: float, looks: int = DENSE_LOOKS) -> float:
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
    """Mean of the final z-score at which looking every night keeps the promised power."""
    fixed = norm.ppf(1 - alpha / 2) + norm.ppf(target_power)
    return float(brentq(lambda drift: power(drift, alpha) - target_power, fixed * 0.9, fixed * 1.5, xtol=1e-6))


def _excess(z: float, scale: float, nodes: np.ndarray, mass: np.ndarray, step: float, increment: float) -> float:
    edge = z * scale
    return float(mass @ (ndtr((-edge - nodes) / step) + ndtr((nodes - edge) / step))) - increment


def _carry(edge: float, nodes: np.ndarray, mass: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    """The density after one more step, inside the boundary, as quadrature nodes and masses."""
    inside = edge * _NODES
    density = np.exp(-0.5 * ((inside[:, None] - nodes) / step) ** 2) @ mass / (step * np.sqrt(2 * np.pi))
    return inside, edge * _WEIGHTS * density
