from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from scipy.stats import norm
from statsmodels.stats.power import normal_sample_size_one_tail

from pipeline.analysis.experiments.assignment import assign_arms
from pipeline.analysis.experiments.draft import ExperimentDraft, Metric
from pipeline.analysis.experiments.plan import PLAN_TEXT, changed_fields, freeze_plan, required_exposures
from pipeline.analysis.statistics.group_sequential import needed_drift
from pipeline.analysis.statistics.sample_ratio import sample_ratio_mismatch
from pipeline.common.sticky_hash import uniform_hash
from pipeline.schemas.vocabulary import Assigner, MetricKind, MetricRole

START = date(2026, 1, 5)
HALVES = (("a", 0.5), ("b", 0.5))


def plan_of(*, baseline_mean=0.05, baseline_deviation=None, daily_exposures=2_000.0, **changes):
    written = {
        "experiment_id": "subject",
        "workflow_id": "welcome",
        "step_id": "1",
        "hypothesis": "a shorter subject is clicked more",
        "owner": "ann",
        "shares": HALVES,
        "metrics": (Metric("click"), Metric("unsubscribe", role=MetricRole.GUARDRAIL, is_increase_good=False)),
        "minimum_lift": 0.1,
        "window_days": 5,
        "alpha": 0.05,
        "power": 0.9,
        "start_day": START,
        "end_day": None,
        "assigned_by": Assigner.DRIPTUNE,
        "arm_field": "DT_SUBJECT",
    }
    draft = ExperimentDraft(**(written | changes))
    return freeze_plan(
        draft, baseline_mean=baseline_mean, daily_exposures=daily_exposures, baseline_deviation=baseline_deviation
    )


def test_the_sample_is_that_of_statsmodels_times_the_price_of_looking():
    rate, lift = 0.05, 0.1
    pooled = rate * (1 + lift / 2)
    deviation = np.sqrt(pooled * (1 - pooled))
    per_arm = normal_sample_size_one_tail(rate * lift, 0.9, 0.025, std_null=deviation * np.sqrt(2))
    price = (needed_drift(0.05, 0.9) / (norm.ppf(0.975) + norm.ppf(0.9))) ** 2
    ours = required_exposures(
        HALVES, baseline_mean=rate, baseline_deviation=None, minimum_lift=lift, alpha=0.05, power=0.9, comparisons=1
    )
    assert ours == pytest.approx(2 * per_arm * price, rel=1e-4)


@pytest.mark.parametrize("deviation", [None, 0.0])
def test_amounts_that_do_not_differ_make_no_plan(deviation: float | None):
    """One person was mailed, or all bought the same: the sample would be negative, or none at all."""
    with pytest.raises(ValueError, match="the amounts of this step do not differ yet"):
        plan_of(baseline_mean=20.0, baseline_deviation=deviation, metrics=(Metric("revenue", MetricKind.MEAN),))


def test_a_plan_has_whole_weeks_and_time_to_mature():
    plan = plan_of()
    assert plan.planned_days % 7 == 0
    assert plan.planned_exposures >= 2_000 * (plan.planned_days - 7)
    assert plan.end_day >= START + timedelta(days=plan.planned_days + plan.window_days - 1)


@pytest.mark.parametrize(("is_increase_good", "direction"), [(True, 1), (False, -1)])
def test_a_plan_beyond_half_a_year_names_the_lift_that_shows_by_then(is_increase_good, direction):
    slow = plan_of(daily_exposures=100.0, metrics=(Metric("click", is_increase_good=is_increase_good),))
    assert slow.is_too_long
    assert slow.reachable_lift > slow.minimum_lift
    known = {"baseline_mean": 0.05, "baseline_deviation": None, "alpha": 0.05, "power": 0.9, "comparisons": 1}
    needed = required_exposures(HALVES, minimum_lift=direction * slow.reachable_lift, **known)
    assert needed == pytest.approx(100 * 175, rel=0.01)


def test_a_plan_within_half_a_year_or_without_an_end_is_not_too_long():
    assert (plan_of().is_too_long, plan_of().reachable_lift) == (False, None)
    assert not plan_of(daily_exposures=100.0, is_open_ended=True).is_too_long


def test_a_step_that_hardly_anybody_reaches_can_show_no_lift_of_a_high_rate():
    assert plan_of(daily_exposures=0.05, baseline_mean=0.6).reachable_lift is None


def test_more_arms_share_the_error_and_need_more_exposures():
    thirds = (("a", 1 / 3), ("b", 1 / 3), ("c", 1 / 3))
    assert plan_of(shares=thirds).planned_exposures > plan_of().planned_exposures
    assert plan_of(shares=thirds).comparisons == 2


