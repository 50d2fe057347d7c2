"""Odd worlds: what must be said in each of them, and what must not."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tests.acceptance.simulations import Check
from tests.acceptance.worlds import Told, World, lakes, nights, people

SEEDS = 200
Play = Callable[[np.random.Generator], Told]


def _all(*plays: Play) -> Play:
    def play(random: np.random.Generator) -> Told:
        return sum((one(random) for one in plays), Told(0, 0, 0))

    return play


def _season(random: np.random.Generator, days: NDArray[np.int64]) -> NDArray[np.float64]:
    return 1 + 0.4 * np.sin(2 * np.pi * (days[:, None] / 365 + random.random(len(nights.STEPS))))


def _fortnight(random: np.random.Generator, days: NDArray[np.int64]) -> NDArray[np.float64]:
    return 7.0 * (days[:, None] % 14 == random.integers(0, 14, len(nights.STEPS)))


def _workdays(random: np.random.Generator, days: NDArray[np.int64]) -> NDArray[np.float64]:
    return (days % 7 < 5).astype(float)


STOPPED = "a step stopped"
WORLDS = (
    World("duplicates", "every message once", "a message, an act or a purchase counts twice", lakes.told_again),
    World("clocks change, forward and back", "every visit", "a visit is at another local hour", lakes.clocks_change),
    World(
        "a step at 100%",
        "it fell to 80%; the arm that is better",
        "100% is abnormal, or an arm won",
        _all(nights.at_all, people.arms_at_all),
    ),
    World(
        "zero variance",
        "a step stopped; the arm that is better",
        "anything else is abnormal, or an arm won",
        _all(nights.without_variance, people.arms_without_variance),
    ),
    World("one day", "", "anything", nights.one_day),
    World("one person with 50,000 events", "the arm that is better", "the person's arm won", people.one_person),
    World("all clicks by machines", STOPPED, "clicks stopped or decayed", nights.only_machines),
    World("weekdays only", STOPPED, "weekends are silent", nights.ordinary(_workdays)),
    World("mail every second week", STOPPED, "the weeks off are silent", nights.ordinary(_fortnight)),
    World("a season of the year", STOPPED, "the season is an incident", nights.ordinary(_season)),
    World("a Black Friday", STOPPED, "the time after it is a fall or a decay", nights.black_friday),
    World(
        "an import of 100,000 in a day",
        "a step stopped; the import converts less",
        "anything is missing afterwards or decayed; other cohorts convert more",
        _all(nights.an_import, people.an_imported_cohort),
    ),
    World("no behaviour events", STOPPED, "entries are abnormal", nights.without_events),
    World(
        "no orders",
        "clicks stopped; the arm that is better",
        "a delay, a cohort or an arm brings more orders",
        _all(
            nights.without_orders,
            people.arms_without_orders,
            people.cohorts_without_orders,
            people.delays_without_orders,
        ),
    ),
    World(
        "three subscribers",
        "",
        "anything",
        _all(nights.three_subscribers, people.arms_of_three, people.delays_of_three),
    ),
)


def run(scale: float = 1.0, seed: int = 6_000) -> list[Check]:
    """Play every world with 200 seeds, at `scale` 1, and count the claims that its truth denies."""
    seeds = max(1, round(SEEDS * scale))
    checks = []
    for number, world in enumerate(WORLDS):
        told = sum((world.play(np.random.default_rng((seed, number, play))) for play in range(seeds)), Told(0, 0, 0))
        checks.append(Check(f"{world.name}: wrong claims (never: {world.must_not_say})", told.wrong, 0, "<="))
        if told.due:
            share = told.right / told.due
            error = float(np.sqrt(share * (1 - share) / told.due))
            checks.append(Check(f"{world.name}: said ({world.must_say})", share, 0.95, ">=", error))
    return checks
