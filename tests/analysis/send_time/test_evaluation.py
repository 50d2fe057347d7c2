"""The lift of send times: closed forms, and silence where nothing can be said."""

from datetime import date

import numpy as np
import polars as pl
import pytest

from pipeline.analysis.send_time.evaluation import evaluate_send_times

TONIGHT = date(2026, 3, 1)
PROFILES = pl.DataFrame(
    {"cluster_id": [0] * 24, "local_hour": np.arange(24), "engagement_ratio": 1.0 + (np.arange(24) == 20)}
)


def subscribers(size: int) -> pl.DataFrame:
    """Everybody is mailed at 9 today and should be at 20."""
    return pl.DataFrame(
        {
            "subscriber_key": np.arange(size),
            "cluster_id": [0] * size,
            "recommended_local_hour": [20] * size,
            "current_local_hour": [9] * size,
        },
        schema=dict.fromkeys(
            ["subscriber_key", "cluster_id", "recommended_local_hour", "current_local_hour"], pl.Int64
        ),
    )


def messages(new: tuple[int, int], now: tuple[int, int], propensity: float | None = 0.5) -> pl.DataFrame:
    """(engaged, sent) at the recommended and at today's hour, each to a subscriber of its own."""
    engaged = [number < new[0] for number in range(new[1])] + [number < now[0] for number in range(now[1])]
    return pl.DataFrame(
        {
            "subscriber_key": np.arange(len(engaged)),
            "local_hour": [20] * new[1] + [9] * now[1],
            "is_engaged": engaged,
            "propensity": [propensity] * len(engaged),
        },
        schema_overrides={"propensity": pl.Float64, "local_hour": pl.Int64, "is_engaged": pl.Boolean},
    )


def evaluate(logged: pl.DataFrame) -> dict[str, dict[str, object]]:
    rows = evaluate_send_times(logged, subscribers(len(logged)), PROFILES, as_of_day=TONIGHT)
    return {row["estimator"]: row for row in rows.iter_rows(named=True)}


def test_snips_of_equal_propensities_is_the_ratio_of_two_rates():
    """Known variance of a log ratio of proportions: (1-p)/np for each."""
    row = evaluate(messages((300, 1_000), (200, 1_000)))["snips"]
    assert row["engagement_lift"] == pytest.approx(0.5)
    error = np.sqrt(0.7 / 300 + 0.8 / 200)
    assert np.log1p(row["engagement_lift_high"]) == pytest.approx(np.log(1.5) + 1.959964 * error, rel=1e-6)
    assert (row["is_lift_shown"], row["exploration_share"]) == (True, 0.0)
    assert (row["recommended_sends"], row["current_sends"], row["effective_sends"]) == (1_000, 1_000, 1_000.0)


def test_the_need_is_that_of_an_interval_of_ten_percent():
    """As many more messages as are said: the interval then reaches 10% to either side."""
    few = evaluate(messages((300, 1_000), (200, 1_000)))["snips"]
    times = 1 + few["randomised_sends_needed"] / 2_000
    more = [round(count * times) for count in (300, 1_000, 200, 1_000)]
    many = evaluate(messages((more[0], more[1]), (more[2], more[3])))["snips"]
    assert (1 + many["engagement_lift_high"]) / (1 + many["engagement_lift"]) == pytest.approx(1.1, abs=1e-3)
    assert many["randomised_sends_needed"] < 10


def test_before_the_first_draw_the_need_comes_from_the_rate_and_the_number_of_hours():
    """With 1 in 12 messages at either hour and a rate of 20%: n / 12 each, and 2 x (.8 / .2) / (n / 12) = error^2."""
    logged = messages((200, 1_000), (200, 1_000), propensity=None)
    row = evaluate_send_times(logged, subscribers(2_000), PROFILES, hours=12, as_of_day=TONIGHT).row(0, named=True)
    error = np.log(1.1) / 1.959964
    assert row["randomised_sends_needed"] == pytest.approx(12 * 2 * 4 / error**2, rel=1e-4)


def test_doubly_robust_agrees_where_hours_are_balanced():
    rows = evaluate(messages((300, 1_000), (200, 1_000)))
    assert rows["doubly robust"]["engagement_lift"] == pytest.approx(rows["snips"]["engagement_lift"], abs=1e-9)


def test_unequal_propensities_are_undone():
    """People who never engage were mailed at 20 five times as often; weighting gives each group half."""
    often = messages((0, 5_000), (0, 1_000)).with_columns(
        propensity=pl.when(pl.col("local_hour") == 20).then(5 / 6).otherwise(1 / 6)
    )
    rarely = messages((500, 1_000), (2_500, 5_000)).with_columns(
        propensity=pl.when(pl.col("local_hour") == 20).then(1 / 6).otherwise(5 / 6),
        subscriber_key=pl.col("subscriber_key") + 6_000,
    )
    row = evaluate(pl.concat([often, rarely]))["snips"]
    assert row["recommended_engagement_rate"] == pytest.approx(0.25)
    assert row["engagement_lift"] == pytest.approx(0.0, abs=1e-9)
    assert not row["is_lift_shown"]


def test_repeated_messages_to_one_subscriber_count_as_one_cluster():
    once = messages((300, 1_000), (200, 1_000))
    again = evaluate_send_times(pl.concat([once] * 4), subscribers(2_000), PROFILES, as_of_day=TONIGHT)
    assert again.item(0, "engagement_lift_low") == pytest.approx(evaluate(once)["snips"]["engagement_lift_low"])


@pytest.mark.parametrize(
    "logged",
    [
        messages((30, 60), (200, 1_000)),
        messages((0, 1_000), (200, 1_000)),
        messages((30, 1_000), (20, 1_000), propensity=None),
        messages((0, 0), (0, 0)),
    ],
)
def test_too_few_messages_give_no_number_and_a_need(logged):
    for row in evaluate(logged).values():
        assert row["status"] == "cannot be estimated"
        assert row["engagement_lift"] is None
        assert not row["is_lift_shown"]
        assert row["randomised_sends_needed"] > 0
        assert row["exploration_share"] > 0
