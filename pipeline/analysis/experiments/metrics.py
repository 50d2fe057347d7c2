"""How an arm compares with the control, night by night, stratified by week.

Here: additive moments of exposures, and the comparisons computed from them: Cochran-Mantel-Haenszel, winsorised means,
CUPED and the delta method. Not here: critical values, the control of errors, and verdicts.
"""

import polars as pl

from pipeline.schemas.vocabulary import MetricKind

MOMENTS = ("exposures", "value_sum", "value_squares", "second_sum", "second_squares", "cross_sum")
"""Additive columns, so that days can be summed."""

WINSOR_QUANTILE = 0.99
"""Quantile of the amounts of those who bought; larger amounts are capped, so that no single order decides a test."""

_TEST = ("experiment_id", "metric", "arm")


def winsor_cap(baseline_amounts: pl.Series) -> float | None:
    """The amount above which outcomes are capped, from the step's history. It is frozen with the plan.

    Args:
        baseline_amounts: amounts per exposure before the test, zeros included.

    Returns:
        The 0.99 quantile of the positive amounts; none where nobody bought.
    """
    bought = baseline_amounts.filter(baseline_amounts > 0)
    return None if bought.is_empty() else float(bought.quantile(WINSOR_QUANTILE, "higher"))  # type: ignore[arg-type]


def reduce_exposures(
    exposures: pl.DataFrame,
    metric: str,
    *,
    value: str,
    cap: float | None = None,
    covariate: str | None = None,
    denominator: str | None = None,
) -> pl.DataFrame:
    """The additive moments of one metric.

    Args:
        exposures: one row per first exposure: `experiment_id`, `subscriber_key`, `arm`, `exposed_day` (Date), `week`
            (integer block of seven days), `is_matured`, and the columns named below.
        metric: name of the metric.
        value: outcome within the window: boolean, 0/1 or an amount.
        cap: `value` and `covariate` are winsorised at this amount.
        covariate: amount in a period before the exposure (CUPED); null for subscribers who were not there then, who
            form strata of their own.
        denominator: amount by whose sum the sum of `value` is divided (ratio metrics).

    Returns:
        One row per (`experiment_id`, `metric`, `arm`, `exposed_day`, `stratum`) of matured exposures with `exposures`,
        `value_sum`, `value_squares`, `second_sum`, `second_squares` and `cross_sum`, in which `second` is the covariate
        or the denominator.
    """
    outcome = pl.col(value).cast(pl.Float64).fill_null(0.0)
    second = pl.col(covariate or denominator or "").cast(pl.Float64) if covariate or denominator else pl.lit(0.0)
    if cap is not None:
        outcome = outcome.clip(upper_bound=cap)
        second = second.clip(upper_bound=cap) if covariate else second
    has_covariate = pl.col(covariate).is_not_null().cast(pl.Int64) if covariate else pl.lit(0, dtype=pl.Int64)
    return (
        exposures.filter(pl.col("is_matured"))
        .select(
            "experiment_id",
            pl.lit(metric).alias("metric"),
            "arm",
            "exposed_day",
            stratum=pl.col("week").cast(pl.Int64) * 2 + has_covariate,
            value=outcome,
            second=second.fill_null(0.0),
        )
        .group_by("experiment_id", "metric", "arm", "exposed_day", "stratum")
        .agg(
            exposures=pl.len().cast(pl.Int64),
            value_sum=pl.col("value").sum(),
            value_squares=pl.col("value").pow(2).sum(),
            second_sum=pl.col("second").sum(),
            second_squares=pl.col("second").pow(2).sum(),
            cross_sum=(pl.col("value") * pl.col("second")).sum(),
        )
        .sort("experiment_id", "metric", "arm", "exposed_day", "stratum")
    )


