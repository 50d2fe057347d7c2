"""Experiments: tests looked at every night, in worlds whose truth is known."""

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import polars as pl
from scipy.stats import norm

from pipeline.analysis.experiments.draft import Metric
from pipeline.analysis.experiments.plan import ExperimentPlan, required_exposures
from pipeline.analysis.experiments.results import experiment_results
from pipeline.analysis.experiments.verdicts import experiment_verdicts
from pipeline.analysis.statistics.group_sequential import needed_drift
from pipeline.analysis.statistics.sample_ratio import sample_ratio_mismatch
from pipeline.schemas.vocabulary import MetricKind, MetricName
from tests.acceptance.simulations import Check

START = date(2026, 1, 1)
NIGHTS = 60
WINDOW_DAYS = 3
CLAIM = pl.col("is_significant")
ARMS = ("control", "b", "c", "d")
METRIC = str(MetricName.CONVERSION)


def make_plan(
    shares: tuple[float, ...], planned: int, *, lift: float = 0.1, kind: MetricKind = MetricKind.RATE
) -> ExperimentPlan:
    """A plan of 60 nights with the given total sample."""
    return ExperimentPlan(
        experiment_id="",
        workflow_id="w",
        step_id="s",
        hypothesis="",
        owner="",
        shares=tuple(zip(ARMS, shares, strict=False)),
        metrics=(Metric(METRIC, kind),),
        minimum_lift=lift,
        window_days=WINDOW_DAYS,
        alpha=0.05,
        power=0.9,
        start_day=START,
        planned_days=NIGHTS,
        planned_exposures=planned,
        end_day=START + timedelta(days=NIGHTS + WINDOW_DAYS + 14),
    )


def copies(plan: ExperimentPlan, replications: int) -> list[ExperimentPlan]:
    """The same plan for many independent tests."""
    return [replace(plan, experiment_id=f"{number:06d}") for number in range(replications)]


