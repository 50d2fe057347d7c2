"""The plan of a test, frozen when it starts: what is compared, how many subscribers it takes, and when it ends.

Here: the plan, its sample size, its hash, and what differs between two plans. Not here: data and verdicts.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date, timedelta
from math import ceil, sqrt
from typing import Any

import polars as pl
from pydantic import TypeAdapter
from scipy.optimize import brentq

from pipeline.analysis.experiments.draft import Definition, ExperimentDraft
from pipeline.analysis.statistics.group_sequential import needed_drift
from pipeline.schemas.vocabulary import MetricKind, MetricRole

SPARE_SHARE = 0.25
"""Calendar time beyond the planned weeks, for traffic that falls short; after it the test ends with what it has."""

LONGEST_PLAN_DAYS = 180
"""A test whose sample takes longer answers when nobody asks any more."""

_COLUMNS = {
    "experiment_id": pl.String,
    "workflow_id": pl.String,
    "step_id": pl.String,
    "control": pl.String,
    "minimum_lift": pl.Float64,
    "window_days": pl.Int64,
    "alpha": pl.Float64,
    "start_day": pl.Date,
    "end_day": pl.Date,
    "is_open_ended": pl.Boolean,
    "planned_exposures": pl.Int64,
    "planned_days": pl.Int64,
    "planned_looks": pl.Int64,
}


@dataclass(frozen=True, kw_only=True)
class ExperimentPlan(Definition):
    """Everything that is decided before the first exposure.

    Attributes:
        planned_days: days of exposures until the sample is reached, if traffic stays as it was.
        planned_exposures: sample of all arms at which the information fraction is 1; for an open-ended test the sample
            at which its confidence sequence is tightest.
        end_day: last night of the test, whatever the sample.
        baseline_mean: rate or mean amount of the primary metric on this step before the test.
        amount_cap: amounts above it count as it; none where nobody bought before the test.
    """

    planned_days: int
    planned_exposures: int
    end_day: date
    baseline_mean: float | None = None
    amount_cap: float | None = None

    @property
    def planned_looks(self) -> int:
        """Nights with a look, if traffic comes as planned."""
        return self.planned_days

    @property
    def is_too_long(self) -> bool:
        """Whether the sample takes longer than anybody waits. A test without a planned end has no such limit."""
        return not self.is_open_ended and self.planned_days > LONGEST_PLAN_DAYS

    @property
    def reachable_lift(self) -> float | None:
        """The smallest lift that shows in the longest time that anybody waits; none where the plan is not too long.

        It has the sign of `minimum_lift`: above 0, in the good direction. None as well where no lift is that large.
        """
        if not self.is_too_long:
            return None
        sample = self.planned_exposures * (LONGEST_PLAN_DAYS // 7 * 7) / self.planned_days
        if self.primary.kind is not MetricKind.RATE or self.baseline_mean is None:
            # An amount varies equally in both arms, as the plan takes it: the sample goes with 1 / lift^2.
            return self.minimum_lift * sqrt(self.planned_exposures / sample)

        def missing(lift: float) -> float:
            needed = required_exposures(
                self.shares,
                baseline_mean=self.baseline_mean or 0.0,
                baseline_deviation=None,
                minimum_lift=lift if self.primary.is_increase_good else -lift,
                alpha=self.alpha,
                power=self.power,
                comparisons=self.comparisons,
            )
            return needed - sample

        largest = 1 / self.baseline_mean - 1 if self.primary.is_increase_good else 1.0
        largest *= 1 - 1e-6
        return float(brentq(missing, self.minimum_lift, largest, xtol=1e-4)) if missing(largest) < 0 else None

    @property
    def plan_hash(self) -> str:
        """SHA-256 of the canonical JSON of the plan."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True, default=str).encode()).hexdigest()


def plan_table(plans: Sequence[ExperimentPlan]) -> pl.DataFrame:
    """One row per plan with what the nightly analyses read of it."""
    return pl.DataFrame([{name: getattr(plan, name) for name in _COLUMNS} for plan in plans], schema=_COLUMNS)


def required_exposures(
    shares: tuple[tuple[str, float], ...],
    *,
    baseline_mean: float,
    baseline_deviation: float | None,
    minimum_lift: float,
    alpha: float,
    power: float,
    comparisons: int,
) -> int:
    """Sample of all arms at which the smallest arm shows the minimum lift with the promised power.

    Args:
        shares: (arm, share), the control first.
        baseline_mean: the step's own conversion rate (0-1) or mean amount.
        baseline_deviation: standard deviation of the amount; none for a rate.
        minimum_lift: relative change to be found.
        alpha: two-sided error of the whole test.
        power: chance of finding the minimum lift.
        comparisons: claims that share alpha.

    Returns:
        Exposures, with the inflation that looking every night costs.
    """
    treated_mean = baseline_mean * (1 + minimum_lift)
    control, smallest = shares[0][1], min(share for _, share in shares[1:])
    # The test pools both arms. Under an uneven split the larger arm then says how much the smaller one scatters.
    pooled_mean = (control * baseline_mean + smallest * treated_mean) / (control + smallest)
    scatter = pooled_mean * (1 - pooled_mean) if baseline_deviation is None else baseline_deviation**2
    variance = scatter * (1 / control + 1 / smallest)
    drift = needed_drift(alpha / comparisons, power)
    return ceil(variance * (drift / (treated_mean - baseline_mean)) ** 2)


