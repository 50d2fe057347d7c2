"""Journeys become workflows: as Mailchimp has them, completed and overridden by entries of the user's flow map."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.common.time import numbered_day, start_of_day_us
from pipeline.config.flow_map import Flow, FlowMap, Step, journey_workflow_id
from pipeline.dimensions.journeys import Journey, Row, definition
from pipeline.dimensions.workflow import BEGINNING_US, Delays, Workflow, workflow_status
from pipeline.schemas.vocabulary import StepKind, WorkflowStatus

Observed = Mapping[tuple[str, str], int]
"""People by campaign and the campaign of the same journey that they got next."""


@dataclass(frozen=True)
class MappedJourney:
    """A journey and the entry of the flow map that completes it, with the journey's step of each step of the entry."""

    flow: Flow
    journey: Journey
    of_step: Mapping[str, Row]

    @property
    def unlisted(self) -> list[Row]:
        """E-mails of the journey that the entry does not list, although it lists steps."""
        listed = {row["step_id"] for row in self.of_step.values()}
        emails = [step for step in self.journey.now.steps if step["step_kind"] == "email"]
        return [step for step in emails if step["step_id"] not in listed] if self.flow.steps else []

    def delays(self, source: str, target: str) -> Delays:
        """The delays that Mailchimp tells between two steps of the entry; none where it does not know the way.

        A branch of the entry has no number in Mailchimp. What is waited before it follows the step before it.
        """
        is_branch = any(step.id == target and step.kind == "branch" for step in self.flow.steps)
        if target not in self.of_step and not (is_branch and source in self.of_step):
            return []
        ends = (self.of_step[step]["step_id"] if step in self.of_step else None for step in (source, target))
        return _in_time(self.journey.waits(*ends))


def mapped_journeys(flow_map: FlowMap, journeys: Sequence[Journey]) -> dict[str, MappedJourney]:
    """The journeys that entries of the flow map complete, by the id of the entry.

    An entry names its journey, or has its id. Any other, such as those of maps that are older than the reading of
    journeys, is about the journey whose e-mails it lists.
    """
    by_id = {journey.journey_id: journey for journey in journeys}
    named = {flow.journey for flow in flow_map.flows if flow.journey}
    by_own_id = {journey_workflow_id(journey_id): journey_id for journey_id in by_id if journey_id not in named}
    numbers = {flow.id: flow.journey or by_own_id.get(flow.id) for flow in flow_map.flows}
    owners = {
        step["campaign_id"]: journey
        for journey in reversed(journeys)
        if journey.journey_id not in numbers.values()
        for step in journey.shown
        if step["campaign_id"]
    }
    found: dict[str, MappedJourney] = {}
    taken: set[str] = set()
    for flow in flow_map.flows:
        of_step = (owners.get(step.campaign or step.id) for step in flow.steps)
        number = numbers[flow.id]
        about = by_id.get(number) if number else next((one for one in of_step if one is not None), None)
        if about is not None and about.journey_id not in taken:
            taken.add(about.journey_id)
            found[flow.id] = MappedJourney(flow, about, dict(_matches(flow, about)))
    return found


def mapped_workflow(mapped: MappedJourney, observed: Observed, used: set[str]) -> Workflow:
    """The workflow of a journey that an entry of the flow map completes.

    Args:
        mapped: the journey and the entry.
        observed: what people got next.
        used: campaigns of other workflows.
    """
    flow, journey = mapped.flow, mapped.journey
    if not flow.steps:
        found = journey_workflow(journey, observed, used, flow)
        return found or Workflow(flow, "journey", flow.name or flow.id, flow.trigger, "paused")
    steps = [_completed(step, mapped.of_step.get(step.id)) for step in flow.steps]
    of_step = dict(mapped.of_step)
    for row in mapped.unlisted:
        if row["campaign_id"] not in {*used, *(step.campaign for step in steps if step.campaign)}:
            place = _place(row, steps, of_step, journey)
            # Where the map says what the next step follows, it says nothing of this one.
            is_apart = place < len(steps) and steps[place].after is not None
            added = _step(row, [] if is_apart else None, {step.id for step in steps})
            steps.insert(place, added)
            of_step[added.id] = row
    whole = MappedJourney(flow.model_copy(update={"steps": steps}), journey, of_step)
    return Workflow(
        flow=whole.flow,
        kind="journey",
        name=flow.name or journey.row["name"] or flow.id,
        trigger=flow.trigger or journey.trigger,
        status=_status(journey, flow),
        paused=frozenset(step for step, row in of_step.items() if row["status"] == "paused"),
        names={step: _name(row) for step, row in of_step.items()},
        delays=whole.delays,
        definition=definition(journey.now),
    )


