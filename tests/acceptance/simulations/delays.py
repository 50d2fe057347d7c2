"""Delays: regret, claims on a flat curve, coverage and honesty of the improvement, on curves with a known truth."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from pipeline.analysis.delays.recommendations import analyse_delays
from tests.acceptance.simulations import Check

TONIGHT = date(2026, 3, 1)
DELAYS = np.array([6.0, 12.0, 24.0, 48.0, 72.0, 96.0, 168.0])
CURVES = {
    "peak": np.array([0.75, 0.85, 1.0, 1.35, 1.05, 0.9, 0.75]),
    "early": np.array([1.5, 1.35, 1.15, 1.0, 0.85, 0.75, 0.6]),
    "plateau": np.array([0.7, 0.9, 1.1, 1.12, 1.12, 1.1, 0.95]),
    "flat": np.ones(7),
    "two humps": np.array([0.9, 1.25, 1.0, 0.8, 1.0, 1.3, 0.9]),
}
SEGMENT_RATES = np.array([0.04, 0.08, 0.16])
SEGMENT_SHARES = np.array([0.5, 0.3, 0.2])
BLOCK_FACTORS = np.array([1.0, 0.9, 1.2, 0.8])


@dataclass(frozen=True)
class World:
    """One simulated transition with its truth: `effects` per delay and the delay used now."""

    name: str
    outcomes: pl.DataFrame
    current: pl.DataFrame
    effects: np.ndarray
    current_delay: float

    def effect(self, delay: float) -> float:
        """True relative conversion of a delay."""
        return float(self.effects[np.flatnonzero(delay == DELAYS)[0]])


def transition(
    curve: np.ndarray, rng: np.random.Generator, *, entrants: int = 10_000, is_randomised: bool = True, name: str = ""
) -> World:
    """Entrants over segments and blocks; unless randomised, eager segments get short delays and the mix drifts."""
    current = int(rng.integers(len(DELAYS)))
    shares = np.tile(rng.dirichlet(np.full(len(DELAYS), 8.0)), (3, 4, 1))
    if not is_randomised:
        tilt = np.linspace(1, -1, len(DELAYS))
        eagerness = np.array([-0.6, 0.0, 0.6])[:, None, None]
        drift = np.linspace(-0.4, 0.4, 4)[None, :, None]
        shares = shares * np.exp((eagerness + drift) * tilt)
    shares[:, :, current] *= 2
    shares /= shares.sum(axis=2, keepdims=True)
    cells = (SEGMENT_SHARES[:, None, None] / 4) * shares
    counts = rng.multinomial(entrants, cells.ravel()).reshape(cells.shape)
    rates = SEGMENT_RATES[:, None, None] * BLOCK_FACTORS[None, :, None] * curve
    conversions = rng.binomial(counts, np.minimum(rates, 1))
    segment, block, delay = np.indices(cells.shape)
    keys = {"workflow_id": "w", "from_step_id": "a", "to_step_id": "b"}
    outcomes = pl.DataFrame(
        {
            **{key: [value] * cells.size for key, value in keys.items()},
            "segment": [f"s{number}" for number in segment.ravel()],
            "entry_block": block.ravel(),
            "assigned_delay_hours": DELAYS[delay.ravel()],
            "entrants": counts.ravel(),
            "conversions": conversions.ravel(),
            "is_randomised": [is_randomised] * cells.size,
        }
    )
    current_delays = pl.DataFrame({**{k: [v] for k, v in keys.items()}, "current_delay_hours": [DELAYS[current]]})
    return World(name, outcomes, current_delays, curve, float(DELAYS[current]))


def run(scale: float = 1.0, seed: int = 303) -> list[Check]:
    """Compare every recommendation with the truth that generated it."""
    runs = max(int(250 * scale), 10)
    rows = pl.DataFrame(list(_replications(runs, seed)))
    checks = []
    for (name,), group in rows.group_by("curve", maintain_order=True):
        label = str(name)
        checks.append(_mean(f"{label}: coverage of the improvement's interval", group["is_covered"], 0.92, ">="))
        checks.append(_mean(f"{label}: coverage of the curve's intervals", group["curve_coverage"], 0.92, ">="))
        checks.append(_mean(f"{label}: worse than now", group["is_worse"], 0.05, "<="))
        honesty = group["claimed"] - group["true"]
        checks.append(Check(f"{label}: |claimed - true|", abs(_average(honesty)), 0.10, "<=", _error(honesty)))
    checks.append(_mean("mean regret", rows["regret"], 0.03, "<="))
    flat = rows.filter(pl.col("curve").str.starts_with("flat"))
    checks.append(_mean("claim on the flat curve", flat["claimed"], 0.06, "<="))
    checks.append(_mean("flat curve acted on", flat["is_acted"], 0.07, "<="))
    return checks


def _replications(runs: int, seed: int) -> Iterator[dict[str, object]]:
    for is_randomised in (True, False):
        for number, (name, curve) in enumerate(CURVES.items()):
            rng = np.random.default_rng([seed, number, is_randomised])
            for _ in range(runs):
                world = transition(curve, rng, is_randomised=is_randomised)
                label = name if is_randomised else f"{name}, confounded"
                yield {"curve": label, **_judge(world)}


def _judge(world: World) -> dict[str, object]:
    results = analyse_delays(world.outcomes, world.current, as_of_day=TONIGHT)
    row = results.recommendations.row(0, named=True)
    now = world.effect(world.current_delay)
    true = world.effect(row["recommended_delay_hours"]) / now - 1
    ratios = results.curves.filter(~pl.col("is_current"))
    truth = np.array([world.effect(delay) / now for delay in ratios["delay_hours"]])
    inside = (ratios["ratio_to_current_low"].to_numpy() <= truth) & (
        truth <= ratios["ratio_to_current_high"].to_numpy()
    )
    tolerance = 1e-9
    return {
        "regret": 1 - (1 + true) * now / world.effects.max(),
        "claimed": row["improvement"],
        "true": true,
        "is_covered": row["improvement_low"] - tolerance <= true <= row["improvement_high"] + tolerance,
        "curve_coverage": float(inside.mean()),
        "is_acted": row["action"] == "change",
        "is_worse": row["action"] == "change" and true < -tolerance,
    }


def _mean(measure: str, values: pl.Series, target: float, direction: str) -> Check:
    return Check(measure, _average(values), target, direction, _error(values))


def _average(values: pl.Series) -> float:
    return float(values.cast(pl.Float64).to_numpy().mean())


def _error(values: pl.Series) -> float:
    numbers = values.cast(pl.Float64).to_numpy()
    return float(numbers.std(ddof=1) / np.sqrt(len(numbers)))
