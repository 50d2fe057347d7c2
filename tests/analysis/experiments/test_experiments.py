from dataclasses import replace
from datetime import date, timedelta
from math import ceil

import numpy as np
import polars as pl
import pytest

from pipeline.analysis.experiments.draft import Metric
from pipeline.analysis.experiments.lift import shrink_lifts
from pipeline.analysis.experiments.metrics import MOMENTS
from pipeline.analysis.experiments.results import FEWEST_EVENTS, experiment_results
from pipeline.analysis.experiments.verdicts import experiment_verdicts
from pipeline.analysis.statistics.group_sequential import boundary, critical_values
from pipeline.analysis.statistics.sample_ratio import sample_ratio_mismatch
from pipeline.schemas.experiments import ExperimentResults, ExperimentVerdicts
from pipeline.schemas.vocabulary import MetricKind, MetricRole
from tests.acceptance.simulations import experiments as simulation

NIGHTLY = 200
PLAN = replace(simulation.make_plan((0.5, 0.5), 2 * NIGHTLY * simulation.NIGHTS), experiment_id="000000")
GUARDED = replace(
    PLAN, metrics=(*PLAN.metrics, Metric("unsubscribe", role=MetricRole.GUARDRAIL, is_increase_good=False))
)
END = PLAN.end_day
START = simulation.START


def constant(*rates: float, metric: str = simulation.METRIC, nights: int = simulation.NIGHTS) -> pl.DataFrame:
    """Every night the same exposures and the expected events of each arm."""
    exposures = np.full((1, nights, len(rates)), NIGHTLY)
    events = np.diff(np.floor(np.arange(nights + 1)[:, None] * NIGHTLY * np.array(rates)), axis=0)[None]
    return simulation.moments_of(exposures, events).with_columns(metric=pl.lit(metric))


def verdict_of(moments: pl.DataFrame, plan=PLAN, as_of_day: date = END, mismatches=None) -> dict:
    results = ExperimentResults.validate(experiment_results(moments, [plan], as_of_day=as_of_day))
    verdicts = experiment_verdicts(results, [plan], as_of_day=as_of_day, mismatches=mismatches)
    return ExperimentVerdicts.validate(verdicts).to_dicts()[0]


def test_a_real_lift_wins_before_the_plan_ends_and_is_shown_shrunk():
    verdict = verdict_of(constant(0.05, 0.07))
    assert verdict["verdict"] == "winner"
    assert verdict["winner_arm"] == "b"
    assert verdict["information_fraction"] < 1
    assert 0 < verdict["shrunk_lift"] < verdict["lift"]
    assert verdict["lift_low"] > 0


def test_an_arm_in_which_nobody_converts_has_lost_everything():
    verdict = verdict_of(constant(0.05, 0.0))
    assert (verdict["verdict"], verdict["lift"], verdict["lift_low"]) == ("harm", -1.0, -1.0)
    assert verdict["lift_high"] < 0
    assert verdict["shrunk_lift"] is None


def test_arms_that_nobody_can_tell_apart_end_without_an_answer_and_nothing_follows():
    results = experiment_results(constant(0.05, 0.05), [PLAN], as_of_day=END)
    last = simulation.START + timedelta(days=simulation.NIGHTS - 1 + simulation.WINDOW_DAYS)
    assert results["as_of_day"].max() == last
    assert results["information_fraction"][-1] == pytest.approx(1)
    verdict = verdict_of(constant(0.05, 0.05))
    assert (verdict["verdict"], verdict["decided_day"]) == ("ended without an answer", last)
    assert verdict["status"].startswith("refused")


def test_a_planned_lift_that_the_interval_excludes_is_futile():
    verdict = verdict_of(constant(0.05, 0.041), replace(PLAN, minimum_lift=0.3))
    assert verdict["verdict"] == "futile"
    assert verdict["lift_low"] < -0.3
    assert verdict["lift_high"] < 0.3


def test_no_difference_is_said_only_where_the_interval_lies_within_the_planned_lift():
    verdict = verdict_of(constant(0.05, 0.05), replace(PLAN, minimum_lift=0.3))
    assert verdict["verdict"] == "no difference"
    assert -0.3 < verdict["lift_low"] < verdict["lift_high"] < 0.3


def test_a_winner_over_a_control_without_conversions_has_no_lift_and_an_action():
    verdict = verdict_of(constant(0.0, 0.05))
    assert (verdict["verdict"], verdict["winner_arm"], verdict["lift"]) == ("winner", "b", None)
    assert verdict["recommended_action"] == "Send everyone arm b: the control brought nothing. Keep a hold-out."


