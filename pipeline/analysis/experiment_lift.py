"""The lift to expect of a winner: what was measured, pulled towards zero by what tests usually find.

Here: the hierarchical shrinkage of lifts. Not here: tests and verdicts.
"""

import numpy as np
import polars as pl

TYPICAL_LIFT = 0.1
"""Scale of the half-Cauchy prior on the spread of true lifts: changes of an e-mail rarely move its rate by more."""

_SPREADS = np.geomspace(0.002, 2.0, 60)


def shrink_lifts(lifts: pl.DataFrame) -> pl.DataFrame:
    """Posterior of each lift, given all of them.

    Args:
        lifts: one row per comparison of the whole workspace, running and finished: `log_lift` and
            `log_lift_standard_error`; null where unknown.

    Returns:
        The rows with `shrunk_lift`, `shrunk_lift_low`, `shrunk_lift_high` (95%); null where the lift is unknown.

    True log-lifts are normal around 0 with a spread integrated over a half-Cauchy grid. A winner is a selected
    estimate, but a posterior is not changed by when or why one looked (Berger and Wolpert, 1988), so the shrunk lift
    of winners is what they deliver on average.
    """
    known = lifts["log_lift"].is_not_null().to_numpy()
    estimate = lifts["log_lift"].fill_null(0.0).to_numpy()
    squared_error = lifts["log_lift_standard_error"].fill_null(1.0).to_numpy() ** 2
    total = _SPREADS[:, None] ** 2 + squared_error
    evidence = -0.5 * ((np.log(total) + estimate**2 / total) * known).sum(axis=1)
    # The grid is geometric, so a density over the spread is multiplied by the spread.
    evidence += np.log(_SPREADS) - np.log1p((_SPREADS / TYPICAL_LIFT) ** 2)
    weight = np.exp(evidence - evidence.max())
    weight /= weight.sum()
    shrinkage = _SPREADS[:, None] ** 2 / total
    mean = weight @ (shrinkage * estimate)
    second = weight @ (shrinkage * squared_error + (shrinkage * estimate) ** 2)
    deviation = np.sqrt(np.maximum(second - mean**2, 0.0))
    columns = {
        "shrunk_lift": np.exp(mean + deviation**2 / 2) - 1,
        "shrunk_lift_low": np.exp(mean - 1.96 * deviation) - 1,
        "shrunk_lift_high": np.exp(mean + 1.96 * deviation) - 1,
    }
    mask = pl.Series(known)
    return lifts.with_columns(
        pl.when(mask).then(pl.Series(values)).otherwise(None).alias(name) for name, values in columns.items()
    )
