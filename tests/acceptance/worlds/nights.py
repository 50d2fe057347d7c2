"""Worlds of nights: counts by day and step, through forecasts, incidents and opportunities."""

from collections.abc import Callable, Sequence
from datetime import date, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline.analysis.anomalies.history import watched_history
from pipeline.analysis.anomalies.incidents import anomalies
from pipeline.analysis.anomalies.nights import anomaly_baselines
from pipeline.analysis.opportunities.ranking import Findings, opportunities
from pipeline.optimizations.proposals.anomalies import GRAVE
from pipeline.schemas.base import empty
from pipeline.schemas.cohorts import CohortComparison
from pipeline.schemas.decisions import PolicyValues
from pipeline.schemas.experiments import ExperimentResults, ExperimentVerdicts, Holdouts
from pipeline.schemas.loop import Optimizations
from pipeline.schemas.performance import Bottlenecks
from pipeline.schemas.timing import DelayRecommendations, SendTimeLift
from tests.acceptance.worlds import Told

FIRST = date(2026, 1, 5)
DAYS = 126
LEARNT = 70
"""From this day on every alarm is a claim. Before it a rhythm has hardly been seen."""
STOP_DAYS = 15
STEPS = (("flow", "one"), ("flow", "two"), ("flow", "three"), ("other", "one"))
HIT = STEPS[1]
"""The step that stops in the end."""
RATES = {"prompt_human_clicks": 0.12, "conversions": 0.03, "unsubscribes": 0.002, "complaints": 0.0003}
Counts = dict[str, NDArray[np.int64]]
CELLS = {"cohort_type": pl.String, "workflow_id": pl.String, "cohort": pl.String, "day": pl.Date, "entrants": pl.Int64}


def account(
    random: np.random.Generator,
    *,
    days: int = DAYS,
    daily: float = 300.0,
    course: NDArray[np.float64] | float = 1.0,
    spread: float = 0.02,
    **rates: float,
) -> Counts:
    """Counts by day and step, (days, steps): sends with noise of their days, and what came of them.

    Args:
        course: factor of the sends, in days, or in days and steps.
        spread: squared coefficient of variation of a day; 0 for none at all, and no chance either.
        rates: other rates than usual.
    """
    shape = (days, len(STEPS))
    by_day = np.asarray(course, dtype=float)
    mean = daily * np.broadcast_to(by_day[:, None] if by_day.ndim == 1 else by_day, shape)
    noisy = mean * random.gamma(1 / spread, spread, shape) if spread else mean
    sent = random.poisson(noisy) if spread else np.round(mean).astype(np.int64)
    counts = {"sent": sent, "entries": sent.copy(), "delivered": sent.copy(), "hard_bounces": np.zeros_like(sent)}
    for name, rate in {**RATES, **rates}.items():
        counts[name] = random.binomial(sent, rate) if spread and rate < 1 else np.round(sent * rate).astype(np.int64)
    return counts


def stopped(counts: Counts, names: Sequence[str] = ("sent", "entries", "delivered", *RATES)) -> Counts:
    """The counts with one step that has stopped in the last days."""
    for name in names:
        counts[name][-STOP_DAYS:, STEPS.index(HIT)] = 0
    return counts


def told(counts: Counts, *, is_stopped: bool = True, true_nights: Sequence[int] = ()) -> Told:
    """Claims of all nights, and of the opportunities of the last one. The stop of one step is to be told, nothing else.

    On `true_nights` something else is true as well.
    """
    days = len(counts["sent"])
    tonight = FIRST + timedelta(days=days - 1)
    workflow, step = zip(*STEPS * days, strict=True)
    daily = pl.DataFrame(
        {
            "day": [FIRST + timedelta(days=day) for day in range(days) for _ in STEPS],
            "workflow_id": workflow,
            "step_id": step,
            **{name: values.ravel() for name, values in counts.items()},
            "revenue_amount": 0.0,
            "is_mature": True,
        }
    )
    flows = pl.DataFrame({"workflow_id": ["flow", "other"], "kind": "flow"})
    baselines = anomaly_baselines(watched_history(daily, flows, as_of_day=tonight), as_of_day=tonight)
    found = anomalies(baselines)
    grave = found.filter(pl.col("severity").is_in(GRAVE) & pl.col("is_adverse"))
    other_days = [FIRST + timedelta(days=night) for night in true_nights]
    claims = grave.filter((pl.col("day") >= FIRST + timedelta(days=LEARNT)) & ~pl.col("day").is_in(other_days))
    is_planted = (
        (pl.col("workflow_id") == HIT[0])
        & (pl.col("step_id") == HIT[1])
        & (pl.col("day") > tonight - timedelta(days=STOP_DAYS))
    )
    if not is_stopped:
        is_planted = pl.lit(False)
    listed = _listed(daily, baselines, found, tonight).filter(pl.col("kind").is_in(["anomaly", "decay"]))
    of_step = (pl.col("workflow_id") == HIT[0]) & (pl.col("step_id") == HIT[1]) if is_stopped else pl.lit(False)
    wrong = claims.filter(~is_planted.fill_null(False))["cause_id"].n_unique()
    wrong += listed.filter(~of_step.fill_null(False) & (pl.col("expected_gain") > 0)).height
    right = claims.filter(is_planted).height > 0
    return Told(wrong, int(is_stopped), int(right))