def test_a_test_without_enough_traffic_ends_with_the_calendar():
    plan = replace(PLAN, planned_exposures=10 * PLAN.planned_exposures)
    verdict = verdict_of(constant(0.05, 0.052), plan)
    assert verdict["verdict"] == "ended without an answer"
    assert verdict["decided_day"] == plan.end_day
    assert verdict_of(constant(0.05, 0.052), plan, END - timedelta(days=1))["verdict"] == "continue"


def test_a_worse_arm_is_stopped_as_soon_as_the_planned_lift_is_excluded():
    verdict = verdict_of(constant(0.07, 0.05))
    assert verdict["verdict"] == "futile"
    assert verdict["winner_arm"] is None
    assert verdict["information_fraction"] < 1


def test_a_metric_that_should_fall_wins_by_falling():
    plan = replace(PLAN, metrics=(Metric(simulation.METRIC, is_increase_good=False),))
    assert verdict_of(constant(0.07, 0.05), plan)["verdict"] == "winner"
    assert verdict_of(constant(0.05, 0.07), plan)["verdict"] == "futile"


def test_a_harmed_guardrail_vetoes_a_winner():
    moments = pl.concat([constant(0.05, 0.062), constant(0.01, 0.03, metric="unsubscribe")])
    verdict = verdict_of(moments, GUARDED)
    assert verdict["verdict"] == "harm"
    assert verdict["vetoed_by"] == "b: unsubscribe"
    quiet = pl.concat([constant(0.05, 0.07), constant(0.01, 0.01, metric="unsubscribe")])
    assert verdict_of(quiet, GUARDED)["verdict"] == "winner"


def test_a_vetoed_arm_does_not_keep_another_from_winning():
    plan = replace(GUARDED, shares=(("control", 1 / 3), ("b", 1 / 3), ("c", 1 / 3)), planned_exposures=600 * 60)
    moments = pl.concat([constant(0.05, 0.065, 0.08), constant(0.01, 0.01, 0.05, metric="unsubscribe")])
    verdict = verdict_of(moments, plan)
    assert (verdict["verdict"], verdict["winner_arm"]) == ("winner", "b")
    assert verdict["vetoed_by"] == "c: unsubscribe"


def shares_of(b: int, day: date) -> pl.DataFrame:
    """What the sample-ratio test says of one day on which 1,000 people get the control and so many arm b."""
    counted = {"experiment_id": "000000", "day": day, "arm": ["control", "b"], "exposures": [1_000, b], "share": 0.5}
    return sample_ratio_mismatch(pl.DataFrame(counted))


def test_a_mismatch_before_the_decision_makes_the_test_invalid():
    invalid = verdict_of(constant(0.05, 0.07), mismatches=shares_of(1_300, START))
    assert (invalid["verdict"], invalid["has_mismatch"]) == ("invalid", True)
    assert verdict_of(constant(0.05, 0.07), mismatches=shares_of(1_300, END))["verdict"] == "winner"
    fair = shares_of(1_010, START)
    sound = verdict_of(constant(0.05, 0.07), mismatches=fair)
    assert (sound["verdict"], sound["has_mismatch"]) == ("winner", False)
    assert sound["mismatch_probability"] == fair["mismatch_probability"].item()


def test_the_chance_that_an_arm_is_better_is_that_of_the_posterior():
    random = np.random.default_rng(5)
    for metric, plan, is_increase_good in ((simulation.METRIC, PLAN, True), ("unsubscribe", GUARDED, False)):
        moments = pl.concat([constant(0.05, 0.05), constant(0.05, 0.053, metric=metric)]).unique(
            ["metric", "arm", "exposed_day"], keep="last"
        )
        last = experiment_results(moments, [plan], as_of_day=END).filter(metric=metric).row(-1, named=True)
        arms = [(last[f"{side}metric_total"], last[f"{side}exposures"]) for side in ("", "control_")]
        treated, control = (random.beta(1 + total, 1 + people - total, 200_000) for total, people in arms)
        is_better = treated > control if is_increase_good else treated < control
        assert last["better_probability"] == pytest.approx(is_better.mean(), abs=0.005)


