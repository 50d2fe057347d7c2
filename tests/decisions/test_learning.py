import numpy as np
import polars as pl
import pytest
from scipy.optimize import minimize
from scipy.special import expit

from pipeline.decisions.definitions import FLOOR
from pipeline.decisions.learning import DRAWS, RIDGE, best_probabilities, fit_policy, floored
from tests.acceptance.simulations import policy as simulation

ARMS = ("a", "b")


def log_of(size: int, seed: int = 1) -> pl.DataFrame:
    """Arm b is better for high x, arm a for low x."""
    rng = np.random.default_rng(seed)
    x = rng.normal(3, 2, size)
    arm = rng.choice(ARMS, size)
    rate = expit(-1 + np.where(arm == "b", 1.0, -1.0) * (x - 3) / 2)
    return pl.DataFrame({"arm": arm, "x": x, "outcome": rng.random(size) < rate, "is_matured": True})


def test_the_mode_maximises_the_posterior():
    log = log_of(400)
    model = fit_policy(log, arms=ARMS, features=["x"])
    design = model.design(log)
    number = (log["arm"] == "b").cast(pl.Int64).to_numpy()
    outcome = log["outcome"].to_numpy()
    precision = np.full(6, RIDGE)
    precision[0] = 0.01

    def loss(flat: np.ndarray) -> float:
        mode = flat.reshape(3, 2)
        log_odds = (design * (mode[0] + mode[1:][number])).sum(axis=1)
        return float(np.logaddexp(0, log_odds).sum() - log_odds[outcome].sum() + 0.5 * precision @ flat**2)

    np.testing.assert_allclose(model.mode.ravel(), minimize(loss, np.zeros(6), tol=1e-10).x, atol=1e-4)


def test_without_outcomes_every_arm_is_as_likely_the_best():
    nothing = log_of(10).clear()
    model = fit_policy(nothing, arms=ARMS, features=["x"])
    people = log_of(50)
    chances = best_probabilities(model, people, np.ones((50, 2), dtype=bool))
    assert chances[:, 0].mean() == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(DRAWS))


def test_each_gets_the_arm_that_suits_them_once_it_is_known():
    model = fit_policy(log_of(5_000), arms=ARMS, features=["x"])
    people = pl.DataFrame({"x": [-1.0, 7.0, None]})
    chances = best_probabilities(model, people, np.ones((3, 2), dtype=bool))
    assert chances[0, 0] > 0.99
    assert chances[1, 1] > 0.99
    assert 0 < chances[2, 0] < 1


def test_only_eligible_arms_have_a_chance_and_no_eligible_arm_has_none():
    model = fit_policy(log_of(5_000), arms=ARMS, features=["x"])
    people = pl.DataFrame({"x": [7.0, 7.0, 7.0]})
    eligible = np.array([[True, True], [True, False], [False, False]])
    chances = floored(best_probabilities(model, people, eligible), eligible, 0.05)
    np.testing.assert_allclose(chances, [[0.05 / 1.05, 1 / 1.05], [1, 0], [0, 0]])


def test_immature_outcomes_and_vanished_arms_teach_nothing():
    log = log_of(500)
    noise = log_of(500, seed=2).with_columns(is_matured=pl.lit(False))
    gone = log_of(500, seed=3).with_columns(arm=pl.lit("gone"))
    together = fit_policy(pl.concat([log, noise, gone]), arms=ARMS, features=["x"])
    assert together.version == fit_policy(log, arms=ARMS, features=["x"]).version
    assert together.outcomes == 500


def test_equal_logs_give_equal_draws_and_another_log_another_version():
    first, again = (fit_policy(log_of(300), arms=ARMS, features=["x"]) for _ in range(2))
    np.testing.assert_array_equal(first.draws(), again.draws())
    assert first.version != fit_policy(log_of(301), arms=ARMS, features=["x"]).version


def test_a_constant_feature_and_a_missing_one_are_harmless():
    log = log_of(300).with_columns(constant=pl.lit(1.0), nothing=pl.lit(None, dtype=pl.Float64))
    model = fit_policy(log, arms=ARMS, features=["x", "constant", "nothing"])
    assert np.isfinite(model.mode).all()
    assert np.isfinite(model.expected(log)).all()


def test_acceptance_simulation_small():
    """The full one is `make simulate`; in one world of twenty nights the policy is already well on its way."""
    world = simulation.live(np.random.default_rng(4), FLOOR, nights=20)
    assert world["captured"] >= 0.7 * world["gap"]
    assert world["values"]["value_mean"].to_list() == pytest.approx([world["truth"]] * 2, rel=0.2)
