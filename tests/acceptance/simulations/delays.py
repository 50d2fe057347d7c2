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
SEGMENT_RATES = np.array([0.06, 0.12, 0.24])
"""About 1,100 of 10,000 entrants convert, which is more than a comparison needs."""
SEGMENT_SHARES = np.array([0.5, 0.3, 0.2])
BLOCK_FACTORS = np.array([1.0, 0.9, 1.2, 0.8])
#: Mean conversion rate and entrants of flows in which few convert. With 10,000 entrants too few do to compare delays.
LOW_BASES = ((0.01, 10_000), (0.02, 10_000), (0.01, 100_000), (0.02, 50_000))


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
    curve: np.ndarray,
    rng: np.random.Generator,
    *,
    entrants: int = 10_000,
    is_randomised: bool = True,
    base: float | None = None,
    name: str = "",
) -> World:
    """Entrants over segments and blocks; unless randomised, eager segments get short delays and the mix drifts.

    `base` is the mean conversion rate of a flat curve; None leaves the rates of the segments as they are.
    """
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
    levels = SEGMENT_RATES if base is None else SEGMENT_RATES * base / (SEGMENT_RATES @ SEGMENT_SHARES)
    rates = levels[:, None, None] * BLOCK_FACTORS[None, :, None] * curve
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
        told = group.filter("is_told")
        checks.append(_mean(f"{label}: coverage of the improvement's interval", told["is_covered"], 0.92, ">="))
        covered = group["curve_coverage"].drop_nulls()
        checks.append(_mean(f"{label}: coverage of the curve's intervals", covered, 0.92, ">="))
        checks.append(_mean(f"{label}: worse than now", group["is_worse"], 0.05, "<="))
        honesty = told["claimed"] - told["true"]
        checks.append(Check(f"{label}: |claimed - true|", abs(_average(honesty)), 0.10, "<=", _error(honesty)))
    checks.append(_mean("mean regret", rows["regret"], 0.03, "<="))
    flat = rows.filter(pl.col("curve").str.starts_with("flat"))
    checks.append(_mean("claim on the flat curve", flat["claimed"], 0.06, "<="))
    checks.append(_mean("flat curve acted on", flat["is_acted"], 0.07, "<="))
    tested = rows.filter("is_tested")
    checks.append(_mean("improvement told while a test is proposed", tested["is_told"], 0.0, "<="))
    return checks + _at_low_bases(runs, seed)


def _at_low_bases(runs: int, seed: int) -> list[Check]:
    """Flat curves of flows in which few convert: what is claimed, and how often it is acted on."""
    checks = []
    for number, (base, entrants) in enumerate(LOW_BASES):
        rng = np.random.default_rng([seed, 100 + number])
        worlds = (
            transition(CURVES["flat"], rng, entrants=entrants, base=base, is_randomised=run % 2 == 0)
            for run in range(runs)
        )
        flat = pl.DataFrame([_judge(world) for world in worlds])
        where = f"of a flat curve, {base:.0%} of {entrants:,} convert"
        checks.append(_mean(f"claim {where}", flat["claimed"], 0.05, "<="))
        checks.append(_mean(f"change {where}", flat["is_acted"], 0.05, "<="))
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
    """What was recommended against the truth. Where nothing is recommended the delay stays, and nothing is claimed."""
    results = analyse_delays(world.outcomes, world.current, as_of_day=TONIGHT)
    row = results.recommendations.row(0, named=True)
    now = world.effect(world.current_delay)
    is_told = row["improvement"] is not None
    wanted = row["recommended_delay_hours"]
    true = 0.0 if wanted is None else world.effect(wanted) / now - 1
    tolerance = 1e-9
    is_covered = is_told and row["improvement_low"] - tolerance <= true <= row["improvement_high"] + tolerance
    return {
        "regret": 1 - (1 + true) * now / world.effects.max(),
        "claimed": row["improvement"] or 0.0,
        "true": true,
        "is_told": is_told,
        "is_covered": is_covered,
        "curve_coverage": _share_covered(world, results.curves),
        "is_acted": row["action"] == "change",
        "is_worse": row["action"] == "change" and true < -tolerance,
        "is_tested": row["action"] == "test",
    }


def _share_covered(world: World, curves: pl.DataFrame) -> float | None:
    """Share of the intervals of ratios to today's delay that hold the truth; None where nothing was compared."""
    ratios = curves.filter(~pl.col("is_current") & pl.col("ratio_to_current").is_not_null())
    truth = np.array([world.effect(delay) / world.effect(world.current_delay) for delay in ratios["delay_hours"]])
    low, high = (ratios[f"ratio_to_current_{end}"].to_numpy() for end in ("low", "high"))
    return float(((low <= truth) & (truth <= high)).mean()) if ratios.height else None


def _mean(measure: str, values: pl.Series, target: float, direction: str) -> Check:
    return Check(measure, _average(values), target, direction, _error(values))


def _average(values: pl.Series) -> float:
    return float(values.cast(pl.Float64).to_numpy().mean())


def _error(values: pl.Series) -> float:
    numbers = values.cast(pl.Float64).to_numpy()
    return float(numbers.std(ddof=1) / np.sqrt(len(numbers)))
