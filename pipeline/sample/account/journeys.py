"""What really happens: planned journeys cut short by loss, purchase, unsubscribe, complaint or bounce.

Every cause lies before its effect, so repeating the cut until nothing changes gives the one consistent history.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.common.time import SECOND_US
from pipeline.sample.account.plans import Plan
from pipeline.sample.account.reactions import Reactions
from pipeline.sample.account.world import FLOWS, LAST_US, NEVER_US, Array

LONGEST_CHAIN = 60


@dataclass(frozen=True)
class History:
    """`is_active` per slot; per journey when and why it ended (NEVER_US and '' = not at all)."""

    is_active: Array
    exit_us: Array
    exit_reason: Array
    unmailable_us: Array  # per subscriber
    unmailable_reason: Array


def settle(plan: Plan, reactions: Reactions, organic: tuple[Array, Array], size: int) -> History:
    """The consistent history.

    Args:
        plan: planned journeys.
        reactions: what each message would cause.
        organic: subscribers and instants of purchases that no message caused.
        size: number of subscribers.

    Raises:
        RuntimeError: if it does not settle, which would be an effect before its cause.
    """
    person = plan.subscriber[plan.slot_journey]
    has_goal = np.array([flow.goal == "purchase" for flow in FLOWS])[plan.flow]
    reachable = plan.slot_position <= plan.held_at[plan.slot_journey]
    is_active = reachable & (plan.slot_us < LAST_US)
    for _ in range(LONGEST_CHAIN):
        unmailable = np.full(size, NEVER_US)
        np.minimum.at(unmailable, person[is_active], reactions.end_us[is_active])
        goal = np.where(has_goal, _first_purchase_after_entry(plan, reactions, organic, is_active), NEVER_US)
        exit_us = np.minimum(np.minimum(unmailable[plan.subscriber], goal), plan.lost_us)
        settled = reachable & (plan.slot_us < exit_us[plan.slot_journey]) & (plan.slot_us < LAST_US)
        if np.array_equal(settled, is_active):
            return _history(plan, reactions, settled, exit_us, unmailable, goal)
        is_active = settled
    raise RuntimeError("The sample world did not settle: some effect lies before its cause.")


def _first_purchase_after_entry(
    plan: Plan, reactions: Reactions, organic: tuple[Array, Array], is_active: Array
) -> Array:
    caused = is_active & (reactions.purchase_us < NEVER_US)
    buyer = np.concatenate([plan.subscriber[plan.slot_journey][caused], organic[0]])
    moment = np.concatenate([reactions.purchase_us[caused], organic[1]])
    order = np.lexsort((moment, buyer))
    buyer, moment = buyer[order], moment[order]
    # One sorted number per purchase: seconds fit in 34 bits, subscribers above them.
    code = buyer << 34 | moment // SECOND_US
    at = np.searchsorted(code, plan.subscriber << 34 | plan.entered_us // SECOND_US, side="right")
    found = np.minimum(at, len(buyer) - 1)
    return np.where((at < len(buyer)) & (buyer[found] == plan.subscriber), moment[found], NEVER_US)


def _history(
    plan: Plan, reactions: Reactions, is_active: Array, exit_us: Array, unmailable: Array, goal: Array
) -> History:
    person = plan.subscriber[plan.slot_journey]
    why = np.full(len(unmailable), "", dtype="<U16")
    for one, moments in (
        ("complaint", reactions.complaint_us),
        ("unsubscribed", reactions.unsubscribe_us),
        ("hard_bounce", reactions.hard_bounce_us),
    ):
        ends = is_active & (moments < NEVER_US) & (moments == unmailable[person])
        why[person[ends]] = one
    last = is_active & (plan.slot_next_step < 0) & (plan.held_at[plan.slot_journey] > plan.slot_position)
    completed = np.full(len(plan.flow), NEVER_US)
    completed[plan.slot_journey[last]] = plan.slot_us[last] + 120 * SECOND_US
    reason = np.where(
        exit_us == goal, "goal", np.where(exit_us == plan.lost_us, plan.lost_reason, why[plan.subscriber])
    ).astype("<U16")
    is_completed = completed < exit_us
    exit_us = np.minimum(exit_us, completed)
    reason = np.where(is_completed, "completed", np.where(exit_us < NEVER_US, reason, ""))
    return History(is_active, exit_us, reason, unmailable, why)
