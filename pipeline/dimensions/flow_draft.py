"""A first flow map for the user to edit: YAML text, drafted from what Mailchimp's API shows."""

import json

import polars as pl

from pipeline.dimensions.flows import emails_by_automation, rows_by, whole_hours

_PREAMBLE = [
    "# The flow map: which e-mails form a flow, in which order and with which delays. Mailchimp's API does not say.",
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


def initial_flow_map(automations: pl.DataFrame, automation_emails: pl.DataFrame, campaigns: pl.DataFrame) -> str:
    """YAML of a first flow map: classic automations as they are, and other automated e-mails as comments."""
    emails = emails_by_automation(automation_emails)
    lines = [*_PREAMBLE, "flows:" if automations.height else "flows: []"]
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


def _quoted(*texts: str) -> str:
    """The first text with a visible character, as a YAML scalar on one line.

    A JSON string is valid YAML once the characters that YAML forbids are replaced by blanks.
    """
    printable = ("".join(char if char.isprintable() else " " for char in text) for text in texts)
    return json.dumps(next(text for text in printable if text.strip()), ensure_ascii=False)