def test_a_verdict_is_never_revised_by_later_nights():
    moments = constant(0.05, 0.07)
    final = verdict_of(moments)
    nights = [END - timedelta(days=days) for days in range(0, 70, 10)]
    for night in nights:
        seen = verdict_of(moments, as_of_day=night)
        expected = "winner" if night >= final["decided_day"] else "continue"
        assert seen["verdict"] == expected


def test_a_winner_goes_on_being_measured_and_its_verdict_stays_beside_tonights_figures():
    """The lift of the decisive night is luckier than that of the whole sample."""
    moments = pl.concat(
        [constant(0.05, 0.07).filter(pl.col("stratum") <= 6), constant(0.05, 0.055).filter(pl.col("stratum") > 6)]
    )
    decided = verdict_of(moments)["decided_day"]
    first, last = (verdict_of(moments, as_of_day=night) for night in (decided, END))
    of_the_verdict = ("arm", "looks", "exposures", "control_exposures", "lift", "lift_low", "lift_high")
    assert [first[name] for name in of_the_verdict] == [last[name] for name in of_the_verdict]
    assert (first["latest_day"], first["latest_lift"], first["latest_exposures"]) == (
        decided, first["lift"], first["exposures"],
    )  # fmt: skip
    assert last["latest_day"] > decided
    assert last["latest_exposures"] > last["exposures"]
    assert 0 < last["latest_lift"] < last["lift"]


def test_a_plan_that_takes_longer_than_half_a_year_says_so_until_something_is_decided():
    plan = replace(
        PLAN, planned_days=365, planned_exposures=400 * 365, end_day=START + timedelta(days=400), baseline_mean=0.05
    )
    verdict = verdict_of(constant(0.05, 0.05), plan)
    assert verdict["verdict"] == "plan too long"
    assert f"{plan.reachable_lift:+.0%} shows" in verdict["recommended_action"]
    assert verdict_of(constant(0.05, 0.2), plan)["verdict"] == "winner"


def test_immature_exposures_are_never_used():
    tonight = simulation.START + timedelta(days=20)
    moments = constant(0.05, 0.07)
    cut = moments.filter(pl.col("exposed_day") <= tonight - timedelta(days=simulation.WINDOW_DAYS))
    assert experiment_results(moments, [PLAN], as_of_day=tonight).equals(
        experiment_results(cut, [PLAN], as_of_day=tonight)
    )


@pytest.mark.parametrize(
    "moments",
    [
        constant(0.05, 0.05).clear(),
        constant(0.0, 0.0),
        constant(1.0, 1.0),
        constant(0.05, 0.05).filter(pl.col("arm") == "b"),
        constant(0.01, 0.01, nights=1),
    ],
    ids=["empty", "no events", "all events", "no control", "one night"],
)
def test_too_little_to_compare_is_said_and_never_a_number(moments):
    results = experiment_results(moments, [PLAN], as_of_day=END)
    assert results["status"].str.starts_with("not enough data").all()
    assert results.select(pl.col("lift", "lift_low", "lift_high", "z_score").is_null().all()).row(0) == (True,) * 4
    assert True not in results.select(pl.selectors.float().is_nan().any()).row(0)
    assert verdict_of(moments)["verdict"] == "ended without an answer"


def test_no_plan_gives_empty_tables():
    results = ExperimentResults.validate(experiment_results(constant(0.1, 0.1), [], as_of_day=END))
    assert ExperimentVerdicts.validate(experiment_verdicts(results, [], as_of_day=END)).is_empty()


def test_before_the_first_matured_night_the_test_continues_without_data():
    verdict = verdict_of(constant(0.1, 0.1), as_of_day=simulation.START)
    assert verdict["verdict"] == "continue"
    assert verdict["status"] == "not enough data: no exposure has matured"


def test_holm_gives_the_second_arm_the_error_of_the_first():
    """At the end one arm is beyond the boundary of alpha / 2; the other only beyond that of alpha."""
    plan = replace(PLAN, shares=(("control", 1 / 3), ("b", 1 / 3), ("c", 1 / 3)), planned_exposures=600 * 60)
    strict, plain = (boundary(level, plan.planned_looks)[-1] for level in (0.025, 0.05))
    moments = constant(0.05, 0.0567, 0.06)
    last = experiment_results(moments, [plan], as_of_day=END).filter("is_last_look")
    second, first = last.sort("arm")["z_score"]
    assert plain < second < strict < first
    assert last["is_significant"].all()
    alone = experiment_results(constant(0.05, 0.0567, 0.05), [plan], as_of_day=END).filter("is_last_look")
    assert not alone["is_significant"].any()


