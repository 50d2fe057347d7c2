"""People whom a write let into a journey of the stand-in: the mail they get from then on, and what they do with it.

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

from pipeline.common.time import DAY_US, HOUR_US, SECOND_US
from pipeline.sample.account.draws import Draws, Frames
from pipeline.sample.account.engagement import draw_activity
from pipeline.sample.account.population import Population
from pipeline.sample.account.reactions import CLICK_BUYS
from pipeline.sample.account.world import CURRENCY, FLOWS, LAST_US, NEVER_US, PLANTED, SERIES, Array, Flow, Step
from pipeline.sample.server.journey_steps import API_TRIGGER, EVENT_TRIGGER, JOURNEYS, TAG_TRIGGER, Journey

SLOTS = 1_000_000
"""Places for which chance is drawn: one for each subscriber, flow and position, whoever was let in."""
LONGEST = 8
"""Places of a flow, of which none is longer."""
_MEMBER = re.compile(r"/lists/[^/]+/members/([0-9a-f]{32})/(tags|events)$")
_TRIGGER = re.compile(r"/customer-journeys/journeys/(\d+)/steps/(\d+)/actions/trigger$")
ENTERED = {"subscriber": pl.Int64, "workflow_id": pl.String, "at_us": pl.Int64}


def read_entered(log: Path, people: Population) -> pl.DataFrame:
    """What the log of writes to the stand-in says of tags, events and triggers that start journeys.

    Returns:
        `subscriber` (number), `workflow_id` and `at_us`, each person once a journey, in the order of the log.
    """
    number_of = {member: number for number, member in enumerate(people.member_id.tolist())}
    rows = []
    for line in log.read_text().splitlines(keepends=True) if log.exists() else []:
        # A line cut short by a power cut was never answered.
        kept = json.loads(line) if line.endswith("\n") else {}
        for member, journey in _starts(kept.get("path", ""), kept.get("body") or {}):
            if member in number_of:
                rows.append((number_of[member], journey.flow.workflow_id, kept["at_us"]))
    frame = pl.DataFrame(rows, schema=ENTERED, orient="row")
    return frame.unique(["subscriber", "workflow_id"], keep="first", maintain_order=True)


def draw_entered(
    seed: int, people: Population, entered: pl.DataFrame, said: pl.DataFrame, unmailable_us: Array, known: Frames
) -> Frames:
    """What happens to those who were let in: an entry and a message at each step, until they buy or can get no mail.

    Args:
        seed: of all chance. Each person has a source of their own, so nobody depends on who else was let in.
        people: who they are.
        entered: as `read_entered` gives it.
        said: rows of `read_said`, for the path.
        unmailable_us: when each subscriber left.
        known: the frames of the account. Who is in a journey there is not let in a second time.
    """
    inside = set(known.journeys.select("subscriber", "workflow_id").iter_rows())
    routes = _routes(said)
    rows, ends, orders = [], [], []
    flows = {journey.flow.workflow_id: journey.flow for journey in JOURNEYS}
    for person, workflow_id, at_us in entered.iter_rows():
        last_us = min(unmailable_us[person], people.archived_us[person], people.deleted_us[person], LAST_US)
        if (person, workflow_id) in inside or not people.signup_us[person] < at_us < last_us:
            continue
        flow = flows[workflow_id]
        chance = np.random.default_rng([seed + 5, person, FLOWS.index(flow)])
        stay = list(_stay(flow, person, at_us, int(last_us), routes.get(person, []), chance))
        rows += stay
        ends.append(_end(flow, person, at_us, stay))
        orders += [_order(flow, one, chance) for one in stay if one["bought_us"] is not None]
    reactions = {name: pl.Int64() for name in ("person_open_us", "person_click_us", "bought_us")}
    steps = pl.DataFrame(rows, schema={**known.messages.schema, **known.entries.schema, **reactions})
    mail = steps.filter(pl.col("campaign_id").is_not_null())
    messages = mail.select(known.messages.columns)
    return Frames(
        pl.DataFrame(ends, schema=known.journeys.schema),
        steps.select(known.entries.columns),
        messages,
        draw_activity(Draws(np.random.default_rng(seed + 6), SLOTS), people, messages),
        pl.DataFrame(orders, schema=known.orders.schema),
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


def _routes(said: pl.DataFrame) -> dict[int, list[tuple[int, str]]]:
    """What the field of the branch said of each subscriber, and since when."""
    found: dict[int, list[tuple[int, str]]] = {}
    told = said.filter(pl.col("means") == PLANTED.route[2])
    for person, at_us, value in told.select("subscriber", "at_us", "value").iter_rows():
        found.setdefault(person, []).append((at_us, value))
    return found


def _step_at(flow: Flow, position: int, route: str) -> Step:
    """The step at a position: after a branch the one that the field names, else the one that most people get."""
    here = [step for step in flow.steps if step.position == position and step.status == "active"]
    favourites = (route, "nudge", "voucher")
    return min(here, key=lambda step: favourites.index(step.step_id) if step.step_id in favourites else len(favourites))


def _stay(
    flow: Flow,
    person: int,
    at_us: int,
    last_us: int,
    routes: list[tuple[int, str]],
    chance: np.random.Generator,
) -> Iterator[dict[str, Any]]:
    """A row for each step, as an entry and as a message, with what the person does; it ends with a purchase."""
    step, moment = _step_at(flow, 0, ""), at_us
    while moment < last_us:
        route = next((value for since, value in reversed(routes) if since <= moment), "")
        following = _step_at(flow, step.position + 1, route) if step.position + 1 < flow.length else None
        next_us = moment + following.delay_hours * HOUR_US if following else None
        reaction = _reaction(flow, step, moment, route, chance)
        yield {
            "slot": (person * len(SERIES) + SERIES.index(flow)) * LONGEST + step.position,
            "subscriber": person,
            "workflow_id": flow.workflow_id,
            "kind": flow.kind,
            "step_id": step.step_id,
            "campaign_id": flow.campaign_id(step),
            "position": step.position,
            "entered_us": moment,
            "sent_us": moment,
            "next_step_id": following.step_id if following else None,
            "next_us": next_us,
            "delay_hours": -1,
            "arm": "",
            "is_held": False,
            "cause": "",
            **reaction,
        }
        bought_us = reaction["bought_us"] if flow.goal is not None else None
        if following is None or next_us is None or (bought_us is not None and bought_us < next_us):
            return
        step, moment = following, next_us


def _reaction(flow: Flow, step: Step, sent_us: int, route: str, chance: np.random.Generator) -> dict[str, int | None]:
    """When a person opens, clicks and buys. A step without mail draws the same numbers, and nothing comes of them."""
    draws = chance.random(7)
    opened = step.kind == "email" and draws[0] < step.open_rate
    open_us = sent_us + (600 + int(draws[1] * 39_400)) * SECOND_US
    clicked = opened and draws[2] < step.click_rate
    click_us = open_us + (30 + int(draws[3] * 570)) * SECOND_US
    place = (flow.workflow_id, step.step_id, PLANTED.route[2])
    shown = {(one.workflow_id, one.step_id, one.means): one.purchase for one in PLANTED.reactions}
    direct = shown.get(place, {}).get(route, step.direct_purchase)
    bought_us = None
    if clicked and draws[4] < CLICK_BUYS:
        bought_us = click_us + HOUR_US
    elif step.kind == "email" and draws[5] < direct:
        bought_us = sent_us + int((0.15 + 4.5 * draws[6]) * DAY_US) // SECOND_US * SECOND_US
    return {
        "person_open_us": open_us if opened else None,
        "person_click_us": click_us if clicked else None,
        "bought_us": bought_us,
    }


def _order(flow: Flow, step: dict[str, Any], chance: np.random.Generator) -> dict[str, Any]:
    """The order of a purchase, with a number that no other order has."""
    cents = int(chance.lognormal(3.6, 0.55) * 100) + 500
    return {
        "order_id": f"W{step['subscriber']:06d}{FLOWS.index(flow)}{step['position']}",
        "subscriber": step["subscriber"],
        "occurred_us": step["bought_us"],
        "net_cents": cents,
        "tax_cents": cents * 8 // 100,
        "shipping_cents": 0,
        "currency": CURRENCY,
        "refund_us": NEVER_US,
        "refund_cents": 0,
        "is_in_store": True,
    }


def _end(flow: Flow, person: int, at_us: int, stay: list[dict[str, Any]]) -> dict[str, Any]:
    last = stay[-1]
    goal_us = last["bought_us"] if flow.goal is not None else None
    is_completed = last["next_step_id"] is None and goal_us is None
    completed_us = last["entered_us"] + 120 * SECOND_US if is_completed else None
    return {
        "subscriber": person,
        "workflow_id": flow.workflow_id,
        "entered_us": at_us,
        "exit_us": completed_us if goal_us is None else goal_us,
        "exit_reason": "completed" if is_completed else "goal" if goal_us is not None else "",
        "exit_step_id": last["step_id"],
        "cause": "",
    }
