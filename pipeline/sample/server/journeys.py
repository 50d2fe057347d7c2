"""Journeys as the Marketing API shows them, and what lets people in: tags, events and the API's own trigger."""

from collections.abc import Mapping
from typing import Any

from pipeline.sample.server.audiences import AccountApi
from pipeline.sample.server.journey_steps import API_TRIGGER, EVENT_TRIGGER, JOURNEYS, TAG_TRIGGER, Journey, JourneyStep
from pipeline.sample.server.shapes import Item, invalid, not_found
from pipeline.sample.server.view import View

Query = Mapping[str, str]


class JourneysApi:
    """Answers for `/customer-journeys`, as of a view; `entered` keeps who was let in by a write, in order."""

    def __init__(self, view: View, account: AccountApi) -> None:
        self._view = view
        self._account = account
        self.entered: list[Item] = []
        self._inside: set[tuple[int, int]] = set()

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
        """Whether a person could be let in: only somebody subscribed who was never let in before."""
        if self._account.status(person) != "subscribed" or (journey.number, person) in self._inside:
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

    def _journey(self, journey_id: str) -> Journey:
        for journey in JOURNEYS:
            if str(journey.number) == journey_id:
                return journey
        raise not_found()

    def _step(self, journey_id: str, step_id: str) -> tuple[Journey, JourneyStep]:
        journey = self._journey(journey_id)
        for step in journey.steps:
            if str(step.number) == step_id:
                return journey, step
        raise not_found()