def daily_contributions(moments: pl.DataFrame, tests: pl.DataFrame) -> pl.DataFrame:
    """What each day contributes to the stratified sums of each comparison.

    Args:
        moments: shaped like the result of `reduce_exposures`.
        tests: one row per comparison: `experiment_id`, `metric`, `arm` (a treatment), `control`, `kind`.

    Returns:
        One row per (`experiment_id`, `metric`, `arm`, `exposed_day`) with `kind` and contributions whose running sums
        over days are the stratified sums of all exposures so far (see `compare`).
    """
    cells = ["experiment_id", "metric", "exposed_day", "stratum"]
    sides = moments.select(*cells, "arm", *(pl.col(name).cast(pl.Float64) for name in MOMENTS))
    both = (
        sides.select(cells)
        .unique()
        .join(tests.select(*_TEST, "control", "kind"), on=["experiment_id", "metric"])
        .join(sides, on=[*cells, "arm"], how="left")
        .join(sides, left_on=[*cells, "control"], right_on=[*cells, "arm"], how="left", suffix="_0")
        .sort(*_TEST, "stratum", "exposed_day")
    )
    within = [*_TEST, "stratum"]
    running = both.with_columns(
        pl.col(name).fill_null(0.0).cum_sum().over(within) for moment in MOMENTS for name in (moment, f"{moment}_0")
    )
    rates = running.filter(pl.col("kind") == MetricKind.RATE)
    amounts = running.filter(pl.col("kind") != MetricKind.RATE)
    return pl.concat(
        [
            _summed_by_day(rates, _rate_sums(), within),
            _summed_by_day(amounts, _amount_sums(), within),
        ],
        how="diagonal",
    )


def _summed_by_day(running: pl.DataFrame, sums: dict[str, pl.Expr], within: list[str]) -> pl.DataFrame:
    """The change of the sums of each stratum from day to day, added over the strata; the rows come sorted by both."""
    is_first = pl.any_horizontal(pl.col(name) != pl.col(name).shift(1) for name in within).fill_null(value=True)
    states = running.select(
        *_TEST, "exposed_day", "kind", is_first=is_first, **{name: value.fill_null(0.0) for name, value in sums.items()}
    )
    return (
        states.with_columns(
            pl.col(name) - pl.when("is_first").then(0.0).otherwise(pl.col(name).shift(1)) for name in sums
        )
        .group_by(*_TEST, "kind", "exposed_day")
        .agg(pl.col(name).sum() for name in sums)
    )


def _totals() -> dict[str, pl.Expr]:
    everyone = pl.col("exposures") + pl.col("exposures_0")
    return {
        "weight": pl.when(everyone > 0).then(pl.col("exposures") * pl.col("exposures_0") / everyone),
        "exposures": pl.col("exposures"),
        "control_exposures": pl.col("exposures_0"),
        "total": pl.col("value_sum"),
        "control_total": pl.col("value_sum_0"),
        "squares": pl.col("value_squares"),
        "control_squares": pl.col("value_squares_0"),
    }


def _rate_sums() -> dict[str, pl.Expr]:
    """Mantel-Haenszel sums: the weighted rates of both arms, and the hypergeometric variance."""
    treated, control = pl.col("exposures"), pl.col("exposures_0")
    everyone, events = treated + control, pl.col("value_sum") + pl.col("value_sum_0")
    return _totals() | {
        "treated_sum": pl.when(everyone > 0).then(pl.col("value_sum") * control / everyone),
        "control_sum": pl.when(everyone > 0).then(pl.col("value_sum_0") * treated / everyone),
        "variance": pl.when(everyone > 1).then(
            treated * control * events * (everyone - events) / (everyone**2 * (everyone - 1))
        ),
    }


