"""Group-sequential boundaries: how large a z-score must be at each look so that all looks together err with alpha.

Here: spending, the boundary by numerical integration, the power it leaves. Not here: z-scores and verdicts.
"""

from functools import cache

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr
from scipy.stats import norm

SPENDING_POWER = 3
"""Kim-DeMets rho: alpha * t^3 keeps 99% of the fixed-horizon power and spends little on the first, noisy weeks."""

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(160)
_LARGEST_Z = 9.0


def spent_alpha(fraction: np.ndarray, alpha: float) -> np.ndarray:
    """Type I error spent up to an information fraction: alpha * t^3 (Lan and DeMets, 1983; Kim and DeMets, 1987)."""
    return alpha * np.minimum(fraction, 1.0) ** SPENDING_POWER


@cache
def boundary(looks: int, alpha: float) -> np.ndarray:
    """Two-sided critical values of |z| at equally spaced looks.

    Args:
        looks: number of looks K; look k is taken at information fraction k / K.
        alpha: two-sided error over all looks together.

    Returns:
        K critical values, read-only. Crossing at look k or before has probability alpha * (k/K)^3 under no effect.

    The density of the score process among the paths not yet stopped is carried from look to look by Gauss-Legendre
    quadrature (Armitage, McPherson and Rowe, 1969; Jennison and Turnbull, 2000, chapter 19).
    """
    spent = spent_alpha(np.arange(1, looks + 1) / looks, alpha)
    increments = np.diff(spent, prepend=0.0)
    step = np.sqrt(1.0 / looks)
    values = np.empty(looks)
    nodes, mass = np.zeros(1), np.ones(1)
    for look, increment in enumerate(increments, start=1):
        scale = np.sqrt(look / looks)
        values[look - 1] = brentq(_excess, 0.0, _LARGEST_Z, args=(scale, nodes, mass, step, increment), xtol=1e-10)
        nodes, mass = _carry(values[look - 1] * scale, nodes, mass, step, 0.0)
    values.setflags(write=False)
    return values


def _excess(z: float, scale: float, nodes: np.ndarray, mass: np.ndarray, step: float, increment: float) -> float:
    return _leaving(z * scale, nodes, mass, step, 0.0).sum() - increment


def _leaving(edge: float, nodes: np.ndarray, mass: np.ndarray, step: float, drift: float) -> np.ndarray:
    """Probability of stepping below -edge and above +edge, in this order."""
    centre = nodes + drift
    return np.array([mass @ ndtr((-edge - centre) / step), mass @ ndtr((centre - edge) / step)])


def _carry(
    edge: float, nodes: np.ndarray, mass: np.ndarray, step: float, drift: float
) -> tuple[np.ndarray, np.ndarray]:
    """The density after one more step, inside the boundary, as quadrature nodes and masses."""
    inside = edge * _NODES
    distance = (inside[:, None] - nodes - drift) / step
    density = np.exp(-0.5 * distance**2) @ mass / (step * np.sqrt(2 * np.pi))
    return inside, edge * _WEIGHTS * density


def power(looks: int, alpha: float, drift: float) -> float:
    """Probability of crossing the upper boundary when the final z-score has mean `drift`."""
    critical = boundary(looks, alpha)
    step = np.sqrt(1.0 / looks)
    nodes, mass, crossed = np.zeros(1), np.ones(1), 0.0
    for look in range(1, looks + 1):
        edge = critical[look - 1] * np.sqrt(look / looks)
        crossed += _leaving(edge, nodes, mass, step, drift / looks)[1]
        nodes, mass = _carry(edge, nodes, mass, step, drift / looks)
    return float(crossed)


@cache
def sample_inflation(looks: int, alpha: float, target_power: float) -> float:
    """How many times the fixed-horizon sample is planned, so that looking every night keeps the promised power."""
    fixed = norm.ppf(1 - alpha / 2) + norm.ppf(target_power)
    needed = brentq(lambda drift: power(looks, alpha, drift) - target_power, fixed * 0.9, fixed * 1.5)
    return float((needed / fixed) ** 2)
