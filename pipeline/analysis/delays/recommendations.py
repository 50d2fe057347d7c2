"""Delays between steps: how often each delay that was used converts, and whether another one converts better.

Here: which entrants can be compared, and the recommendation. The curve itself is estimated in `curve`. Of delays that
nobody ever had, nothing can be said; a test answers that.

What decides how much can be known is the number of conversions, not of entrants. With 10,000 entrants of whom 1-2%
convert, the best of seven delays of a flat curve seemed to improve conversion by 10-14% on average. So delays are
compared from 900 conversions on, and an improvement is stated only where it is sure enough to be acted on.
"""

import math
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from pipeline.analysis.delays.curve import Curve, fit_curve, posterior_curve
from pipeline.analysis.delays.outcomes import BLOCK_DAYS
from pipeline.schemas.base import Table, conform, polars_schema
from pipeline.schemas.timing import DelayCurves, DelayRecommendations

TRANSITION = ["workflow_id", "from_step_id", "to_step_id"]
METHOD = "standardised log-rates, normal empirical Bayes"

MINIMUM_CONVERSIONS = 900
"""With fewer conversions the choice among delays is mostly noise, as simulations with a known truth show."""
LONGEST_TEST_DAYS = 180
"""A test of delays is proposed if so many people convert that it ends within this time."""
ACT_PROBABILITY = 0.95
"""A change is proposed if another delay is better with a probability above this; otherwise a test is proposed."""
INTERVAL = (0.0125, 0.9875)
"""Quantiles of the posterior at the ends of intervals. They are wider than 95%, because the best of several delays is
picked and the normal prior shrinks a lone peak: the simulated coverage of a peak's improvement is then 95%, not 90%."""
DRAWS = 4_000
SEED = 20_170
_NOBODY_ENTERED = {
    "delays_compared": 0,
    "entrants": 0,
    "conversions": 0,
    "action": "wait",
    "identification": "not identified",
    "status": "not enough data",
    "conversions_needed": MINIMUM_CONVERSIONS,
}


@dataclass(frozen=True)
class DelayResults:
    """The two tables of one night.

    Attributes:
        curves: `delay_curves`, one row per transition and delay that was used.
        recommendations: `delay_recommendations`, one row per transition.
    """

    curves: pl.DataFrame
    recommendations: pl.DataFrame


def analyse_delays(outcomes: pl.DataFrame, current_delays: pl.DataFrame, *, as_of_day: date) -> DelayResults:
    """Compare the delays that were used at each transition and say which one to use.

    Args:
        outcomes: rows of `delay_outcomes`. `entrants` are all mature entrants with that assigned delay, whether or not
            the mail went out; `conversions` are those of them who converted within the horizon. `entry_block` numbers
            blocks of four weeks.
        current_delays: one row per transition with `current_delay_hours`. A transition without a row has no current
            delay with which others could be compared.
        as_of_day: tonight.

    Returns:
        Both tables. A transition that has a current delay but no entrants has a recommendation only. `identification`
        is 'randomised' (only delays drawn by lot were compared), 'observational' (delays were chosen by somebody or
        something; segment and block are adjusted for) or 'not identified' (the delay shares no segment and block with
        the current one, not even through other delays). `action` is 'change', 'test', 'keep' or 'wait'. `status` is
        'ok', 'not enough data', 'single delay', 'no current delay' or 'not identified'.

    A stratum holds the entrants of one segment and block whose delay was drawn, or those whose delay was not.
    `test_days` is the time in which as many people convert as a comparison needs (900), at the pace so far. Where
    nothing can be compared, a test is proposed if that is 180 days or less; elsewhere the action is 'wait'. While the
    action is 'test', `improvement` is null: what the best-looking of several delays seems to bring is mostly luck.
    """
    curves: list[dict[str, Any]] = []
    recommendations: list[dict[str, Any]] = []
    joined = outcomes.filter(pl.col("entrants") > 0).join(current_delays, on=TRANSITION, how="left").sort(TRANSITION)
    for number, group in enumerate(joined.partition_by(TRANSITION, maintain_order=True)):
        rng = np.random.default_rng([SEED, number])
        rows, recommendation = _analyse_transition(group, rng)
        keys = {"as_of_day": as_of_day, "method": METHOD, **{name: group.item(0, name) for name in TRANSITION}}
        curves.extend(keys | row for row in rows)
        recommendations.append(keys | recommendation)
    for keys in current_delays.join(joined, on=TRANSITION, how="anti").sort(TRANSITION).iter_rows(named=True):
        recommendations.append({"as_of_day": as_of_day, "method": METHOD, **keys, **_NOBODY_ENTERED})
    return DelayResults(
        curves=conform(_frame(curves, DelayCurves), DelayCurves),
        recommendations=conform(_frame(recommendations, DelayRecommendations), DelayRecommendations),
    )


