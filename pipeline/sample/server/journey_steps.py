"""The sample's flows as Mailchimp's flow builder holds them: journeys with triggers, delays, e-mails and conditions.

Numbers and names only. What of a journey is answered, and who is in it, stands in `journeys`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.sample.account.world import CART, ONBOARDING, WELCOME, WINBACK, Flow, Step

API_TRIGGER, TAG_TRIGGER, EVENT_TRIGGER = "trigger-api", "trigger-tag_added", "trigger-event"
DELAY, EMAIL, CONDITION = "delay", "action-send_email", "condition-if_else"
WINBACK_TAG, RELEASE_EVENT = "inactive-45-days", "driptune_release"


@dataclass(frozen=True)
class JourneyStep:
    """A step of a journey. A delay, an e-mail and a condition belong to a step of the sample's flow.

    `started_by` is the tag or the event that a trigger reacts to.
    """

    number: int
    step_type: str
    step: Step | None = None
    started_by: str = ""


@dataclass(frozen=True)
class Journey:
    """A journey and the flow that it runs."""

    number: int
    flow: Flow
    steps: tuple[JourneyStep, ...]

    def trigger(self, step_type: str, started_by: str = "") -> JourneyStep | None:
        """The trigger of a kind that reacts to a tag or event; none if the journey has none."""
        wanted = (step_type, started_by)
        return next((one for one in self.steps if (one.step_type, one.started_by) == wanted), None)


def _journey(number: int, flow: Flow, *triggers: tuple[str, str]) -> Journey:
    heads: list[tuple[str, Step | None, str]] = [(step_type, None, started_by) for step_type, started_by in triggers]
    steps = [*heads, *((step_type, step, "") for step in flow.steps for step_type in _kinds(step))]
    return Journey(number, flow, tuple(JourneyStep(number * 100 + at, *one) for at, one in enumerate(steps, 1)))


def _kinds(step: Step) -> Iterator[str]:
    """A step of the sample's flow as steps of the flow builder. What was deleted is not there."""
    if step.status != "deleted":
        if step.delay_hours:
            yield DELAY
        yield EMAIL if step.kind == "email" else CONDITION


JOURNEYS = (
    _journey(501, WELCOME, ("trigger-signup", "")),
    _journey(502, CART, ("trigger-abandoned_cart", "")),
    _journey(503, ONBOARDING, ("trigger-signup", ""), (API_TRIGGER, "")),
    _journey(504, WINBACK, (TAG_TRIGGER, WINBACK_TAG), (EVENT_TRIGGER, RELEASE_EVENT), (API_TRIGGER, "")),
)
