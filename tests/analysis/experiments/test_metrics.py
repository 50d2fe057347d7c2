from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
import tea_tasting as tt
from scipy.stats import norm
from statsmodels.stats.contingency_tables import StratifiedTable

from pipeline.analysis.experiments.metrics import (
    compare,
    daily_contributions,
    lift_interval,
    reduce_exposures,
    winsor_cap,
)

START = date(2026, 1, 5)


def exposures_of(rng: np.random.Generator, subscribers: int = 3_000) -> pl.DataFrame:
    """Subscribers over three weeks, with a covariate that explains the amount and is missing for the newest week."""
    day = rng.integers(0, 21, subscribers)
    treated = rng.random(subscribers) < np.array([0.2, 0.5, 0.6])[day // 7]
    before = rng.gamma(2.0, 10.0, subscribers)
    buys = rng.random(subscribers) < 0.3 + 0.05 * treated
    amount = (before + rng.normal(20, 5, subscribers)).clip(0) * buys
    return pl.DataFrame(
        {
            "experiment_id": "x",
            "subscriber_key": np.arange(subscribers),
            "arm": np.where(treated, "b", "a"),
            "exposed_day": np.datetime64(START) + day,
            "week": day // 7,
            "is_matured": True,
            "converted": buys,
            "amount": amount,
            "orders": 1.0 + rng.poisson(1.0, subscribers),
            "before": before,
        }
    ).with_columns(pl.col("exposed_day").cast(pl.Date))


def final(moments: pl.DataFrame, kind: str) -> dict:
    """The comparison of all exposures together."""
    tests = pl.DataFrame({"experiment_id": ["x"], "metric": ["m"], "arm": ["b"], "control": ["a"], "kind": [kind]})
    daily = daily_contributions(moments, tests)
    total = daily.group_by("experiment_id", "metric", "arm", "kind").agg(pl.exclude("exposed_day").sum())
    low, high = lift_interval(pl.lit(norm.ppf(0.975)))
    return compare(total).with_columns(low=low, high=high).to_dicts()[0]


def test_rates_agree_with_the_cochran_mantel_haenszel_test_of_statsmodels():
    exposures = exposures_of(np.random.default_rng(1))
    ours = final(reduce_exposures(exposures, "m", value="converted"), "rate")
    tables = [
        [
            [
                week.filter(pl.col("arm") == arm)["converted"].sum(),
                (~week.filter(pl.col("arm") == arm)["converted"]).sum(),
            ]
            for arm in ("b", "a")
        ]
        for _, week in exposures.group_by("week", maintain_order=True)
    ]
    theirs = StratifiedTable([np.array(table) for table in tables]).test_null_odds(correction=False)
    assert ours["z_score"] ** 2 == pytest.approx(theirs.statistic)


def test_the_interval_of_a_rate_excludes_zero_exactly_where_the_test_rejects():
    exposures = exposures_of(np.random.default_rng(1))
    ours = final(reduce_exposures(exposures, "m", value="converted"), "rate")
    low, high = lift_interval(pl.lit(abs(ours["z_score"])))
    touching = pl.DataFrame([ours]).select(low=low, high=high).to_dicts()[0]
    assert min(abs(touching["low"]), abs(touching["high"])) == pytest.approx(0, abs=1e-9)


def of_all_exposures(statistic: float, exposures: int) -> float:
    """A z-score with the variance within the arms, turned into the one with the variance of all exposures together."""
    return statistic * np.sqrt((exposures - 1) / (exposures - 2 + statistic**2))


def test_a_mean_agrees_with_tea_tasting():
    exposures = exposures_of(np.random.default_rng(2)).with_columns(week=pl.lit(0))
    ours = final(reduce_exposures(exposures, "m", value="amount"), "mean")
    theirs = tt.Experiment(
        m=tt.Mean("amount", use_t=False, equal_var=True),
    ).analyze(exposures.with_columns(variant=(pl.col("arm") == "b").cast(pl.Int64)).to_pandas())["m"]
    assert ours["z_score"] == pytest.approx(of_all_exposures(theirs.statistic, exposures.height))
    assert np.exp(ours["log_lift"]) - 1 == pytest.approx(theirs.rel_effect_size)


def test_a_mean_with_a_covariate_agrees_with_tea_tasting_and_is_sharper():
    exposures = exposures_of(np.random.default_rng(3)).with_columns(week=pl.lit(0))
    plain = final(reduce_exposures(exposures, "m", value="amount"), "mean")
    adjusted = final(reduce_exposures(exposures, "m", value="amount", covariate="before"), "mean")
    theirs = tt.Experiment(m=tt.Mean("amount", "before", use_t=False, equal_var=True)).analyze(
        exposures.with_columns(variant=(pl.col("arm") == "b").cast(pl.Int64)).to_pandas()
    )["m"]
    # tea-tasting pools the covariance over arms together, we within arms: equal but for the tiny effect itself.
    assert adjusted["z_score"] == pytest.approx(theirs.statistic, rel=0.02)
    assert adjusted["null_variance"] < plain["null_variance"]


def test_a_ratio_agrees_with_tea_tasting():
    exposures = exposures_of(np.random.default_rng(4)).with_columns(week=pl.lit(0))
    ours = final(reduce_exposures(exposures, "m", value="amount", denominator="orders"), "ratio")
    theirs = tt.Experiment(m=tt.RatioOfMeans("amount", "orders", use_t=False, equal_var=True)).analyze(
        exposures.with_columns(variant=(pl.col("arm") == "b").cast(pl.Int64)).to_pandas()
    )["m"]
    # tea-tasting pools the variances within the arms, we those of both arms together: equal but for the tiny effect.
    assert ours["z_score"] == pytest.approx(theirs.statistic, rel=0.02)
    assert np.exp(ours["log_lift"]) - 1 == pytest.approx(theirs.rel_effect_size)


def test_subscribers_without_a_pre_period_form_their_own_stratum():
    exposures = exposures_of(np.random.default_rng(5)).with_columns(
        before=pl.when(pl.col("subscriber_key") % 3 > 0).then("before")
    )
    moments = reduce_exposures(exposures, "m", value="amount", covariate="before")
    without = moments.filter(pl.col("stratum") % 2 == 0)
    assert without["exposures"].sum() == exposures["before"].null_count()
    assert (without["second_sum"] == 0).all()
    assert final(moments, "mean")["z_score"] is not None


def test_moments_add_up_over_any_split_of_the_days():
    exposures = exposures_of(np.random.default_rng(6))
    halves = [exposures.filter(pl.col("subscriber_key") % 2 == part) for part in (0, 1)]
    keys = ["experiment_id", "metric", "arm", "exposed_day", "stratum"]
    together = reduce_exposures(exposures, "m", value="amount", covariate="before")
    parts = pl.concat([reduce_exposures(half, "m", value="amount", covariate="before") for half in halves])
    added = parts.group_by(keys).agg(pl.exclude(keys).sum()).sort(keys)
    for name in ("exposures", "value_sum", "cross_sum"):
        np.testing.assert_allclose(added[name], together.sort(keys)[name])


def test_immature_exposures_are_left_out():
    exposures = exposures_of(np.random.default_rng(7)).with_columns(
        is_matured=pl.col("exposed_day") < START + timedelta(days=7)
    )
    assert reduce_exposures(exposures, "m", value="converted")["exposures"].sum() == exposures["is_matured"].sum()


def test_the_cap_is_a_quantile_of_those_who_bought():
    amounts = pl.Series([0.0] * 900 + list(np.arange(1.0, 101.0)))
    assert winsor_cap(amounts) == pytest.approx(99.0, abs=1.0)
    assert winsor_cap(pl.Series([0.0, 0.0])) is None
    capped = reduce_exposures(exposures_of(np.random.default_rng(8)), "m", value="amount", cap=30.0)
    assert (capped["value_sum"] <= 30.0 * capped["exposures"]).all()
