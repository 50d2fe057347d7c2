"""The sample account in memory: what is written to it goes into its log, and its flows react; and its core tables.

The log and the mail are the stand-in's own record. Reading over HTTP and SQL are tested elsewhere.
"""

import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pipeline.common.time import DAY_US, HOUR_US
from pipeline.optimizations.account.releasing import Answer
from pipeline.optimizations.changes import REFUSED, Change, Outcome
from pipeline.sample.account.generate import SampleAccount, generate
from pipeline.sample.account.plans import STEPS
from pipeline.sample.account.world import FLOWS
from pipeline.sample.account.zones import ZONES, local_us
from pipeline.sample.reacting import Built
from pipeline.sample.server.journey_steps import RELEASE_EVENT
from pipeline.sample.server.view import View, look
from pipeline.schemas.base import conform, polars_schema
from pipeline.schemas.core import (
    CoreConversions,
    CoreMessages,
    CoreStepEntries,
    CoreSteps,
    CoreSubscribers,
    CoreWorkflows,
)
from pipeline.schemas.reductions import SubscriberHours
from pipeline.schemas.vocabulary import ReleaseOutcome
from tests.worlds.facts import rows
from tests.worlds.writing import InMemoryAccount

GRACE_US = 48 * HOUR_US
HOURS_OF_WEEK = 168
MONDAY = 3
"""Days from 1970-01-01, a Thursday, back to its Monday."""
WORKFLOW_KEY = {flow.workflow_id: number for number, flow in enumerate(FLOWS, 1)}
STEP_KEY = {(flow.workflow_id, step.step_id): number for number, (flow, step) in enumerate(STEPS, 1)}
_STEP_KEYS = pl.DataFrame(
    [(*place, key, WORKFLOW_KEY[place[0]]) for place, key in STEP_KEY.items()],
    schema=["workflow_id", "step_id", "step_key", "workflow_key"],
    orient="row",
)


class StandIn(InMemoryAccount):
    """An account whose log the sample world reads: what is written changes what its people get and do from then on."""

    def __init__(self, folder: Path, built: Built | None = None) -> None:
        super().__init__(0)
        self.log = folder / "writes.ndjson"
        self.built = built or Built()
        self.world: SampleAccount
        self.view: View

    def live_until(self, as_of: date) -> None:
        """Let the world go on to the end of a day."""
        self.world = generate(log=self.log, built=self.built)
        self.view = look(self.world, as_of)
        mailable = self.view.status[self.view.members] == "subscribed"
        self.people = self.view.members[mailable].tolist()

    def write_members(self, changes: Sequence[Change]) -> list[str]:
        outcomes = super().write_members(changes)
        lines = [
            (f"/lists/a/members/{self._member(one.subject)}", {"merge_fields": {one.field: one.after}})
            for one, outcome in zip(changes, outcomes, strict=True)
            if outcome == Outcome.WRITTEN
        ]
        self._keep("PATCH", lines)
        return outcomes

    def let_in(self, keys: Sequence[int]) -> list[Answer]:
        """The door of win-back: a custom event each, of those who can be mailed."""
        mailable = set(self.people)
        let_in = [key for key in keys if key in mailable]
        body = {"name": RELEASE_EVENT}
        self._keep("POST", [(f"/lists/a/members/{self._member(key)}/events", body) for key in let_in])
        return [Answer(ReleaseOutcome.RELEASED if key in mailable else f"{REFUSED}: {Outcome.GONE}") for key in keys]

    def starts(self) -> pl.DataFrame:
        """How often each member was let in by an event, by the log."""
        lines = [json.loads(line)["path"] for line in self.log.read_text().splitlines()]
        started = pl.DataFrame({"member": [path for path in lines if path.endswith("/events")]})
        return started.group_by("member").len()

    def doubled(self) -> int:
        """Messages beyond the first of one e-mail to one person, and starts beyond the first, by its own record."""
        mail = self.view.all_messages
        again = mail.height - mail.select("subscriber", "campaign_id").unique().height
        return again + int((self.starts()["len"] - 1).sum())

    def _member(self, subject: str | int) -> str:
        return str(self.world.people.member_id[int(subject)])

    def _keep(self, method: str, lines: Sequence[tuple[str, Any]]) -> None:
        at_us = int(self.clock.timestamp() * 1e6)
        with self.log.open("a") as log:
            log.writelines(
                json.dumps({"at_us": at_us, "method": method, "path": path, "body": body}) + "\n"
                for path, body in lines
            )


