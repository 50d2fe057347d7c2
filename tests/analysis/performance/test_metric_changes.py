"""Changes of rates: what is clear is called so, what chance or a day's mix does is not, and only closed days count."""

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from pipeline.analysis.performance.metric_changes import PERIOD_DAYS, metric_changes
from tests.worlds.published import row

TONIGHT = date(2026, 6, 29)
MATURITY = 5
DAYS = [TONIGHT - timedelta(days=ago) for ago in range(MATURITY + 2 * PERIOD_DAYS + 10)]


def daily(clicks: np.ndarray, delivered: int = 200, flow: str = "w") -> pl.DataFrame:
    """A step's days from tonight back."""
    least = row("step_metrics_daily", workflow_id=flow, step_id="s", delivered=delivered, sent=delivered)
    counted = pl.DataFrame({"day": DAYS, "unique_human_clicks": clicks.astype(np.int64)})
    return counted.join(least.drop(counted.columns), how="cross").select(least.columns)


def change(days: pl.DataFrame, flow: str | None = "w", metric: str = "human_click_rate") -> dict:
    found = metric_changes(days, as_of=TONIGHT, maturity_days=MATURITY)
    return found.filter(pl.col("workflow_id").eq_missing(pl.lit(flow)), pl.col("metric") == metric).row(0, named=True)


def steady(*, now: int, before: int) -> np.ndarray:
    clicks = np.full(len(DAYS), 199)
    clicks[MATURITY : MATURITY + PERIOD_DAYS] = now
    clicks[MATURITY + PERIOD_DAYS : MATURITY + 2 * PERIOD_DAYS] = before
    return clicks


def test_the_last_closed_days_are_compared_with_as_many_before() -> None:
    found = change(daily(steady(now=30, before=20)))
    assert (found["numerator"], found["denominator"]) == (30 * 28, 200 * 28)
    assert (found["previous_numerator"], found["previous_denominator"]) == (20 * 28, 200 * 28)
    assert (found["first_day"], found["last_day"]) == (date(2026, 5, 28), date(2026, 6, 24))
    assert found["rate_difference"] == pytest.approx(0.05)
    assert (found["change"], found["is_adverse"]) == ("up", False)


def test_newcombes_interval_is_his() -> None:
    """Newcombe (1998), method 10, example (a): 56/70 against 48/80 gives 0.0524 to 0.3339."""
    clicks, delivered = np.zeros((2, len(DAYS)), dtype=np.int64)
    clicks[[MATURITY, MATURITY + PERIOD_DAYS]] = 56, 48
    delivered[[MATURITY, MATURITY + PERIOD_DAYS]] = 70, 80
    days = daily(clicks).with_columns(delivered=pl.Series(delivered))
    found = change(days)
    assert found["rate_difference_low"] == pytest.approx(0.0524, abs=1e-4)
    assert found["rate_difference_high"] == pytest.approx(0.3339, abs=1e-4)


def test_fewer_clicks_and_more_complaints_are_adverse() -> None:
    days = daily(steady(now=20, before=30)).with_columns(complaints=pl.col("day").ge(date(2026, 5, 28)).cast(pl.Int64))
    assert [change(days)[name] for name in ("change", "is_adverse")] == ["down", True]
    assert [change(days, metric="complaint_rate")[name] for name in ("change", "is_adverse")] == ["up", True]


@pytest.mark.parametrize("spread", [0.0, 0.5])
def test_of_worlds_without_a_change_few_are_said_to_have_one(spread: float) -> None:
    """Whatever the days differ by: their rates are gamma distributed with this coefficient of variation."""
    random = np.random.default_rng(28)
    worlds = 300
    days = []
    for world in range(worlds):
        level = random.gamma(spread**-2, spread**2, len(DAYS)) if spread else np.ones(len(DAYS))
        days.append(daily(random.binomial(200, np.minimum(0.1 * level, 1)), flow=str(world)))
    found = metric_changes(pl.concat(days), as_of=TONIGHT, maturity_days=MATURITY)
    clicks = found.filter(pl.col("metric") == "human_click_rate", pl.col("workflow_id").is_not_null())
    false = clicks["change"].is_in(["up", "down"]).mean()
    assert 0.01 <= false <= 0.09


def test_the_account_is_all_workflows_together() -> None:
    both = pl.concat([daily(steady(now=30, before=20)), daily(steady(now=10, before=20), flow="v")])
    found = change(both, flow=None)
    assert (found["numerator"], found["previous_denominator"]) == (40 * 28, 400 * 28)
    assert found["change"] == "no clear change"


def test_what_was_not_mailed_before_cannot_be_compared() -> None:
    days = daily(steady(now=30, before=0))
    days = days.with_columns(delivered=pl.when(pl.col("day") >= date(2026, 5, 28)).then("delivered").otherwise(0))
    assert change(days)["change"] == "not comparable"
    assert metric_changes(days.clear(), as_of=TONIGHT, maturity_days=MATURITY).is_empty()


def test_the_order_of_the_rows_changes_no_digit() -> None:
    """A publication is new where a digit is."""
    drawn = np.random.default_rng(0)
    rates = drawn.uniform(0.05, 0.5, (20, len(DAYS)))
    flows = [daily(drawn.binomial(200, rates[flow]), delivered=700 + flow, flow=str(flow)) for flow in range(20)]
    days = pl.concat(flows)
    found = metric_changes(days, as_of=TONIGHT, maturity_days=MATURITY)
    for seed in range(5):
        shuffled = days.sample(fraction=1, shuffle=True, seed=seed)
        assert metric_changes(shuffled, as_of=TONIGHT, maturity_days=MATURITY).equals(found)
