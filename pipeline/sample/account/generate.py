"""The sample account as frames in memory, generated from a seed: what API, event files and truth are made from.

Frames (instants are epoch microseconds; `subscriber` is the number of a person in `people`):
    journeys: subscriber, workflow_id, entered_us, exit_us, exit_reason, exit_step_id, cause (planted, of being stuck)
    entries: subscriber, workflow_id, step_id, position, entered_us, next_step_id, next_us (planned), delay_hours, arm
    messages: slot, subscriber, workflow_id, step_id, campaign_id, kind, sent_us, bounce_kind, bounce_us,
        unsubscribed_us, complained_us, person_open_us, person_click_us
    activity: see `engagement`; orders: see `commerce`; visits: subscriber, occurred_us
    asked: those who came to a flow that waits for a start, see `reacting`
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from pipeline.common.time import DAY_US, HOUR_US
from pipeline.sample.account.commerce import Purchases, draw_orders, draw_organic
from pipeline.sample.account.draws import Draws, Frames
from pipeline.sample.account.engagement import draw_activity
from pipeline.sample.account.journeys import History, settle
from pipeline.sample.account.plans import PLANTED_PEOPLE, STEPS, Plan, draw_plan
from pipeline.sample.account.population import Population, draw_population, preferred_moment
from pipeline.sample.account.reactions import Reactions, draw_reactions
from pipeline.sample.account.told import ARMS, SAID, arms_of_slots, read_said
from pipeline.sample.account.world import FIRST_US, FLOWS, LAST_US, NEVER_US, Array
from pipeline.sample.archive import draw_archive
from pipeline.sample.entered import ENTERED, draw_entered, read_entered
from pipeline.sample.reacting import Built, steer

DEFAULT_SEED = 20260629
VISITS_PER_SUBSCRIBER = 9
LOOPS = 4


@dataclass(frozen=True)
class SampleAccount:
    """Everything that happens in the sample account until the end of its world, hidden future included."""

    seed: int
    people: Population
    unmailable_us: Array
    unmailable_reason: Array
    journeys: pl.DataFrame
    entries: pl.DataFrame
    messages: pl.DataFrame
    activity: pl.DataFrame
    orders: pl.DataFrame
    visits: pl.DataFrame
    asked: pl.DataFrame


def generate(seed: int = DEFAULT_SEED, log: Path | None = None, built: Built | None = None) -> SampleAccount:
    """The sample account; equal seeds give equal accounts.

    Args:
        seed: of all chance.
        log: file that keeps what was written to the stand-in server. Writes change what happens after them, never
            what happened before.
        built: what the owner has built into the flows.
    """
    generator = np.random.default_rng(seed)
    people = draw_population(generator, PLANTED_PEOPLE)
    said = read_said(log, people) if log else pl.DataFrame(schema=SAID)
    started = read_entered(log, people) if log else pl.DataFrame(schema=ENTERED)
    steered = steer(draw_plan(generator, people), people, said, started, built or Built())
    plan = steered.plan
    arms = arms_of_slots(plan, people, said)
    reactions = draw_reactions(generator, people, plan, arms, steered.purchase)
    organic = draw_organic(generator, people)
    history = settle(plan, reactions, organic, people.size)
    messages, entries = _messages(plan, reactions, history), _entries(arms, plan, history)
    activity = draw_activity(Draws(generator, len(plan.slot_us)), people, messages)
    orders = draw_orders(generator, people, _purchases(plan, reactions, history, organic), _outside(people, plan))
    world = Frames(_journeys(plan, history), entries, messages, activity, orders)
    parts = [world, draw_archive(seed, people, world)]
    parts.append(draw_entered(seed, people, started, said, history.unmailable_us, world))
    return SampleAccount(
        seed=seed,
        people=people,
        unmailable_us=history.unmailable_us,
        unmailable_reason=history.unmailable_reason,
        journeys=pl.concat([part.journeys for part in parts]),
        entries=pl.concat([part.entries for part in parts]),
        messages=pl.concat([part.messages for part in parts]),
        activity=pl.concat([part.activity for part in parts]),
        orders=pl.concat([part.orders for part in parts]),
        visits=_visits(generator, people),
        asked=steered.asked,
    )


def _steps_frame() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "step": np.arange(len(STEPS)),
            "workflow_id": [flow.workflow_id for flow, _ in STEPS],
            "kind": [flow.kind for flow, _ in STEPS],
            "step_id": [step.step_id for _, step in STEPS],
            "campaign_id": [flow.campaign_id(step) for flow, step in STEPS],
        }
    )


def _instants(values: Array) -> pl.Series:
    """The instants, null where nothing happens."""
    series = pl.Series(values, dtype=pl.Int64)
    return series.zip_with(series < NEVER_US, pl.Series([None], dtype=pl.Int64))


def _messages(plan: Plan, reactions: Reactions, history: History) -> pl.DataFrame:
    sent = history.is_active & (reactions.sent_us < NEVER_US)
    bounce = np.minimum(reactions.hard_bounce_us, reactions.soft_bounce_us)[sent]
    frame = pl.DataFrame(
        {
            "slot": np.flatnonzero(sent),
            "subscriber": plan.subscriber[plan.slot_journey[sent]],
            "step": plan.slot_step[sent],
            "sent_us": reactions.sent_us[sent],
            "bounce_us": _instants(bounce),
            "is_hard": reactions.hard_bounce_us[sent] < NEVER_US,
            "unsubscribed_us": _instants(reactions.unsubscribe_us[sent]),
            "complained_us": _instants(reactions.complaint_us[sent]),
            "person_open_us": _instants(reactions.open_us[sent]),
            "person_click_us": _instants(reactions.click_us[sent]),
        }
    )
    kind = pl.when(pl.col("bounce_us").is_not_null()).then(
        pl.when("is_hard").then(pl.lit("hard")).otherwise(pl.lit("soft"))
    )
    person_ends = pl.Series("ends", _instants(history.unmailable_us))[frame["subscriber"]]
    # Whoever left by another message first does not leave a second time.
    is_end = {name: pl.col(name) == pl.lit(person_ends) for name in ("unsubscribed_us", "complained_us")}
    return (
        frame.with_columns(
            bounce_kind=kind, **{name: pl.when(test).then(pl.col(name)) for name, test in is_end.items()}
        )
        .join(_steps_frame(), on="step", how="left", maintain_order="left")
        .drop("step", "is_hard")
    )


def _journeys(plan: Plan, history: History) -> pl.DataFrame:
    began = np.zeros(len(plan.flow), dtype=bool)
    began[plan.slot_journey[history.is_active]] = True
    last_step = np.full(len(plan.flow), -1)
    np.maximum.at(last_step, plan.slot_journey[history.is_active], plan.slot_position[history.is_active])
    is_last = history.is_active & (plan.slot_position == last_step[plan.slot_journey])
    step = np.full(len(plan.flow), 0)
    step[plan.slot_journey[is_last]] = plan.slot_step[is_last]
    step_ids = np.array([one.step_id for _, one in STEPS])
    ids = np.array([flow.workflow_id for flow in FLOWS])
    return pl.DataFrame(
        {
            "subscriber": plan.subscriber,
            "workflow_id": ids[plan.flow],
            "entered_us": plan.entered_us,
            "exit_us": _instants(history.exit_us),
            "exit_reason": history.exit_reason,
            "exit_step_id": step_ids[step],
            "cause": plan.cause,
        }
    ).filter(pl.Series(began))


def _entries(arms: Array, plan: Plan, history: History) -> pl.DataFrame:
    active = history.is_active
    journey = plan.slot_journey[active]
    person = plan.subscriber[journey]
    frame = pl.DataFrame(
        {
            "subscriber": person,
            "step": plan.slot_step[active],
            "position": plan.slot_position[active],
            "entered_us": plan.slot_us[active],
            "next_step": plan.slot_next_step[active],
            "next_us": _instants(plan.slot_next_us[active]),
            "delay_hours": plan.slot_delay_hours[active],
            "arm": np.array(ARMS)[arms[active]],
            "is_held": plan.slot_position[active] == plan.held_at[journey],
            "cause": plan.cause[journey],
        }
    )
    steps = _steps_frame()
    following = steps.select(pl.col("step").alias("next_step"), pl.col("step_id").alias("next_step_id"))
    frame = frame.join(steps, on="step", how="left", maintain_order="left").join(
        following, on="next_step", how="left", maintain_order="left"
    )
    looping = frame.filter((pl.col("cause") == "loop") & pl.col("is_held"))
    again = [looping.with_columns(pl.col("entered_us") + turn * DAY_US) for turn in range(1, LOOPS)]
    return pl.concat([frame, *again]).drop("step", "next_step", "campaign_id")


def _purchases(plan: Plan, reactions: Reactions, history: History, organic: tuple[Array, Array]) -> Purchases:
    caused = history.is_active & (reactions.purchase_us < NEVER_US)
    buyers = np.concatenate([plan.subscriber[plan.slot_journey[caused]], organic[0]])
    moments = np.concatenate([reactions.purchase_us[caused], organic[1]])
    chances = len(caused) + np.arange(len(organic[0]))
    return Purchases(buyers, moments, np.concatenate([np.flatnonzero(caused), chances]), len(caused) + len(organic[0]))


def _outside(people: Population, plan: Plan) -> Array:
    has_goal = np.array([flow.goal is not None for flow in FLOWS])[plan.flow]
    outside = ~people.is_planted
    outside[plan.subscriber[has_goal]] = False
    return np.flatnonzero(outside)


def _visits(generator: np.random.Generator, people: Population) -> pl.DataFrame:
    count = people.size * VISITS_PER_SUBSCRIBER
    person = generator.integers(0, people.size, count)
    earliest = np.maximum(FIRST_US, people.signup_us[person])
    around = earliest + (generator.random(count) * (LAST_US - earliest)).astype(np.int64)
    moment = preferred_moment(generator, people.zone[person], people.profile[person], around)
    return pl.DataFrame({"subscriber": person, "occurred_us": np.maximum(moment, earliest + HOUR_US)})