def workflows_and_steps() -> tuple[pl.DataFrame, pl.DataFrame]:
    """`core.workflows` and `core.steps` of the sample's flows."""
    kinds = {"campaign": "campaign"}
    flows = [
        {
            "workflow_key": WORKFLOW_KEY[flow.workflow_id],
            "workflow_id": flow.workflow_id,
            "name": flow.name,
            "kind": kinds.get(flow.kind, "flow"),
            "goal_event_type": flow.goal,
        }
        for flow in FLOWS
    ]
    steps = [
        {
            "step_key": STEP_KEY[flow.workflow_id, step.step_id],
            "workflow_key": WORKFLOW_KEY[flow.workflow_id],
            "workflow_id": flow.workflow_id,
            "step_id": step.step_id,
            "position": step.position + 1,
            "kind": step.kind,
            "status": step.status,
            "campaign_id": flow.campaign_id(step),
        }
        for flow, step in STEPS
    ]
    return rows(CoreWorkflows, *flows, status="active"), rows(CoreSteps, *steps)


def messages_of(view: View) -> pl.DataFrame:
    """`core.messages`: opens and clicks are those of people."""
    mail = view.messages.join(_STEP_KEYS, on=["workflow_id", "step_id"])
    local = local_us(view.account.people.zone[mail["subscriber"].to_numpy()], mail["sent_us"].to_numpy())
    opened, clicked = (pl.col(f"person_{what}_us") for what in ("open", "click"))
    return _as(
        CoreMessages,
        mail.with_columns(
            subscriber_key="subscriber",
            sent_at_source=pl.lit("feed"),
            day=pl.col("sent_us") // DAY_US,
            local_hour_of_week=pl.Series(_hour_of_week(local)),
            has_machine_marks=pl.lit(True),
            opens=opened.is_not_null().cast(pl.Int64),
            human_opens=opened.is_not_null().cast(pl.Int64),
            first_open_us=opened,
            first_human_open_us=opened,
            clicks=clicked.is_not_null().cast(pl.Int64),
            human_clicks=clicked.is_not_null().cast(pl.Int64),
            first_click_us=clicked,
            first_human_click_us=clicked,
        ),
    )


def conversions_of(view: View) -> pl.DataFrame:
    """`core.conversions`: the orders."""
    return _as(
        CoreConversions,
        view.orders.with_columns(
            subscriber_key="subscriber",
            event_type=pl.lit("purchase"),
            conversion_id="order_id",
            day=pl.col("occurred_us") // DAY_US,
            is_order=pl.lit(True),
        ),
    )


def subscribers_of(view: View) -> pl.DataFrame:
    """`core.subscribers`: the members."""
    people, members = view.account.people, view.members
    return _as(
        CoreSubscribers,
        pl.DataFrame(
            {
                "subscriber_key": members,
                "status": view.status[members],
                "zone": np.array([zone for zone, *_ in ZONES])[people.zone[members]],
                "zone_source": "default",
                "signup_us": people.signup_us[members],
                "merge_fields": "{}",
                "tags": "[]",
            }
        ),
    )


