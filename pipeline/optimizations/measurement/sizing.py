"""The plan of a realised lift: whom to keep out, how many people it takes, and when the answer is to be expected.

With a tenth kept out and an open-ended sequence tuned to eight weeks, a true lift of 20% on a rate of 5% took a median
of 505 nights at 100 people a day: a small sender never came to an answer. So the sample is planned, and the hold-out
with it. At 100 people a day no plan ends within 180 days, and the proposal says so; at 120 a day one does.

Here: the plan, made from the promise and from what is known of the place before anybody approves. Not here: the words
of a proposal, and the nights after it was applied (`looks`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from scipy.optimize import brentq

from pipeline.analysis.experiments.plan import required_exposures
from pipeline.optimizations.record import LiftPlan

APPLIED, HELD_OUT = "applied", "held out"
PLAN_ALPHA, WATCH_ALPHA = 0.04, 0.01
"""Error of the plan, and of the watch after it. They add up to 0.05, so all nights together err that rarely."""
POWER = 0.8
"""Chance of an answer at the plan's sample, if the change keeps its promise."""
SHARES = (0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)
"""Shares of people kept out that are tried. A larger one answers sooner, and keeps the change from more people."""
SOON_DAYS = 56
"""The smallest share that answers within these eight weeks is taken.."""
LONGEST_DAYS = 180
"""A plan that answers later is not made."""
FIRST_SPAN, SECOND_SPAN = 28, 56
"""Days over which the people of a place are counted. The second count tells how many newcomers follow."""
_LARGEST_LIFT = 10.0


@dataclass(frozen=True)
class Baseline:
    """What is known of an outcome at a place.

    Attributes:
        people_28d: people with a message in the last 28 days.
        people_56d: people with a message in the last 56 days.
        mean: share of people with the outcome, or mean amount, within the window after the first message.
        deviation: standard deviation of the amount; none for a rate.
    """

    people_28d: int
    people_56d: int
    mean: float
    deviation: float | None = None

    @property
    def newcomers(self) -> float:
        """People a day who come by for the first time, once those of the first 28 days have come."""
        return max(self.people_56d - self.people_28d, 0) / (SECOND_SPAN - FIRST_SPAN)

    def people_within(self, days: float) -> float:
        """How many people come by within some days, each counted once."""
        early, late = min(days, FIRST_SPAN), max(days - FIRST_SPAN, 0)
        return self.people_28d * early / FIRST_SPAN + self.newcomers * late

    def days_until(self, people: int) -> int | None:
        """Days until so many people came by; none if they never do."""
        if people <= self.people_28d:
            return ceil(FIRST_SPAN * people / self.people_28d)
        return FIRST_SPAN + ceil((people - self.people_28d) / self.newcomers) if self.newcomers else None


def needed_people(baseline: Baseline, lift: float, share: float) -> int:
    """People in both arms at which a lift is found with the planned chance, with `share` of them kept out."""
    return required_exposures(
        ((HELD_OUT, share), (APPLIED, 1 - share)),
        baseline_mean=baseline.mean,
        baseline_deviation=baseline.deviation,
        minimum_lift=lift if baseline.deviation is not None else min(lift, 1 / baseline.mean - 1),
        alpha=PLAN_ALPHA,
        power=POWER,
        comparisons=1,
    )


def sized(baseline: Baseline, promise: float, *, window_days: int, least_share: float) -> tuple[float, LiftPlan]:
    """The share to keep out, and the plan.

    Args:
        baseline: what is known of the outcome at the place; its mean is above 0.
        promise: relative rise that is promised, above 0.
        window_days: days after a message within which an outcome counts.
        least_share: the smallest share to keep out.

    Returns:
        The smallest share whose answer comes soon; where none does, the one whose answer comes first. Where that is
        later than `LONGEST_DAYS`, the smallest share and a plan without days: nothing then ends the measurement, and
        its open-ended sequence is tightest at the plan's people.
    """
    plans = list(_plans(baseline, promise, least_share))
    in_time = [(share, plan) for share, plan in plans if plan.days and plan.days + window_days <= LONGEST_DAYS]
    if not in_time:
        share, plan = plans[0]
        return share, LiftPlan(people=plan.people)
    soon = [(share, plan) for share, plan in in_time if (plan.days or 0) + window_days <= SOON_DAYS]
    return soon[0] if soon else min(in_time, key=lambda one: one[1].days or 0)


def watch_share(share: float) -> float:
    """Share of people who stay kept out once the answer has come: half as many, but 5% to 10% of all.

    >>> [watch_share(share) for share in (0.1, 0.15, 0.5)]
    [0.05, 0.075, 0.1]
    """
    return max(0.05, min(0.1, share / 2))


def reachable_lift(baseline: Baseline, *, window_days: int) -> float | None:
    """The smallest lift that can be known within `LONGEST_DAYS`, with half of the people kept out.

    Args:
        baseline: what is known of the outcome at the place; its mean is above 0.
        window_days: days after a message within which an outcome counts.

    Returns:
        The relative rise; none where even the largest possible one takes longer.
    """
    people = baseline.people_within(LONGEST_DAYS - window_days)
    largest = _LARGEST_LIFT if baseline.deviation is not None else min(_LARGEST_LIFT, 1 / baseline.mean - 1)

    def excess(lift: float) -> float:
        return needed_people(baseline, lift, SHARES[-1]) - people

    if largest <= 0 or excess(largest) > 0:
        return None
    least = largest / 1e4
    return least if excess(least) <= 0 else float(brentq(excess, least, largest, xtol=1e-4))


def _plans(baseline: Baseline, promise: float, least_share: float) -> Iterator[tuple[float, LiftPlan]]:
    for share in SHARES:
        if share >= least_share:
            people = needed_people(baseline, promise, share)
            yield share, LiftPlan(people=people, days=baseline.days_until(people))
