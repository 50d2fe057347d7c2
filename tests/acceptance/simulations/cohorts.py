"""Cohorts: triangles whose cohorts are alike, scatter, or differ, with conversions that take weeks and exits."""

from datetime import date, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline.analysis.cohorts.comparison import (
    MINIMUM_FOLLOWED,
    TREND_P_VALUE,
    cohort_comparison,
    cohort_insights,
    trend,
)
from pipeline.analysis.cohorts.triangles import cohort_triangles
from tests.acceptance.simulations import Check

TONIGHT = date(2026, 6, 30)
WEEKS = 16
Floats = NDArray[np.float64]


def triangle_cells(
    random: np.random.Generator, rates: Floats, sizes: NDArray[np.int64], *, days: int = 28, exit_rate: float = 0.05
) -> tuple[pl.DataFrame, NDArray[np.int64]]:
    """Cells of cohorts entering over `days` days each, one after the other, the last one still entering.

    Args:
        random: source of chance.
        rates: probability to convert within the triangle's weeks, per cohort.
        sizes: entrants per cohort.
        days: days a cohort enters over.
        exit_rate: probability to unsubscribe within them instead.

    Returns:
        The reduction's cells (of the whole life, past tonight too) and the conversions that tonight's entrants of each
        cohort will have had in the end.
    """
    timing = 0.75 ** np.arange(WEEKS)
    timing /= timing.sum()
    cohorts = len(rates)
    first = TONIGHT - timedelta(days=days * cohorts - days // 2)
    final = np.zeros(cohorts, dtype=np.int64)
    entrants = np.zeros((cohorts, days, WEEKS), dtype=np.int64)
    drawn = np.zeros((cohorts, days, 2 * WEEKS), dtype=np.int64)
    for cohort in range(cohorts):
        outcome = np.concatenate([rates[cohort] * timing, exit_rate * timing, [1 - rates[cohort] - exit_rate]])
        entrants[cohort, :, 0] = random.multinomial(sizes[cohort], np.full(days, 1 / days))
        drawn[cohort] = random.multinomial(entrants[cohort, :, 0], outcome)[:, : 2 * WEEKS]
        here = first + timedelta(days=days * cohort)
        final[cohort] = drawn[cohort, : max((TONIGHT - here).days + 1, 0), :WEEKS].sum()
    of, offset, age = (axis.ravel() for axis in np.indices(entrants.shape))
    frame = pl.DataFrame(
        {
            "cohort": np.array([f"c{cohort:02d}" for cohort in range(cohorts)])[of],
            "day": np.datetime64(first) + days * of + offset,
            "age_weeks": age,
            "entrants": entrants.ravel(),
            "conversions": drawn[:, :, :WEEKS].ravel(),
            "exits": drawn[:, :, WEEKS:].ravel(),
        }
    ).with_columns(cohort_type=pl.lit("signup_date"), workflow_id=pl.lit("w"))
    return frame, final


def _sizes(random: np.random.Generator, cohorts: int) -> NDArray[np.int64]:
    return np.exp(random.normal(np.log(1_500), 0.7, cohorts)).clip(150, 12_000).astype(np.int64)


def _base(random: np.random.Generator) -> float:
    return float(np.exp(random.uniform(np.log(0.02), np.log(0.2))))


def _proportion(hits: float, trials: float) -> tuple[float, float]:
    share = hits / max(trials, 1)
    return share, float(np.sqrt(max(share * (1 - share), 1 / max(trials, 1) / 4) / max(trials, 1)))


def _inside(frame: pl.DataFrame, name: str, truth: Floats) -> float:
    """How many true values lie between a rate's bounds."""
    low, high = frame[f"{name}_low"].to_numpy(), frame[f"{name}_high"].to_numpy()
    return float(((low <= truth) & (truth <= high)).sum())


def _world(random: np.random.Generator, kind: str) -> tuple[Floats, NDArray[np.int64]]:
    cohorts = int(random.integers(8, 15))
    base = _base(random)
    if kind == "null":
        effect = np.ones(cohorts)
    elif kind == "scatter":
        effect = np.exp(random.normal(0, 0.15, cohorts))
    else:
        effect = np.where(random.random(cohorts) < 0.25, random.choice([0.65, 1.4], cohorts), 1.0)
    return base * effect, _sizes(random, cohorts)


def _numbered(compared: pl.DataFrame) -> list[dict[str, int]]:
    number = pl.col("cohort").str.slice(1).cast(pl.Int64)
    return compared.select("age_weeks", number=number).to_dicts()


def _median_of_others(grown: pl.DataFrame, rates: Floats, row: dict[str, int]) -> float:
    """The median of the true rates of the other cohorts with enough entrants followed to the row's age.

    Of two in the middle it is the nearer one.
    """
    there = grown.filter((pl.col("age_weeks") == row["age_weeks"]) & (pl.col("followed") >= MINIMUM_FOLLOWED))
    numbers = there["cohort"].str.slice(1).cast(pl.Int64).to_numpy()
    others = np.sort(rates[numbers[numbers != row["number"]]])
    return float(np.clip(rates[row["number"]], others[(len(others) - 1) // 2], others[len(others) // 2]))


def run(scale: float = 1.0, seed: int = 5_000) -> list[Check]:
    """Triangles of 8-14 four-week cohorts; the last one is half in, so the young ones are projected."""
    triangles = max(8, round(250 * scale))
    counted: dict[str, list[float]] = {}

    def note(name: str, hits: float, trials: float) -> None:
        found = counted.setdefault(name, [0.0, 0.0])
        found[0] += hits
        found[1] += trials

    ratios: list[float] = []
    for number in range(triangles):
        for place, kind in enumerate(("null", "scatter", "mixed")):
            random = np.random.default_rng((seed, number, place))
            rates, sizes = _world(random, kind)
            cells, final = triangle_cells(random, rates, sizes)
            grown = cohort_triangles(cells, as_of_day=TONIGHT, weeks=WEEKS)
            comparison = cohort_comparison(grown, as_of_day=TONIGHT)
            insights = cohort_insights(comparison, as_of_day=TONIGHT)
            compared = comparison.filter(pl.col("status") == "ok")
            if compared.is_empty():
                continue
            of = compared["cohort"].str.slice(1).cast(pl.Int64).to_numpy()
            timing = np.cumsum(0.75 ** np.arange(WEEKS))
            true = rates[of] * timing[compared["age_weeks"].to_numpy()] / timing[-1]
            off = np.array(
                [rates[row["number"]] / _median_of_others(grown, rates, row) - 1 for row in _numbered(compared)]
            )
            shared = compared.filter(pl.col("age_weeks") == pl.col("age_weeks").max())
            followed = shared["followed"].to_numpy()
            note("coverage", _inside(compared, "shrunk_rate", true), len(true))
            note("raw coverage", _inside(compared, "conversion_rate", true), len(true))
            if kind == "null":
                note("false insight", float(insights.height > 0), 1)
            else:
                truth = dict(zip(compared["cohort"], off, strict=True))
                said = insights.drop_nulls("cohort")
                side = np.where(said["insight_kind"].to_numpy() == "above others", 1, -1)
                wrong = int((side * np.array([truth[cohort] for cohort in said["cohort"]]) <= 0.1).sum())
                note("false discoveries", wrong, said.height)
                is_old = (compared["age_weeks"] == compared["age_weeks"].max()).to_numpy()
                really = (np.abs(off) > 0.25) & is_old
                note("power", len(set(said["cohort"]) & set(compared["cohort"].to_numpy()[really])), really.sum())
            if kind == "scatter":
                found = trend(shared["conversions"].to_numpy().astype(float), followed.astype(float))
                note("trend", float(found.p_value < TREND_P_VALUE), 1)
                note("trend 5", float(found.p_value < 0.05), 1)
            young = grown.filter((pl.col("age_weeks") == WEEKS - 1) & pl.col("is_projected"))
            which = young["cohort"].str.slice(1).cast(pl.Int64).to_numpy()
            entrants = young["entrants"].to_numpy()
            ratios.append(float((young["projected_rate"].to_numpy() * entrants).sum() / final[which].sum()))
            note("projection coverage", _inside(young, "projected_rate", final[which] / entrants), len(which))

    ratio, ratio_error = float(np.mean(ratios)), float(np.std(ratios, ddof=1) / np.sqrt(len(ratios)))
    targets = [
        ("false insight", "all-null triangles with any insight", 0.02, "<="),
        ("false discoveries", "false discovery proportion of cohorts that differ from the others", 0.06, "<="),
        ("coverage", "coverage of shrunk rates", 0.93, ">="),
        ("raw coverage", "coverage of the cohorts' own rates", 0.93, ">="),
        ("projection coverage", "coverage of projections", 0.93, ">="),
        ("trend", "false trends where cohorts scatter", 0.02, "<="),
        ("trend 5", "slope p < .05 where cohorts scatter", 0.06, "<="),
        ("power", "cohorts of full age more than 25% off that are named", 0.5, ">="),
    ]
    checks = []
    for name, measure, target, direction in targets:
        share, error = _proportion(*counted.get(name, [0.0, 0.0]))
        checks.append(Check(measure, share, target, direction, error))
    return [
        *checks,
        Check("projected / true conversions", ratio, 0.97, ">=", ratio_error),
        Check("projected / true conversions", ratio, 1.03, "<=", ratio_error),
    ]
