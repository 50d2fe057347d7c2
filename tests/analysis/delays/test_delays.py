"""Delays: agreement with a reference regression, honesty of the labels, and figures against a known truth."""

from datetime import date

import numpy as np
import polars as pl
import pytest

from pipeline.analysis.delays.curve import fit_curve, posterior_curve
from pipeline.analysis.delays.recommendations import MINIMUM_CONVERSIONS, analyse_delays
from tests.acceptance.simulations import delays as simulation

TONIGHT = date(2026, 3, 1)
KEYS = {"workflow_id": "w", "from_step_id": "a", "to_step_id": "b"}


def cells(*rows: tuple[str, int, float, int, int, bool]) -> pl.DataFrame:
    """Rows of (segment, block, delay, entrants, conversions, is_randomised) of one transition."""
    names = ["segment", "entry_block", "assigned_delay_hours", "entrants", "conversions", "is_randomised"]
    return pl.DataFrame(list(rows), schema=names, orient="row").with_columns(**{k: pl.lit(v) for k, v in KEYS.items()})


def current(hours: float) -> pl.DataFrame:
    return pl.DataFrame({**{k: [v] for k, v in KEYS.items()}, "current_delay_hours": [hours]})


def recommend(outcomes: pl.DataFrame, hours: float = 24.0) -> dict[str, object]:
    return analyse_delays(outcomes, current(hours), as_of_day=TONIGHT).recommendations.row(0, named=True)


def test_log_rates_and_their_errors_agree_with_statsmodels():
    """The same modified Poisson regression; the half pseudo-conversion is lost in such counts."""
    import statsmodels.api as sm

    rng = np.random.default_rng(1)
    entrants = rng.integers(2_000, 8_000, size=(5, 3)).astype(float)
    rates = rng.uniform(0.05, 0.3, size=(5, 1)) * np.array([1.0, 1.2, 0.8])
    conversions = rng.binomial(entrants.astype(int), rates).astype(float)
    ours = fit_curve(entrants, conversions)

    stratum, delay = np.indices(entrants.shape)
    design = np.column_stack([np.eye(5)[stratum.ravel()], np.eye(3)[delay.ravel()][:, 1:]])
    reference = sm.GLM(conversions.ravel(), design, family=sm.families.Poisson(), offset=np.log(entrants.ravel())).fit()
    np.testing.assert_allclose(ours.effects[1:] - ours.effects[0], reference.params[5:], atol=2e-4)

    # The binomial sandwich: bread is the Poisson information, meat the binomial variance of each cell.
    fitted = reference.fittedvalues
    bread = np.linalg.inv(design.T @ (design * fitted[:, None]))
    meat = design.T @ (design * (fitted * (1 - fitted / entrants.ravel()))[:, None])
    expected = (bread @ meat @ bread)[5:, 5:]
    against_first = np.column_stack([-np.ones(2), np.eye(2)])
    np.testing.assert_allclose(against_first @ ours.covariance @ against_first.T, expected, rtol=2e-3)


def test_a_change_of_mix_between_delays_is_not_an_effect():
    """Eager people got the short delay; within each segment both delays convert alike."""
    outcomes = cells(
        ("eager", 1, 6.0, 40_000, 8_000, False),
        ("eager", 1, 24.0, 10_000, 2_000, False),
        ("slow", 1, 6.0, 10_000, 500, False),
        ("slow", 1, 24.0, 40_000, 2_000, False),
    )
    results = analyse_delays(outcomes, current(24.0), as_of_day=TONIGHT)
    row = results.recommendations.row(0, named=True)
    assert row["identification"] == "observational"
    assert results.curves["ratio_to_current"].to_list() == pytest.approx([1.0, 1.0], abs=0.02)
    assert row["action"] != "change"


def test_a_large_randomised_difference_is_acted_on_and_covered():
    outcomes = cells(("all", 1, 6.0, 20_000, 2_600, True), ("all", 1, 24.0, 20_000, 2_000, True))
    row = recommend(outcomes)
    assert (row["action"], row["recommended_delay_hours"], row["identification"]) == ("change", 6.0, "randomised")
    assert row["improvement_low"] < 0.3 < row["improvement_high"]
    assert row["improvement"] < 0.3, "the estimate is shrunk"


def test_shrinkage_never_turns_the_order_and_spread_grows_with_the_data():
    rng = np.random.default_rng(2)
    small = posterior_curve(fit_curve(np.array([[200.0, 200.0]]), np.array([[20.0, 30.0]])), 4_000, rng)
    large = posterior_curve(fit_curve(np.array([[2e5, 2e5]]), np.array([[2e4, 3e4]])), 4_000, rng)
    ratio = [np.mean(curve.effects[:, 1] / curve.effects[:, 0]) for curve in (small, large)]
    assert 1 < ratio[0] < ratio[1] < 1.5 + 0.01


@pytest.mark.parametrize("entrants", [600, 30_000])
def test_too_few_conversions_say_how_many_are_missing_however_many_entered(entrants: int):
    outcomes = cells(("all", 1, 6.0, entrants, 300, True), ("all", 1, 24.0, entrants, 300, True))
    row = recommend(outcomes)
    assert (row["status"], row["action"], row["improvement"]) == ("not enough data", "wait", None)
    assert row["conversions_needed"] == MINIMUM_CONVERSIONS - 600