def _listed(daily: pl.DataFrame, baselines: pl.DataFrame, found: pl.DataFrame, tonight: date) -> pl.DataFrame:
    findings = Findings(
        daily=daily,  # type: ignore[arg-type]
        bottlenecks=empty(Bottlenecks),
        baselines=baselines,  # type: ignore[arg-type]
        anomalies=found.filter(pl.col("severity").is_in(GRAVE)),  # type: ignore[arg-type]
        comparison=empty(CohortComparison),
        delays=empty(DelayRecommendations),
        hours=empty(SendTimeLift),
        verdicts=empty(ExperimentVerdicts),
        results=empty(ExperimentResults),
        holdouts=empty(Holdouts),
        records=empty(Optimizations),
    )
    policies = empty(PolicyValues).with_columns(workflow_id=pl.lit(""), step_id=pl.lit(""))
    return opportunities(findings, policies, pl.DataFrame(schema=CELLS), as_of_day=tonight, funnel_days=90)


def ordinary(course: Callable[[np.random.Generator, NDArray[np.int64]], NDArray[np.float64]]) -> Callable[..., Told]:
    """A world of which only the course of its sends is unusual, and in which one step stops in the end."""

    def play(random: np.random.Generator) -> Told:
        return told(stopped(account(random, course=course(random, np.arange(DAYS)))))

    return play


def at_all(random: np.random.Generator) -> Told:
    """Every message is clicked, of two steps always, until one of them falls to four fifths."""
    counts = account(random)
    for step in (1, 3):
        counts["prompt_human_clicks"][:, step] = counts["delivered"][:, step]
    last = counts["delivered"][-STOP_DAYS:, 1]
    counts["prompt_human_clicks"][-STOP_DAYS:, 1] = random.binomial(last, 0.8)
    return told(counts)


def without_variance(random: np.random.Generator) -> Told:
    """Every night is exactly like the night before."""
    return told(stopped(account(random, spread=0.0)))


def one_day(random: np.random.Generator) -> Told:
    """The account is a day old."""
    return told(account(random, days=1), is_stopped=False)


def only_machines(random: np.random.Generator) -> Told:
    """No click was ever a person's; then mail stops at one step."""
    return told(stopped(account(random, prompt_human_clicks=0.0)))


def black_friday(random: np.random.Generator) -> Told:
    """Four days of six times as much mail and thrice the conversions, five weeks before the end."""
    counts = account(random, course=np.where(np.isin(np.arange(DAYS), DAYS - 38 + np.arange(4)), 6.0, 1.0))
    days = DAYS - 38 + np.arange(4)
    counts["conversions"][days] = random.binomial(counts["sent"][days], 3 * RATES["conversions"])
    return told(stopped(counts))


def an_import(random: np.random.Generator) -> Told:
    """100,000 people enter the first flow in a day, get its mails in turn, and hardly click.

    That the rates fell on these three nights is true. That anything decayed, or is missing afterwards, is not.
    """
    counts = account(random)
    for step in range(3):
        day = DAYS - 40 + 2 * step
        counts["entries"][day, step] += 100_000
        for name, share in {"sent": 1.0, "delivered": 1.0, "prompt_human_clicks": 0.02, "conversions": 0.002}.items():
            counts[name][day, step] += random.binomial(100_000, share)
    return told(stopped(counts), true_nights=tuple(DAYS - 40 + 2 * step for step in range(3)))


def without_orders(random: np.random.Generator) -> Told:
    """Nobody ever buys; then clicks stop at one step."""
    return told(stopped(account(random, conversions=0.0), names=("prompt_human_clicks",)))


def without_events(random: np.random.Generator) -> Told:
    """No event tells of entries, so they repeat the messages; then one step stops."""
    counts = stopped(account(random))
    counts["entries"] = counts["sent"].copy()
    return told(counts)


def three_subscribers(random: np.random.Generator) -> Told:
    """At most three messages a week in all, and a click now and then."""
    return told(account(random, daily=3 / 7 / len(STEPS)), is_stopped=False)
