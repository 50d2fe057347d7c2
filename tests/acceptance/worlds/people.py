"""Worlds of people: tests, cohorts and delays with odd rates, amounts and sizes."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline.analysis.cohorts.comparison import cohort_comparison, cohort_insights
from pipeline.analysis.cohorts.triangles import cohort_triangles
from pipeline.analysis.delays.recommendations import analyse_delays
from pipeline.analysis.experiments.results import experiment_results
from pipeline.analysis.experiments.verdicts import experiment_verdicts
from pipeline.schemas.vocabulary import MetricKind, Verdict
from tests.acceptance.simulations import cohorts, delays, experiments
from tests.acceptance.worlds import Told

ALPHA = 0.0005
"""So small that chance makes no verdict in 200 runs."""
NIGHTLY = 150
CLAIMS = (Verdict.WINNER, Verdict.HARM, Verdict.FUTILE)


def verdict(
    totals: NDArray[np.float64],
    squares: NDArray[np.float64] | None = None,
    *,
    kind: MetricKind = MetricKind.RATE,
    nightly: int = NIGHTLY,
) -> str:
    """The verdict of one test with as many people in both arms each night, from outcomes by night and arm."""
    planned = experiments.make_plan((0.5, 0.5), 2 * nightly * experiments.NIGHTS, kind=kind)
    plan = replace(planned, alpha=ALPHA, experiment_id="000000")
    exposures = np.full((1, experiments.NIGHTS, 2), nightly)
    moments = experiments.moments_of(exposures, totals[None], None if squares is None else squares[None])
    results = experiment_results(moments, [plan], as_of_day=plan.end_day)
    return str(experiment_verdicts(results, [plan], as_of_day=plan.end_day).item(0, "verdict"))


def _a_difference(random: np.random.Generator, low: float, high: float) -> Told:
    """Beside an odd metric an ordinary one with a large lift, which is to be found."""
    clicks = random.binomial(NIGHTLY, (low, high), (experiments.NIGHTS, 2))
    return Told(0, 1, int(verdict(clicks) == Verdict.WINNER))


def _denied(said: str) -> Told:
    """Arms that are alike: every verdict that tells them apart is denied."""
    return Told(int(said in CLAIMS), 0, 0)


def arms_at_all(random: np.random.Generator) -> Told:
    """Everybody converts in both arms."""
    return _denied(verdict(np.full((experiments.NIGHTS, 2), NIGHTLY))) + _a_difference(random, 0.90, 0.98)


def arms_without_variance(random: np.random.Generator) -> Told:
    """Everybody pays the same amount in both arms."""
    paid = np.full((experiments.NIGHTS, 2), 10.0 * NIGHTLY)
    return _denied(verdict(paid, 10 * paid, kind=MetricKind.MEAN)) + _a_difference(random, 0.1, 0.2)


def arms_without_orders(random: np.random.Generator) -> Told:
    """Nobody buys in any arm."""
    nothing = np.zeros((experiments.NIGHTS, 2))
    no_money = verdict(nothing, nothing, kind=MetricKind.MEAN)
    return _denied(verdict(nothing)) + _denied(no_money) + _a_difference(random, 0.1, 0.2)


def one_person(random: np.random.Generator) -> Told:
    """One person of the second arm has 50,000 orders; all others buy alike."""
    bought = random.binomial(NIGHTLY, 0.05, (experiments.NIGHTS, 2)).astype(float)
    whale = np.zeros_like(bought)
    whale[10, 1] = 50_000.0
    revenue = verdict(10 * (bought + whale), 100 * (bought + whale**2), kind=MetricKind.MEAN)
    return _denied(revenue) + _a_difference(random, 0.1, 0.2)


def arms_of_three(random: np.random.Generator) -> Told:
    """One or two people in each arm in all."""
    few = np.zeros((experiments.NIGHTS, 2))
    few[:2] = random.binomial(1, 0.5, (2, 2))
    return _denied(verdict(few, nightly=1))


def an_imported_cohort(random: np.random.Generator) -> Told:
    """Of eight cohorts one is an import of 100,000 who hardly convert; the others are alike."""
    imported = int(random.integers(1, 6))
    rates, sizes = np.full(8, 0.25), np.full(8, 6_000)
    rates[imported], sizes[imported] = 0.05, 100_000
    cells, _ = cohorts.triangle_cells(random, rates, sizes)
    named = set(_insights(cells).drop_nulls("cohort")["cohort"])
    return Told(len(named - {f"c{imported:02d}"}), 1, int(f"c{imported:02d}" in named))


def cohorts_without_orders(random: np.random.Generator) -> Told:
    """No cohort ever converts."""
    cells, _ = cohorts.triangle_cells(random, np.zeros(8), np.full(8, 3_000))
    return Told(_insights(cells).height, 0, 0)


def _insights(cells: pl.DataFrame) -> pl.DataFrame:
    grown = cohort_triangles(cells, as_of_day=cohorts.TONIGHT, weeks=cohorts.WEEKS)
    return cohort_insights(cohort_comparison(grown, as_of_day=cohorts.TONIGHT), as_of_day=cohorts.TONIGHT)


def delays_without_orders(random: np.random.Generator) -> Told:
    """Nobody converts after any delay."""
    world = delays.transition(delays.CURVES["early"], random)
    return _delays(world.outcomes.with_columns(conversions=pl.lit(0, dtype=pl.Int64)), world.current)


def delays_of_three(random: np.random.Generator) -> Told:
    """Three entrants in all."""
    world = delays.transition(delays.CURVES["early"], random, entrants=3)
    return _delays(world.outcomes, world.current)


def _delays(outcomes: pl.DataFrame, current: pl.DataFrame) -> Told:
    results = analyse_delays(outcomes, current, as_of_day=delays.TONIGHT + timedelta(days=1))
    return Told(results.recommendations.filter(pl.col("action") == "change").height, 0, 0)