def _frame(rows: list[dict[str, Any]], model: type[Table]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=polars_schema(model))


def _analyse_transition(group: pl.DataFrame, rng: np.random.Generator) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    current = group.item(0, "current_delay_hours")
    current = None if current is None else float(current)
    test_days = _test_days(group)
    drawn = group.filter(pl.col("is_randomised"))
    is_trial = drawn["conversions"].sum() >= MINIMUM_CONVERSIONS and _compares(drawn, current)
    group = drawn if is_trial else group
    counts = _counts(group)
    totals = {"entrants": int(counts.entrants.sum()), "conversions": int(counts.conversions.sum())}
    linked = counts.linked_to(current)
    usable = counts.restrict(linked)
    status = _status(counts, usable, current)
    compared = usable.conversions.sum() if len(usable.delays) > 1 else counts.conversions.sum()
    recommendation: dict[str, Any] = {
        "current_delay_hours": current,
        "delays_compared": len(usable.delays),
        **totals,
        "identification": "randomised" if is_trial or bool(group["is_randomised"].all()) else "observational",
        "status": status,
        "action": "wait",
        "conversions_needed": MINIMUM_CONVERSIONS - int(compared) if status == "not enough data" else 0,
        "test_days": test_days,
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
        # Nothing could be compared with the current delay, so only a test can tell, if enough people convert for one.
        is_testable = test_days is not None and test_days <= LONGEST_TEST_DAYS
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
    recommendation |= _recommend(summary[best], best == now)
    recommendation["recommended_delay_hours"] = float(usable.delays[best])
    return rows, recommendation


def _recommend(best: dict[str, Any], is_current: bool) -> dict[str, Any]:
    is_sure = not is_current and best["better_probability"] > ACT_PROBABILITY
    known = {f"improvement{end}": best[f"ratio_to_current{end}"] - 1 for end in ("", "_low", "_high")}
    return {
        "action": "keep" if is_current else "change" if is_sure else "test",
        **(known if is_current or is_sure else {}),
        **{name: best[name] for name in ("best_probability", "better_probability")},
    }


def _summarise(curve: Curve, now: int) -> list[dict[str, Any]]:
    """Posterior mean and interval of each delay's rate, and of its ratio to the current delay's."""
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
    """Entrants and conversions as matrices of (strata, delays)."""

    delays: np.ndarray
    entrants: np.ndarray
    conversions: np.ndarray

    def linked_to(self, current: float | None) -> np.ndarray:
        """The delays that share strata with the current one, directly or through other delays."""
        reached: np.ndarray = self.delays == current
        used = self.entrants > 0
        while True:
            strata = used[:, reached].any(axis=1)
            further = used[strata].any(axis=0) | reached
            if (further == reached).all():
                return reached
            reached = further

    def restrict(self, delays: np.ndarray) -> "_Counts":
        """Some of the delays, with the strata in which they were used."""
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


def _test_days(group: pl.DataFrame) -> int | None:
    """Days until a test has enough conversions, at the pace of all blocks; None where nobody converts."""
    conversions = int(group["conversions"].sum())
    days = BLOCK_DAYS * group.select(pl.col("entry_block").max() - pl.col("entry_block").min() + 1).item()
    return math.ceil(MINIMUM_CONVERSIONS * days / conversions) if conversions else None


def _compares(group: pl.DataFrame, current: float | None) -> bool:
    delays = group["assigned_delay_hours"].unique()
    return current is not None and len(delays) > 1 and current in delays.to_list()


def _status(counts: _Counts, usable: _Counts, current: float | None) -> str:
    # Where only one delay was used, more entrants would change nothing.
    if len(counts.delays) == 1 and current is not None:
        return "single delay"
    if counts.conversions.sum() < MINIMUM_CONVERSIONS:
        return "not enough data"
    if current is None:
        return "no current delay"
    if len(usable.delays) < 2:
        return "not identified"
    return "not enough data" if usable.conversions.sum() < MINIMUM_CONVERSIONS else "ok"
