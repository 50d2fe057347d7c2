"""How each person would react to each message, were it sent: drawn for every slot before journeys are cut short.

Machines react too, but change nothing; they belong to `engagement`.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.common.time import DAY_US, HOUR_US, MINUTE_US, SECOND_US
from pipeline.sample.account.plans import STEP_NUMBER, STEPS, Plan
from pipeline.sample.account.population import Population
from pipeline.sample.account.world import FLOWS, NEVER_US, PLANTED, Array, hour_weights, us
from pipeline.sample.account.zones import local_hour, local_us

CLICK_BUYS = 0.14
SOFT_BOUNCE_RATE = 0.008
UNSUBSCRIBE_RATE = 0.012  # of those who open
COMPLAINT_RATE = 0.0025  # of those who open
IS_EMAIL = np.array([step.kind == "email" for _, step in STEPS])


@dataclass(frozen=True)
class Reactions:
    """One value per slot; instants are NEVER_US where nothing happens."""

    sent_us: Array  # NEVER_US for branches
    hard_bounce_us: Array
    soft_bounce_us: Array
    open_us: Array  # a person's first open
    click_us: Array  # a person's first click on a link that counts
    unsubscribe_us: Array
    complaint_us: Array
    purchase_us: Array

    @property
    def end_us(self) -> Array:
        """When the subscriber stops being mailable because of this message."""
        return np.minimum(np.minimum(self.hard_bounce_us, self.unsubscribe_us), self.complaint_us)


def draw_reactions(
    generator: np.random.Generator, people: Population, plan: Plan, arms: Array, purchase_chance: Array
) -> Reactions:
    """Bounces, opens, clicks, unsubscribes, complaints and purchases that each message, of its arm, would cause.

    Args:
        generator: source of chance.
        people: who they are.
        plan: journeys as they come about.
        arms: arm of each slot, of the running test.
        purchase_chance: chance of a purchase after each slot, opened or not, that a reaction sets; NaN where none does.
    """
    count = len(plan.slot_us)
    person = plan.subscriber[plan.slot_journey]
    step = plan.slot_step
    immune = people.is_planted[person]
    cause = plan.cause[plan.slot_journey]
    is_campaign = np.array([flow.kind == "campaign" for flow in FLOWS])[plan.flow[plan.slot_journey]]
    handling = np.where(is_campaign, 0, generator.integers(5, 90, count) * SECOND_US)
    sent = np.where(IS_EMAIL[step], plan.slot_us + handling, NEVER_US)
    is_sent = IS_EMAIL[step]

    is_hard = is_sent & people.is_bad_address[person]
    held_soft = (cause == "bounced") & (plan.slot_position == plan.held_at[plan.slot_journey])
    is_soft = (is_sent & ~is_hard & ~immune & (generator.random(count) < SOFT_BOUNCE_RATE)) | held_soft
    arrives = is_sent & ~is_hard & ~is_soft

    preference = hour_weights()[people.profile[person], local_hour(people.zone[person], np.where(is_sent, sent, 0))]
    open_rate = np.array([one.open_rate for _, one in STEPS])[step]
    click_rate = np.array([one.click_rate for _, one in STEPS])[step] * _click_factor(step, sent)
    chance = np.clip(open_rate * people.engagement[person] * (0.55 + 0.45 * preference), 0.0, 0.95)
    opens = arrives & (generator.random(count) < chance)
    open_us = np.where(opens, _open_moment(generator, people, person, sent), NEVER_US)
    clicks = opens & (generator.random(count) < click_rate)
    click_us = np.where(clicks, open_us + generator.integers(10, 120, count) * SECOND_US, NEVER_US)
    leaves = opens & ~immune & (generator.random(count) < UNSUBSCRIBE_RATE)
    complains = opens & ~immune & ~leaves & (generator.random(count) < COMPLAINT_RATE)

    lift = people.purchase_lift[person]
    buys_after_click = clicks & (generator.random(count) < CLICK_BUYS * lift)
    soon = np.clip(generator.lognormal(np.log(2.0), 1.2, count), 0.05, 96.0) * HOUR_US
    direct = np.where(np.isnan(purchase_chance), _direct_purchase(plan, arms), purchase_chance)
    buys_anyway = generator.random(count) < direct * lift
    later = (0.15 + 4.5 * generator.random(count)) * DAY_US
    purchase = np.where(
        buys_after_click,
        click_us + soon.astype(np.int64),
        np.where(buys_anyway, plan.slot_us + later.astype(np.int64), NEVER_US),
    )
    bounce_seconds = generator.integers(4, 9, count) * SECOND_US
    soft_minutes = generator.integers(60, 1200, count) * MINUTE_US
    farewell = generator.integers(20, 90, count) * SECOND_US
    return Reactions(
        sent_us=sent,
        hard_bounce_us=np.where(is_hard, sent + bounce_seconds, NEVER_US),
        soft_bounce_us=np.where(is_soft, sent + soft_minutes, NEVER_US),
        open_us=open_us,
        click_us=click_us,
        unsubscribe_us=np.where(leaves, open_us + farewell + 120 * SECOND_US, NEVER_US),
        complaint_us=np.where(complains, open_us + 2 * HOUR_US, NEVER_US),
        purchase_us=np.where(immune, NEVER_US, purchase // SECOND_US * SECOND_US),
    )


def _click_factor(step: Array, sent: Array) -> Array:
    """The outage of one step and the slow decay of another."""
    factor = np.ones(len(step))
    first, last = (us(day) for day in PLANTED.outage_days)
    is_out = (step == STEP_NUMBER[PLANTED.outage_step]) & (sent >= first) & (sent < last + DAY_US)
    factor[is_out] = 0.0
    decays = step == STEP_NUMBER[PLANTED.decay_step]
    months = np.clip((sent[decays] - us(PLANTED.decay_from)) / (30 * DAY_US), 0.0, 3.0)
    factor[decays] = 1.0 - PLANTED.decay_share_lost_per_30_days * months
    return factor


def _direct_purchase(plan: Plan, slot_arms: Array) -> Array:
    """Chance of a purchase within days of a step, opened or not: baseline, the test's arm, the delay's effect."""
    chance = np.array([step.direct_purchase for _, step in STEPS])[plan.slot_step]
    flow_id, step_id, _ = PLANTED.experiment
    arms = np.array([PLANTED.experiment_purchase[arm] for arm in "AB"])[slot_arms]
    in_test = (plan.slot_step == STEP_NUMBER[flow_id, step_id]) & (plan.slot_us >= us(PLANTED.experiment_from))
    chance = np.where(in_test, arms, chance)
    flow_id, _, target = PLANTED.delay_that_matters
    assigned = np.roll(plan.slot_delay_hours, 1)  # drawn one position before, which is one slot before
    at_target = plan.slot_step == STEP_NUMBER[flow_id, target]
    for hours, share in PLANTED.delay_purchase.items():
        chance = np.where(at_target & (assigned == hours), share, chance)
    return chance


def _open_moment(generator: np.random.Generator, people: Population, person: Array, sent: Array) -> Array:
    """Half open soon after the send, half at the next hour they like; so late that no click comes within a minute."""
    count = len(person)
    start = np.where(sent < NEVER_US, sent, 0) + 50 * SECOND_US
    soon = np.clip(generator.lognormal(np.log(25 * 60), 1.2, count), 0, 20 * 3600).astype(np.int64) * SECOND_US
    weights = hour_weights()
    cumulated = np.cumsum(weights / weights.sum(axis=1, keepdims=True), axis=1)
    hour = (generator.random(count)[:, None] > cumulated[people.profile[person]]).sum(axis=1).clip(0, 23)
    wanted = hour * HOUR_US + generator.integers(0, 3600, count) * SECOND_US
    wait = (wanted - local_us(people.zone[person], start)) % DAY_US
    return start + np.where(generator.random(count) < 0.5, soon, wait)
