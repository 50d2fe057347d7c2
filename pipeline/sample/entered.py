"""People whom a write let into a journey of the stand-in: the mail they get from then on, along the default way.

It is drawn apart from the world. Who is let in later changes nothing for those before.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pipeline.common.time import HOUR_US, SECOND_US
from pipeline.sample.account.draws import Draws, Frames
from pipeline.sample.account.engagement import draw_activity
from pipeline.sample.account.population import Population
from pipeline.sample.account.world import LAST_US, Array, Flow, Step
from pipeline.sample.server.journey_steps import API_TRIGGER, EVENT_TRIGGER, JOURNEYS, TAG_TRIGGER, Journey

SLOTS = 1_000_000
"""Places for which chance is drawn, however many people were let in: so those let in later change nothing."""
_MEMBER = re.compile(r"/lists/[^/]+/members/([0-9a-f]{32})/(tags|events)$")
_TRIGGER = re.compile(r"/customer-journeys/journeys/(\d+)/steps/(\d+)/actions/trigger$")
ENTERED = {"subscriber": pl.Int64, "journey": pl.Int64, "at_us": pl.Int64}


def read_entered(log: Path, people: Population) -> pl.DataFrame:
    """What the log of writes to the stand-in says of tags, events and triggers that start journeys.

    Returns:
        `subscriber` (number), `journey` (number) and `at_us`, each person once a journey, in the order of the log.
    """
    number_of = {member: number for number, member in enumerate(people.member_id.tolist())}
    rows = []
    for line in log.read_text().splitlines(keepends=True) if log.exists() else []:
        # A line cut short by a power cut was never answered.
        kept = json.loads(line) if line.endswith("\n") else {}
        for member, journey in _starts(kept.get("path", ""), kept.get("body") or {}):
            if member in number_of:
                rows.append((number_of[member], journey.number, kept["at_us"]))
    frame = pl.DataFrame(rows, schema=ENTERED, orient="row")
    return frame.unique(["subscriber", "journey"], keep="first", maintain_order=True)


def draw_entered(seed: int, people: Population, entered: pl.DataFrame, unmailable_us: Array, known: Frames) -> Frames:
    """What happens to those who were let in: an entry and a message at each step, until they can get no mail.

    Args:
        seed: of all chance.
        people: who they are.
        entered: as `read_entered` gives it.
        unmailable_us: when each subscriber left.
        known: the frames of the account. Who is in a journey there is not let in a second time.
    """
    inside = known.journeys.select("subscriber", "workflow_id", "entered_us")
    rows, ends = [], []
    numbers = {journey.number: journey.flow for journey in JOURNEYS}
    for person, number, at_us in entered.iter_rows():
        flow = numbers[number]
        last_us = min(unmailable_us[person], people.archived_us[person], people.deleted_us[person], LAST_US)
        if people.signup_us[person] < at_us < last_us:
            stay = list(_stay(flow, person, at_us, int(last_us)))
            rows += stay
            ends.append(_end(flow, person, at_us, stay))
    schema = {**known.messages.schema, **known.entries.schema, "open_rate": pl.Float64(), "click_rate": pl.Float64()}
    steps = pl.DataFrame(rows, schema=schema).join(
        inside.rename({"entered_us": "before_us"}), on=["subscriber", "workflow_id"], how="anti"
    )
    stays = pl.DataFrame(ends, schema=known.journeys.schema).join(inside, on=["subscriber", "workflow_id"], how="anti")
    mail = _with_reactions(seed, steps.filter(pl.col("campaign_id").is_not_null()))
    messages = mail.select(known.messages.columns)
    return Frames(
        stays,
        steps.select(known.entries.columns),
        messages,
        draw_activity(Draws(np.random.default_rng(seed + 6), SLOTS), people, messages),
    )


def _starts(path: str, body: Any) -> Iterator[tuple[str, Journey]]:
    """Member ids and journeys that a write starts for them."""
    if found := _TRIGGER.search(path):
        address = str(body.get("email_address", "")).lower()
        member = hashlib.md5(address.encode(), usedforsecurity=False).hexdigest()
        for journey in JOURNEYS:
            step = journey.trigger(API_TRIGGER)
            if step is not None and (str(journey.number), str(step.number)) == found.groups():
                yield member, journey
    elif found := _MEMBER.search(path):
        tags = body.get("tags", []) if found[2] == "tags" else []
        started = [(TAG_TRIGGER, str(tag["name"])) for tag in tags if tag.get("status", "active") == "active"]
        started += [(EVENT_TRIGGER, str(body.get("name")))] if found[2] == "events" else []
        for journey in JOURNEYS:
            if any(journey.trigger(*one) for one in started):
                yield found[1], journey


def _default_way(flow: Flow) -> list[Step]:
    """A step for each position: at a branch the one that most people get."""
    favourites = ("nudge", "voucher")
    way = []
    for position in range(flow.length):
        here = [step for step in flow.steps if step.position == position]
        way.append(next((step for step in here if step.step_id in favourites), here[0]))
    return way


def _stay(flow: Flow, person: int, at_us: int, last_us: int) -> Iterator[dict[str, Any]]:
    """A row for each step, as an entry and as a message."""
    way = _default_way(flow)
    moment = at_us
    for step, following in zip(way, [*way[1:], None], strict=True):
        moment += step.delay_hours * HOUR_US if step.position else 0
        if moment >= last_us:
            return
        yield {
            "subscriber": person,
            "workflow_id": flow.workflow_id,
            "kind": flow.kind,
            "step_id": step.step_id,
            "campaign_id": flow.campaign_id(step),
            "position": step.position,
            "entered_us": moment,
            "sent_us": moment,
            "next_step_id": following.step_id if following else None,
            "next_us": moment + following.delay_hours * HOUR_US if following else None,
            "delay_hours": -1,
            "arm": "",
            "is_held": False,
            "cause": "",
            "open_rate": step.open_rate,
            "click_rate": step.click_rate,
        }


def _end(flow: Flow, person: int, at_us: int, stay: list[dict[str, Any]]) -> dict[str, Any]:
    last = stay[-1]
    is_completed = last["next_step_id"] is None
    return {
        "subscriber": person,
        "workflow_id": flow.workflow_id,
        "entered_us": at_us,
        "exit_us": last["entered_us"] + 120 * SECOND_US if is_completed else None,
        "exit_reason": "completed" if is_completed else "",
        "exit_step_id": last["step_id"],
        "cause": "",
    }


def _with_reactions(seed: int, mail: pl.DataFrame) -> pl.DataFrame:
    """Messages that people open and click as often as the steps say; nothing worse happens."""
    # One row of chances a message, drawn row by row: those of a message do not depend on how many follow it.
    chance = np.random.default_rng(seed + 5).random((mail.height, 4))
    sent = mail["sent_us"].to_numpy()
    opens = chance[:, 0] < mail["open_rate"].to_numpy()
    clicks = opens & (chance[:, 1] < mail["click_rate"].to_numpy())
    opened = sent + (600 + (chance[:, 2] * 39_400).astype(np.int64)) * SECOND_US
    clicked = opened + (30 + (chance[:, 3] * 570).astype(np.int64)) * SECOND_US
    return mail.with_columns(
        slot=pl.int_range(pl.len()),
        person_open_us=pl.when(pl.Series(opens)).then(pl.Series(opened)),
        person_click_us=pl.when(pl.Series(clicks)).then(pl.Series(clicked)),
    )