def journey_workflow(
    journey: Journey, observed: Observed, used: set[str], entry: Flow | None = None
) -> Workflow | None:
    """The workflow of a journey as Mailchimp has it; none if it sends no e-mail or is a draft.

    Args:
        journey: the journey.
        observed: what people got next.
        used: campaigns of other workflows. An e-mail that two journeys share belongs to the first of them.
        entry: an entry of the flow map without steps.
    """
    shown = journey.shown
    first = next((at for at, row in enumerate(shown) if row["step_kind"] == "email"), None)
    if first is None or (journey.is_draft and entry is None):
        return None
    # Nobody is seen to come to a branch. One before the first e-mail would only hide where the workflow begins.
    rows = shown[first:]
    ways = journey.ways(dict(observed))
    steps: list[Step] = []
    for row in rows:
        sources = [source for source, target in ways if target == row["step_id"]]
        is_used = row["campaign_id"] in {*used, *(step.campaign for step in steps)}
        steps.append(_step(row, sources, is_used=is_used))
    workflow_id = entry.id if entry else journey_workflow_id(journey.journey_id)
    flow = entry or Flow.model_construct(id=workflow_id)
    return Workflow(
        flow=flow.model_copy(update={"steps": steps}),
        kind="journey",
        name=flow.name or journey.row["name"] or workflow_id,
        trigger=flow.trigger or journey.trigger,
        status=_status(journey, flow),
        paused=frozenset(row["step_id"] for row in rows if row["status"] == "paused"),
        names={row["step_id"]: _name(row) for row in rows},
        delays=lambda source, target: _in_time(journey.waits(source, target)),
        source="mailchimp",
        people=ways,
        definition=definition(journey.now),
    )


def _matches(flow: Flow, journey: Journey) -> Iterator[tuple[str, Row]]:
    by_campaign = {row["campaign_id"]: row for row in journey.shown if row["campaign_id"]}
    by_id = {row["step_id"]: row for row in journey.shown}
    for step in flow.steps:
        row = by_campaign.get(step.campaign or step.id) or (None if step.campaign else by_id.get(step.id))
        if row is not None:
            yield step.id, row


def _completed(step: Step, row: Row | None) -> Step:
    """The step of an entry, with the e-mail or the kind that Mailchimp tells."""
    if row is None:
        return step
    kind: StepKind = step.kind if "kind" in step.model_fields_set or step.campaign else row["step_kind"]
    campaign = (step.campaign or row["campaign_id"]) if kind == "email" else None
    return step.model_copy(update={"kind": kind, "campaign": campaign})


def _step(row: Row, after: list[str] | None, taken: Collection[str] = (), *, is_used: bool = False) -> Step:
    """The step of a row, named by another id where the map has given its number to another step."""
    ids = (row["step_id"], row["campaign_id"], journey_workflow_id(f"{row['journey_id']}-{row['step_id']}"))
    return Step.model_construct(
        id=next(one for one in ids if one and one not in taken),
        kind=row["step_kind"],
        campaign=None if is_used else row["campaign_id"],
        status="deleted" if row["status"] == "deleted" else "active",
        after=after,
    )


def _place(row: Row, steps: list[Step], of_step: Mapping[str, Row], journey: Journey) -> int:
    """Before the first step that comes later in the journey."""
    places = {step["step_id"]: at for at, step in enumerate(journey.now.steps)}
    for at, step in enumerate(steps):
        if step.id in of_step and places.get(of_step[step.id]["step_id"], -1) > places[row["step_id"]]:
            return at
    return len(steps)


def _status(journey: Journey, flow: Flow) -> WorkflowStatus:
    return "archived" if journey.is_gone else workflow_status(journey.row["status"], flow.status)


def _name(row: Row) -> str:
    return str(row["title"] or row["subject_line"] or row["display_text"])


def _in_time(waits: list[tuple[int, int]]) -> Delays:
    """A wait counts from the beginning of the day whose night found it; the oldest one always did."""
    times = [BEGINNING_US, *(start_of_day_us(numbered_day(night)) for night, _ in waits[1:])]
    return [(valid_from, hours) for valid_from, (_, hours) in zip(times, waits, strict=True)]
