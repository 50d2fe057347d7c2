"""What was written into merge fields and tags of the stand-in, and what a flow reads of it at a moment."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pipeline.sample.account.plans import STEP_NUMBER, Plan
from pipeline.sample.account.population import Population
from pipeline.sample.account.world import PLANTED, Array

ARMS = tuple(PLANTED.experiment_purchase)
SAID = {"subscriber": pl.Int64, "at_us": pl.Int64, "means": pl.String, "value": pl.String}
_MEMBER = re.compile(r"/lists/[^/]+/members/([0-9a-f]{32})(/tags)?$")
_BETWEEN = ": "


def read_said(log: Path, people: Population) -> pl.DataFrame:
    """What the log of writes to the stand-in server says of merge fields and tags.

    Returns:
        `subscriber` (number), `at_us` (from when), `means` and `value`, by time. A merge field is its own means. The
        tag 'route: power' says 'power' by the means 'tag route'; without the tag the means says nothing ('').
    """
    number_of = {member: number for number, member in enumerate(people.member_id.tolist())}
    rows = []
    for line in log.read_text().splitlines(keepends=True) if log.exists() else []:
        # A line cut short by a power cut was never answered.
        kept = json.loads(line) if line.endswith("\n") else {}
        if found := _MEMBER.search(kept.get("path", "")):
            said = _tags(kept.get("body") or {}) if found[2] else _fields(kept.get("body") or {})
            rows += [(number_of[found[1]], kept["at_us"], means, value) for means, value in said]
    return pl.DataFrame(rows, schema=SAID, orient="row").sort("at_us", maintain_order=True)


def said_at(said: pl.DataFrame, means: str, subscriber: Array, at_us: Array) -> pl.Series:
    """What a means said last of each subscriber before a moment; null where it never said anything.

    Args:
        said: rows of `read_said`.
        means: the merge field, or 'tag ' and the prefix of the tags.
        subscriber: numbers of subscribers.
        at_us: a moment for each; same shape.
    """
    asked = pl.DataFrame({"place": np.arange(len(subscriber)), "subscriber": subscriber, "at_us": at_us})
    told = said.filter(pl.col("means") == means).select("subscriber", "at_us", "value")
    found = asked.sort("at_us").join_asof(told, on="at_us", by="subscriber", check_sortedness=False)
    return found.sort("place")["value"]


def arms_of_slots(plan: Plan, people: Population, said: pl.DataFrame) -> Array:
    """Arm of each slot (0 = A, 1 = B): the subscriber's own, at the step under test what their field said last."""
    subscriber = plan.subscriber[plan.slot_journey]
    flow_id, step_id, _ = PLANTED.experiment
    at_step = np.flatnonzero(plan.slot_step == STEP_NUMBER[flow_id, step_id])
    value = said_at(said, PLANTED.experiment_field, subscriber[at_step], plan.slot_us[at_step])
    arms = people.arm[subscriber].copy()
    for number, arm in enumerate(ARMS):
        arms[at_step[(value == arm).fill_null(False).to_numpy()]] = number
    return arms


def _fields(body: Any) -> Iterator[tuple[str, str]]:
    for name, value in body.get("merge_fields", {}).items():
        yield str(name), str(value)


def _tags(body: Any) -> Iterator[tuple[str, str]]:
    """The active tags last: a member who changes from one to another holds the new one."""
    for tag in sorted(body.get("tags", []), key=lambda one: one.get("status", "active") == "active"):
        prefix, between, value = str(tag["name"]).partition(_BETWEEN)
        if between:
            yield f"tag {prefix}", value if tag.get("status", "active") == "active" else ""
