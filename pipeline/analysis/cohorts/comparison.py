"""Cohorts compared at equal age: which one surely differs from the others, and whether cohorts rise or fall.

Only entrants who are followed to that age count. The rates of each cohort by itself are made in `triangles`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import polars as pl
from scipy.optimize import brentq
from scipy.special import betaln, expit, logit, stdtr, stdtrit

from pipeline.analysis.statistics import STATED_PROBABILITY, Array
from pipeline.analysis.statistics.glm import fit_logistic, fitted_shares
from pipeline.schemas.base import conform, empty
from pipeline.schemas.cohorts import CohortComparison, CohortInsights

METHOD = "beta-binomial shrinkage with odd cohorts, concentration integrated out"
TREND_METHOD = "beta-binomial logistic slope, t interval"
MINIMUM_FOLLOWED = 50
"""A cohort with fewer entrants followed is not compared."""
# Cohorts are compared at the oldest age to which this share of the cohorts is followed, and this share of all entrants.
# Without the second condition subscription plans, which people join at any time, would be compared on few old members.
_SHARE_FOLLOWED = 2 / 3
_SHARE_OF_PEOPLE = 1 / 2
DIFFERENCE = 0.1
"""Cohorts within a tenth of the others are alike for any decision."""
TREND_P_VALUE = 0.01
"""Below 5%, because a trend is tested every night for every workflow and cohort type."""
MINIMUM_TREND_COHORTS = 5
ORDERED_TYPES = ("signup_date", "first_purchase")
"""Cohort types with an order; there is no trend over plans."""
DRAWS = 4_000
SEED = 51
# The spread of the cohorts' true rates, relative to their mean, has a half-Cauchy prior with this scale.
_SPREAD_SCALE = 0.2
_SPREADS = np.geomspace(0.005, 2.0, 40)
_MEAN_STEPS = np.linspace(-4.0, 4.0, 17)
# One cohort in ten may be odd, such as an import. Its rate scatters this much around the mean, whatever the others do.
_ODD_SHARE = 0.1
_ODD_SPREAD = 0.5
_CENTRING_STEPS = 20
_GROUP = ["cohort_type", "workflow_id"]
_MOST_DISPERSED = 0.5


@dataclass(frozen=True)
class Trend:
    """Slope of the log-odds from one cohort to the next.

    Attributes:
        slope: change of the log-odds per cohort.
        low: lower 95% bound.
        high: upper 95% bound.
        p_value: two-sided.
        dispersion: correlation within cohorts (0 = binomial).
    """

    slope: float
    low: float
    high: float
    p_value: float
    dispersion: float


def shrink(conversions: Array, followed: Array) -> pl.DataFrame:
    """Rates of cohorts under a beta-binomial whose mean and concentration are integrated out.

    Args:
        conversions: number converted, per cohort.
        followed: number of entrants followed, per cohort; above zero.

    Returns:
        One row per cohort, in columns of `cohort_comparison`: posterior medians of its rate and of rate / others' rate
        - 1, each with a 95% interval, and the probabilities of lying more than a tenth above and below the others. They
        come from 4,000 draws with a fixed seed. The others' rate is their median: one large cohort that is odd, such as
        an import, would move a mean and make every other cohort look odd.

    The prior of a cohort's rate has two parts: most cohorts scatter as little as the data say, and one in ten scatters
    widely. With one spread for all, a single odd cohort widened it, and the others were hardly shrunk any more: beside
    an import, 2 to 6 in 100 accounts got an insight on a cohort that was like the rest.
    """
    random = np.random.default_rng(SEED)
    mean, spread, weight = _hyperposterior(conversions, followed)
    chosen = random.choice(weight.size, size=DRAWS, p=weight)
    mean, spread = mean[chosen], spread[chosen]
    usual, odd = _log_likelihoods(conversions, followed, mean, spread)
    is_odd = random.random(usual.shape) < expit(odd - usual)
    concentration = _concentration(mean[:, None], np.where(is_odd, _ODD_SPREAD, spread[:, None]))
    draws = random.beta(
        conversions + mean[:, None] * concentration, followed - conversions + (1 - mean[:, None]) * concentration
    )
    relative = draws / _medians_of_others(draws) - 1
    columns = {
        "above_probability": (relative > DIFFERENCE).mean(axis=0),
        "below_probability": (relative < -DIFFERENCE).mean(axis=0),
    }
    for name, drawn in (("shrunk_rate", draws), ("relative_difference", relative)):
        # The mean of a ratio can lie outside its interval: a few draws in which hardly anybody else converts lead it.
        low, middle, high = np.quantile(drawn, [0.025, 0.5, 0.975], axis=0)
        columns |= {name: middle, f"{name}_low": low, f"{name}_high": high}
    return pl.DataFrame(columns)


def _medians_of_others(values: Array) -> Array:
    """For each value of a row, the median of the other values of the row.

    Of an even number of others two lie in the middle. The value is held against the nearer of them, or against itself
    between them: their mean would move with one odd cohort where there are few.
    """
    others = values.shape[1] - 1
    ordered = np.sort(values, axis=1)
    place = np.argsort(np.argsort(values, axis=1), axis=1)

    def other(number: int) -> Array:
        return np.take_along_axis(ordered, np.where(number < place, number, number + 1), axis=1)

    return np.clip(values, other((others - 1) // 2), other(others // 2))


def _hyperposterior(conversions: Array, followed: Array) -> tuple[Array, Array, Array]:
    """A grid of means and spreads with their posterior weights; the means of each spread lie around its estimate."""
    centre, error = _centres((conversions + 0.5) / (followed + 1.0), followed)
    means = np.clip(expit(logit(centre)[:, None] + error[:, None] * _MEAN_STEPS), 1e-9, 1 - 1e-9)
    spreads = np.broadcast_to(_SPREADS[:, None], means.shape)
    likelihood = np.logaddexp(*_log_likelihoods(conversions, followed, means, spreads)).sum(axis=-1)
    # The prior is flat in the log-odds of the mean. The grid of spreads is geometric, hence the factor `spreads`.
    prior = np.log(spreads / (1 + (spreads / _SPREAD_SCALE) ** 2)) + np.log(error)[:, None]
    log_weight = (likelihood + prior).ravel()
    weight = np.exp(log_weight - log_weight.max())
    return means.ravel(), spreads.ravel(), weight / weight.sum()


def _centres(rate: Array, followed: Array) -> tuple[Array, Array]:
    """For each spread the estimated mean and the error of its log-odds; expectation-maximisation from the median."""
    centre = np.full((_SPREADS.size, 1), np.median(rate))
    for _ in range(_CENTRING_STEPS):
        chance = centre * (1 - centre) / followed
        usual, odd = (chance + (centre * spread) ** 2 for spread in (_SPREADS[:, None], _ODD_SPREAD))
        square = (rate - centre) ** 2 / 2
        evidence = np.log(_ODD_SHARE / (1 - _ODD_SHARE)) + np.log(usual / odd) / 2 + square * (1 / usual - 1 / odd)
        is_odd = expit(evidence)
        precision = (1 - is_odd) / usual + is_odd / odd
        total = precision.sum(axis=1, keepdims=True)
        centre = (precision * rate).sum(axis=1, keepdims=True) / total
    return centre[:, 0], (1 / np.sqrt(total) / (centre * (1 - centre)))[:, 0]


def _log_likelihoods(conversions: Array, followed: Array, mean: Array, spread: Array) -> tuple[Array, Array]:
    """Log-likelihood of each cohort as a usual one and as an odd one, with the share of its kind: (..., cohorts)."""

    def of(share: float, spread: Array | float) -> Array:
        concentration = _concentration(mean, spread)
        alpha, beta = (mean * concentration)[..., None], ((1 - mean) * concentration)[..., None]
        likelihood: Array = betaln(alpha + conversions, beta + followed - conversions) - betaln(alpha, beta)
        return likelihood + float(np.log(share))

    return of(1 - _ODD_SHARE, spread), of(_ODD_SHARE, _ODD_SPREAD)


def _concentration(mean: Array, spread: Array | float) -> Array:
    """Concentration of a beta distribution with this mean and this spread, relative to the mean."""
    concentration: Array = np.maximum((1 - mean) / (mean * spread**2) - 1, 0.1)
    return concentration


def trend(conversions: Array, followed: Array) -> Trend:
    """Logistic slope over cohorts in their order, with the scatter between cohorts in its error.

    Args:
        conversions: number converted, per cohort in their order.
        followed: number of entrants followed, per cohort; at least three cohorts.

    Returns:
        The slope, its t interval and its p-value.

    The variance of a cohort's conversions is n p (1-p) (1 + (n-1) r) (Williams, 1982). The correlation r is solved such
    that Pearson's statistic equals its degrees of freedom; it is 0 where cohorts scatter no more than by chance.
    """
    place = np.arange(len(followed), dtype=float)
    design = np.column_stack([np.ones_like(place), place - place.mean()])
    freedom = len(place) - 2

    start = np.array([logit((conversions.sum() + 0.5) / (followed.sum() + 1.0)), 0.0])
    rate = conversions / followed

    def fit(correlation: float) -> tuple[Array, Array, float]:
        size = followed / (1 + (followed - 1) * correlation)
        coefficients, covariance = fit_logistic(design, rate, size, start)
        fitted = fitted_shares(design, coefficients)
        return coefficients, covariance, float((size * (rate - fitted) ** 2 / (fitted * (1 - fitted))).sum())

    def excess(correlation: float) -> float:
        return fit(correlation)[2] - freedom

    if excess(0.0) <= 0:
        correlation = 0.0
    elif excess(_MOST_DISPERSED) >= 0:
        correlation = _MOST_DISPERSED
    else:
        correlation = float(brentq(excess, 0.0, _MOST_DISPERSED, xtol=1e-7))
    coefficients, covariance, _ = fit(correlation)
    error = float(np.sqrt(covariance[1, 1]))
    half = float(stdtrit(freedom, 0.975)) * error
    slope = float(coefficients[1])
    p_value = float(2 * stdtr(freedom, -abs(slope) / error))
    return Trend(slope, slope - half, slope + half, p_value, correlation)


def compared_age(triangles: pl.DataFrame) -> pl.DataFrame:
    """The age at which the cohorts of each cohort type and workflow are compared.

    Args:
        triangles: rows of `cohort_triangles`.

    Returns:
        `cohort_type`, `workflow_id` and `compared_age`: the oldest age to which half of all entrants are followed, and
        fifty entrants in two thirds of the cohorts and at least two of them. No row where there is no such age.
    """
    is_most = pl.col("followed").sum() >= _SHARE_OF_PEOPLE * pl.col("entrants").sum()
    enough = (pl.col("followed") >= MINIMUM_FOLLOWED).sum()
    return (
        triangles.group_by(*_GROUP, "age_weeks")
        .agg(enough=enough, large=(pl.col("entrants") >= MINIMUM_FOLLOWED).sum(), is_most=is_most)
        .filter(pl.col("is_most") & (pl.col("enough") >= 2) & (pl.col("enough") >= _SHARE_FOLLOWED * pl.col("large")))
        .group_by(_GROUP)
        .agg(compared_age=pl.col("age_weeks").max())
    )


def cohort_comparison(triangles: pl.DataFrame, *, as_of_day: date) -> pl.DataFrame:
    """Every cohort compared with the median of the others at the same age.

    Args:
        triangles: rows of `cohort_triangles`.
        as_of_day: tonight.

    Returns:
        One row per cohort, in the columns of `cohort_comparison`. A cohort that is too young for the age at which most
        are compared stands at the oldest age to which fifty, and half, of its own entrants are followed, and is held
        against the others at that age. Of a cohort without such an age the table has the counts only, and `status` says
        how many entrants are missing.
    """
    if triangles.is_empty():
        return empty(CohortComparison)
    placed = triangles.join(compared_age(triangles), on=_GROUP, how="left").sort(*_GROUP, "cohort", "age_weeks")
    parts = [_compare(part) for part in placed.partition_by(_GROUP, maintain_order=True)]
    rows = pl.concat(parts, how="diagonal_relaxed").with_columns(as_of_day=pl.lit(as_of_day), method=pl.lit(METHOD))
    return conform(rows.sort(*_GROUP, "cohort"), CohortComparison)


def _compare(part: pl.DataFrame) -> pl.DataFrame:
    """Rows of one workflow and cohort type."""
    is_counted = pl.col("followed") >= MINIMUM_FOLLOWED
    is_half = pl.col("followed") >= _SHARE_OF_PEOPLE * pl.col("entrants")
    own_age = pl.col("age_weeks").filter(is_counted & is_half).max().over("cohort")
    reaches = (is_counted & is_half & (pl.col("age_weeks") == pl.col("compared_age"))).any().over("cohort")
    placed = part.with_columns(age=pl.when(reaches).then("compared_age").otherwise(own_age))
    found = []
    for age in placed.get_column("age").drop_nulls().unique().sort():
        compared = placed.filter(is_counted & (pl.col("age_weeks") == age))
        if compared.height > 1:
            # A plain median for the eye; the comparison itself takes that of the shrunk rates, draw by draw.
            rates = compared.get_column("conversion_rate").to_numpy()[None, :]
            shown = compared.hstack(shrink(*_counts(compared))).with_columns(
                pl.Series("others_rate", _medians_of_others(rates)[0]),
                cohorts_compared=pl.lit(compared.height),
                status=pl.lit("ok"),
            )
            found.append(shown.filter(pl.col("age") == age))
    done = [one for rows in found for one in rows.get_column("cohort")]
    missing = pl.lit(MINIMUM_FOLLOWED) - pl.col("followed")
    lacking = (
        pl.when(missing > 0)
        .then(pl.format("not enough data: {} more entrants followed needed", missing))
        .otherwise(pl.lit("not enough data: a second cohort of 50 needed"))
    )
    rest = placed.filter(
        ~pl.col("cohort").is_in(done) & (pl.col("age_weeks") == pl.coalesce("age", "compared_age", pl.lit(0)))
    ).with_columns(
        status=lacking,
        cohorts_compared=pl.lit(0),
        age_weeks=pl.coalesce("age", "compared_age"),
    )
    return pl.concat([*found, rest], how="diagonal_relaxed")


def _counts(rows: pl.DataFrame) -> tuple[Array, Array]:
    conversions, followed = (rows.get_column(name).cast(pl.Float64).to_numpy() for name in ("conversions", "followed"))
    return conversions, followed


def cohort_insights(comparison: pl.DataFrame, *, as_of_day: date) -> pl.DataFrame:
    """What can be stated about cohorts: which one differs from the others, and whether cohorts rise or fall.

    Args:
        comparison: rows of `cohort_comparison`.
        as_of_day: tonight.

    Returns:
        One row per statement, in the columns of `cohort_insights`. A cohort differs from the
        others if it lies more than a tenth off their median with a probability above 0.9. A trend is stated for at
        least five cohorts of a type that has an order, all at one age, if its p-value is below 0.01.
    """
    compared = comparison.filter(pl.col("status") == "ok")
    rows = [*_off_others(compared), *_trends(compared)]
    if not rows:
        return empty(CohortInsights)
    frame = pl.DataFrame(rows, infer_schema_length=None).with_columns(
        as_of_day=pl.lit(as_of_day),
        insight_id=pl.concat_str(
            "insight_kind", "cohort_type", "workflow_id", pl.col("cohort").fill_null(""), separator="/"
        ),
    )
    return conform(frame.sort("insight_probability", "insight_id", descending=[True, False]), CohortInsights)


def _off_others(compared: pl.DataFrame) -> list[dict[str, object]]:
    sure = pl.max_horizontal("above_probability", "below_probability") > STATED_PROBABILITY
    rows = []
    for row in compared.filter(sure).iter_rows(named=True):
        side = "above" if row["above_probability"] > row["below_probability"] else "below"
        rows.append(
            {
                "insight_kind": f"{side} others",
                **{name: row[name] for name in (*_GROUP, "cohort", "age_weeks", "conversions", "followed")},
                "affected": row["entrants"],
                **{f"effect{end}": row[f"relative_difference{end}"] for end in ("", "_low", "_high")},
                "insight_probability": row[f"{side}_probability"],
                "message": (
                    f"{row['cohort']} converts {abs(row['relative_difference']):.0%} {side} {_others(row)} by week "
                    f"{row['age_weeks']}; {row['entrants']:,} people."
                ),
                "method": METHOD,
            }
        )
    return rows


def _others(row: Mapping[str, Any]) -> str:
    others = row["cohorts_compared"] - 1
    return "the only other cohort" if others == 1 else f"the median of the {others} others"


def _trends(compared: pl.DataFrame) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    ordered = compared.filter(pl.col("cohort_type").is_in(ORDERED_TYPES)).sort(*_GROUP, "cohort")
    at_one_age = ordered.filter(pl.col("age_weeks") == pl.col("age_weeks").max().over(_GROUP))
    for part in at_one_age.partition_by(_GROUP, maintain_order=True):
        conversions, followed = _counts(part)
        if part.height < MINIMUM_TREND_COHORTS or not 0 < conversions.sum() < followed.sum():
            continue
        found = trend(conversions, followed)
        if found.p_value >= TREND_P_VALUE:
            continue
        kind = "rising" if found.slope > 0 else "falling"
        effect, low, high = (float(np.expm1(value)) for value in (found.slope, found.low, found.high))
        rows.append(
            {
                "insight_kind": kind,
                **{name: part.item(0, name) for name in (*_GROUP, "age_weeks")},
                "cohort": None,
                "affected": int(part.get_column("entrants").sum()),
                "conversions": int(conversions.sum()),
                "followed": int(followed.sum()),
                "effect": effect,
                "effect_low": low,
                "effect_high": high,
                "insight_probability": 1 - found.p_value,
                "message": (
                    f"Conversion is {kind} by {abs(effect):.1%} of its odds from cohort to cohort over {part.height} "
                    f"cohorts by week {part.item(0, 'age_weeks')}."
                ),
                "method": TREND_METHOD,
            }
        )
    return rows