@pytest.mark.parametrize(("conversions", "action"), [(300, "test"), (100, "wait")])
def test_of_a_single_delay_a_test_is_proposed_if_it_ends_in_time(conversions: int, action: str):
    """Four weeks of entries: 900 conversions take 84 days in one case, and 252 in the other."""
    row = recommend(cells(("all", 1, 24.0, 3_000, conversions, False)))
    assert (row["status"], row["action"], row["identification"]) == ("single delay", action, "not identified")
    assert (row["conversions_needed"], row["test_days"]) == (0, 28 * MINIMUM_CONVERSIONS // conversions)


def test_no_improvement_is_told_while_a_test_is_proposed():
    """Better by a tenth, with probability .9: too little for a change."""
    results = analyse_delays(
        cells(("all", 1, 6.0, 10_000, 530, True), ("all", 1, 24.0, 10_000, 490, True)), current(24.0), as_of_day=TONIGHT
    )
    row = results.recommendations.row(0, named=True)
    assert (row["action"], row["recommended_delay_hours"]) == ("test", 6.0)
    assert row["improvement"] is row["improvement_low"] is row["improvement_high"] is None
    assert 0.5 < row["better_probability"] < 0.95


def test_entrants_who_cannot_be_compared_do_not_count_as_enough():
    outcomes = cells(
        ("all", 1, 24.0, 2_000, 200, False), ("all", 1, 48.0, 2_000, 200, False), ("all", 2, 72.0, 20_000, 3_000, False)
    )
    row = recommend(outcomes)
    assert (row["status"], row["conversions_needed"]) == ("not enough data", MINIMUM_CONVERSIONS - 400)


def test_delays_of_different_times_are_not_compared():
    """The delay was changed for everybody at a block's border: only a test can separate it from the season."""
    outcomes = cells(("all", 1, 24.0, 20_000, 2_000, False), ("all", 2, 48.0, 20_000, 3_000, False))
    row = recommend(outcomes)
    assert (row["status"], row["identification"], row["action"]) == ("not identified", "not identified", "test")
    assert row["recommended_delay_hours"] is None


def test_delays_linked_through_a_third_one_are_compared():
    outcomes = cells(
        ("all", 1, 24.0, 20_000, 2_000, False),
        ("all", 1, 48.0, 20_000, 2_000, False),
        ("all", 2, 48.0, 20_000, 3_000, False),
        ("all", 2, 72.0, 20_000, 3_000, False),
    )
    curves = analyse_delays(outcomes, current(24.0), as_of_day=TONIGHT).curves
    assert curves["status"].to_list() == ["ok"] * 3
    assert curves["ratio_to_current"].to_list() == pytest.approx([1.0] * 3, abs=0.03)


@pytest.mark.parametrize(
    ("outcomes", "status"),
    [
        (cells(("all", 1, 24.0, 20_000, 2_000, True)), "single delay"),
        (cells(("all", 1, 24.0, 20_000, 0, True), ("all", 1, 48.0, 20_000, 0, True)), "not enough data"),
        (cells(("all", 1, 12.0, 20_000, 900, True), ("all", 1, 48.0, 20_000, 900, True)), "not identified"),
    ],
)
def test_what_cannot_be_said_has_a_status(outcomes: pl.DataFrame, status: str):
    assert recommend(outcomes)["status"] == status


def test_a_delay_without_any_conversion_and_full_conversion_stay_finite():
    outcomes = cells(
        ("all", 1, 24.0, 20_000, 20_000, True), ("all", 1, 48.0, 10_000, 0, True), ("all", 2, 48.0, 10, 0, True)
    )
    results = analyse_delays(outcomes, current(24.0), as_of_day=TONIGHT)
    numbers = results.curves.select(pl.selectors.float()).to_numpy()
    assert np.isfinite(numbers[~np.isnan(numbers)]).all()
    assert results.recommendations.item(0, "recommended_delay_hours") == 24.0


def test_no_rows_and_no_current_delay():
    nobody = cells(("all", 1, 24.0, 0, 0, True)).clear()
    empty = analyse_delays(nobody, current(24.0), as_of_day=TONIGHT)
    assert empty.curves.height == 0
    assert empty.recommendations.item(0, "status") == "not enough data"
    assert empty.recommendations.item(0, "conversions_needed") == MINIMUM_CONVERSIONS
    assert analyse_delays(nobody, current(24.0).clear(), as_of_day=TONIGHT).recommendations.height == 0
    outcomes = cells(("all", 1, 6.0, 20_000, 600, True), ("all", 1, 24.0, 20_000, 600, True))
    unknown = analyse_delays(outcomes, current(24.0).clear(), as_of_day=TONIGHT).recommendations
    assert unknown.item(0, "status") == "no current delay"


def test_the_same_input_gives_the_same_rows_in_any_order():
    world = simulation.transition(simulation.CURVES["peak"], np.random.default_rng(5))
    shuffled = world.outcomes.sample(fraction=1.0, shuffle=True, seed=1)
    first = analyse_delays(world.outcomes, world.current, as_of_day=TONIGHT)
    second = analyse_delays(shuffled, world.current, as_of_day=TONIGHT)
    assert first.curves.equals(second.curves)
    assert first.recommendations.equals(second.recommendations)


def test_acceptance_in_small():
    missed = [check for check in simulation.run(scale=0.04) if not check.holds]
    assert not missed
