"""`flows.yaml`, the flow map: flows, their steps, campaigns and delays.

Users write what Mailchimp's API does not say, or what is to stand against it. Only shape and sense are checked here.
Tables are made from it in `pipeline/dimensions/flows.py`.
"""

import math
import re
from collections.abc import Iterable, Iterator
from datetime import date
from fractions import Fraction
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from pipeline.common.errors import SourceError
from pipeline.common.names import with_nearest
from pipeline.config.delivery import Deliver, Described, FieldName
from pipeline.config.reader import Definition, Mistake, Name, load_definition, repeated_ids
from pipeline.schemas.vocabulary import StepKind, StepStatus, WorkflowStatus

FLOWS_FILE = "flows.yaml"
RELEASED_AT_MOST = 1_000
"""People let into a flow by one approval, where the flow map names no number: as many as a mistake may reach."""
_HOURS_PER_UNIT = {"minute": Fraction(1, 60), "hour": Fraction(1), "day": Fraction(24), "week": Fraction(168)}
_DURATION = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)\s*(minute|hour|day|week)s?", re.ASCII)


def parse_duration(text: Any) -> int:
    """Whole hours of a duration such as '2 days', '36 hours' or '1.5 weeks', rounded up.

    Raises:
        ValueError: if the text is not a duration.
    """
    match = _DURATION.fullmatch(text.strip().lower()) if isinstance(text, str) else None
    if match is None:
        shown = f"'{text}'" if isinstance(text, str) else "this"
        raise ValueError(f"{shown} is not a duration. Write a number and a unit, such as '2 days'.")
    return math.ceil(Fraction(match[1]) * _HOURS_PER_UNIT[match[2]])


Hours = Annotated[int, BeforeValidator(parse_duration)]


def journey_workflow_id(journey_id: str) -> str:
    """The id of a journey's workflow, where the flow map gives it no other.

    >>> journey_workflow_id("123")
    'journey-123'
    """
    return f"journey-{journey_id}"


class PastDelay(Definition):
    """The delay for those who entered the previous step before the day `until` (00:00 UTC)."""

    until: date
    delay: Hours


class Step(Definition):
    """One step of a flow."""

    id: Name
    name: Name | None = None
    kind: StepKind = "email"
    campaign: Name | None = None
    status: StepStatus = "active"
    after: list[Name] | None = None
    delay: Hours | None = None
    delay_history: list[PastDelay] = Field(default_factory=list)
    grace: Hours | None = None
    default: bool = False


class Flow(Described):
    """One flow. A classic automation may be listed under its id, and a journey under any id with its number.

    Without steps those of Mailchimp are meant. What an entry says of a journey overrides what Mailchimp says. With
    `waits: mailchimp` the delays of its steps are no such word: they hold only where Mailchimp tells none.
    `released_by: driptune` lets people in by the start in `deliver`, at most `release_at_most` of them by one approval.
    Who holds a number in the merge field `wait_field` is let in so many hours after coming into the flow.
    """

    id: Name
    journey: Name | None = None
    category: Name | None = None
    priority: int = Field(default=0, ge=-1_000_000, le=1_000_000)
    trigger: Name | None = None
    goal: Name | None = None
    status: WorkflowStatus = "active"
    waits: Literal["map", "mailchimp"] = "map"
    deliver: Deliver | None = None
    released_by: Literal["driptune"] | None = None
    release_at_most: int = Field(default=RELEASED_AT_MOST, ge=1)
    wait_field: FieldName | None = None
    steps: list[Step] = Field(default_factory=list)

    @model_validator(mode="before")
    @classmethod
    def _named_by_journey(cls, given: Any) -> Any:
        """An entry that only completes a journey needs no id of its own."""
        if isinstance(given, dict) and "id" not in given and isinstance(given.get("journey"), str):
            return {"id": journey_workflow_id(given["journey"]), **given}
        return given

    def predecessors(self) -> dict[str, list[str]]:
        """Step id -> ids of the steps that it comes after: those in `after`, else the step before it in the file."""
        before: list[str | None] = [None, *(step.id for step in self.steps)]
        return {
            step.id: list(dict.fromkeys(step.after)) if step.after is not None else [previous] if previous else []
            for previous, step in zip(before, self.steps, strict=False)
        }

    def successors(self) -> dict[str, list[str]]:
        """Step id -> ids of the steps that come after it, in the order of the file."""
        below: dict[str, list[str]] = {step.id: [] for step in self.steps}
        for step_id, sources in self.predecessors().items():
            for source in sources:
                below[source].append(step_id)
        return below

    def mistakes(self, known: Any) -> Iterable[Mistake]:
        """Steps that do not form one way from a first step, and fields of steps that do not fit together."""
        found = [*repeated_ids(self.steps, "steps"), *self._unknown_steps()]
        # A graph with unknown steps cannot be checked.
        if not found and self.steps:
            found = [*self._graph_mistakes(), *self._branch_mistakes()]
        return [*found, *self._step_mistakes(), *self._release_mistakes()]

    def _release_mistakes(self) -> Iterator[Mistake]:
        if self.released_by and not (self.deliver and self.deliver.start):
            text = "nothing says how people are let in. Write `deliver` with a trigger, an event or a tag beside it."
            yield ("released_by",), text
        if self.wait_field and not self.released_by:
            yield (
                ("wait_field",),
                "driptune does not let people into this flow. Write `released_by: driptune` beside it.",
            )

    def _unknown_steps(self) -> Iterator[Mistake]:
        known = {step.id for step in self.steps}
        for index, step in enumerate(self.steps):
            for number, source in enumerate(step.after or []):
                if source not in known:
                    text = f"'{source}' is not a step of this flow. Write the id of one."
                    yield ("steps", index, "after", number), text

    def _graph_mistakes(self) -> Iterator[Mistake]:
        predecessors = self.predecessors()
        index_of = {step.id: index for index, step in enumerate(self.steps)}
        try:
            TopologicalSorter(predecessors).prepare()
        except CycleError as error:
            circle = error.args[1]
            text = f"the steps {' -> '.join(reversed(circle))} form a circle. Let one of them follow another step."
            yield ("steps", index_of[circle[0]], "after"), text
            return
        roots = [step_id for step_id, sources in predecessors.items() if not sources]
        for root in roots[1:]:
            text = f"'{root}' is a first step, but so is '{roots[0]}'. Write in `after` which step '{root}' follows."
            yield ("steps", index_of[root], "after"), text

    def _branch_mistakes(self) -> Iterator[Mistake]:
        defaults = {step.id for step in self.steps if step.default}
        for index, (source, targets) in enumerate(self.successors().items()):
            chosen = defaults.intersection(targets)
            if len(targets) > 1 and len(chosen) != 1:
                found = "several of them are" if chosen else "none of them is"
                text = f"'{source}' leads to {', '.join(targets)}, and {found} the default."
                yield ("steps", index), f"{text} Write `default: true` at exactly one of them."

    def _step_mistakes(self) -> Iterator[Mistake]:
        for index, step in enumerate(self.steps):
            if step.campaign and step.kind != "email":
                text = f"a {step.kind} sends no e-mail. Remove the campaign, or write `kind: email`."
                yield ("steps", index, "campaign"), text
            for number, (earlier, later) in enumerate(pairwise(step.delay_history)):
                if earlier.until >= later.until:
                    where = ("steps", index, "delay_history", number + 1, "until")
                    yield where, f"{later.until} is not after {earlier.until}. Write the oldest first."