def moments_of(exposures: np.ndarray, total: np.ndarray, squares: np.ndarray | None = None) -> pl.DataFrame:
    """Moments of counts shaped (tests, nights, arms)."""
    tests, nights, arms = exposures.shape
    day = np.datetime64(START) + np.arange(nights)
    squares = total if squares is None else squares
    return pl.DataFrame(
        {
            "experiment_id": np.repeat([f"{number:06d}" for number in range(tests)], nights * arms),
            "metric": METRIC,
            "arm": np.tile(ARMS[:arms], tests * nights),
            "exposed_day": np.tile(np.repeat(day, arms), tests),
            "stratum": np.tile(np.repeat(np.arange(nights) // 7 * 2, arms), tests),
            "exposures": exposures.ravel(),
            "value_sum": total.ravel().astype(float),
            "value_squares": squares.ravel().astype(float),
            "second_sum": 0.0,
            "second_squares": 0.0,
            "cross_sum": 0.0,
        }
    ).with_columns(pl.col("exposed_day").cast(pl.Date))


def fixed_horizon(base: float, lift: float, shares: tuple[float, float]) -> int:
    """Exposures at which one look at the end has power .90."""
    sequential = required_exposures(
        (("control", shares[0]), ("b", shares[1])),
        baseline_mean=base,
        baseline_deviation=None,
        minimum_lift=lift,
        alpha=0.05,
        power=0.9,
        comparisons=1,
    )
    return round(sequential * ((norm.ppf(0.975) + norm.ppf(0.9)) / needed_drift(0.05, 0.9)) ** 2)


def draw(
    rng: np.random.Generator,
    replications: int,
    rates: tuple[float, ...] | np.ndarray,
    shares: tuple[float, ...] | np.ndarray,
    total: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Poisson exposures and binomial conversions, (tests, nights, arms); rates and shares broadcast to that."""
    nightly = np.asarray(shares) * total / NIGHTS
    exposures = rng.poisson(np.broadcast_to(nightly, (replications, NIGHTS, np.shape(shares)[-1])))
    return exposures, rng.binomial(exposures, np.broadcast_to(rates, exposures.shape))


def _share(flags: pl.Series) -> tuple[float, float]:
    rate = float(flags.mean())  # type: ignore[arg-type]
    return rate, float(np.sqrt(max(rate * (1 - rate), 1 / len(flags)) / len(flags)))


def ever_claimed(results: pl.DataFrame, claim: pl.Expr = CLAIM) -> pl.Series:
    """Per test: whether any night claims a difference."""
    return results.group_by("experiment_id").agg(claim.any())[:, 1]


def always_covered(results: pl.DataFrame, truth: float) -> pl.Series:
    """Per test: whether the intervals of all nights hold the truth."""
    covers = (pl.col("lift_low") <= truth) & (pl.col("lift_high") >= truth)
    return results.group_by("experiment_id").agg(covers.fill_null(True).all())[:, 1]


def null_cells(rng: np.random.Generator, replications: int) -> list[Check]:
    """Type I error of two-arm A/A tests, and coverage over all looks with a true lift."""
    checks = []
    for base in (0.005, 0.02, 0.1, 0.3):
        for shares in ((0.5, 0.5), (0.8, 0.2)):
            total = fixed_horizon(base, 0.1, shares)
            plan = make_plan(shares, total)
            results = experiment_results(
                moments_of(*draw(rng, replications, (base, base), shares, total)),
                copies(plan, replications),
                as_of_day=plan.end_day,
            )
            name = f"base {base:g}, {shares[0]:.0%}/{shares[1]:.0%}"
            rate, error = _share(ever_claimed(results))
            checks.append(Check(f"type I error, {name}", rate, 0.06, "<=", error))
            rate, error = _share(always_covered(results, 0.0))
            checks.append(Check(f"coverage over all looks, no lift, {name}", rate, 0.937, ">=", error))
            results = experiment_results(
                moments_of(*draw(rng, replications, (base, base * 1.1), shares, total)),
                copies(plan, replications),
                as_of_day=plan.end_day,
            )
            rate, error = _share(always_covered(results, 0.1))
            checks.append(Check(f"coverage over all looks, +10%, {name}", rate, 0.937, ">=", error))
            won = ever_claimed(results, pl.col("is_significant") & (pl.col("z_score") > 0))
            rate, error = _share(won)
            checks.append(Check(f"power, {name}", rate, 0.87, ">=", error))
            verdicts = experiment_verdicts(results, copies(plan, replications), as_of_day=plan.end_day)
            stops = verdicts["looks"]
            checks.append(
                Check(
                    f"mean night of the stop, {name}",
                    float(stops.mean()),  # type: ignore[arg-type]
                    40,
                    "<=",
                    float(stops.std()) / np.sqrt(len(stops)),  # type: ignore[arg-type]
                )
            )
    return checks


def many_arms(rng: np.random.Generator, replications: int) -> list[Check]:
    """Family-wise error with three and four arms."""
    checks = []
    for arms in (3, 4):
        shares = (1 / arms,) * arms
        plan = make_plan(shares, 30_000)
        counts = draw(rng, replications, (0.05,) * arms, shares, 30_000)
        results = experiment_results(moments_of(*counts), copies(plan, replications), as_of_day=plan.end_day)
        rate, error = _share(ever_claimed(results))
        checks.append(Check(f"family-wise error, {arms} arms", rate, 0.055, "<=", error))
    return checks


def ramped(rng: np.random.Generator, replications: int) -> list[Check]:
    """A split ramped from 5% to 50% while the base rate drifts; no effect."""
    treated = np.repeat([0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.5, 0.5], 7)[:NIGHTS]
    shares = np.stack([1 - treated, treated], axis=1)
    rates = np.repeat(np.linspace(0.04, 0.08, 9), 7)[:NIGHTS, None]
    plan = make_plan((0.5, 0.5), 40_000)
    counts = draw(rng, replications, rates, shares, 40_000)
    results = experiment_results(moments_of(*counts), copies(plan, replications), as_of_day=plan.end_day)
    rate, error = _share(ever_claimed(results))
    return [Check("type I error, ramped split", rate, 0.06, "<=", error)]


def amounts(
    rng: np.random.Generator, exposures: np.ndarray, buyers: float, sigma: float
) -> tuple[np.ndarray, np.ndarray]:
    """Sums and sums of squares of rare log-normal orders, capped at their 0.99 quantile as the product caps them."""
    bought = rng.binomial(exposures, buyers)
    orders = rng.lognormal(3.5, sigma, int(bought.sum())).clip(max=np.exp(3.5 + sigma * norm.ppf(0.99)))
    cell = np.repeat(np.arange(bought.size), bought.ravel())
    sums = [np.bincount(cell, weights=values, minlength=bought.size) for values in (orders, orders**2)]
    return sums[0].reshape(bought.shape), sums[1].reshape(bought.shape)


def revenue(rng: np.random.Generator, replications: int) -> list[Check]:
    """Type I error of a mean of rare, log-normal amounts, with a plan and open-ended, at equal and unequal shares."""
    total = 24_000
    checks = []
    for control in (0.5, 0.2, 0.1):
        for buyers in (0.02, 0.1):
            for sigma in (1.0, 1.5, 2.0):
                shares = (control, 1 - control)
                exposures = rng.poisson(np.array(shares) * total / NIGHTS, (replications, NIGHTS, 2))
                moments = moments_of(exposures, *amounts(rng, exposures, buyers, sigma))
                for is_open_ended in (False, True):
                    plan = replace(make_plan(shares, total, kind=MetricKind.MEAN), is_open_ended=is_open_ended)
                    results = experiment_results(moments, copies(plan, replications), as_of_day=plan.end_day)
                    rate, error = _share(ever_claimed(results))
                    way = "open-ended" if is_open_ended else "planned"
                    name = f"control {control:.0%}, {buyers:.0%} buy, sigma {sigma:g}, {way}"
                    checks.append(Check(f"type I error, revenue, {name}", rate, 0.055, "<=", error))
    return checks


def mismatches(rng: np.random.Generator, replications: int, daily: int, truth: float) -> tuple[float, float]:
    """Share of tests under a declared 50/50 that are called a mismatch, where the first arm gets `truth`."""
    everyone = rng.poisson(daily, (replications, NIGHTS))
    first = rng.binomial(everyone, truth)
    both = np.stack([first, everyone - first], axis=2)
    frame = moments_of(both, both).select("experiment_id", "arm", "exposures", day="exposed_day", share=pl.lit(0.5))
    return _share(sample_ratio_mismatch(frame).group_by("experiment_id").agg(pl.col("has_mismatch").any())[:, 1])


def sample_ratio(rng: np.random.Generator, replications: int) -> list[Check]:
    """False alarms of the declared split, and shares under a declared 50/50 that are found."""
    checks = []
    for daily in (30, 500):
        silent, error = mismatches(rng, 2 * replications, daily, 0.5)
        checks.append(Check(f"sample-ratio false alarms, {daily} a day", silent, 0.0015, "<=", error))
    for daily, truth, target in ((500, 0.52, 0.99), (30, 0.55, 0.71)):
        found, error = mismatches(rng, replications, daily, truth)
        name = f"{100 * truth:.0f}/{100 - 100 * truth:.0f} under a declared 50/50 found, {daily} a day"
        checks.append(Check(name, found, target, ">=", error))
    return checks


def nearly_all(rng: np.random.Generator, replications: int) -> list[Check]:
    """A rate of 99% in small arms: those who do not convert are the rare ones."""
    shares = (0.8, 0.2)
    plan = make_plan(shares, 1_200)
    counts = draw(rng, replications, (0.99, 0.99), shares, 1_200)
    results = experiment_results(moments_of(*counts), copies(plan, replications), as_of_day=plan.end_day)
    rate, error = _share(ever_claimed(results))
    return [Check("type I error, base 0.99, 1,200 people, 80%/20%", rate, 0.06, "<=", error)]


def few_past_tests(rng: np.random.Generator, workspaces: int, past: int = 5) -> list[Check]:
    """What a winner promises and delivers in workspaces with a handful of tests."""
    checks = []
    total, tests = 24_000, past + 1
    for spread in (0.05, 0.1):
        lifts = rng.normal(0, spread, workspaces * tests)
        rates = 0.05 * np.stack([np.ones(lifts.size), 1 + lifts], axis=1)[:, None, :]
        plan = make_plan((0.5, 0.5), total, lift=0.15)
        plans = copies(plan, lifts.size)
        counts = draw(rng, lifts.size, rates, (0.5, 0.5), total)
        results = experiment_results(moments_of(*counts), plans, as_of_day=plan.end_day)
        gaps, measured, true = [], [], []
        for workspace in range(workspaces):
            mine = plans[workspace * tests : (workspace + 1) * tests]
            of_mine = results.filter(pl.col("experiment_id").is_in([one.experiment_id for one in mine]))
            newest = experiment_verdicts(of_mine, mine, as_of_day=plan.end_day).row(-1, named=True)
            if newest["verdict"] == "winner":
                truth = lifts[(workspace + 1) * tests - 1]
                gaps.append(newest["shrunk_lift"] - truth)
                measured.append(newest["lift"])
                true.append(truth)
        name = f"{past} past tests, lifts of sd {spread:.0%}"
        told = f"measured {np.mean(measured):+.1%}, true {np.mean(true):+.1%}" if gaps else "no winner"
        error = float(np.std(gaps) / np.sqrt(len(gaps))) if gaps else 0.0
        gap = abs(float(np.mean(gaps))) if gaps else 0.0
        checks.append(Check(f"|shrunk - true| lift of winners, {name} ({told})", gap, 0.02, "<=", error))
    return checks


def winners(rng: np.random.Generator, replications: int) -> list[Check]:
    """What winners promise and deliver, in worlds of normal and of two-point lifts."""
    checks = []
    worlds = {
        "normal lifts, sd 10%": rng.normal(0, 0.1, replications),
        "normal lifts, sd 5%": rng.normal(0, 0.05, replications),
        "one in five +15%": np.where(rng.random(replications) < 0.2, 0.15, 0.0),
    }
    total = 24_000
    for name, lifts in worlds.items():
        rates = 0.05 * np.stack([np.ones(replications), 1 + lifts], axis=1)[:, None, :]
        plan = make_plan((0.5, 0.5), total, lift=0.15)
        plans = copies(plan, replications)
        results = experiment_results(
            moments_of(*draw(rng, replications, rates, (0.5, 0.5), total)), plans, as_of_day=plan.end_day
        )
        verdicts = experiment_verdicts(results, plans, as_of_day=plan.end_day).sort("experiment_id")
        won = (verdicts["verdict"] == "winner").to_numpy()
        gap = verdicts["shrunk_lift"].to_numpy()[won] - lifts[won]
        error = float(gap.std() / np.sqrt(won.sum()))
        promised = float(verdicts["lift"].to_numpy()[won].mean())
        label = f"|shrunk - true| lift of winners, {name} (measured {promised:+.1%}, true {lifts[won].mean():+.1%})"
        checks.append(Check(label, abs(float(gap.mean())), 0.02, "<=", error))
    return checks


def run(scale: float = 1.0, seed: int = 20260101) -> list[Check]:
    """Compare errors, coverage and power with what is promised; at `scale` 1 with 4,000 tests a cell."""
    rng = np.random.default_rng(seed)
    replications = max(50, round(4_000 * scale))
    return [
        *null_cells(rng, replications),
        *many_arms(rng, replications),
        *ramped(rng, replications),
        *revenue(rng, max(50, replications // 8)),
        *sample_ratio(rng, replications),
        *nearly_all(rng, replications),
        *winners(rng, replications),
        *few_past_tests(rng, max(20, replications // 2)),
    ]