def test_an_end_before_the_sample_is_refused_with_the_date():
    with pytest.raises(ValueError, match="but the test ends on 2026-01-10"):
        plan_of(end_day=date(2026, 1, 10))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shares": (("a", 0.5), ("b", 0.4))}, "do not sum to 1"),
        ({"shares": (("a", 1.0),)}, "two arms"),
        ({"shares": (("a", 0.5), ("a", 0.5))}, "same name"),
        ({"metrics": ()}, "exactly one primary"),
        ({"baseline_mean": 0.0}, "no conversions yet"),
        ({"daily_exposures": 0.0}, "nobody reaches"),
        ({"minimum_lift": 0.0}, "above 0"),
        ({"baseline_mean": 0.95}, "to 1 or above"),
    ],
)
def test_what_makes_no_test_is_refused_with_the_reason(changes, message):
    with pytest.raises(ValueError, match=message):
        plan_of(**changes)


def test_a_changed_definition_shows_the_difference_and_another_hash():
    before, after = plan_of(), plan_of(minimum_lift=0.2)
    assert changed_fields(before, before) == {}
    assert changed_fields(before, after)["minimum_lift"] == (0.1, 0.2)
    assert before.plan_hash == plan_of().plan_hash != after.plan_hash


def test_a_plan_survives_being_written_down():
    plan = plan_of()
    again = PLAN_TEXT.validate_json(PLAN_TEXT.dump_json(plan))
    assert again == plan
    assert again.plan_hash == plan.plan_hash


def test_the_hash_is_the_same_in_every_version():
    """Written once from the pure-integer definition below, which any language can repeat."""
    import hashlib

    def splitmix(value: int) -> int:
        mask = 2**64 - 1
        value = (value + 0x9E3779B97F4A7C15) & mask
        value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & mask
        value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & mask
        return value ^ (value >> 31)

    digest = hashlib.sha256(b"salt").digest()
    keys = [0, 1, -1, 2**63 - 1, -(2**63)]
    expected = []
    for key in keys:
        mixed = key % 2**64
        for part in (digest[:8], digest[8:16]):
            mixed = splitmix(mixed ^ int.from_bytes(part, "little"))
        expected.append((mixed >> 11) / 2**53)
    np.testing.assert_array_equal(uniform_hash(pl.Series(keys, dtype=pl.Int64), "salt"), expected)


def test_shares_are_kept_and_two_tests_are_independent():
    subscribers = pl.DataFrame({"subscriber_key": np.arange(200_000)})
    shares = {"a": 0.5, "b": 0.3, "c": 0.2}
    first, second = (assign_arms(subscribers, experiment_id=name, salt=name, shares=shares) for name in ("x", "y"))
    for arm, share in shares.items():
        assert (first["arm"] == arm).mean() == pytest.approx(share, abs=0.005)
        both = ((first["arm"] == arm) & (second["arm"] == arm)).mean()
        assert both == pytest.approx(share**2, abs=0.005)


def test_an_arm_once_given_is_kept_whoever_else_comes():
    shares = {"a": 0.9, "b": 0.1}
    before, after = (
        assign_arms(pl.DataFrame({"subscriber_key": np.arange(size)}), experiment_id="x", salt="x", shares=shares)
        for size in (1_000, 2_000)
    )
    assert after.head(1_000).equals(before)


def test_nobody_to_assign_gives_an_empty_table():
    nobody = pl.DataFrame({"subscriber_key": []}, schema={"subscriber_key": pl.Int64})
    assert assign_arms(nobody, experiment_id="x", salt="x", shares={"a": 0.5, "b": 0.5}).is_empty()


def counts(first: list[int], second: list[int], share: float = 0.5) -> pl.DataFrame:
    days = [START + timedelta(days=day) for day in range(len(first))]
    return pl.concat(
        pl.DataFrame({"experiment_id": "x", "day": days, "arm": arm, "exposures": values, "share": part})
        for arm, values, part in (("a", first, share), ("b", second, 1 - share))
    )


def test_a_broken_split_is_found_and_stays_found():
    result = sample_ratio_mismatch(counts([260] * 60 + [240] * 120, [240] * 60 + [260] * 120))
    assert result["has_mismatch"].any()
    first = result["has_mismatch"].arg_max()
    assert result["has_mismatch"][first:].all()
    assert result["total_exposures"][-1] == 500 * 180


def test_a_declared_unequal_split_is_no_mismatch_and_a_ramp_neither():
    assert not sample_ratio_mismatch(counts([400] * 60, [100] * 60, 0.8))["has_mismatch"].any()
    ramp = pl.concat(
        [
            counts([450] * 14, [50] * 14, 0.9),
            counts([250] * 14, [250] * 14).with_columns(day=pl.col("day") + pl.duration(days=14)),
        ]
    )
    assert not sample_ratio_mismatch(ramp)["has_mismatch"].any()
    assert sample_ratio_mismatch(ramp.with_columns(share=pl.lit(0.5)))["has_mismatch"].any()


def test_a_coarse_mismatch_is_found_among_few_people():
    """55/45 at 30 a day: some bugs shift a split by much, and a small sender must hear of them too."""
    assert sample_ratio_mismatch(counts([17] * 60, [13] * 60))["has_mismatch"].any()


def test_an_exposure_in_an_arm_without_share_is_a_mismatch_at_once():
    result = sample_ratio_mismatch(counts([10], [1], 1.0))
    assert result["has_mismatch"].all()
    assert result["mismatch_probability"].is_finite().all()