def entries_of(view: View) -> pl.DataFrame:
    """`core.step_entries`: what came first of the next step, an exit, and the end of the wait with its grace."""
    known = view.account.entries.filter(pl.col("entered_us") < view.now_us)
    asked = view.account.asked.filter(pl.col("entered_us") < view.now_us)
    place = ["subscriber", "workflow_id"]
    both = pl.concat([known.join(asked, on=[*place, "step_id"], how="anti"), asked], how="diagonal")
    next_keys = _STEP_KEYS.select("workflow_id", next_step_id="step_id", to_step_key="step_key")
    following = known.select(*place, next_step_id="step_id", reached_us="entered_us")
    deadline = pl.col("next_us").fill_null(pl.col("entered_us") + 4 * DAY_US) + GRACE_US
    ends = view.account.journeys.select(*place, "exit_us", left="exit_reason")
    known_ends = (
        both.join(_STEP_KEYS, on=["workflow_id", "step_id"])
        .join(next_keys, on=["workflow_id", "next_step_id"], how="left")
        .join(following, on=[*place, "next_step_id"], how="left")
        .join(ends, on=place, how="left")
        .with_columns(exit_us=pl.when(pl.col("exit_us") < view.now_us).then("exit_us"))
    )
    is_left = (pl.col("exit_us") >= pl.col("entered_us")) & pl.col("reached_us").is_null()
    outcome = (
        pl.when(pl.col("reached_us").is_not_null())
        .then(pl.lit("advanced"))
        .when(is_left)
        .then(pl.when(pl.col("left") == "goal").then(pl.lit("goal")).otherwise(pl.lit("lost")))
        .otherwise(pl.lit("timeout"))
    )
    return _as(
        CoreStepEntries,
        known_ends.with_columns(
            subscriber_key="subscriber",
            day=pl.col("entered_us") // DAY_US,
            entry_source=pl.lit("event"),
            delay_version=pl.lit(1),
            is_delay_randomised=pl.lit(False),
            outcome=outcome,
            outcome_us=pl.coalesce("reached_us", pl.when(is_left).then("exit_us"), deadline),
        ).with_columns(outcome_day=pl.col("outcome_us") // DAY_US),
    )


def hours_of(view: View) -> pl.DataFrame:
    """`reductions.subscriber_hours`: mail, its opens and clicks, and visits, each at its local hour."""
    mail = view.messages.filter(pl.col("bounce_kind").is_null())
    visits = view.account.visits.filter(pl.col("occurred_us") < view.now_us)
    parts = [
        _hours(view, mail["subscriber"], mail["sent_us"], mail["sent_us"], "sends"),
        _hours(view, visits["subscriber"], visits["occurred_us"], visits["occurred_us"], "behaviour_events"),
    ]
    for name, column in (("human_opens", "person_open_us"), ("human_clicks", "person_click_us")):
        done = mail.drop_nulls(column)
        parts.append(_hours(view, done["subscriber"], done[column], done["sent_us"], name))
    counts = ("sends", "human_opens", "human_clicks", "behaviour_events")
    by = ["subscriber_key", "day", "local_hour_of_week"]
    summed = pl.concat(parts, how="diagonal").group_by(by).agg(pl.col(name).sum().cast(pl.Int64) for name in counts)
    return _as(SubscriberHours, summed)


def _hours(view: View, person: pl.Series, at_us: pl.Series, day_us: pl.Series, name: str) -> pl.DataFrame:
    local = local_us(view.account.people.zone[person.to_numpy()], at_us.to_numpy())
    return pl.DataFrame(
        {
            "subscriber_key": person,
            "day": day_us // DAY_US,
            "local_hour_of_week": _hour_of_week(local),
            name: np.ones(len(person), dtype=np.int64),
        }
    )


def _hour_of_week(local: np.ndarray) -> np.ndarray:
    return (local // HOUR_US + MONDAY * 24) % HOURS_OF_WEEK


def _as(model: Any, frame: pl.DataFrame) -> pl.DataFrame:
    """The rows as a table: what is not known is null, or blank where it may not be."""
    schema = polars_schema(model)
    blank = rows(model, {}).row(0, named=True)
    unknown = [name for name in schema if name not in frame.columns]
    whole = frame.with_columns(pl.lit(blank[name], dtype=schema[name]).alias(name) for name in unknown)
    return conform(whole.select(pl.col(name).cast(dtype) for name, dtype in schema.items()), model)
