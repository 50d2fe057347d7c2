"""A first flow map for the user to edit: YAML text, drafted from what Mailchimp's API shows."""

import json
from collections.abc import Iterator, Sequence

import polars as pl

from pipeline.config.flow_map import journey_workflow_id
from pipeline.dimensions.flows import emails_by_automation, rows_by, whole_hours
from pipeline.dimensions.journeys import Journey, Row

_PREAMBLE = [
    "# The flow map: what Mailchimp's API does not say of your flows, and what is to stand against it.",
    "# A step follows the step above it, unless `after: [step id, ...]` names others. If several steps follow one,",
    "# exactly one of them has `default: true`. Write delays like '36 hours' or '2 days'. If a delay was changed, keep",
    "# the earlier one: `delay_history: [{until: 2026-03-01, delay: 1 day}]`.",
]
_ORPHANS = [
    "# E-mails of flows that Mailchimp's API does not show. Write an entry for each flow and move its e-mails there,",
    "# in the order in which they are sent:",
    "#   - id: my-flow",
    "#     name: My flow",
    "#     steps:",
]


def initial_flow_map(
    automations: pl.DataFrame,
    automation_emails: pl.DataFrame,
    campaigns: pl.DataFrame,
    journeys: Sequence[Journey] = (),
) -> str:
    """YAML of a first flow map: journeys and classic automations as they are, other automated e-mails as comments."""
    emails = emails_by_automation(automation_emails)
    running = [journey for journey in journeys if not journey.is_draft]
    lines = [*_PREAMBLE, "flows:" if automations.height or running else "flows: []"]
    for journey in running:
        lines += _journey(journey)
    for automation in rows_by(automations, "workflow_id"):
        lines += [
            f"  - id: {_quoted(automation['workflow_id'])}  # a classic automation: do not change this id",
            f"    name: {_quoted(automation['title'], automation['workflow_id'])}",
            "    category: lifecycle",
            "    priority: 0",
            "    # goal: purchase  # event type that reaches the goal of this flow",
            "    steps:" if emails[automation["workflow_id"]] else "    steps: []",
        ]
        for email in emails[automation["workflow_id"]]:
            lines += [
                f"      - id: {_quoted(email['step_id'])}",
                f"        name: {_quoted(email['title'], email['step_id'])}",
                f"        campaign: {_quoted(email['step_id'])}",
                f"        delay: {whole_hours(email['delay_hours'])} hours",
            ]
    known = [step["step_id"] for steps in emails.values() for step in steps]
    known += [step["campaign_id"] for journey in journeys for step in journey.shown if step["campaign_id"]]
    is_automated = pl.col("campaign_type").str.contains("automation") & ~pl.col("campaign_id").is_in(known)
    others = rows_by(campaigns.filter(is_automated), "campaign_id")
    if others:
        lines += ["", *_ORPHANS]
        for campaign in others:
            campaign_id = campaign["campaign_id"]
            name = _quoted(campaign["title"], campaign["subject_line"], campaign_id)
            lines.append(f"#       - {{id: {_quoted(campaign_id)}, name: {name},")
            lines.append(f"#          campaign: {_quoted(campaign_id)}, delay: 1 day}}")
    return "\n".join(lines) + "\n"


def _journey(journey: Journey) -> Iterator[str]:
    """The entry of a journey: its steps are read every night, so they stand there as comments."""
    workflow_id = journey_workflow_id(journey.journey_id)
    yield f"  - id: {_quoted(workflow_id)}  # or the workflow_id of your events"
    yield f"    journey: {_quoted(journey.journey_id)}  # read from Mailchimp; what you write here overrides it"
    yield f"    name: {_quoted(journey.row['name'], workflow_id)}"
    yield "    category: lifecycle"
    yield "    priority: 0"
    yield "    # goal: purchase  # event type that reaches the goal of this flow"
    steps = [step for step in journey.now.steps if step["step_kind"] in ("email", "branch")]
    if any(step["step_kind"] == "branch" for step in steps):
        yield "    # Mailchimp does not say how its branches go on. Until you do, the ways are those that people went."
        yield "    # List all steps, in `after` the steps that each follows, and `default: true` at one way of each."
    else:
        yield "    # List the steps only to name or to override them."
    yield "    # steps:"
    for source, step in zip([None, *steps], steps, strict=False):
        yield f"    #   - {_listed(journey, source, step)}"


def _listed(journey: Journey, source: Row | None, step: Row) -> str:
    fields = {"id": _quoted(step["step_id"])}
    if step["step_kind"] == "branch":
        fields["kind"] = "branch"
    else:
        fields["name"] = _quoted(step["title"], step["subject_line"], step["step_id"])
        fields |= {"campaign": _quoted(step["campaign_id"])} if step["campaign_id"] else {}
    if source is not None:
        fields["delay"] = f"{journey.waits(source['step_id'], step['step_id'])[-1][1]} hours"
    return "{" + ", ".join(f"{name}: {value}" for name, value in fields.items()) + "}"


def _quoted(*texts: str) -> str:
    """The first text with a visible character, as a YAML scalar on one line.

    A JSON string is valid YAML once the characters that YAML forbids are replaced by blanks.
    """
    printable = ("".join(char if char.isprintable() else " " for char in text) for text in texts)
    return json.dumps(next(text for text in printable if text.strip()), ensure_ascii=False)
