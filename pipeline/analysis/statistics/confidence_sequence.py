"""Critical values for tests without a planned end, by an asymptotic confidence sequence.

Not here: z-scores and verdicts.
"""

import numpy as np


def critical_values(fraction: np.ndarray, alpha: float) -> np.ndarray:
    """Critical values of |z| that hold at all sample sizes at once.

    Args:
        fraction: matured sample / the sample at which the sequence is tightest; may grow without end.
        alpha: two-sided error over all looks, however many there are.

    Returns:
        Critical values of |z|; infinite at fraction 0.

    The normal mixture of Robbins in the asymptotic form of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas (2021),
    'Time-uniform central limit theory', theorem 2.2 and the appendix on the choice of rho.
    """
    tuned = -2 * np.log(alpha) + np.log(1 - 2 * np.log(alpha))
    information = tuned * np.asarray(fraction, dtype=float)
    with np.errstate(divide="ignore"):
        squared = (1 + 1 / information) * (np.log1p(information) - 2 * np.log(alpha))
    return np.asarray(np.sqrt(squared))