def _amount_sums() -> dict[str, pl.Expr]:
    """Weighted means, variances and covariances of both arms, and the pooled sums from which the CUPED slope comes.

    The variances are those of both arms together in each stratum, as they are for rates. By itself a small arm misses
    the rare large orders that its mean will once hold, and its difference would look surer than it is.
    """
    everyone = pl.col("exposures") + pl.col("exposures_0")
    enough = (pl.col("exposures") > 1) & (pl.col("exposures_0") > 1)
    weight = pl.col("exposures") * pl.col("exposures_0") / everyone
    pooled = {name: pl.col(name) + pl.col(f"{name}_0") for name in MOMENTS}
    value, second = pooled["value_sum"], pooled["second_sum"]
    spread = {
        "variance": (pooled["value_squares"] - value**2 / everyone).clip(lower_bound=0.0),
        "second_variance": (pooled["second_squares"] - second**2 / everyone).clip(lower_bound=0.0),
        "covariance": pooled["cross_sum"] - value * second / everyone,
    }
    sums = {"weighted_second": weight * second / everyone}
    slopes: dict[str, list[pl.Expr]] = {"slope_cross": [], "slope_square": []}
    for side, ending in (("treated", ""), ("control", "_0")):
        n = pl.col(f"exposures{ending}")
        own, own_second = pl.col(f"value_sum{ending}"), pl.col(f"second_sum{ending}")
        of_mean = weight**2 / (n * (everyone - 1))
        sums |= {f"{side}_sum": weight * own / n, f"{side}_second": weight * own_second / n}
        sums |= {f"{side}_{name}": of_mean * value for name, value in spread.items()}
        slopes["slope_cross"].append(pl.col(f"cross_sum{ending}") - own * own_second / n)
        slopes["slope_square"].append((pl.col(f"second_squares{ending}") - own_second**2 / n).clip(lower_bound=0.0))
    sums |= {name: treated + control for name, (treated, control) in slopes.items()}
    return _totals() | {name: pl.when(enough).then(value) for name, value in sums.items()}


def compare(sums: pl.DataFrame) -> pl.DataFrame:
    """Estimates and z-scores from running sums.

    Args:
        sums: rows with `kind` and the running sums of `daily_contributions`.

    Returns:
        The rows with `treated_level` and `control_level` (the weighted means of both arms; their ratio - 1 is the
        lift), `treated_level_variance`, `control_level_variance`, `null_variance`, `z_score`, `log_lift` and
        `log_lift_standard_error`; null where the data do not determine them.

    Rates are compared by Cochran-Mantel-Haenszel. Means are compared by the difference of Mantel-Haenszel weighted
    means with the pooled variance of each stratum, after CUPED (Deng, Xu, Kohavi and Walker, 2013) with one slope for
    all strata.
    Ratios are compared by the delta method (Deng, Knoblich and Lu, 2018).
    """
    have_amounts = "slope_square" in sums.columns
    parts = [_compare_rates(sums.filter(pl.col("kind") == MetricKind.RATE))]
    if have_amounts:
        parts.append(_compare_means(sums.filter(pl.col("kind") == MetricKind.MEAN)))
        parts.append(_compare_ratios(sums.filter(pl.col("kind") == MetricKind.RATIO)))
    treated, control = pl.col("treated_level"), pl.col("control_level")
    known = (treated > 0) & (control > 0) & (pl.col("null_variance") > 0)
    is_rate = pl.col("kind") == MetricKind.RATE
    return pl.concat(parts, how="diagonal").with_columns(
        z_score=pl.when(pl.col("null_variance") > 0).then((treated - control) / pl.col("null_variance").sqrt()),
        log_lift=pl.when(known).then((treated / control).log()),
        log_lift_standard_error=pl.when(known & is_rate)
        .then((pl.col("null_variance") / (treated * control)).sqrt())
        .when(known)
        .then((pl.col("treated_level_variance") / treated**2 + pl.col("control_level_variance") / control**2).sqrt()),
    )


