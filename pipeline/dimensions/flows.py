"""Workflows, steps and edges: the user's flow map, journeys, classic automations and one-off campaigns.

The map is read and checked in `pipeline/config/flow_map.py`. A first map is drafted in `flow_draft.py`.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from pipeline.common.errors import SourceError
from pipeline.config.flow_map import FLOWS_FILE, Flow, FlowMap, Step
from pipeline.dimensions.journey_flows import Observed, journey_workflow, mapped_journeys, mapped_workflow
from pipeline.dimensions.journeys import Journey
from pipeline.dimensions.workflow import (
    BEGINNING_US,
    STATUS,
    Row,
    Workflow,
    edge_rows,
    step_rows,
    workflow_row,
    workflow_status,
)
from pipeline.schemas.base import Table, conform, polars_schema
from pipeline.schemas.core import CoreEdges, CoreSteps, CoreWorkflows
from pipeline.schemas.vocabulary import WorkflowStatus
from pipeline.settings import Settings

_NEVER_SENT = ["save", "schedule"]


@dataclass(frozen=True)
class Dimensions:
    """Rows of `core.workflows`, `core.steps` and `core.edges`."""

    workflows: pl.DataFrame
    steps: pl.DataFrame
    edges: pl.DataFrame


def dimensions(
    flow_map: FlowMap,
    automations: pl.DataFrame,
    automation_emails: pl.DataFrame,
    campaigns: pl.DataFrame,
    settings: Settings,
    journeys: Sequence[Journey] = (),
    observed: Observed | None = None,
) -> Dimensions:
    """The dimensions of everything that sends messages.

    Every campaign belongs to one step: a step of the user's map, else of its journey or classic automation. Otherwise
    the campaign is a workflow of kind 'campaign' with one step, and both have the campaign's id. If the map lists an
    automation without some of its e-mails, these follow its last step. Drafts are left out.

    Args:
        flow_map: the user's map.
        automations: latest rows of `lake.automations`.
        automation_emails: latest rows of `lake.automation_emails`.
        campaigns: latest rows of `lake.campaigns`.
        settings: its `default_grace_hours` applies where the map names no grace.
        journeys: the journeys that were ever read.
        observed: what people of journeys with a branch got next.

    Raises:
        SourceError: if the map lists a flow without steps that is neither a classic automation nor a journey.
    """
    emails = emails_by_automation(automation_emails)
    observed = observed or {}
    found = [*_mapped(flow_map, automations, emails, journeys, observed)]
    found += _unmapped(flow_map, automations, emails, _campaigns(found))
    told = {mapped.journey.journey_id for mapped in mapped_journeys(flow_map, journeys).values()}
    for journey in journeys:
        workflow = None if journey.journey_id in told else journey_workflow(journey, observed, _campaigns(found))
        found += [workflow] if workflow else []
    found += _single_campaigns(campaigns, _campaigns(found))

    texts = _texts(automation_emails, campaigns, journeys)
    steps = [row for workflow in found for row in step_rows(workflow, texts)]
    edges = {workflow.flow.id: [*edge_rows(workflow, settings.default_grace_hours)] for workflow in found}
    return Dimensions(
        workflows=_frame([workflow_row(one, edges[one.flow.id]) for one in found], CoreWorkflows),
        steps=_frame(steps, CoreSteps),
        edges=_frame([row for rows in edges.values() for row in rows], CoreEdges),
    )


def _mapped(
    flow_map: FlowMap,
    automations: pl.DataFrame,
    emails: dict[str, list[Row]],
    journeys: Sequence[Journey],
    observed: Observed,
) -> Iterator[Workflow]:
    by_id = {row["workflow_id"]: row for row in automations.to_dicts()}
    taken = {step.campaign for flow in flow_map.flows for step in flow.steps if step.campaign}
    mapped = mapped_journeys(flow_map, journeys)
    for flow in flow_map.flows:
        automation = by_id.get(flow.id)
        if flow.id in mapped:
            yield mapped_workflow(mapped[flow.id], observed, taken)
        elif automation and not flow.journey:
            completed = _completed(flow, emails[flow.id], taken)
            yield _automation(completed, automation, emails[flow.id], flow.status, is_mapped=bool(flow.steps))
        elif flow.steps:
            yield Workflow(flow, "flow", flow.name or flow.id, flow.trigger, flow.status)
        elif not flow.journey:  # a journey that was never read is told by the doctor
            what = f"'{flow.id}' has no steps, and no classic automation has this id"
            raise SourceError(FLOWS_FILE, what, "List its steps, or correct the id.", "steps")


def _unmapped(
    flow_map: FlowMap, automations: pl.DataFrame, emails: dict[str, list[Row]], used: set[str]
) -> Iterator[Workflow]:
    mapped = {flow.id for flow in flow_map.flows}
    for automation in rows_by(automations, "workflow_id"):
        workflow_id = automation["workflow_id"]
        flow = _completed(Flow(id=workflow_id), emails[workflow_id], used)
        if workflow_id not in mapped and flow.steps:
            yield _automation(flow, automation, emails[workflow_id], "active", is_mapped=False)


def _single_campaigns(campaigns: pl.DataFrame, used: set[str]) -> Iterator[Workflow]:
    is_draft = pl.col("status").is_in(_NEVER_SENT) & (pl.col("emails_sent") == 0)
    for campaign in rows_by(campaigns.filter(~is_draft), "campaign_id"):
        campaign_id = campaign["campaign_id"]
        if campaign_id not in used:
            name = campaign["title"] or campaign["subject_line"] or campaign_id
            step = Step.model_construct(id=campaign_id, name=name, campaign=campaign_id)
            flow = Flow.model_construct(id=campaign_id, steps=[step])
            yield Workflow(flow, "campaign", name, None, STATUS.get(campaign["status"], "paused"))


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


def _automation(flow: Flow, automation: Row, emails: list[Row], status: WorkflowStatus, *, is_mapped: bool) -> Workflow:
    by_id = {email["step_id"]: email for email in emails}
    # Mailchimp tells the delay before each e-mail, whatever comes before it.
    of_step = {step.id: by_id[step.campaign] for step in flow.steps if step.campaign in by_id}
    hours = {step: whole_hours(email["delay_hours"]) for step, email in of_step.items()}
    return Workflow(
        flow=flow,
        kind="automation",
        name=flow.name or automation["title"] or flow.id,
        trigger=flow.trigger or automation["workflow_type"],
        status=workflow_status(automation["status"], status),
        paused=frozenset(step for step, email in of_step.items() if STATUS.get(email["status"]) != "active"),
        names={step: email["title"] for step, email in of_step.items()},
        delays=lambda source, target: [(BEGINNING_US, hours.get(target, 0))],
        source="map" if is_mapped else "mailchimp",
    )


def _campaigns(workflows: Iterable[Workflow]) -> set[str]:
    return {step.campaign for workflow in workflows for step in workflow.flow.steps if step.campaign}


def _texts(
    automation_emails: pl.DataFrame, campaigns: pl.DataFrame, journeys: Iterable[Journey]
) -> dict[str, tuple[str | None, str | None]]:
    """Subject line and preview text by campaign, from whoever tells them: the campaign, the journey, the automation."""
    of_emails = automation_emails.select("step_id", "subject_line", pl.lit("").alias("preview_text")).rows()
    of_journeys = [
        (step["campaign_id"], step["subject_line"], step["preview_text"]) for one in journeys for step in one.shown
    ]
    of_campaigns = campaigns.select("campaign_id", "subject_line", "preview_text").rows()
    found: dict[str, tuple[str | None, str | None]] = {}
    for campaign, subject, preview in (*of_emails, *of_campaigns, *of_journeys):
        before = found.get(campaign, (None, None))
        found[campaign] = (subject or before[0], preview or before[1])
    return found


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