def freeze_plan(
    draft: ExperimentDraft,
    *,
    baseline_mean: float,
    daily_exposures: float,
    baseline_deviation: float | None = None,
    amount_cap: float | None = None,
) -> ExperimentPlan:
    """Make the plan of a test from what its step did before.

    Args:
        draft: the test as defined. Without an end day it gets the planned weeks and a quarter more.
        baseline_mean: rate (0-1) or mean amount of the primary metric on this step before the test.
        daily_exposures: subscribers that reach the step on a day.
        baseline_deviation: standard deviation of the (winsorised) amount; none for a rate.
        amount_cap: amounts above it count as it.

    Returns:
        The frozen plan, of whole weeks, so that every weekday weighs the same.

    Raises:
        ValueError: shares, metrics or baseline make no test, or the sample cannot be reached before the end day.
    """
    _check(draft, baseline_mean, daily_exposures, baseline_deviation)
    needed = required_exposures(
        draft.shares,
        baseline_mean=baseline_mean,
        baseline_deviation=baseline_deviation,
        minimum_lift=_signed_lift(draft),
        alpha=draft.alpha,
        power=draft.power,
        comparisons=draft.comparisons,
    )
    weeks = ceil(needed / daily_exposures / 7)
    planned_end = draft.start_day + timedelta(days=7 * weeks + draft.window_days - 1)
    if draft.end_day is not None and draft.end_day < planned_end and not draft.is_open_ended:
        raise ValueError(
            f"experiment {draft.experiment_id}: {needed} exposures at {daily_exposures:.0f} a day take {7 * weeks} days"
            f" and {draft.window_days} to mature, until {planned_end}, but the test ends on {draft.end_day}. "
            "Move the end, take fewer arms or plan for a larger lift."
        )
    return ExperimentPlan(
        **{field.name: getattr(draft, field.name) for field in fields(Definition)},
        planned_days=7 * weeks,
        planned_exposures=max(needed, round(daily_exposures * 7 * weeks)),
        end_day=draft.end_day or planned_end + timedelta(days=7 * ceil(weeks * SPARE_SHARE)),
        baseline_mean=baseline_mean,
        amount_cap=amount_cap,
    )


def changed_fields(frozen: Any, proposed: Any) -> dict[str, tuple[Any, Any]]:
    """What a changed plan or draft would alter after the start: field -> (frozen value, proposed value)."""
    return {
        field.name: (getattr(frozen, field.name), getattr(proposed, field.name))
        for field in fields(frozen)
        if getattr(frozen, field.name) != getattr(proposed, field.name)
    }


PLAN_TEXT = TypeAdapter(ExperimentPlan)
"""The plan to JSON and back."""


def _check(
    draft: ExperimentDraft, baseline_mean: float, daily_exposures: float, baseline_deviation: float | None
) -> None:
    shares = dict(draft.shares)
    problems = {
        f"shares {shares} do not sum to 1": abs(sum(share for _, share in draft.shares) - 1) >= 1e-9,
        "a test needs two arms with shares above 0": len(draft.shares) < 2 or min(shares.values()) <= 0,
        "two arms have the same name": len(shares) < len(draft.shares),
        "a test has exactly one primary metric": sum(one.role is MetricRole.PRIMARY for one in draft.metrics) != 1,
        "minimum_lift must be above 0, in the good direction of the metric": draft.minimum_lift <= 0,
        "the step has no conversions yet, so no sample size can be planned": baseline_mean <= 0,
        "nobody reaches the step, so no test can run on it": daily_exposures <= 0,
    }
    for problem, is_there in problems.items():
        if is_there:
            raise ValueError(f"{problem}.")
    if draft.primary.kind is not MetricKind.RATE and not baseline_deviation:
        raise ValueError("the amounts of this step do not differ yet, so no sample size can be planned.")
    if draft.primary.kind is MetricKind.RATE and baseline_mean * (1 + _signed_lift(draft)) >= 1:
        raise ValueError("the planned lift would take the rate to 1 or above.")


def _signed_lift(draft: ExperimentDraft) -> float:
    return draft.minimum_lift if draft.primary.is_increase_good else -draft.minimum_lift