class FlowMap(Definition):
    """The file: a list under `flows`, which may be empty."""

    flows: list[Flow] = Field(default_factory=list)

    def mistakes(self, known: Any) -> Iterator[Mistake]:
        """Flows with one id or one journey, and steps with one campaign."""
        yield from repeated_ids(self.flows, "flows")
        journeys: dict[str, str] = {}
        for index, flow in enumerate(self.flows):
            if flow.journey and journeys.setdefault(flow.journey, flow.id) != flow.id:
                text = f"journey {flow.journey} belongs to {journeys[flow.journey]} already. Use it only once."
                yield ("flows", index, "journey"), text
            other = flow.id.removeprefix(journey_workflow_id(""))
            if flow.journey and flow.id == journey_workflow_id(other) and other.isdecimal() and other != flow.journey:
                text = f"'{flow.id}' is the id of journey {other}, not of journey {flow.journey}. Write another one."
                yield ("flows", index, "id"), text
        owner: dict[str, str] = {}
        for index, flow in enumerate(self.flows):
            for number, step in enumerate(flow.steps):
                here = f"{flow.id}.{step.id}"
                if step.campaign and owner.setdefault(step.campaign, here) != here:
                    text = f"campaign '{step.campaign}' belongs to {owner[step.campaign]} already. Use it only once."
                    yield ("flows", index, "steps", number, "campaign"), text


def load_flow_map(folder: Path) -> FlowMap:
    """The flow map of a definitions folder; empty without a file.

    Raises:
        DefinitionsError: names every mistake with file, line and field.
    """
    return load_definition(folder / FLOWS_FILE, FlowMap)


def find_flow(folder: Path, written: str) -> Flow:
    """The flow that a user writes: by its id in the flow map of a definitions folder, or as a YAML file that holds it.

    Raises:
        SourceError: if no flow has this id, or the file does not hold one flow.
        DefinitionsError: as `load_flow_map`.
    """
    path = Path(written)
    if path.suffix in (".yaml", ".yml"):
        found = load_definition(path, FlowMap).flows
        if len(found) != 1:
            raise SourceError(written, f"holds {len(found)} flows", "Write the one flow to be checked.")
        return found[0]
    flows = {flow.id: flow for flow in load_flow_map(folder).flows}
    if written not in flows:
        what = f"{with_nearest(written, flows)} is no workflow of flows.yaml"
        known = ", ".join(sorted(flows)) or "none"
        raise SourceError("WORKFLOW", what, f"Known are: {known}. Write an id, or a YAML file with the flow in it.")
    return flows[written]


def free_place(folder: Path) -> Path:
    """Where the flow map of a definitions folder is to be written.

    Raises:
        SourceError: if there is one already.
    """
    path = folder / FLOWS_FILE
    if path.exists():
        raise SourceError(str(path), "exists already", "Edit it, or name another folder in DRIPTUNE_DEFINITIONS.")
    return path