def test_an_open_ended_test_goes_on_and_needs_more_evidence():
    plan = replace(PLAN, is_open_ended=True)
    results = experiment_results(constant(0.05, 0.05), [plan], as_of_day=END + timedelta(days=100))
    assert results["as_of_day"].max() == END + timedelta(days=100)
    assert not results["is_last_look"].any()
    full = results.filter(pl.col("information_fraction") >= 1)
    assert (full["critical_z"] > critical_values(np.array([1.0]), 0.05)[0]).all()


def test_amounts_and_rates_live_in_one_test():
    plan = replace(PLAN, metrics=(Metric(simulation.METRIC), Metric("revenue", MetricKind.MEAN, MetricRole.SECONDARY)))
    rng = np.random.default_rng(3)
    exposures = np.full((1, simulation.NIGHTS, 2), NIGHTLY)
    amounts = rng.gamma(2, 10, (1, simulation.NIGHTS, 2, NIGHTLY))
    revenue = simulation.moments_of(exposures, amounts.sum(-1), (amounts**2).sum(-1)).with_columns(
        metric=pl.lit("revenue")
    )
    results = experiment_results(pl.concat([constant(0.05, 0.06), revenue]), [plan], as_of_day=END)
    assert set(ExperimentResults.validate(results)["kind"]) == {"rate", "mean"}
    assert set(revenue.columns) >= set(MOMENTS)


def test_lifts_are_pulled_towards_what_tests_usually_find():
    rng = np.random.default_rng(9)
    truth = rng.normal(0, 0.05, 2_000)
    error = np.full(2_000, 0.05)
    measured = truth + rng.normal(0, error)
    shrunk = shrink_lifts(pl.DataFrame({"log_lift": measured, "log_lift_standard_error": error}))
    best = np.argsort(measured)[-100:]
    true_lift = np.expm1(truth[best]).mean()
    assert np.expm1(measured[best]).mean() > 1.5 * true_lift
    assert shrunk["shrunk_lift"].to_numpy()[best].mean() == pytest.approx(true_lift, abs=0.02)


@pytest.mark.parametrize(("rate", "missing"), [(0.0, "who convert"), (1.0, "who do not convert")])
def test_arms_in_which_all_do_the_same_have_no_verdict_but_the_end(rate, missing):
    """With a rate of 0% or of 100% there is no chance of a difference, however many people there are."""
    results = experiment_results(constant(rate, rate), [PLAN], as_of_day=END)
    primary = results.filter(pl.col("metric") == PLAN.primary.name)
    told = f"not enough data: the smaller arm needs about {ceil(FEWEST_EVENTS)} more of those {missing}"
    assert primary["status"].unique().to_list() == [told]
    assert verdict_of(constant(rate, rate))["verdict"] == "ended without an answer"


def test_a_few_who_do_not_convert_decide_nothing():
    """Cochran's rule counts the rarer of both outcomes: 4 of 12,000 who did not convert are no evidence."""
    is_missing = (pl.col("arm") == "b") & (pl.col("exposed_day").dt.day() == 9)
    moments = constant(1.0, 1.0).with_columns(value_sum=pl.col("value_sum") - 2.0 * is_missing)
    results = experiment_results(moments, [PLAN], as_of_day=END)
    assert not results["is_significant"].any()
    assert results["lift"].is_null().all()


def test_a_winner_among_few_past_tests_promises_little_more_than_changes_usually_bring():
    """With five past tests of about nothing, a measured +17% is mostly luck."""
    found = pl.DataFrame({"log_lift": [0.16, 0.05, -0.06, 0.08, -0.04, 0.02], "log_lift_standard_error": [0.08] * 6})
    assert 0 < shrink_lifts(found)["shrunk_lift"][0] < 0.07


def test_an_unknown_lift_stays_unknown():
    frame = pl.DataFrame(
        {"log_lift": [None, 0.1], "log_lift_standard_error": [None, 0.05]}, schema_overrides={"log_lift": pl.Float64}
    )
    shrunk = shrink_lifts(frame)
    assert shrunk["shrunk_lift"].is_null().to_list() == [True, False]
    assert shrink_lifts(frame.clear()).is_empty()


def test_acceptance_simulation_small():
    """The full one is `make simulate`; at this size only gross failures show."""
    missed = [check for check in simulation.run(scale=0.01, seed=7) if not check.holds]
    assert len(missed) <= 2, missed
