from datetime import date

import numpy as np
import polars as pl
import pytest

from pipeline.analysis.statistics.policy_values import policy_values
from pipeline.schemas.decisions import PolicyValues

NIGHT = date(2026, 1, 1)


def log_of(size: int, chance: float = 0.3, decisions_each: int = 1, seed: int = 1) -> pl.DataFrame:
    """The target arm earns .2, the other .1; the target arm was taken with probability `chance`."""
    rng = np.random.default_rng(seed)
    takes = rng.random(size) < chance
    return pl.DataFrame(
        {
            "decision_point_id": "p",
            "policy": "rules",
            "subscriber_key": np.arange(size) // decisions_each,
            "outcome": (rng.random(size) < np.where(takes, 0.2, 0.1)).astype(float),
            "choice_probability": np.where(takes, chance, 1 - chance),
            "target_probability": takes.astype(float),
            "expected_taken": np.where(takes, 0.2, 0.1),
            "expected_target": 0.2,
        }
    )


def test_snips_is_the_mean_among_those_who_got_the_arm_when_chances_are_equal():
    log = log_of(5_000)
    row = policy_values(log, as_of_day=NIGHT).filter(method="SNIPS").row(0, named=True)
    taken = log.filter(pl.col("target_probability") == 1)["outcome"]
    assert row["value_mean"] == pytest.approx(taken.mean())
    half = (row["value_mean_high"] - row["value_mean_low"]) / 2
    assert half == pytest.approx(1.96 * taken.std() / np.sqrt(len(taken)), rel=0.01)


def test_the_doubly_robust_value_is_near_the_truth_and_has_the_gain():
    values = PolicyValues.validate(policy_values(log_of(20_000), as_of_day=NIGHT))
    for row in values.iter_rows(named=True):
        assert row["value_mean_low"] < 0.2 < row["value_mean_high"]
        assert row["gain_low"] < 0.07 < row["gain_high"]
        assert row["gain"] == pytest.approx(row["value_mean"] - row["logged_mean"])


def test_the_model_moves_the_value_by_what_the_weights_cannot_correct():
    log = log_of(50_000).with_columns(expected_taken=pl.lit(0.9), expected_target=pl.lit(0.7))
    row = policy_values(log, as_of_day=NIGHT).filter(method="doubly robust").row(0, named=True)
    snips = policy_values(log, as_of_day=NIGHT).filter(method="SNIPS").row(0, named=True)
    # expected_taken belongs to the target arm wherever its weight is not 0, so the two must agree; here they do not.
    assert row["value_mean"] == pytest.approx(snips["value_mean"] - 0.2)


def test_decisions_of_one_subscriber_are_one_cluster():
    once = log_of(3_000)
    thrice = pl.concat([once] * 3)
    first, second = (policy_values(log, as_of_day=NIGHT) for log in (once, thrice))
    for name in ("value_mean", "value_mean_low", "value_mean_high", "effective_samples"):
        assert second[name].to_list() == pytest.approx(first[name].to_list())


@pytest.mark.parametrize("chance", [0.001, 0.0])
def test_too_few_effective_samples_cannot_be_estimated(chance):
    values = PolicyValues.validate(policy_values(log_of(1_000, chance), as_of_day=NIGHT))
    assert values["status"].str.starts_with("cannot be estimated").all()
    assert values["value_mean"].is_null().all()
    assert values["gain_low"].is_null().all()


def test_without_a_model_there_is_no_doubly_robust_row_and_without_a_log_none_at_all():
    unmodelled = log_of(1_000).with_columns(expected_taken=pl.lit(None, dtype=pl.Float64))
    assert policy_values(unmodelled, as_of_day=NIGHT)["method"].to_list() == ["SNIPS"]
    assert PolicyValues.validate(policy_values(log_of(10).clear(), as_of_day=NIGHT)).is_empty()
