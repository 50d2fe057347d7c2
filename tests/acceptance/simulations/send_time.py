"""Send times: share of the oracle's uplift, calibration of the confidence, and coverage of the lift."""

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from pipeline.analysis.send_time.evaluation import evaluate_send_times
from pipeline.analysis.send_time.subscribers import analyse_send_times
from tests.acceptance.simulations import Check
from tests.worlds.send_times import HOURS, Population, population

TONIGHT = date(2026, 3, 1)
#: Share of the oracle's uplift to reach, by sends per subscriber.
SHARES = {3: 0.0, 10: 0.50, 30: 0.72, 100: 0.85}
SIZES = tuple(SHARES)
#: Worlds in which little or nothing tells the free hours, or other hours than today's.
NO_BEHAVIOUR: dict[str, dict[str, Any]] = {
    "habits": {"randomised_share": 0.0},
    "a fifth drawn": {},
    "one hour and a tenth drawn": {"randomised_share": 0.1, "single_hour": 10},
}
NOISY: dict[str, dict[str, Any]] = {
    "any hour": {},
    "at 3": {"noise_hours": [3]},
    "office hours": {"noise_hours": [9, 10, 11, 12]},
    "any hour, none drawn": {"randomised_share": 0.0},
    "few events, none drawn": {"randomised_share": 0.0, "behaviour_per_send": 0.3},
}
ONE_HOUR: dict[str, dict[str, Any]] = {
    "no behaviour": {"behaviour_per_send": 0.0},
    "behaviour": {},
    "half-noisy behaviour": {"noise_share": 0.5},
}


def run(scale: float = 1.0, seed: int = 202) -> list[Check]:
    """Compare every recommendation with the truth that generated it."""
    worlds = max(int(5 * scale), 2)
    subscribers = max(int(4_000 * scale), 1_500)
    checks = []
    for sends, target in SHARES.items():
        reached = np.array(list(_recommendations(worlds, subscribers, sends, seed)))
        checks.append(_check(f"share of the oracle's uplift at {sends} sends", reached[:, 0], target, ">="))
        if sends >= 10:
            checks.append(_check(f"calibration error at {sends} sends", reached[:, 1], 0.10, "<="))
    checks += _where_little_is_known(
        worlds, max(subscribers // 2, 1_000), SIZES[: max(int(len(SIZES) * scale), 2)], seed
    )
    return checks + _coverage(max(int(400 * scale), 40), subscribers, seed)


def _where_little_is_known(worlds: int, subscribers: int, sizes: Sequence[int], seed: int) -> list[Check]:
    checks = []
    for sends in sizes:
        for name, world in ONE_HOUR.items():
            told = {"randomised_share": 0.0, "single_hour": 10, **world}
            reached = np.array(list(_recommendations(worlds, subscribers, sends, seed, **told)))
            checks.append(_check(f"all mail at 10, {name}: moved, {sends} sends", reached[:, 2], 0.0, "<="))
        for name, world in NO_BEHAVIOUR.items():
            reached = np.array(
                list(_recommendations(worlds, subscribers, sends, seed, behaviour_per_send=0.0, **world))
            )
            checks.append(_check(f"no behaviour, {name}: share of uplift, {sends} sends", reached[:, 0], 0.0, ">="))
            checks.append(_check(f"no behaviour, {name}: calibration error, {sends} sends", reached[:, 1], 0.10, "<="))
        for name, world in NOISY.items():
            reached = np.array(list(_recommendations(worlds, subscribers, sends, seed, noise_share=0.5, **world)))
            checks.append(_check(f"half-noisy, {name}: calibration error, {sends} sends", reached[:, 1], 0.10, "<="))
    return checks


def _recommendations(
    worlds: int, subscribers: int, sends: int, seed: int, **told: Any
) -> Iterator[tuple[float, float, float]]:
    """Share of the oracle's uplift, calibration error and share of the subscribers who are moved, of each world."""
    for number in range(worlds):
        rng = np.random.default_rng([seed, sends, number])
        world = population(rng, subscribers=subscribers, sends=sends, **told)
        drawn = world.sends.with_columns(is_drawn="is_randomised")
        result = analyse_send_times([(world.hours, drawn)], as_of_day=TONIGHT).subscribers
        is_moved = result["recommended_local_hour"] != result["current_local_hour"]
        yield uplift_share(world, result), calibration_error(world, result), float(is_moved.to_numpy().mean())


def uplift_share(world: Population, result: pl.DataFrame) -> float:
    """Gain of the recommended over today's hour, as a share of the gain of each subscriber's true best hour."""
    chosen, now, best = _true_rates(world, result)
    return float((chosen - now).sum() / (best - now).sum())


def calibration_error(world: Population, result: pl.DataFrame) -> float:
    """Mean distance between the stated confidence and how often it was right, over tenths of confidence."""
    chosen, now, _ = _true_rates(world, result)
    stated = result["confidence_probability"].fill_null(1.0).to_numpy()
    right = chosen >= now
    tenth = np.minimum((stated * 10).astype(int), 9)
    return float(sum(abs((stated - right)[tenth == number].sum()) for number in range(10)) / len(stated))


def _true_rates(world: Population, result: pl.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    truth = world.truth[result["subscriber_key"].to_numpy()]
    row = np.arange(len(truth))
    chosen = truth[row, result["recommended_local_hour"].to_numpy()]
    return chosen, truth[row, result["current_local_hour"].to_numpy()], truth.max(axis=1)


def _coverage(runs: int, subscribers: int, seed: int) -> list[Check]:
    """Hours learned from the past, messages drawn afterwards: 60% of the audience explores every hour."""
    rng = np.random.default_rng([seed, 1])
    world = population(rng, subscribers=subscribers, sends=30)
    past = analyse_send_times([(world.hours, world.sends)], as_of_day=TONIGHT)
    chosen, now, _ = _true_rates(world, past.subscribers)
    true = chosen.mean() / now.mean() - 1
    inside: dict[str, list[bool]] = {"snips": [], "doubly robust": []}
    for _ in range(runs):
        logged = _logged(world, past.subscribers, rng)
        for row in evaluate_send_times(logged, past.subscribers, past.profiles, as_of_day=TONIGHT).iter_rows(
            named=True
        ):
            inside[row["estimator"]].append(row["engagement_lift_low"] <= true <= row["engagement_lift_high"])
    checks = []
    for estimator, hits in inside.items():
        checks.append(_check(f"coverage of the lift's interval, {estimator}", np.array(hits), 0.92, ">="))
        checks.append(_check(f"coverage not above, {estimator}", np.array(hits), 0.98, "<="))
    return checks


def _logged(world: Population, subscribers: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """Three messages to each subscriber: the recommended hour with 40%, else an hour drawn from all."""
    key = np.repeat(subscribers["subscriber_key"].to_numpy(), 3)
    recommended = np.repeat(subscribers["recommended_local_hour"].to_numpy(), 3)
    is_randomised = rng.random(len(key)) < 0.6
    hour = np.where(is_randomised, rng.integers(0, HOURS, len(key)), recommended)
    return pl.DataFrame(
        {
            "subscriber_key": key,
            "local_hour": hour,
            "is_engaged": rng.random(len(key)) < world.truth[key, hour],
            "propensity": 0.6 / HOURS + 0.4 * (hour == recommended),
        }
    )


def _check(measure: str, values: np.ndarray, target: float, direction: str) -> Check:
    error = float(values.std(ddof=1) / np.sqrt(len(values)))
    return Check(measure, float(values.mean()), target, direction, error)
