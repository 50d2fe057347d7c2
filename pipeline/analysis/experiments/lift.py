"""The lift to be expected of a winner: the measured one, shrunk towards what tests usually find.

Not here: tests and verdicts.
"""

import numpy as np
import polars as pl

TYPICAL_LIFT = 0.045
"""Scale of the half-normal prior on the spread of true lifts: most changes of an e-mail move its rate by less. Its
light tail keeps a workspace with a handful of tests from taking one lucky winner for a sign of large lifts."""

PRIOR_TESTS = 20
"""Up to so many tests the distribution of lifts is taken as normal: fewer cannot tell its shape, and a test would be a
witness of its own lift."""

_SPREADS = np.geomspace(0.002, 2.0, 60)
_GRID = np.sinh(np.linspace(-6.0, 6.0, 161)) * (1.5 / np.sinh(6.0))
"""Log-lifts that stand for -78% to +350%, dense around 0."""

_SWEEPS = 100


def shrink_lifts(lifts: pl.DataFrame) -> pl.DataFrame:
    """Posterior of each lift, given all of them.

    Args:
        lifts: one row per comparison of the whole workspace, running and finished: `log_lift` and
            `log_lift_standard_error`; null where unknown.

    Returns:
        The rows with `shrunk_lift` (posterior mean), `shrunk_lift_low`, `shrunk_lift_high` (95%); null where unknown.

    Up to 20 tests the true lifts are taken as normal around 0, with a half-normal prior on their spread. Of more tests,
    the share beyond 20 speaks for a distribution of any shape, which is found by EM (Kiefer and Wolfowitz, 1956;
    Koenker and Mizera, 2014). The measured lift of a winner is too large on average, because winners are selected by
    it. A posterior does not depend on the selection, so the shrunk lift of winners is what they deliver on average.
    """
    known = lifts["log_lift"].is_not_null().to_numpy()
    estimate = lifts["log_lift"].to_numpy()[known].astype(float)
    error = lifts["log_lift_standard_error"].to_numpy()[known].astype(float)
    distance = (estimate[:, None] - _GRID) / error[:, None]
    likelihood = np.exp(-0.5 * (distance**2 - (distance**2).min(axis=1, initial=np.inf, keepdims=True)))
    prior = _normal_prior(estimate, error)
    weight = prior
    tests = len(estimate)
    for _ in range(_SWEEPS if tests > PRIOR_TESTS else 0):
        found = weight * (likelihood.T @ (1 / (likelihood @ weight))) / tests
        weight = found + PRIOR_TESTS / tests * (prior - found)
    posterior = likelihood * weight
    posterior /= posterior.sum(axis=1, keepdims=True)
    cumulative = posterior.cumsum(axis=1)
    values = {
        "shrunk_lift": posterior @ np.expm1(_GRID),
        "shrunk_lift_low": np.expm1(_GRID[(cumulative < 0.025).sum(axis=1)]),
        "shrunk_lift_high": np.expm1(_GRID[(cumulative < 0.975).sum(axis=1)]),
    }
    placed = pl.DataFrame({"position": np.flatnonzero(known), **values})
    return (
        lifts.with_columns(position=pl.int_range(pl.len()))
        .join(placed, on="position", how="left", maintain_order="left")
        .drop("position")
    )


def _normal_prior(estimate: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Normal distributions around 0 with different spreads, mixed by how well each explains the estimates."""
    total = _SPREADS[:, None] ** 2 + error**2
    evidence = -0.5 * (np.log(total) + estimate**2 / total).sum(axis=1)
    # The grid of spreads is geometric, hence the added log of the spread.
    evidence += np.log(_SPREADS) - 0.5 * (_SPREADS / TYPICAL_LIFT) ** 2
    belief = np.exp(evidence - evidence.max())
    cells = np.gradient(_GRID)
    density = np.exp(-0.5 * (_GRID / _SPREADS[:, None]) ** 2) * cells
    density /= density.sum(axis=1, keepdims=True)
    return np.asarray(belief @ density / belief.sum())
