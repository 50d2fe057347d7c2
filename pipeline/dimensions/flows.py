"""Workflows, steps and edges: the user's flow map, completed by classic automations and one-off campaigns.

The map is read and checked in `pipeline/config/flow_map.py`. A first map is drafted in `flow_draft.py`.
"""

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import polars as pl

from pipeline.common.errors import SourceError
from pipeline.common.time import DAY_US, day_number
from pipeline.config.flow_map import FLOWS_FILE, Flow, FlowMap, Step
from pipeline.schemas.base import Table, conform, polars_schema
from pipeline.schemas.core import CoreEdges, CoreSteps, CoreWorkflows
from pipeline.schemas.vocabulary import WorkflowKind, WorkflowStatus
from pipeline.settings import Settings

BEGINNING_US = 0
END_US = day_number(date.max) * DAY_US
_STATUS: dict[str, WorkflowStatus] = {"sending": "active", "sent": "active", "archived": "archived"}
_NEVER_SENT = ["save", "schedule"]

Row = dict[str, Any]


@dataclass(frozen=True)
class Dimensions:
    """Rows of `core.workflows`, `core.steps` and `core.edges`."""

    workflows: pl.DataFrame
    steps: pl.DataFrame
    edges: pl.DataFrame


@dataclass(frozen=True)
class _Workflow:
    """A flow, with what only Mailchimp knows about it."""

    flow: Flow
    kind: WorkflowKind
    name: str
    trigger: str | None
    status: WorkflowStatus
    emails: dict[str, Row] = field(default_factory=dict)


def workflow_key(workflow_id: str) -> int:
    """The key of a workflow: the first 63 bits of the SHA-256 of its id."""
    return _key(workflow_id)


def step_key(workflow_id: str, step_id: str) -> int:
    """The key of a step: the first 63 bits of the SHA-256 of both ids."""
    return _key(f"{workflow_id}\x1f{step_id}")


def dimensions(
    flow_map: FlowMap,
    automations: pl.DataFrame,
    automation_emails: pl.DataFrame,
    campaigns: pl.DataFrame,
    settings: Settings,
) -> Dimensions:
    """The dimensions of everything that sends messages.

    Every campaign belongs to one step: a step of the user's map, else of its classic automation. Otherwise the campaign
    is a workflow of kind 'campaign' with one step, and both have the campaign's id. If the map lists an automation
    without some of its e-mails, these follow its last step. Drafts are left out.

    Args:
        flow_map: the user's map.
        automations: latest rows of `lake.automations`.
        automation_emails: latest rows of `lake.automation_emails`.
        campaigns: latest rows of `lake.campaigns`.
        settings: its `default_grace_hours` applies where the map names no grace.

    Raises:
        SourceError: if the map lists a flow without steps that is not a classic automation.
    """
    emails = emails_by_automation(automation_emails)
    found = [*_mapped(flow_map, automations, emails)]
    used = {step.campaign for workflow in found for step in workflow.flow.steps if step.campaign}
    found += _unmapped(flow_map, automations, emails, used)
    used |= {step.campaign for workflow in found for step in workflow.flow.steps if step.campaign}
    found += _single_campaigns(campaigns, used)

    steps = [row for workflow in found for row in _step_rows(workflow)]
    edges = {workflow.flow.id: [*_edge_rows(workflow, settings.default_grace_hours)] for workflow in found}
    return Dimensions(
        workflows=_frame([_workflow_row(one, edges[one.flow.id]) for one in found], CoreWorkflows),
        steps=_frame(steps, CoreSteps),
        edges=_frame([row for rows in edges.values() for row in rows], CoreEdges),
    )


def _mapped(flow_map: FlowMap, automations: pl.DataFrame, emails: dict[str, list[Row]]) -> Iterator[_Workflow]:
    by_id = {row["workflow_id"]: row for row in automations.to_dicts()}
    taken = {step.campaign for flow in flow_map.flows for step in flow.steps if step.campaign}
    for flow in flow_map.flows:
        automation = by_id.get(flow.id)
        if automation:
            completed = _completed(flow, emails[flow.id], taken)
            yield _automation(completed, automation, emails[flow.id], flow.status)
        elif flow.steps:
            yield _Workflow(flow, "flow", flow.name or flow.id, flow.trigger, flow.status)
        else:
            what = f"'{flow.id}' has no steps, and no classic automation has this id"
            raise SourceError(FLOWS_FILE, what, "List its steps, or correct the id.", "steps")


def _unmapped(
    flow_map: FlowMap, automations: pl.DataFrame, emails: dict[str, list[Row]], used: set[str]
) -> Iterator[_Workflow]:
    mapped = {flow.id for flow in flow_map.flows}
    for automation in rows_by(automations, "workflow_id"):
        workflow_id = automation["workflow_id"]
        flow = _completed(Flow(id=workflow_id), emails[workflow_id], used)
        if workflow_id not in mapped and flow.steps:
            yield _automation(flow, automation, emails[workflow_id], "active")


