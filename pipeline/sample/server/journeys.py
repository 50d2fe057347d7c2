"""Journeys as the Marketing API shows them, and what lets people in: tags, events and the API's own trigger."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import polars as pl

from pipeline.sample.account.world import AUDIENCE_ID, Array
from pipeline.sample.server.audiences import AccountApi
from pipeline.sample.server.journey_steps import (
    API_TRIGGER,
    DELAY,
    EMAIL,
    EVENT_TRIGGER,
    JOURNEYS,
    TAG_TRIGGER,
    Journey,
    JourneyStep,
)
from pipeline.sample.server.reports import AUDIENCE_NAME, ReportsApi
from pipeline.sample.server.shapes import Item, ProblemError, invalid, not_found, page, text
from pipeline.sample.server.view import View
from pipeline.settings import Refusal

Query = Mapping[str, str]


class JourneysApi:
    """Answers for `/customer-journeys`, as of a view; `entered` keeps who was let in by a write, in order."""

    def __init__(self, view: View, account: AccountApi, reports: ReportsApi, refusal: Refusal = "none") -> None:
        self._view = view
        self._account = account
        self._reports = reports
        self._refusal = refusal
        self.entered: list[Item] = []
        self._inside: set[tuple[int, int]] = set()

    def journeys(self, query: Query) -> Item:
        """GET /customer-journeys/journeys."""
        self._refuse()
        if self._refusal == "other shape":
            return {"flows": {str(journey.number): journey.flow.name for journey in JOURNEYS}}
        asked = {**query, "offset": "0"} if self._refusal == "no offset" else query
        return page(asked, "journeys", [journey for journey in JOURNEYS if self._exists(journey)], self._shown)

    def journey(self, journey_id: str) -> Item:
        """GET /customer-journeys/journeys/{id}."""
        self._refuse()
        return self._shown(self._journey(journey_id))

    def steps(self, journey_id: str) -> Item:
        """GET /customer-journeys/journeys/{id}/steps: neither parameters nor paging."""
        self._refuse()
        journey = self._journey(journey_id)
        shown = [self._shown_step(journey, step) for step in journey.steps]
        if self._refusal == "single details":
            for step in shown:
                step.pop("action_details", None)
        return {"steps": shown}

    def step(self, journey_id: str, step_id: str) -> Item:
        """GET /customer-journeys/journeys/{id}/steps/{id}."""
        self._refuse()
        return self._shown_step(*self._step(journey_id, step_id))

    def trigger(self, journey_id: str, step_id: str, body: Any, at_us: int) -> None:
        """POST .../steps/{id}/actions/trigger: lets one contact in at a step with the API starting point."""
        journey, step = self._step(journey_id, step_id)
        if step.step_type != API_TRIGGER:
            raise invalid("This step is no API starting point.")
        address = body.get("email_address") if isinstance(body, dict) else None
        person = self._account.person_of(address) if isinstance(address, str) else None
        if person is None:
            raise invalid("'email_address' must be the address of a contact of the journey's audience.")
        if not self._let_in(journey, step, person, at_us):
            raise invalid("The contact is not subscribed, or is in the journey already.")

    def tag_added(self, person: int, tag: str, at_us: int) -> None:
        """A tag was added: the journeys that it triggers start for this person."""
        self._react(person, TAG_TRIGGER, tag, at_us)

    def event_happened(self, person: int, name: str, at_us: int) -> None:
        """A custom event was received: the journeys that it triggers start for this person."""
        self._react(person, EVENT_TRIGGER, name, at_us)

    def _react(self, person: int, step_type: str, started_by: str, at_us: int) -> None:
        for journey in JOURNEYS:
            step = journey.trigger(step_type, started_by)
            if step is not None:
                self._let_in(journey, step, person, at_us)

    def _let_in(self, journey: Journey, step: JourneyStep, person: int, at_us: int) -> bool:
        """Whether a person could be let in: only somebody subscribed who was never in the journey."""
        entered_us = self._entered_us.get((journey.flow.workflow_id, person), at_us)
        is_known = (journey.number, person) in self._inside or entered_us < at_us
        if self._account.status(person) != "subscribed" or is_known:
            return False
        self._inside.add((journey.number, person))
        self.entered.append(
            {
                "at_us": at_us,
                "journey_id": journey.number,
                "step_id": step.number,
                "workflow_id": journey.flow.workflow_id,
                "member_id": str(self._view.account.people.member_id[person]),
                "by": step.step_type,
            }
        )
        return True

    def _refuse(self) -> None:
        if self._refusal == "forbidden":
            raise ProblemError(403, "Forbidden", "You don't have permission to access this resource.")
        if self._refusal == "missing":
            raise not_found()

    def _shown(self, journey: Journey) -> Item:
        stays = self._stays.filter(pl.col("workflow_id") == journey.flow.workflow_id)
        return {
            "id": journey.number,
            "journey_name": journey.flow.name,
            "status": "sending",
            "list_id": AUDIENCE_ID,
            "list_name": AUDIENCE_NAME,
            "stats": {
                "started": stays.height,
                "in_progress": stays.filter(pl.col("exit_reason") == "").height,
                "completed": sum(self._entered.get(place, 0) for place in _last_steps(journey)),
            },
            "first_started_at": text(_instant(stays["entered_us"].min())),
            "last_started_at": text(_instant(stays["entered_us"].max())),
            "can_contacts_reenter": False,
            "journey_wide_exit_condition": {"event": journey.flow.goal} if journey.flow.goal else None,
        }

    def _shown_step(self, journey: Journey, step: JourneyStep) -> Item:
        shown: Item = {
            "id": step.number,
            "step_type": step.step_type,
            "status": "paused" if step.step and step.step.status == "paused" else "active",
            "display_text": step.step.name if step.step else step.step_type.removeprefix("trigger-"),
            "display_subtext": "",
        }
        if step.step is None:
            tag = {"tag_id": 90_001} if step.step_type == TAG_TRIGGER else {}
            event = {"event_name": step.started_by} if step.step_type == EVENT_TRIGGER else {}
            details = {"tag": {"tag_id": 90_001, "tag_name": step.started_by}} if tag else {}
            return {**shown, "trigger_settings": {**tag, **event}, "trigger_details": details}
        if step.step_type == DELAY:
            shown["delay_time"] = step.step.delay_hours * 3600
        if step.step_type == EMAIL:
            email = self._reports.campaign(str(journey.flow.campaign_id(step.step)))
            shown |= {"action_settings": {"campaign_id": email["web_id"]}, "action_details": {"email": email}}
        counts = self._waiting.get((journey.flow.workflow_id, step.step.step_id, step.step_type), 0)
        passed = self._entered.get((journey.flow.workflow_id, step.step.step_id), 0)
        return {**shown, "stats": {"queue_count": counts, "completed": passed}}

    @cached_property
    def _entered_us(self) -> dict[tuple[str, int], int]:
        """When each person came into each journey of the world."""
        stays = self._view.account.journeys.select("workflow_id", "subscriber", "entered_us")
        return {(workflow, person): entered for workflow, person, entered in stays.iter_rows()}

    @cached_property
    def _stays(self) -> pl.DataFrame:
        """Who was ever in a journey, and why they left it, as far as it has happened."""
        return self._view.account.journeys.filter(pl.col("entered_us") < self._view.now_us).with_columns(
            exit_reason=pl.when(pl.col("exit_us") < self._view.now_us).then("exit_reason").otherwise(pl.lit(""))
        )

    @cached_property
    def _entered(self) -> dict[tuple[str, str], int]:
        """How many came to each step of a flow, and so passed what stands before it."""
        seen = self._view.account.entries.filter(pl.col("entered_us") < self._view.now_us)
        counts = seen.unique(["subscriber", "workflow_id", "step_id"]).group_by("workflow_id", "step_id").len()
        return {(workflow, step): number for workflow, step, number in counts.iter_rows()}

    @cached_property
    def _waiting(self) -> dict[tuple[str, str, str], int]:
        """Who waits for a step: in its delay, or at the step itself where time is up and it lets nobody through."""
        ended = self._stays.select("subscriber", "workflow_id", "exit_reason")
        latest = (
            self._view.account.entries.filter(pl.col("entered_us") < self._view.now_us)
            .sort("entered_us")
            .unique(["subscriber", "workflow_id"], keep="last", maintain_order=True)
            .join(ended, on=["subscriber", "workflow_id"])
            .filter((pl.col("exit_reason") == "") & pl.col("next_step_id").is_not_null())
            .filter(pl.col("subscriber").is_in(self._mailable))
        )
        kinds = {
            (journey.flow.workflow_id, step.step.step_id): step.step_type
            for journey in JOURNEYS
            for step in journey.steps
            if step.step and step.step_type != DELAY
        }
        found: dict[tuple[str, str, str], int] = {}
        rows = latest.select("workflow_id", "next_step_id", pl.col("next_us") >= self._view.now_us)
        for workflow, step, is_early in rows.iter_rows():
            kind = DELAY if is_early else kinds.get((workflow, step))
            if kind:
                found[workflow, step, kind] = found.get((workflow, step, kind), 0) + 1
        return found

    @cached_property
    def _mailable(self) -> Array:
        """Subscribers that exist and get mail: nobody else waits anywhere."""
        members: Array = self._view.members[self._view.status[self._view.members] == "subscribed"]
        return members

    def _exists(self, journey: Journey) -> bool:
        return journey.flow.created_us < self._view.now_us

    def _journey(self, journey_id: str) -> Journey:
        for journey in JOURNEYS:
            if str(journey.number) == journey_id and self._exists(journey):
                return journey
        raise not_found()

    def _step(self, journey_id: str, step_id: str) -> tuple[Journey, JourneyStep]:
        journey = self._journey(journey_id)
        for step in journey.steps:
            if str(step.number) == step_id:
                return journey, step
        raise not_found()


def _last_steps(journey: Journey) -> list[tuple[str, str]]:
    flow = journey.flow
    return [(flow.workflow_id, step.step_id) for step in flow.steps if step.position == flow.length - 1]


def _instant(value: Any) -> int | None:
    return value if isinstance(value, int) else None
