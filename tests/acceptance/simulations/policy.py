"""Policies: one that learns over sixty nights, and the value of another one estimated from its log."""

from datetime import date

import numpy as np
import polars as pl
from scipy.special import expit

from pipeline.analysis.statistics.policy_values import policy_values
from pipeline.decisions.definitions import EVALUATION_FLOOR, FLOOR
from pipeline.decisions.learning import best_probabilities, fit_policy, floored
from tests.acceptance.simulations import Check

ARMS = ("a", "b", "c", "d")
FEATURES = ("recency", "spend", "is_member")
NIGHTS = 60
NIGHTLY = 1_000
MATURITY = 3


def draw_world(rng: np.random.Generator) -> np.ndarray:
    """Log-odds of each arm: a base rate of about 8% and effects that differ between people."""
    world = np.zeros((len(ARMS), 1 + len(FEATURES)))
    world[:, 0] = -2.5 + rng.normal(0, 0.3, len(ARMS))
    world[:, 1:] = rng.normal(0, 0.3, len(FEATURES)) + rng.normal(0, 0.5, (len(ARMS), len(FEATURES)))
    return world


def draw_people(rng: np.random.Generator, size: int, first_key: int) -> tuple[pl.DataFrame, np.ndarray]:
    """Features and which arms the rules allow; everybody may have at least the first."""
    people = pl.DataFrame(
        {
            "subscriber_key": np.arange(first_key, first_key + size),
            "recency": rng.normal(size=size),
            "spend": rng.normal(size=size),
            "is_member": rng.random(size) < 0.5,
        }
    )
    eligible = rng.random((size, len(ARMS))) < 0.8
    eligible[:, 0] |= ~eligible.any(axis=1)
    return people, eligible


def true_rates(world: np.ndarray, people: pl.DataFrame) -> np.ndarray:
    """True outcome probability of every arm."""
    context = np.column_stack([np.ones(people.height), *(people[name].cast(pl.Float64) for name in FEATURES)])
    return expit(context @ world.T)


def live(rng: np.random.Generator, floor: float, nights: int = NIGHTS) -> dict:
    """Sixty nights of deciding, waiting for outcomes and learning."""
    world = draw_world(rng)
    nightly: list[pl.DataFrame] = []
    rules, policy, optimum = [], [], []
    target_values = []
    for night in range(nights):
        known = nightly[: max(0, night - MATURITY + 1)]
        log = (
            pl.concat(known)
            if known
            else draw_people(rng, 0, 0)[0].with_columns(
                arm=pl.lit("", dtype=pl.String), outcome=pl.lit(0.0), is_matured=pl.lit(True)
            )
        )
        model = fit_policy(log, arms=ARMS, features=FEATURES)
        people, eligible = draw_people(rng, NIGHTLY, night * NIGHTLY)
        chances = floored(best_probabilities(model, people, eligible), eligible, floor)
        rates = true_rates(world, people)
        rule_arm = eligible.argmax(axis=1)
        taken = (chances.cumsum(axis=1) < rng.random((NIGHTLY, 1))).sum(axis=1).clip(max=len(ARMS) - 1)
        row = np.arange(NIGHTLY)
        rules.append(rates[row, rule_arm].mean())
        policy.append((chances * rates).sum(axis=1).mean())
        optimum.append(np.where(eligible, rates, 0.0).max(axis=1).mean())
        target_values.append(rates[row, rule_arm])
        predicted = model.expected(people)
        nightly.append(
            people.with_columns(
                arm=pl.Series(np.array(ARMS)[taken]),
                outcome=pl.Series((rng.random(NIGHTLY) < rates[row, taken]).astype(float)),
                is_matured=pl.lit(True),
                choice_probability=pl.Series(chances[row, taken]),
                target_probability=pl.Series((taken == rule_arm).astype(float)),
                expected_taken=pl.Series(predicted[row, taken]),
                expected_target=pl.Series(predicted[row, rule_arm]),
            )
        )
    late = slice(-10, None)
    log = pl.concat(nightly).with_columns(decision_point_id=pl.lit("p"), policy=pl.lit("rules"))
    return {
        "captured": float(np.mean(policy[late]) - np.mean(rules[late])),
        "gap": float(np.mean(optimum[late]) - np.mean(rules[late])),
        "values": policy_values(log, as_of_day=date(2026, 1, 1)),
        "truth": float(np.concatenate(target_values).mean()),
    }


def run(scale: float = 1.0, seed: int = 20260107) -> list[Check]:
    """Compare learning and estimated values with the truth; at `scale` 1 over 20 long and 150 short worlds."""
    rng = np.random.default_rng(seed)
    worlds = [live(rng, FLOOR) for _ in range(max(2, round(20 * scale)))]
    share = sum(world["captured"] for world in worlds) / sum(world["gap"] for world in worlds)
    each = np.array([world["captured"] / world["gap"] for world in worlds])
    checks = [
        Check(
            "share of the gap rules-optimum, nights 51-60",
            share,
            0.88,
            ">=",
            float(each.std() / np.sqrt(len(each))),
        )
    ]
    short = [live(rng, EVALUATION_FLOOR, nights=15) for _ in range(max(10, round(150 * scale)))]
    for method in ("SNIPS", "doubly robust"):
        covered = []
        for world in short:
            row = world["values"].filter(method=method).row(0, named=True)
            if row["status"] == "ok":
                covered.append(row["value_mean_low"] <= world["truth"] <= row["value_mean_high"])
        rate = float(np.mean(covered))
        error = float(np.sqrt(max(rate * (1 - rate), 1 / len(covered)) / len(covered)))
        checks.append(Check(f"coverage of {method} intervals", rate, 0.92, ">=", error))
    return checks