def _compare_rates(sums: pl.DataFrame) -> pl.DataFrame:
    empty = pl.lit(None, dtype=pl.Float64)
    variance = pl.col("variance") if "variance" in sums.columns else empty
    return sums.with_columns(
        treated_level=pl.col("treated_sum"),
        control_level=pl.col("control_sum"),
        treated_level_variance=empty,
        control_level_variance=empty,
        null_variance=variance,
    )


def _compare_means(sums: pl.DataFrame) -> pl.DataFrame:
    slope = pl.when(pl.col("slope_square") > 0).then(pl.col("slope_cross") / pl.col("slope_square")).otherwise(0.0)
    return (
        sums.with_columns(slope=slope)
        .with_columns(
            *(
                (
                    pl.col(f"{side}_sum") - pl.col("slope") * (pl.col(f"{side}_second") - pl.col("weighted_second"))
                ).alias(f"{side}_level")
                for side in ("treated", "control")
            ),
            *(
                (
                    pl.col(f"{side}_variance")
                    - 2 * pl.col("slope") * pl.col(f"{side}_covariance")
                    + pl.col("slope") ** 2 * pl.col(f"{side}_second_variance")
                ).alias(f"{side}_level_variance")
                for side in ("treated", "control")
            ),
        )
        .with_columns(null_variance=pl.col("treated_level_variance") + pl.col("control_level_variance"))
    )


def _compare_ratios(sums: pl.DataFrame) -> pl.DataFrame:
    levels = {
        f"{side}_level": pl.when(pl.col(f"{side}_second") > 0).then(pl.col(f"{side}_sum") / pl.col(f"{side}_second"))
        for side in ("treated", "control")
    }
    return (
        sums.with_columns(**levels)
        .with_columns(
            (
                (
                    pl.col(f"{side}_variance")
                    - 2 * pl.col(f"{side}_level") * pl.col(f"{side}_covariance")
                    + pl.col(f"{side}_level") ** 2 * pl.col(f"{side}_second_variance")
                )
                / pl.col(f"{side}_second") ** 2
            ).alias(f"{side}_level_variance")
            for side in ("treated", "control")
        )
        .with_columns(null_variance=pl.col("treated_level_variance") + pl.col("control_level_variance"))
    )


def lift_interval(critical: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """Lower and upper bound of the lift, between which lie all lifts that a z-score within +-critical does not exclude.

    Args:
        critical: critical value of |z| per row, beside the columns of `compare`.

    Returns:
        Expressions; null where the data leave that side open.

    For rates, the Mantel-Haenszel score statistic under a rate ratio R has the variance R V to first order. So the
    bounds solve (A - R B)^2 = c^2 R V, which is quadratic in sqrt(R); at R = 1 it is the Cochran-Mantel-Haenszel test.
    Bounds of means and ratios are those of Fieller (1954).
    """
    treated, control = pl.col("treated_level"), pl.col("control_level")
    is_rate = pl.col("kind") == MetricKind.RATE
    usable = critical.is_finite() & (pl.col("null_variance") > 0)

    reach = critical * pl.col("null_variance").sqrt()
    root = (reach**2 + 4 * treated * control).sqrt()
    rate_low = pl.when(root + reach > 0).then((2 * treated / (root + reach)) ** 2)
    rate_high = pl.when(control > 0).then(((root + reach) / (2 * control)) ** 2)

    leading = control**2 - critical**2 * pl.col("control_level_variance")
    trailing = treated**2 - critical**2 * pl.col("treated_level_variance")
    spread = ((treated * control) ** 2 - leading * trailing).clip(lower_bound=0.0).sqrt()
    bounded = (leading > 0) & (control > 0)
    fieller_low = pl.when(bounded).then((treated * control - spread) / leading)
    fieller_high = pl.when(bounded).then((treated * control + spread) / leading)
    return (
        pl.when(usable & is_rate).then(rate_low).when(usable).then(fieller_low) - 1,
        pl.when(usable & is_rate).then(rate_high).when(usable).then(fieller_high) - 1,
    )
