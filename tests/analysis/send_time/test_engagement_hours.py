"""Engagement by hour and weekday: noise is shrunk away, real differences stay, thin hours are marked."""

from datetime import date

import numpy as np
import polars as pl
import pytest

from pipeline.analysis.send_time.engagement_hours import engagement_hours
from pipeline.common.time import day_number

TONIGHT = date(2026, 6, 29)
WORKFLOWS = pl.DataFrame({"workflow_key": [1, 2], "workflow_id": ["w", "v"]})
HOURS = 168


def sent(clicks: np.ndarray, delivered: np.ndarray, key: int = 1, day: date = TONIGHT) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "workflow_key": [key] * HOURS,
            "day": [day_number(day)] * HOURS,
            "local_hour_of_week": range(HOURS),
            "delivered": delivered,
            "unique_human_opens": [0] * HOURS,
            "unique_human_clicks": clicks,
        }
    )


def found(hours: pl.DataFrame, flow: str | None = "w") -> pl.DataFrame:
    cells = engagement_hours(hours, WORKFLOWS, as_of=TONIGHT, days=180)
    return cells.filter(pl.col("workflow_id").eq_missing(pl.lit(flow)))


def test_the_shrunk_rate_is_nearer_to_the_truth_than_the_counted_one() -> None:
    random = np.random.default_rng(7)
    truth = random.beta(20, 180, HOURS)
    delivered = random.integers(20, 400, HOURS)
    cells = found(sent(random.binomial(delivered, truth), delivered))
    counted, shrunk = (
        np.abs(cells[name].to_numpy() - truth).mean() for name in ("human_click_rate", "shrunk_click_rate")
    )
    assert shrunk < 0.9 * counted
    covers = (cells["shrunk_click_rate_low"].to_numpy() <= truth) & (
        truth <= cells["shrunk_click_rate_high"].to_numpy()
    )
    assert covers.mean() > 0.9


def test_where_hours_do_not_differ_the_map_is_nearly_flat() -> None:
    random = np.random.default_rng(8)
    delivered = np.full(HOURS, 200)
    cells = found(sent(random.binomial(delivered, 0.1), delivered))
    assert cells["shrunk_click_rate"].std() < 0.3 * cells["human_click_rate"].std()


def test_the_interval_of_hours_that_do_not_differ_covers_the_rate_of_all_that_they_share() -> None:
    random = np.random.default_rng(11)
    delivered = np.full(HOURS, 20)
    rates = [found(sent(random.binomial(delivered, 0.1), delivered)).row(0, named=True) for _ in range(200)]
    covers = [row["shrunk_click_rate_low"] <= 0.1 <= row["shrunk_click_rate_high"] for row in rates]
    assert 0.9 <= np.mean(covers) <= 1.0


def test_where_all_mail_goes_out_at_one_hour_its_interval_is_that_of_the_counts() -> None:
    hour = sent(np.full(HOURS, 72), np.full(HOURS, 480)).filter(pl.col("local_hour_of_week") == 129)
    [row] = found(hour).to_dicts()
    for end in ("", "_low", "_high"):
        assert row[f"shrunk_click_rate{end}"] == pytest.approx(row[f"human_click_rate{end}"], abs=0.003)


def test_counts_weekdays_and_hours_are_those_of_the_reduction() -> None:
    clicks, delivered = np.zeros(HOURS, dtype=int), np.full(HOURS, 100)
    clicks[24 * 2 + 9] = 70  # Wednesday at nine
    old = sent(delivered, delivered, day=date(2025, 6, 29))
    cells = found(pl.concat([sent(clicks, delivered), old, sent(clicks, delivered, key=2)]))
    best = cells.sort("human_click_rate").tail(1).row(0, named=True)
    assert (best["local_weekday"], best["local_hour"], best["delivered"], best["unique_human_clicks"]) == (
        2,
        9,
        100,
        70,
    )
    assert cells.height == HOURS
    account = found(pl.concat([sent(clicks, delivered), sent(clicks, delivered, key=2)]), flow=None)
    assert account["delivered"].sum() == 2 * 100 * HOURS


def test_an_hour_with_few_clicks_to_expect_is_thin() -> None:
    delivered = np.full(HOURS, 1_000)
    delivered[0] = 40
    cells = found(sent(delivered // 10, delivered))
    assert cells.filter("is_thin").select("local_weekday", "local_hour").rows() == [(0, 0)]


@pytest.mark.parametrize("clicks", [0, 1])
def test_nobody_and_everybody_are_rates_too(clicks: int) -> None:
    delivered = np.full(HOURS, 10)
    cells = found(sent(delivered * clicks, delivered))
    assert cells["shrunk_click_rate"].to_list() == [pytest.approx(clicks)] * HOURS


def test_the_order_of_the_rows_changes_no_digit() -> None:
    random = np.random.default_rng(9)
    delivered = random.integers(20, 400, HOURS)
    truth = random.beta(5, 45, HOURS)
    hours = pl.concat([sent(random.binomial(delivered, truth), delivered, key=key) for key in (1, 2)])
    for seed in range(5):
        assert found(hours.sample(fraction=1, shuffle=True, seed=seed), None).equals(found(hours, None))


def test_without_mail_there_is_nothing() -> None:
    assert engagement_hours(sent(np.zeros(HOURS), np.zeros(HOURS)).clear(), WORKFLOWS, as_of=TONIGHT, days=9).is_empty()
