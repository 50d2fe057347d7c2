"""Delays between steps: what each delay that was used converts, and whether another one would convert better.

Here: the standardised delay-response curve, its shrinkage, and the recommendation. Not here: how conversions are
matured and counted (reductions), and delays nobody ever used (an experiment answers those).
"""

from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from pipeline.analysis.delays.curve import Curve, fit_curve, posterior_curve
from pipeline.schemas.base import Table, conform, polars_schema
from pipeline.schemas.timing import DelayCurves, DelayRecommendations

TRANSITION = ["workflow_id", "from_step_id", "to_step_id"]
METHOD = "standardised log-rates, normal empirical Bayes"

#: Below this many entrants the choice among delays is mostly noise (regret and claims in the acceptance simulation).
MINIMUM_ENTRANTS = 10_000
#: A change is proposed above this probability of being better than now; a test is proposed otherwise.
ACT_PROBABILITY = 0.95
#: Ends of the intervals in posterior mass. Wider than 95% because the best of several delays is picked and the normal
#: prior pulls a lone peak in: simulated coverage of a peak's improvement is then 95%, not 90%.
INTERVAL = (0.0125, 0.9875)
DRAWS = 4_000
SEED = 20_170


@dataclass(frozen=True)
class DelayResults:
    """The two tables of one night.

    Attributes:
        curves: a row per transition and delay that was used (`delay_curves`).
        recommendations: a row per transition (`delay_recommendations`).
    """

    curves: pl.DataFrame
    recommendations: pl.DataFrame


def analyse_delays(
    outcomes: pl.DataFrame,
    current_delays: pl.DataFrame,
    *,
    as_of_day: date,
    minimum_entrants: int = MINIMUM_ENTRANTS,
    act_probability: float = ACT_PROBABILITY,
) -> DelayResults:
    """Compare the delays that were used at each transition and say which one to use.

    Args:
        outcomes: one row per (`workflow_id`, `from_step_id`, `to_step_id`, `segment`, `entry_block`,
            `assigned_delay_hours`, `is_randomised`) with the counts `entrants` (everyone who entered with that
            assigned delay, whether or not the mail went out) and `conversions` (those who converted within the fixed
            horizon since the step before). Only matured entrants. `entry_block` numbers blocks of four weeks.
        current_delays: one row per transition with `current_delay_hours`. A transition without a row has no current
            delay to be compared with.
        as_of_day: tonight.
        minimum_entrants: entrants of a transition below which nothing is recommended.
        act_probability: posterior probability of being better than now above which the action is 'change'.

    Returns:
        `DelayResults`; a transition that has a current delay but no entrants has a recommendation row only.
        `identification` is 'randomised' (only drawn delays were compared), 'observational' (delays
        were chosen by somebody or something; segment and block are adjusted for) or 'not identified' (the delay
        shares no segment and block, directly or through other delays, with the current one). `action` is 'change',
        'test', 'keep' or 'wait'; `status` is 'ok', 'not enough data', 'single delay', 'no conversions',
        'no current delay' or 'not identified'.

    A test is proposed only where as many enter as it needs (`minimum_entrants`); elsewhere the action is 'wait'.
    Strata are segment x block x whether the delay was drawn. Estimates: see `pipeline.analysis.delays.curve`.
    """
    curves: list[dict[str, Any]] = []
    recommendations: list[dict[str, Any]] = []
    joined = outcomes.filter(pl.col("entrants") > 0).join(current_delays, on=TRANSITION, how="left").sort(TRANSITION)
    for number, group in enumerate(joined.partition_by(TRANSITION, maintain_order=True)):
        rng = np.random.default_rng([SEED, number])
        rows, recommendation = _analyse_transition(group, minimum_entrants, act_probability, rng)
        keys = {"as_of_day": as_of_day, "method": METHOD, **{name: group.item(0, name) for name in TRANSITION}}
        curves.extend(keys | row for row in rows)
        recommendations.append(keys | recommendation)
    for keys in current_delays.join(joined, on=TRANSITION, how="anti").sort(TRANSITION).iter_rows(named=True):
        recommendations.append(
            {"as_of_day": as_of_day, "method": METHOD, **keys, **_unused(minimum_entrants)},
        )
    return DelayResults(
        curves=conform(_frame(curves, DelayCurves), DelayCurves),
        recommendations=conform(_frame(recommendations, DelayRecommendations), DelayRecommendations),
    )


def _unused(minimum_entrants: int) -> dict[str, Any]:
    """A transition that nobody entered yet."""
    return {
        "delays_compared": 0,
        "entrants": 0,
        "conversions": 0,
        "action": "wait",
        "identification": "not identified",
        "status": "not enough data",
        "entrants_needed": minimum_entrants,
    }


def _frame(rows: list[dict[str, Any]], model: type[Table]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=polars_schema(model))


