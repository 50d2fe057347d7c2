"""One workflow with what Mailchimp knows of it, and its rows in `core.workflows`, `core.steps` and `core.edges`."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

from pipeline.common.time import start_of_day_us
from pipeline.config.flow_map import Flow, Step
from pipeline.schemas.vocabulary import EdgeSource, WorkflowKind, WorkflowStatus

BEGINNING_US = 0
END_US = start_of_day_us(date.max)
STATUS: dict[str, WorkflowStatus] = {"sending": "active", "active": "active", "sent": "active", "archived": "archived"}

Row = dict[str, Any]
Delays = list[tuple[int, int]]
"""From when on (epoch microseconds) how many hours were planned, oldest first and from the beginning on."""


def _nothing_told(source: str, target: str) -> Delays:
    return []


@dataclass(frozen=True)
class Workflow:
    """A flow, with what only Mailchimp knows about it.

    Attributes:
        paused: ids of the steps that Mailchimp has paused.
        names: names of the steps in Mailchimp, for those that the map gives none.
        delays: the delays from one step to another that Mailchimp tells; empty where it tells none.
        source: where the ways come from.
        people: who went observed ways, by the ids of both steps; none for a planned way.
        definition: what else tells one version from another.
    """

    flow: Flow
    kind: WorkflowKind
    name: str
    trigger: str | None
    status: WorkflowStatus
    paused: frozenset[str] = frozenset()
    names: Mapping[str, str] = field(default_factory=dict)
    delays: Callable[[str, str], Delays] = _nothing_told
    source: EdgeSource = "map"
    people: Mapping[tuple[str, str], int | None] = field(default_factory=dict)
    definition: Any = None


def workflow_status(told: str, chosen: WorkflowStatus) -> WorkflowStatus:
    """The status that a map has chosen, unless Mailchimp tells that the workflow does not send."""
    status = STATUS.get(told, "paused")
    return chosen if status == "active" else status


def workflow_key(workflow_id: str) -> int:
    """The key of a workflow: the first 63 bits of the SHA-256 of its id."""
    return _key(workflow_id)


def step_key(workflow_id: str, step_id: str) -> int:
    """The key of a step: the first 63 bits of the SHA-256 of both ids."""
    return _key(f"{workflow_id}\x1f{step_id}")


def workflow_row(workflow: Workflow, edges: list[Row]) -> Row:
    """The row of `core.workflows`."""
    flow = workflow.flow
    # How a way is known, and by how many people, makes no other version of it.
    ways = [{name: edge[name] for name in edge if name not in ("edge_source", "observed_people")} for edge in edges]
    definition = {
        "trigger": workflow.trigger,
        "goal": flow.goal,
        "steps": [[step.id, step.kind, step.campaign] for step in flow.steps],
        "edges": ways,
        **({} if workflow.definition is None else {"mailchimp": workflow.definition}),
    }
    digest = hashlib.sha256(json.dumps(definition, sort_keys=True).encode())
    return {
        "workflow_key": workflow_key(flow.id),
        "workflow_id": flow.id,
        "name": workflow.name,
        "kind": workflow.kind,
        "category": flow.category,
        "priority": flow.priority,
        "trigger": workflow.trigger,
        "goal_event_type": flow.goal,
        "status": workflow.status,
        "definition_version": digest.hexdigest()[:16],
    }


def step_rows(workflow: Workflow, texts: Mapping[str, tuple[str | None, str | None]]) -> Iterator[Row]:
    """The rows of `core.steps`.

    Args:
        workflow: the workflow.
        texts: subject line and preview text by campaign.
    """
    flow = workflow.flow
    for position, step in enumerate(flow.steps, start=1):
        subject, preview = texts.get(step.campaign or "", (None, None))
        yield {
            "step_key": step_key(flow.id, step.id),
            "workflow_key": workflow_key(flow.id),
            "workflow_id": flow.id,
            "step_id": step.id,
            "position": position,
            "name": step.name or workflow.names.get(step.id) or step.id,
            "kind": step.kind,
            "campaign_id": step.campaign,
            "status": "paused" if step.id in workflow.paused and step.status == "active" else step.status,
            "subject": subject,
            "preview": preview,
        }


def edge_rows(workflow: Workflow, default_grace_hours: int) -> Iterator[Row]:
    """The rows of `core.edges`."""
    flow = workflow.flow
    steps = {step.id: step for step in flow.steps}
    for source, targets in flow.successors().items():
        most = max((workflow.people.get((source, target)) or 0 for target in targets), default=0)
        favourite = next((target for target in targets if workflow.people.get((source, target)) == most), None)
        for target in targets:
            step, people = steps[target], workflow.people.get((source, target))
            delays = _delays(step, workflow.delays(source, target), flow.waits)
            for version, (delay_hours, valid_from, valid_to) in enumerate(delays, start=1):
                yield {
                    "workflow_key": workflow_key(flow.id),
                    "from_step_key": step_key(flow.id, source),
                    "to_step_key": step_key(flow.id, target),
                    "delay_version": version,
                    "delay_hours": delay_hours,
                    "grace_hours": default_grace_hours if step.grace is None else step.grace,
                    "valid_from_us": valid_from,
                    "valid_to_us": valid_to,
                    "is_default": step.default or len(targets) == 1 or target == favourite,
                    "edge_source": workflow.source if people is None else "observed",
                    "observed_people": people,
                }


def _delays(step: Step, told: Delays, waits: Literal["map", "mailchimp"]) -> Iterator[tuple[int, int, int]]:
    """(hours, valid from, valid to) of every version of the delay before a step, oldest first.

    What the map says overrides what Mailchimp tells, or holds only where it tells nothing, as `waits` says. The map's
    history of a delay holds up to its days all the same.
    """
    of_map = [] if step.delay is None else [(BEGINNING_US, step.delay)]
    current = (told or of_map if waits == "mailchimp" else of_map or told) or [(BEGINNING_US, 0)]
    start = BEGINNING_US
    for past in step.delay_history:
        until = start_of_day_us(past.until)
        yield past.delay, start, until
        start = until
    for (valid_from, hours), valid_to in zip(current, [*(later for later, _ in current[1:]), END_US], strict=True):
        if valid_to > start:
            yield hours, max(start, valid_from), valid_to


def _key(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
