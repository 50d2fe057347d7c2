"""Whole cycles of a change: a test finds a winner, its shrunk lift is promised, and the hold-out shows the real one."""

import numpy as np
import polars as pl

from pipeline.analysis.experiments.results import experiment_results
from pipeline.analysis.experiments.verdicts import experiment_verdicts
from pipeline.optimizations.realised import realised_lift
from tests.acceptance.simulations import Check
from tests.acceptance.simulations.experiments import copies, draw, make_plan, moments_of
from tests.worlds.applied import Step, facts, night, record, written

CYCLES = 1_000
BASE, SPREAD = 0.05, 0.1
SAMPLE = 24_000
#: A step as busy as that of the test, measured for two months.
STEP = Step(per_day=400, days_after=60, rate=BASE)
TESTS_A_WINNER = 12


def promises(rng: np.random.Generator, cycles: int) -> tuple[np.ndarray, np.ndarray]:
    """Promised and true lifts of the first winners of a workspace of tests."""
    tests = TESTS_A_WINNER * cycles
    truth = rng.normal(0, SPREAD, tests)
    rates = BASE * np.stack([np.ones(tests), 1 + truth], axis=1)[:, None, :]
    plan = make_plan((0.5, 0.5), SAMPLE, lift=0.15)
    plans = copies(plan, tests)
    counts = moments_of(*draw(rng, tests, rates, (0.5, 0.5), SAMPLE))
    results = experiment_results(counts, plans, as_of_day=plan.end_day)
    verdicts = experiment_verdicts(results, plans, as_of_day=plan.end_day).sort("experiment_id")
    won = np.flatnonzero(verdicts["verdict"] == "winner")[:cycles]
    return verdicts["shrunk_lift"].to_numpy()[won], truth[won]


def realised(rng: np.random.Generator, promised: np.ndarray, truth: np.ndarray) -> pl.DataFrame:
    """Per cycle the last night's lift with its interval, and whether the intervals of all nights hold the truth."""
    rows = []
    for number, (promise, true) in enumerate(zip(promised.tolist(), truth.tolist(), strict=True)):
        of = record(number, promised=promise)
        step = Step(**{**vars(STEP), "lift": true})
        world = facts(rng, of, step)
        nights = realised_lift([of], world, written(of, world), as_of_day=night(step)).filter(
            pl.col("role") == "primary"
        )
        holds = (pl.col("realised_lift_low") <= true) & (pl.col("realised_lift_high") >= true)
        last = nights.filter("is_latest").select("realised_lift", "outcome", is_covered=holds.fill_null(True))
        rows.append(
            last.with_columns(is_always_covered=pl.lit(bool(nights.select(holds.fill_null(True).all()).item())))
        )
    return pl.concat(rows)


def run(scale: float = 1.0, seed: int = 20260901) -> list[Check]:
    """Compare promised and realised lifts; at `scale` 1 of 1,000 cycles, as 200 give the mean only to a tenth."""
    rng = np.random.default_rng(seed)
    promised, truth = promises(rng, max(20, round(CYCLES * scale)))
    found = realised(rng, promised, truth)
    gap = found["realised_lift"].to_numpy() - promised
    bias, error = abs(gap.mean()) / promised.mean(), gap.std() / np.sqrt(len(gap)) / promised.mean()
    means = f"promised {promised.mean():+.1%}, true {truth.mean():+.1%}"
    label = f"|realised - promised| / promised, {len(gap)} cycles ({means})"
    checks = [Check(label, float(bias), 0.1, "<=", float(error))]
    for column, name in (("is_covered", "on the last night"), ("is_always_covered", "on all nights")):
        share = float(found[column].mean())  # type: ignore[arg-type]
        error = float(np.sqrt(max(share * (1 - share), 1 / len(found)) / len(found)))
        checks.append(Check(f"realised interval covers the truth {name}", share, 0.93, ">=", error))
    harmed = float((found["outcome"] == "harm").mean())
    return [*checks, Check("winners taken for harmful", harmed, 0.05, "<=")]