def _single_campaigns(campaigns: pl.DataFrame, used: set[str]) -> Iterator[_Workflow]:
    is_draft = pl.col("status").is_in(_NEVER_SENT) & (pl.col("emails_sent") == 0)
    for campaign in rows_by(campaigns.filter(~is_draft), "campaign_id"):
        campaign_id = campaign["campaign_id"]
        if campaign_id not in used:
            name = campaign["title"] or campaign["subject_line"] or campaign_id
            step = Step.model_construct(id=campaign_id, name=name, campaign=campaign_id)
            flow = Flow.model_construct(id=campaign_id, steps=[step])
            yield _Workflow(flow, "campaign", name, None, _STATUS.get(campaign["status"], "paused"))


def _completed(flow: Flow, emails: list[Row], taken: set[str]) -> Flow:
    """The automation's flow with every campaign filled in. E-mails that the map leaves out are added at its end."""
    own = {email["step_id"] for email in emails}
    steps = [
        step.model_copy(update={"campaign": step.campaign or step.id}) if step.id in own else step
        for step in flow.steps
    ]
    known = {step.id for step in steps} | {step.campaign for step in steps} | taken
    added = [
        Step.model_construct(id=email["step_id"], name=email["title"] or None, campaign=email["step_id"])
        for email in emails
        if email["step_id"] not in known
    ]
    return flow.model_copy(update={"steps": steps + added})


def _automation(flow: Flow, automation: Row, emails: list[Row], status: WorkflowStatus) -> _Workflow:
    told = _STATUS.get(automation["status"], "paused")
    return _Workflow(
        flow=flow,
        kind="automation",
        name=flow.name or automation["title"] or flow.id,
        trigger=flow.trigger or automation["workflow_type"],
        status=told if status == "active" else status,
        emails={email["step_id"]: email for email in emails},
    )


def _workflow_row(workflow: _Workflow, edges: list[Row]) -> Row:
    flow = workflow.flow
    definition = {
        "trigger": workflow.trigger,
        "goal": flow.goal,
        "steps": [[step.id, step.kind, step.campaign] for step in flow.steps],
        "edges": edges,
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


def _step_rows(workflow: _Workflow) -> Iterator[Row]:
    flow = workflow.flow
    for position, step in enumerate(flow.steps, start=1):
        email = workflow.emails.get(step.campaign or "")
        paused_in_mailchimp = email is not None and _STATUS.get(email["status"], "paused") != "active"
        yield {
            "step_key": step_key(flow.id, step.id),
            "workflow_key": workflow_key(flow.id),
            "workflow_id": flow.id,
            "step_id": step.id,
            "position": position,
            "name": step.name or (email["title"] if email else "") or step.id,
            "kind": step.kind,
            "campaign_id": step.campaign,
            "status": "paused" if paused_in_mailchimp and step.status == "active" else step.status,
        }


def _edge_rows(workflow: _Workflow, default_grace_hours: int) -> Iterator[Row]:
    flow = workflow.flow
    steps = {step.id: step for step in flow.steps}
    for source, targets in flow.successors().items():
        for target in targets:
            step = steps[target]
            for version, (delay_hours, valid_from, valid_to) in enumerate(_delays(step, workflow.emails), start=1):
                yield {
                    "workflow_key": workflow_key(flow.id),
                    "from_step_key": step_key(flow.id, source),
                    "to_step_key": step_key(flow.id, target),
                    "delay_version": version,
                    "delay_hours": delay_hours,
                    "grace_hours": default_grace_hours if step.grace is None else step.grace,
                    "valid_from_us": valid_from,
                    "valid_to_us": valid_to,
                    "is_default": step.default or len(targets) == 1,
                }


def _delays(step: Step, emails: dict[str, Row]) -> Iterator[tuple[int, int, int]]:
    """(hours, valid from, valid to) of every version of the delay before a step, oldest first."""
    current = step.delay
    if current is None:
        current = whole_hours(emails.get(step.campaign or "", {}).get("delay_hours"))
    start = BEGINNING_US
    for past in step.delay_history:
        until = day_number(past.until) * DAY_US
        yield past.delay, start, until
        start = until
    yield current, start, END_US


def emails_by_automation(automation_emails: pl.DataFrame) -> dict[str, list[Row]]:
    """Automation id -> its e-mails in order. An unknown id has none."""
    grouped: dict[str, list[Row]] = defaultdict(list)
    for email in automation_emails.sort("workflow_id", "position", "step_id").iter_rows(named=True):
        grouped[email["workflow_id"]].append(email)
    return grouped


def rows_by(frame: pl.DataFrame, order: str) -> list[Row]:
    """The rows as dictionaries, in the order of a column."""
    return frame.sort(order).to_dicts()


def _frame(rows: Iterable[Row], model: type[Table]) -> pl.DataFrame:
    return conform(pl.DataFrame(list(rows), schema=polars_schema(model)), model)


def whole_hours(hours: float | None) -> int:
    """Hours, rounded up. No delay is 0."""
    return math.ceil(hours or 0)


def _key(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
