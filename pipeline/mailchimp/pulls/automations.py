"""Classic automations, their e-mails, who waits in their queues and who was removed. Journeys are not read here."""

from datetime import date
from functools import partial
from typing import Any

import polars as pl

from pipeline.common.time import day_number
from pipeline.lake.keys import SubscriberKeys
from pipeline.lake.store import Lake
from pipeline.mailchimp import columns
from pipeline.mailchimp import rows as parse
from pipeline.mailchimp.client import MailchimpClient
from pipeline.mailchimp.pulls.narrowing import answers, ids_of, not_yet_sent, until
from pipeline.mailchimp.pulls.pulling import Pull, PullSummary
from pipeline.schemas import lake as tables
from pipeline.settings import Settings

AUTOMATION = "/automations/{workflow_id}"
EMAIL = AUTOMATION + "/emails/{step_id}"


def pull_automations(
    client: MailchimpClient, lake: Lake, keys: SubscriberKeys, settings: Settings, as_of: date
) -> PullSummary:
    """Every automation by itself; what is listed no more, or answers no more, is noted as gone and keeps its history.

    Raises:
        SourceError: if the automations cannot be listed, or none of them can be read.
    """
    pull = Pull(client, lake, keys, settings, as_of)
    listed = pull.listing("/automations", "automations")
    found = parse.table_rows(tables.Automations, "/automations", columns.AUTOMATIONS, listed)
    automations = until(found, pull.end_us, "created_us")
    pull.add(automations)
    ever = lake.latest(tables.Automations).select("workflow_id", "title").collect()
    pull.sources.compare("automation", dict(ever.iter_rows()), ids_of(listed))

    def read(automation: tuple[str, str]) -> list[parse.Rows] | None:
        workflow_id, title = automation
        is_there = partial(answers, client, AUTOMATION, workflow_id=workflow_id)
        found = pull.attempt("automation", workflow_id, title, partial(_automation, pull, workflow_id, title), is_there)
        if found is None and pull.sources.has_failed("automation", workflow_id):
            return [_last_queue(pull, pl.col("workflow_id") == workflow_id)]
        return found

    for group in client.map(read, automations.frame.select("workflow_id", "title").rows()):
        for rows in group or []:
            pull.add(rows)
    return pull.finish()


def _automation(pull: Pull, workflow_id: str, title: str) -> list[parse.Rows]:
    place = f"/automations/{workflow_id}"
    items = pull.unpaged(f"{AUTOMATION}/emails", "emails", workflow_id=workflow_id)
    emails = parse.automation_email_rows(f"{place}/emails", items, workflow_id)
    ever = pull.lake.latest(tables.AutomationEmails).filter(pl.col("workflow_id") == workflow_id)
    pull.sources.compare(
        "automation e-mail", dict(ever.select("step_id", "title").collect().iter_rows()), ids_of(items)
    )
    removed = pull.unpaged(f"{AUTOMATION}/removed-subscribers", "subscribers", workflow_id=workflow_id)
    constants: dict[str, Any] = {"workflow_id": workflow_id}
    gone = parse.table_rows(
        tables.RemovedSubscribers, f"{place}/removed-subscribers", columns.REMOVED, removed, pull.keys, **constants
    )
    queues = []
    for step_id, name in emails.frame.select("step_id", "title").iter_rows():
        queue = partial(_queue, pull, workflow_id, step_id, name)
        is_there = partial(answers, pull.client, EMAIL, workflow_id=workflow_id, step_id=step_id)
        found = pull.attempt("automation e-mail", step_id, name, queue, is_there)
        if found is None and pull.sources.has_failed("automation e-mail", step_id):
            found = _last_queue(pull, pl.col("step_id") == step_id)
        queues.append(found)
    pull.sources.note_read(
        "automation", workflow_id, title, announced=items.announced, set_aside=len(emails.quarantined)
    )
    return [not_yet_sent(emails, pull.end_us), gone, *(queue for queue in queues if queue)]


def _last_queue(pull: Pull, which: pl.Expr) -> parse.Rows:
    """A queue that could not be read, as it stood on the last night: only the newest night's queues count."""
    held = pull.lake.scan(tables.AutomationQueue).filter(pl.col("as_of_day") < day_number(pull.as_of))
    last = held.filter(which & (pl.col("as_of_day") == pl.col("as_of_day").max()))
    return parse.Rows(tables.AutomationQueue, last.drop("as_of_day").collect(), [])


def _queue(pull: Pull, workflow_id: str, step_id: str, name: str) -> parse.Rows:
    waiting = pull.unpaged(f"{EMAIL}/queue", "queue", workflow_id=workflow_id, step_id=step_id)
    place = f"/automations/{workflow_id}/emails/{step_id}/queue"
    rows = parse.table_rows(
        tables.AutomationQueue,
        place,
        columns.QUEUE,
        waiting,
        pull.keys,
        columns.known_in_queue,
        workflow_id=workflow_id,
        step_id=step_id,
    )
    pull.sources.note_read(
        "automation e-mail", step_id, name, announced=waiting.announced, set_aside=len(rows.quarantined)
    )
    return rows
