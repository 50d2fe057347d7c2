"""How the flows of the stand-in react to what was written: the path people take, the hour of their mail, their start.

A reaction moves or redirects what was planned for a person. Chance belongs to slots, so it stays what it was, and
nothing before the write changes.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from pipeline.common.time import HOUR_US
from pipeline.sample.account.plans import STEP_NUMBER, STEPS, Plan
from pipeline.sample.account.population import Population
from pipeline.sample.account.told import said_at
from pipeline.sample.account.world import FLOWS, NEVER_US, PLANTED, SERIES, WINBACK, Array, Flow
from pipeline.sample.account.zones import local_hour

HELD_BEFORE_THE_FIRST = -1
_HOURS = 24
_IS_EMAIL = np.array([step.kind == "email" for _, step in STEPS])


@dataclass(frozen=True)
class Built:
    """What the owner has built into the flows by hand, and since when (epoch microseconds).

    Attributes:
        hours_from_us: before each e-mail people wait until the local hour that their merge field SENDHOUR holds.
        released_from_us: win-back has no starting point left but the event and the API's, so people wait for these.
    """

    hours_from_us: int = NEVER_US
    released_from_us: int = NEVER_US


@dataclass(frozen=True)
class Steered:
    """The plan as it comes about.

    Attributes:
        plan: with the paths, hours and starts that were written.
        purchase: chance of a purchase after each slot that a reaction sets; NaN where none does.
        asked: `subscriber`, `workflow_id`, `step_id` and `entered_us` of those who came to a flow that waits for a
            start, when they came.
    """

    plan: Plan
    purchase: Array
    asked: pl.DataFrame


def steer(plan: Plan, people: Population, said: pl.DataFrame, started: pl.DataFrame, built: Built) -> Steered:
    """What becomes of the plan.

    Args:
        plan: journeys as planned. Those of a planted phenomenon stay as they are.
        people: who they are.
        said: rows of `read_said`.
        started: `subscriber`, `workflow_id` and `at_us` of starts by event or API, each person once a flow.
        built: what the owner has built.
    """
    steps, times = plan.slot_step.copy(), plan.slot_us.copy()
    lost, held, entered = plan.lost_us.copy(), plan.held_at.copy(), plan.entered_us.copy()
    waited = np.full(len(plan.flow), np.nan)
    for number, flow in enumerate(FLOWS):
        mine = np.flatnonzero((plan.flow == number) & ~people.is_planted[plan.subscriber])
        if flow not in SERIES or not len(mine):
            continue
        places = np.searchsorted(plan.slot_journey, mine)[:, None] + np.arange(flow.length)
        shift = np.zeros(len(mine), dtype=np.int64)
        if flow is WINBACK:
            shift, held[mine], waited[mine] = _starts(plan, mine, started, built)
            entered[mine] += shift
        # Who is lost is lost between two steps, and goes along with the step before.
        before = (times[places] <= plan.lost_us[mine][:, None]).sum(axis=1) - 1
        for position in range(flow.length):
            here, who = places[:, position], plan.subscriber[mine]
            shift = shift + _until_the_hour(people, said, who, times[here] + shift, _IS_EMAIL[steps[here]], built)
            times[here] += shift
            lost[mine] += np.where((before == position) & (plan.lost_us[mine] < NEVER_US), shift, 0)
            if position + 1 < flow.length:
                steps[places[:, position + 1]] = _routed(flow, steps, places, position, said, who, times[here])
    changed = replace(
        plan,
        entered_us=entered,
        held_at=held,
        lost_us=lost,
        slot_step=steps,
        slot_us=times,
        slot_next_step=_following(plan, steps, -1),
        slot_next_us=_following(plan, times, NEVER_US),
    )
    return Steered(changed, _purchase(changed, said, waited), _asked(plan, waited))


def _starts(plan: Plan, mine: Array, started: pl.DataFrame, built: Built) -> tuple[Array, Array, Array]:
    """How much later each journey begins, its last position, and the hours waited (NaN where it began by itself)."""
    flow = FLOWS[plan.flow[mine[0]]]
    came = plan.entered_us[mine]
    waits = came >= built.released_from_us
    begun = started.filter(pl.col("workflow_id") == flow.workflow_id).select("subscriber", "at_us")
    people = pl.DataFrame({"subscriber": plan.subscriber[mine]})
    at_us = people.join(begun, on="subscriber", how="left", maintain_order="left")["at_us"].fill_null(NEVER_US)
    is_let_in = waits & (at_us.to_numpy() >= came) & (at_us.to_numpy() < NEVER_US)
    shift = np.where(is_let_in, at_us.to_numpy() - came, 0)
    held = np.where(waits & ~is_let_in, HELD_BEFORE_THE_FIRST, plan.held_at[mine])
    return shift, held, np.where(is_let_in, shift / HOUR_US, np.where(waits, np.inf, np.nan))


def _until_the_hour(
    people: Population, said: pl.DataFrame, who: Array, at_us: Array, is_email: Array, built: Built
) -> Array:
    """The wait before an e-mail until the local hour that is held; 0 where none is, or nothing of it is built."""
    follows = is_email & (at_us >= built.hours_from_us)
    wait = np.zeros(len(who), dtype=np.int64)
    if follows.any():
        hour = said_at(said, PLANTED.hour_field, who[follows], at_us[follows]).cast(pl.Int64, strict=False)
        ahead = (hour.fill_null(0).to_numpy() - local_hour(people.zone[who[follows]], at_us[follows])) % _HOURS
        wait[follows] = np.where(hour.is_not_null().to_numpy(), ahead * HOUR_US, 0)
    return wait


def _routed(
    flow: Flow, steps: Array, places: Array, position: int, said: pl.DataFrame, who: Array, at_us: Array
) -> Array:
    """The next steps: at the branch that reads a merge field the step that it names, elsewhere as planned."""
    planned: Array = steps[places[:, position + 1]]
    flow_id, step_id, means = PLANTED.route
    if flow.workflow_id != flow_id or steps[places[0, position]] != STEP_NUMBER[flow_id, step_id]:
        return planned
    value = said_at(said, means, who, at_us)
    routed = planned.copy()
    for step in flow.steps:
        if step.position == position + 1 and step.status == "active":
            routed[(value == step.step_id).fill_null(False).to_numpy()] = STEP_NUMBER[flow_id, step.step_id]
    return routed


def _following(plan: Plan, values: Array, last: int) -> Array:
    """The value of the next slot of the same journey; `last` at its end."""
    is_last = np.append(plan.slot_journey[1:] != plan.slot_journey[:-1], True)
    return np.where(is_last, last, np.roll(values, -1))


def _purchase(plan: Plan, said: pl.DataFrame, waited: Array) -> Array:
    chance = np.full(len(plan.slot_us), np.nan)
    for one in PLANTED.reactions:
        slots = np.flatnonzero(plan.slot_step == STEP_NUMBER[one.workflow_id, one.step_id])
        value = said_at(said, one.means, plan.subscriber[plan.slot_journey[slots]], plan.slot_us[slots])
        for word, share in one.purchase.items():
            chance[slots[(value == word).fill_null(False).to_numpy()]] = share
    hours = waited[plan.slot_journey]
    is_first = (plan.slot_position == 0) & np.isfinite(hours)
    short, long = PLANTED.wait_purchase
    chance[is_first] = np.where(hours[is_first] < PLANTED.wait_that_matters_hours, short, long)
    return chance


def _asked(plan: Plan, waited: Array) -> pl.DataFrame:
    came = np.flatnonzero(~np.isnan(waited))
    rows: dict[str, Any] = {"subscriber": plan.subscriber[came], "entered_us": plan.entered_us[came]}
    first = pl.lit(WINBACK.steps[0].step_id)
    return pl.DataFrame(rows).with_columns(workflow_id=pl.lit(WINBACK.workflow_id), step_id=first)