def _analyse_transition(
    group: pl.DataFrame, minimum_entrants: int, act_probability: float, rng: np.random.Generator
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    current = group.item(0, "current_delay_hours")
    current = None if current is None else float(current)
    drawn = group.filter(pl.col("is_randomised"))
    is_trial = drawn["entrants"].sum() >= minimum_entrants and _compares(drawn, current)
    group = drawn if is_trial else group
    counts = _counts(group)
    totals = {"entrants": int(counts.entrants.sum()), "conversions": int(counts.conversions.sum())}
    linked = counts.linked_to(current)
    usable = counts.restrict(linked)
    status = _status(counts, usable, current, minimum_entrants)
    compared = usable.entrants.sum() if len(usable.delays) > 1 else counts.entrants.sum()
    recommendation: dict[str, Any] = {
        "current_delay_hours": current,
        "delays_compared": len(usable.delays),
        **totals,
        "identification": "randomised" if is_trial or bool(group["is_randomised"].all()) else "observational",
        "status": status,
        "action": "wait",
        "entrants_needed": max(minimum_entrants - int(compared), 0) if status == "not enough data" else 0,
    }
    rows = [
        {
            "delay_hours": float(delay),
            "is_current": delay == current,
            "entrants": int(counts.entrants[:, column].sum()),
            "conversions": int(counts.conversions[:, column].sum()),
            "is_mature": True,
            "identification": recommendation["identification"] if linked[column] else "not identified",
            "status": status if status != "ok" or linked[column] else "not identified",
        }
        for column, delay in enumerate(counts.delays)
    ]
    if status in ("not identified", "single delay"):
        # Nothing was compared with the current delay, so only a test can tell, where enough people enter for one.
        is_testable = counts.entrants.sum() >= minimum_entrants
        recommendation |= {"action": "test" if is_testable else "wait", "identification": "not identified"}
    if status != "ok":
        return rows, recommendation

    now = int(np.flatnonzero(usable.delays == current)[0])
    curve = posterior_curve(fit_curve(usable.entrants, usable.conversions), DRAWS, rng)
    summary = _summarise(curve, now)
    columns = iter(summary)
    for row, is_linked in zip(rows, linked, strict=True):
        if is_linked:
            row |= next(columns)
    best = int(np.argmax([row["ratio_to_current"] for row in summary]))
    recommendation |= _recommend(summary[best], best == now, act_probability)
    recommendation["recommended_delay_hours"] = float(usable.delays[best])
    return rows, recommendation


def _recommend(best: dict[str, Any], is_current: bool, act_probability: float) -> dict[str, Any]:
    is_sure = not is_current and best["better_probability"] > act_probability
    return {
        "action": "keep" if is_current else "change" if is_sure else "test",
        "improvement": best["ratio_to_current"] - 1,
        "improvement_low": best["ratio_to_current_low"] - 1,
        "improvement_high": best["ratio_to_current_high"] - 1,
        "best_probability": best["best_probability"],
        "better_probability": best["better_probability"],
    }


def _summarise(curve: Curve, now: int) -> list[dict[str, Any]]:
    """Posterior mean and interval per delay; improvements are means of the ratio, not ratios of means."""
    ratios = curve.effects / curve.effects[:, [now]]
    delays = ratios.shape[1]
    wins = np.bincount(np.argmax(ratios, axis=1), minlength=delays) / len(ratios)
    ratio_low, ratio_high = np.quantile(ratios, INTERVAL, axis=0)
    rate_low, rate_high = np.quantile(curve.rates, INTERVAL, axis=0)
    return [
        {
            "conversion_rate": float(curve.rates[:, delay].mean()),
            "conversion_rate_low": float(rate_low[delay]),
            "conversion_rate_high": float(rate_high[delay]),
            "ratio_to_current": float(ratios[:, delay].mean()),
            "ratio_to_current_low": float(ratio_low[delay]),
            "ratio_to_current_high": float(ratio_high[delay]),
            "best_probability": float(wins[delay]),
            "better_probability": None if delay == now else float((ratios[:, delay] > 1).mean()),
        }
        for delay in range(delays)
    ]


@dataclass(frozen=True)
class _Counts:
    """Entrants and conversions as matrices of stratum x delay."""

    delays: np.ndarray
    entrants: np.ndarray
    conversions: np.ndarray

    def linked_to(self, current: float | None) -> np.ndarray:
        """Delays that share strata with the current one, directly or through other delays."""
        reached = self.delays == current
        used = self.entrants > 0
        while True:
            strata = used[:, reached].any(axis=1)
            further = used[strata].any(axis=0) | reached
            if (further == reached).all():
                return reached
            reached = further

    def restrict(self, delays: np.ndarray) -> "_Counts":
        """Keep some delays, and the strata that contain them."""
        strata = (self.entrants[:, delays] > 0).any(axis=1)
        return _Counts(
            self.delays[delays], self.entrants[np.ix_(strata, delays)], self.conversions[np.ix_(strata, delays)]
        )


def _counts(group: pl.DataFrame) -> _Counts:
    strata = group.select(pl.struct("segment", "entry_block", "is_randomised").rank("dense").alias("stratum"))
    stratum = strata["stratum"].to_numpy().astype(np.int64) - 1
    delays, column = np.unique(group["assigned_delay_hours"].cast(pl.Float64).to_numpy(), return_inverse=True)
    entrants = np.zeros((int(stratum.max()) + 1, len(delays)))
    conversions = np.zeros_like(entrants)
    np.add.at(entrants, (stratum, column), group["entrants"].to_numpy())
    np.add.at(conversions, (stratum, column), group["conversions"].to_numpy())
    return _Counts(delays, entrants, conversions)


def _compares(group: pl.DataFrame, current: float | None) -> bool:
    delays = group["assigned_delay_hours"].unique()
    return current is not None and len(delays) > 1 and current in delays.to_list()


def _status(counts: _Counts, usable: _Counts, current: float | None, minimum_entrants: int) -> str:
    # More entrants change nothing where there is nothing to compare.
    if len(counts.delays) == 1 and current is not None:
        return "single delay"
    if counts.entrants.sum() < minimum_entrants:
        return "not enough data"
    if current is None:
        return "no current delay"
    if len(usable.delays) < 2:
        return "not identified"
    if usable.entrants.sum() < minimum_entrants:
        return "not enough data"
    if usable.conversions.sum() == 0:
        return "no conversions"
    return "ok"
