"""Who enters which flow when, and the whole planned path of each: before anyone leaves.

A journey is a subscriber in a flow; a slot is one of its positions. What cuts journeys short belongs to `journeys`.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.common.time import DAY_US, HOUR_US, MINUTE_US, SECOND_US
from pipeline.sample.account.population import Population
from pipeline.sample.account.world import (
    CART,
    FIRST_US,
    FLOWS,
    LAST_US,
    NEVER_US,
    ONBOARDING,
    PLANTED,
    SERIES,
    WELCOME,
    WINBACK,
    Array,
    Flow,
    us,
)

STEPS = tuple((flow, step) for flow in FLOWS for step in flow.steps)
STEP_NUMBER = {(flow.workflow_id, step.step_id): number for number, (flow, step) in enumerate(STEPS)}
PLANTED_CAUSES = tuple(cause for cause, people in PLANTED.stuck.items() for _ in range(people))
PLANTED_PEOPLE = len(PLANTED_CAUSES) + PLANTED.collisions + PLANTED.removed
HELD_AT = {  # cause: flow, position at which the journey stands still
    "paused step": (WINBACK, 1),
    "bounced": (ONBOARDING, 2),
    "failed filter": (ONBOARDING, 1),
    "deleted target": (ONBOARDING, 3),
    "queue stall": (CART, 0),
    "loop": (ONBOARDING, 1),
}
NOT_HELD = 99
# Who takes part: everybody is onboarded, for the delays there are compared; of the rest a demo needs fewer.
WELCOME_SHARE = 0.33
CART_SHARE = 0.2
WINBACK_SHARE = 0.4
NEWSLETTER_SHARE = 0.3
LOSS_REASONS = ("filtered", "capped", "conflict", "removed", "error")
LOSS_SHARES = (0.6, 0.2, 0.1, 0.06, 0.04)


@dataclass(frozen=True)
class Plan:
    """Journeys (one value each) and their slots (flat, journey by journey, position by position)."""

    flow: Array  # journeys: index into FLOWS
    subscriber: Array
    entered_us: Array
    held_at: Array  # last position ever reached, NOT_HELD if free
    lost_us: Array
    lost_reason: Array
    cause: Array  # planted cause of being stuck, else empty
    slot_journey: Array  # slots
    slot_position: Array
    slot_step: Array  # index into STEPS
    slot_us: Array  # planned entry
    slot_next_step: Array  # index into STEPS, -1 after the last
    slot_next_us: Array
    slot_delay_hours: Array  # assigned by lot, -1 if none


def draw_plan(generator: np.random.Generator, people: Population) -> Plan:
    """Entries of all flows and the planned path of each journey."""
    parts = [_draw_flow(generator, people, number) for number in range(len(FLOWS))]
    lengths = [len(part["subscriber"]) for part in parts]
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    merged = {name: np.concatenate([part[name] for part in parts]) for name in parts[0] if name != "slot_journey"}
    journeys = [part["slot_journey"] + start for part, start in zip(parts, starts, strict=True)]
    return Plan(slot_journey=np.concatenate(journeys), **merged)


def _draw_flow(generator: np.random.Generator, people: Population, number: int) -> dict[str, Array]:
    flow = FLOWS[number]
    subscriber, entered, cause = _entrants(generator, people, flow)
    order = np.argsort(entered, kind="stable")
    subscriber, entered, cause = subscriber[order], entered[order], cause[order]
    count, length = len(subscriber), flow.length
    steps = _paths(generator, people, flow, subscriber, cause)
    delays = np.full((count, length), -1)
    times = np.empty((count, length), dtype=np.int64)
    times[:, 0] = entered
    specification = np.array([STEPS[step][1].delay_hours for step in range(len(STEPS))])
    for position in range(1, length):
        wait = specification[steps[:, position]] * HOUR_US
        choices = flow.steps[position - 1].assigned_delays
        if choices and flow in SERIES:
            delays[:, position - 1] = generator.choice(choices, count)
            wait = delays[:, position - 1] * HOUR_US
        times[:, position] = times[:, position - 1] + wait + generator.integers(5, 600, count) * SECOND_US
    if flow is WINBACK:
        times[:, -1] = _silence(generator, times[:, -1])
    lost_us, lost_reason = _losses(generator, steps, times)
    lost_us[people.is_planted[subscriber]] = NEVER_US
    held = np.array([HELD_AT[one][1] if one in HELD_AT else NOT_HELD for one in cause.tolist()], dtype=np.int64)
    return {
        "flow": np.full(count, number),
        "subscriber": subscriber,
        "entered_us": entered,
        "held_at": held,
        "lost_us": lost_us,
        "lost_reason": lost_reason,
        "cause": cause,
        "slot_journey": np.repeat(np.arange(count), length),
        "slot_position": np.tile(np.arange(length), count),
        "slot_step": steps.ravel(),
        "slot_us": times.ravel(),
        "slot_next_step": np.concatenate([steps[:, 1:], np.full((count, 1), -1)], axis=1).ravel(),
        "slot_next_us": np.concatenate([times[:, 1:], np.full((count, 1), NEVER_US)], axis=1).ravel(),
        "slot_delay_hours": delays.ravel(),
    }


def _entrants(generator: np.random.Generator, people: Population, flow: Flow) -> tuple[Array, Array, Array]:
    everyone = np.arange(people.size)
    free = ~people.is_planted
    signup = people.signup_us
    if flow is WELCOME or flow is ONBOARDING:
        chosen = everyone[free & (signup >= FIRST_US) & (signup < LAST_US - DAY_US)]
        if flow is WELCOME:
            chosen = chosen[generator.random(len(chosen)) < WELCOME_SHARE]
        entered = signup[chosen] + (10 * MINUTE_US if flow is ONBOARDING else 60 * MINUTE_US)
    elif flow is CART or flow is WINBACK:
        earliest = np.maximum(FIRST_US + DAY_US, signup + (DAY_US if flow is CART else 45 * DAY_US))
        share = CART_SHARE if flow is CART else WINBACK_SHARE
        lasts = ~(people.deleted_us < NEVER_US) & ~(people.archived_us < NEVER_US)
        chosen = everyone[free & lasts & (earliest < LAST_US - DAY_US) & (generator.random(people.size) < share)]
        span = LAST_US - earliest[chosen]
        entered = earliest[chosen] + (generator.random(len(chosen)) * span).astype(np.int64) // SECOND_US * SECOND_US
    else:
        assert flow.sent_at_us is not None
        exists = (people.archived_us > flow.sent_at_us) & (people.deleted_us > flow.sent_at_us)
        chosen = everyone[free & exists & (signup < flow.sent_at_us)]
        chosen = chosen[generator.random(len(chosen)) < NEWSLETTER_SHARE]
        return chosen, np.full(len(chosen), flow.sent_at_us), np.full(len(chosen), "", dtype="<U16")
    cause = np.full(len(chosen), "", dtype="<U16")
    extra, extra_entered, extra_cause = _planted_entrants(people, flow)
    return (
        np.concatenate([chosen, extra]),
        np.concatenate([entered, extra_entered]),
        np.concatenate([cause, extra_cause]),
    )


def _planted_entrants(people: Population, flow: Flow) -> tuple[Array, Array, Array]:
    """Those set aside: one flow each for the stuck, two on one day for the colliding, the welcome for the others."""
    aside = np.flatnonzero(people.is_planted)
    stuck = aside[: len(PLANTED_CAUSES)]
    colliding = aside[len(PLANTED_CAUSES) : len(PLANTED_CAUSES) + PLANTED.collisions]
    others = aside[len(PLANTED_CAUSES) + PLANTED.collisions :]
    start = us("2026-05-11T09:00")
    rows = [
        (person, start + number * 14 * HOUR_US, cause)
        for number, (person, cause) in enumerate(zip(stuck.tolist(), PLANTED_CAUSES, strict=True))
        if HELD_AT[cause][0] is flow
    ]
    if flow is CART or flow is WINBACK:
        later = 3 * HOUR_US if flow is WINBACK else 0
        rows += [
            (person, us("2026-06-01T08:00") + number % 25 * DAY_US + number * MINUTE_US + later, "")
            for number, person in enumerate(colliding.tolist())
        ]
    if flow is WELCOME:
        while_waiting = us("2026-06-25T09:00")
        rows += [(one, while_waiting + number * HOUR_US, "") for number, one in enumerate(others.tolist())]
    return (
        np.array([row[0] for row in rows], dtype=np.int64),
        np.array([row[1] for row in rows], dtype=np.int64),
        np.array([row[2] for row in rows], dtype="<U16"),
    )


def _paths(generator: np.random.Generator, people: Population, flow: Flow, subscriber: Array, cause: Array) -> Array:
    """Steps by position; at a branch the engaged take the first target and the others the second."""
    number_of = {step.step_id: STEP_NUMBER[flow.workflow_id, step.step_id] for step in flow.steps}
    columns = []
    for position in range(flow.length):
        here = [step for step in flow.steps if step.position == position]
        column = np.full(len(subscriber), number_of[here[0].step_id])
        if len(here) > 1 and flow is ONBOARDING:
            score = people.engagement[subscriber] + generator.normal(0, 0.25, len(subscriber))
            column[score < 0.9] = number_of["nudge"]
            column[cause == "deleted target"] = number_of["webinar"]
        elif len(here) > 1:
            column[cause == "paused step"] = number_of["call-offer"]
        columns.append(column)
    return np.stack(columns, axis=1)


def _losses(generator: np.random.Generator, steps: Array, times: Array) -> tuple[Array, Array]:
    """When and why each journey is lost on its way, if nothing else ends it before."""
    count, length = steps.shape
    loss = np.array([step.loss for _, step in STEPS])
    lost_us = np.full(count, NEVER_US)
    for position in range(length - 2, -1, -1):
        is_lost = generator.random(count) < loss[steps[:, position]]
        wait = times[:, position + 1] - times[:, position]
        moment = times[:, position] + HOUR_US // 2 + ((wait - HOUR_US) * generator.random(count)).astype(np.int64)
        lost_us = np.where(is_lost, moment // SECOND_US * SECOND_US, lost_us)
    reasons = generator.choice(LOSS_REASONS, count, p=LOSS_SHARES)
    return lost_us, reasons


def _silence(generator: np.random.Generator, times: Array) -> Array:
    """Nobody reaches the silent step in its silent days; they come the day after."""
    first, last = (us(day) for day in PLANTED.silent_days)
    end = last + DAY_US
    waits = (times >= first) & (times < end)
    return np.where(waits, end + generator.integers(0, 12 * 3600, len(times)) * SECOND_US, times)
