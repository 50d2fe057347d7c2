"""The plan of a test, frozen when it starts: what is compared, how many subscribers it takes, when it ends.

Here: the plan, its sample size, its hash and what changed between two plans. Not here: data or verdicts.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from datetime import date, timedelta
from math import ceil
from typing import Any

from pydantic import TypeAdapter

from pipeline.analysis.statistics.group_sequential import needed_drift
from pipeline.schemas.vocabulary import MetricKind, MetricRole

SPARE_SHARE = 0.25
"""Calendar time beyond the planned weeks for traffic that falls short; then the test ends with what it has."""


@dataclass(frozen=True)
class Metric:
    """A metric of a test.

    Attributes:
        name: as in the moments.
        kind: how it is computed.
        role: primary decides; secondary shares the error with it (Holm); a guardrail can only veto.
        is_increase_good: false for unsubscribes and complaints.
    """

    name: str
    kind: MetricKind = MetricKind.RATE
    role: MetricRole = MetricRole.PRIMARY
    is_increase_good: bool = True


@dataclass(frozen=True)
class ExperimentPlan:
    """Everything that is decided before the first exposure.

    Attributes:
        shares: (arm, declared share) pairs, the control first; shares sum to 1.
        metrics: exactly one primary; any number of secondary metrics and guardrails.
        minimum_lift: smallest relative change of the primary worth having, such as .1, in the good direction.
        window_days: an exposure is mature, and its outcome counted, this many days after it.
        planned_exposures: sample of all arms at which the information fraction is 1; for an open-ended test the sample
            at which its confidence sequence is tightest.
        end_day: last night of the test, whatever the sample.
        baseline_mean: rate or mean amount of the primary metric on this step before the test.
        amount_cap: amounts above it count as it; none where nobody bought before the test.
    """

    experiment_id: str
    workflow_id: str
    step_id: str
    hypothesis: str
    owner: str
    shares: tuple[tuple[str, float], ...]
    metrics: tuple[Metric, ...]
    minimum_lift: float
    window_days: int
    alpha: float
    power: float
    start_day: date
    planned_days: int
    planned_exposures: int
    end_day: date
    is_open_ended: bool = False
    baseline_mean: float | None = None
    amount_cap: float | None = None

    @property
    def control(self) -> str:
        """The arm that the others are compared with."""
        return self.shares[0][0]

    @property
    def treatments(self) -> tuple[str, ...]:
        """The arms compared with the control."""
        return tuple(arm for arm, _ in self.shares[1:])

    @property
    def primary(self) -> Metric:
        """The metric that decides."""
        return next(metric for metric in self.metrics if metric.role is MetricRole.PRIMARY)

    @property
    def comparisons(self) -> int:
        """How many claims share the error: arms x metrics, guardrails apart."""
        return len(self.treatments) * sum(metric.role is not MetricRole.GUARDRAIL for metric in self.metrics)

    @property
    def planned_looks(self) -> int:
        """Nights with a look, if traffic comes as planned."""
        return self.planned_days

    @property
    def plan_hash(self) -> str:
        """SHA-256 of the canonical JSON of the plan."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True, default=str).encode()).hexdigest()


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
    if baseline_deviation is None:
        control_variance, treated_variance = baseline_mean * (1 - baseline_mean), treated_mean * (1 - treated_mean)
    else:
        control_variance = treated_variance = baseline_deviation**2
    smallest = min(share for _, share in shares[1:])
    variance = control_variance / shares[0][1] + treated_variance / smallest
    drift = needed_drift(alpha / comparisons, power)
    return ceil(variance * (drift / (treated_mean - baseline_mean)) ** 2)


def freeze_plan(
    *,
    experiment_id: str,
    workflow_id: str,
    step_id: str,
    hypothesis: str,
    owner: str,
    shares: tuple[tuple[str, float], ...],
    metrics: tuple[Metric, ...],
    minimum_lift: float,
    window_days: int,
    start_day: date,
    baseline_mean: float,
    daily_exposures: float,
    baseline_deviation: float | None = None,
    alpha: float = 0.05,
    power: float = 0.9,
    end_day: date | None = None,
    is_open_ended: bool = False,
    amount_cap: float | None = None,
) -> ExperimentPlan:
    """Make the plan of a test from the step's own baseline.

    Args:
        baseline_mean: rate (0-1) or mean amount of the primary metric on this step before the test.
        baseline_deviation: standard deviation of the (winsorised) amount; none for a rate.
        daily_exposures: subscribers that reach the step on a day.
        end_day: calendar end wished by the owner; default the planned weeks and a quarter more.
        others: as in `ExperimentPlan`.

    Returns:
        The frozen plan: whole weeks, so that every weekday weighs the same.

    Raises:
        ValueError: shares, metrics or baseline make no test, or the sample cannot be reached before `end_day`.
    """
    _require(abs(sum(share for _, share in shares) - 1) < 1e-9, f"shares {dict(shares)} do not sum to 1")
    _require(len(shares) > 1 and all(share > 0 for _, share in shares), "a test needs two arms with shares above 0")
    _require(len({arm for arm, _ in shares}) == len(shares), "two arms have the same name")
    _require(sum(m.role is MetricRole.PRIMARY for m in metrics) == 1, "a test has exactly one primary metric")
    _require(minimum_lift > 0, "minimum_lift must be above 0, in the good direction of the metric")
    _require(baseline_mean > 0, "the step has no conversions yet, so no sample size can be planned")
    _require(daily_exposures > 0, "nobody reaches the step, so no test can run on it")
    primary = next(metric for metric in metrics if metric.role is MetricRole.PRIMARY)
    signed_lift = minimum_lift if primary.is_increase_good else -minimum_lift
    if primary.kind is MetricKind.RATE:
        _require(baseline_mean * (1 + signed_lift) < 1, "the planned lift would take the rate to 1 or above")
    needed = required_exposures(
        shares,
        baseline_mean=baseline_mean,
        baseline_deviation=baseline_deviation,
        minimum_lift=signed_lift,
        alpha=alpha,
        power=power,
        comparisons=(len(shares) - 1) * sum(metric.role is not MetricRole.GUARDRAIL for metric in metrics),
    )
    planned_days = 7 * ceil(needed / daily_exposures / 7)
    default_end = start_day + timedelta(days=planned_days + 7 * ceil(planned_days / 7 * SPARE_SHARE) + window_days - 1)
    planned_end = start_day + timedelta(days=planned_days + window_days - 1)
    if end_day is not None and end_day < planned_end and not is_open_ended:
        raise ValueError(
            f"experiment {experiment_id}: {needed} exposures at {daily_exposures:.0f} a day take {planned_days} days "
            f"and {window_days} to mature, until {planned_end}, but the test ends on {end_day}. "
            "Move the end, take fewer arms or plan for a larger lift."
        )
    return ExperimentPlan(
        experiment_id=experiment_id,
        workflow_id=workflow_id,
        step_id=step_id,
        hypothesis=hypothesis,
        owner=owner,
        shares=shares,
        metrics=metrics,
        minimum_lift=minimum_lift,
        window_days=window_days,
        alpha=alpha,
        power=power,
        start_day=start_day,
        planned_days=planned_days,
        planned_exposures=max(needed, round(daily_exposures * planned_days)),
        end_day=end_day or default_end,
        is_open_ended=is_open_ended,
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


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(f"{message}.")
