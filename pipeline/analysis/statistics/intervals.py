"""Intervals of shares and of mean amounts, as Polars expressions: every table takes its intervals from here."""

import polars as pl
from scipy.special import stdtrit

NORMAL_95 = 1.959963984540054
"""The 97.5% quantile of the standard normal, for two-sided intervals of 95%."""
FEWEST_EFFECTIVE = 3.0
"""With fewer effective amounts a mean has no interval: it would span orders of magnitude."""


def wilson_bounds(rate: pl.Expr, trials: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """Wilson's 95% interval of a share (Wilson, 1927).

    Args:
        rate: the share, 0-1.
        trials: the number of trials behind it; may be an effective number.

    Returns:
        Lower and upper end, 0-1; null where the rate is null or there are no trials.
    """
    squared = NORMAL_95**2
    known = rate.is_not_null() & (trials > 0)
    scale = 1 + squared / trials
    centre = (rate + squared / (2 * trials)) / scale
    half = NORMAL_95 * (rate * (1 - rate) / trials + squared / (4 * trials**2)).sqrt() / scale
    # At 0 and 1, and close to them, floating point would miss that the interval holds the share itself.
    low = pl.min_horizontal((centre - half).clip(0.0, 1.0), rate.clip(0.0, 1.0))
    high = pl.max_horizontal((centre + half).clip(0.0, 1.0), rate.clip(0.0, 1.0))
    return pl.when(known).then(low), pl.when(known).then(high)


def share_of(numerator: pl.Expr, denominator: pl.Expr) -> pl.Expr:
    """numerator / denominator; null where the denominator is zero, or smaller than the numerator."""
    return pl.when((denominator > 0) & (numerator <= denominator)).then(numerator / denominator)


def rate_with_interval(name: str, numerator: str, denominator: str) -> list[pl.Expr]:
    """Columns `name`, `name_low` and `name_high`: a share of two counts with Wilson's 95% interval.

    All three are null where the denominator is zero, or smaller than the numerator.
    """
    rate = share_of(pl.col(numerator), pl.col(denominator))
    low, high = wilson_bounds(rate, pl.col(denominator).cast(pl.Float64))
    return [rate.alias(name), low.alias(f"{name}_low"), high.alias(f"{name}_high")]


def mean_amount_with_interval(name: str, *, total: str, squares: str, trials: str) -> list[pl.Expr]:
    """Columns `name`, `name_low` and `name_high`: a mean of amounts most of which are zero, with its 95% interval.

    Args:
        name: the mean.
        total: column with the sum of the amounts.
        squares: column with the sum of their squares.
        trials: column with the number of all amounts, zeros included.

    The mean is null without trials. Its ends come from the delta method on the log scale, because amounts are skew: a
    symmetric interval would miss far more often above than below. The variance of the log mean is 1 / n - 1 / trials,
    in which n = total^2 / squares is the effective number of amounts that are not zero (Kish, 1965). Few amounts tell
    little of their own spread, so the quantile is Student's with n - 1 degrees of freedom. Both ends are null where n
    is below three, or the mean is not positive.
    """
    amount, number = pl.col(total).cast(pl.Float64), pl.col(trials).cast(pl.Float64)
    mean = pl.when(number > 0).then(amount / number)
    effective = pl.when((amount > 0) & (number > 0)).then(amount**2 / pl.col(squares).cast(pl.Float64))
    variance = (1 / effective - 1 / number).clip(lower_bound=0.0)
    reach = pl.when(effective >= FEWEST_EFFECTIVE).then(_student_95(effective - 1) * variance.sqrt())
    return [mean.alias(name), (mean * (-reach).exp()).alias(f"{name}_low"), (mean * reach.exp()).alias(f"{name}_high")]


def _student_95(freedom: pl.Expr) -> pl.Expr:
    """The 97.5% quantile of Student's t, for two-sided intervals of 95%."""
    return freedom.map_batches(
        lambda degrees: pl.Series(stdtrit(degrees.cast(pl.Float64).to_numpy(), 0.975)).fill_nan(None),
        return_dtype=pl.Float64,
    )
