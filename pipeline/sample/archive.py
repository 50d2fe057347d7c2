"""The old classic automation of the sample account: its history from before journeys, and who was taken out by hand.

It is drawn apart from the world, so that nothing of the world depends on it.
"""

import numpy as np
import polars as pl

from pipeline.common.time import HOUR_US, SECOND_US
from pipeline.sample.account.draws import Draws, Frames
from pipeline.sample.account.engagement import draw_activity
from pipeline.sample.account.population import Population
from pipeline.sample.account.world import NEVER_US, PLANTED, REMINDER, Array, us

ENTRANTS = 160
BEGINS_US, ENDS_US = us("2025-10-01"), us("2025-12-10")


def draw_archive(seed: int, people: Population, known: Frames) -> Frames:
    """The history of the old automation.

    Args:
        seed: of all chance.
        people: who they are.
        known: the frames of the account, for their columns.
    """
    generator = np.random.default_rng(seed + 4)
    lasts = (people.deleted_us == NEVER_US) & (people.archived_us == NEVER_US) & ~people.is_bad_address
    lasting = np.flatnonzero(lasts & ~people.is_planted & (people.signup_us < BEGINS_US))
    chosen = np.sort(generator.choice(lasting, min(ENTRANTS, len(lasting)), replace=False))
    entered = BEGINS_US + (generator.random(len(chosen)) * (ENDS_US - BEGINS_US)).astype(np.int64)
    entered = entered // SECOND_US * SECOND_US
    removed = np.arange(len(chosen)) < PLANTED.removed
    first, second = (step.step_id for step in REMINDER.steps)
    later = entered + REMINDER.steps[1].delay_hours * HOUR_US
    sent = _messages(
        generator,
        np.concatenate([chosen, chosen[~removed]]),
        np.concatenate([entered, later[~removed]]),
        [first] * len(chosen) + [second] * int((~removed).sum()),
        known.messages.schema,
    )
    held = pl.DataFrame(
        {
            "subscriber": chosen[removed],
            "workflow_id": REMINDER.workflow_id,
            "step_id": first,
            "kind": REMINDER.kind,
            "entered_us": entered[removed],
            "next_step_id": second,
            "next_us": later[removed],
            "is_held": True,
            "cause": "removed",
        }
    )
    blank = known.entries.clear()
    typed = [pl.col(name).cast(dtype) for name, dtype in blank.schema.items()]
    return Frames(
        journeys=known.journeys.clear(),
        entries=pl.concat([blank, held], how="diagonal_relaxed").select(typed),
        messages=sent,
        activity=draw_activity(Draws(generator, sent.height), people, sent),
        orders=known.orders.clear(),
    )


def _messages(
    generator: np.random.Generator, subscriber: Array, sent: Array, steps: list[str], like: pl.Schema
) -> pl.DataFrame:
    """Messages that people open and click as often as the steps say; nothing worse happens."""
    rates = {step.step_id: (step.open_rate, step.click_rate) for step in REMINDER.steps}
    opens = generator.random(len(steps)) < np.array([rates[step][0] for step in steps])
    clicks = opens & (generator.random(len(steps)) < np.array([rates[step][1] for step in steps]))
    opened = sent + generator.integers(600, 40_000, len(steps)) * SECOND_US
    clicked = opened + generator.integers(30, 600, len(steps)) * SECOND_US
    nothing = pl.Series([None] * len(steps), dtype=pl.Int64)
    frame = pl.DataFrame(
        {
            "slot": np.arange(len(steps)),
            "subscriber": subscriber,
            "workflow_id": REMINDER.workflow_id,
            "step_id": steps,
            "campaign_id": steps,
            "kind": REMINDER.kind,
            "sent_us": sent,
            "bounce_us": nothing,
            "bounce_kind": pl.Series([None] * len(steps), dtype=pl.String),
            "unsubscribed_us": nothing,
            "complained_us": nothing,
            "person_open_us": pl.Series(opened).zip_with(pl.Series(opens), nothing),
            "person_click_us": pl.Series(clicked).zip_with(pl.Series(clicks), nothing),
        }
    )
    return frame.select(pl.col(name).cast(dtype) for name, dtype in like.items())
