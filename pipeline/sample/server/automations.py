"""Classic automations as the Marketing API shows them: their e-mails, queues and those taken out by hand."""

from collections.abc import Mapping

import polars as pl

from pipeline.common.time import DAY_US
from pipeline.sample.account.world import AUDIENCE_ID, REMINDER, Flow, Step
from pipeline.sample.server.reports import AUDIENCE_NAME, ReportsApi
from pipeline.sample.server.shapes import Item, not_found, page, text, within
from pipeline.sample.server.view import View

Query = Mapping[str, str]
ARCHIVED = "archived"
AUTOMATIONS = {REMINDER.workflow_id: REMINDER}


class AutomationsApi:
    """Answers for `/automations`, as of a view and `changes` of their e-mails since."""

    def __init__(self, view: View, reports: ReportsApi) -> None:
        self._view = view
        self._reports = reports
        self._people = view.account.people
        self.changes: dict[str, Item] = {}

    def automations(self, query: Query) -> Item:
        """GET /automations: classic ones only."""
        made, started = within(query, "create_time"), within(query, "start_time")
        wanted = query.get("status")
        chosen = [
            self._automation(flow)
            for flow in AUTOMATIONS.values()
            if made(flow.created_us) and started(flow.created_us + DAY_US) and wanted in (None, ARCHIVED)
        ]
        return page(query, "automations", chosen)

    def automation(self, workflow_id: str) -> Item:
        """GET /automations/{id}."""
        return self._automation(self._flow(workflow_id))

    def automation_emails(self, workflow_id: str) -> Item:
        """GET /automations/{id}/emails: no parameters, no paging."""
        flow = self._flow(workflow_id)
        return {"emails": [self._email(flow, step) for step in flow.steps], "total_items": len(flow.steps)}

    def automation_email(self, workflow_id: str, email_id: str) -> Item:
        """GET /automations/{id}/emails/{id}."""
        return self._email(*self.email_of(workflow_id, email_id))

    def queue(self, workflow_id: str, email_id: str) -> Item:
        """GET /automations/{id}/emails/{id}/queue: nobody waits in what was archived."""
        self.email_of(workflow_id, email_id)
        return {"workflow_id": workflow_id, "email_id": email_id, "queue": [], "total_items": 0}

    def queued(self, workflow_id: str, email_id: str, member_id: str) -> Item:
        """GET /automations/{id}/emails/{id}/queue/{hash}."""
        self.email_of(workflow_id, email_id)
        raise not_found()

    def removed(self, workflow_id: str) -> Item:
        """GET /automations/{id}/removed-subscribers: no times."""
        self._flow(workflow_id)
        held = self._view.account.entries.filter(
            (pl.col("cause") == "removed")
            & pl.col("is_held")
            & (pl.col("workflow_id") == workflow_id)
            & (pl.col("entered_us") < self._view.now_us - DAY_US)
        )
        items = [
            {
                "id": str(self._people.member_id[person]),
                "workflow_id": workflow_id,
                "list_id": AUDIENCE_ID,
                "email_address": str(self._people.address[person]),
            }
            for person in held["subscriber"]
        ]
        return {"workflow_id": workflow_id, "subscribers": items, "total_items": len(items)}

    def _flow(self, workflow_id: str) -> Flow:
        if workflow_id not in AUTOMATIONS:
            raise not_found()
        return AUTOMATIONS[workflow_id]

    def email_of(self, workflow_id: str, email_id: str) -> tuple[Flow, Step]:
        """The automation and the step of an existing e-mail."""
        flow = self._flow(workflow_id)
        for step in flow.steps:
            if step.step_id == email_id:
                return flow, step
        raise not_found()

    def _automation(self, flow: Flow) -> Item:
        totals = [self._reports.campaign_totals(step.step_id) for step in flow.steps]
        return {
            "id": flow.workflow_id,
            "create_time": text(flow.created_us),
            "start_time": text(flow.created_us + DAY_US),
            "status": ARCHIVED,
            "emails_sent": sum(total["sent"] for total in totals),
            "recipients": {"list_id": AUDIENCE_ID, "list_is_active": True, "list_name": AUDIENCE_NAME},
            "settings": {"title": flow.name, "from_name": AUDIENCE_NAME},
            "tracking": {"opens": True, "html_clicks": True, "text_clicks": False},
            "trigger_settings": _trigger(flow),
            "report_summary": {
                "opens": sum(total["opens"] for total in totals),
                "unique_opens": sum(total["unique_opens"] for total in totals),
                "clicks": sum(total["clicks"] for total in totals),
                "subscriber_clicks": sum(total["clickers"] for total in totals),
            },
        }

    def _email(self, flow: Flow, step: Step) -> Item:
        sent = self._reports.campaign_totals(step.step_id)["sent"]
        days, hours = divmod(step.delay_hours, 24)
        amount, unit = (step.delay_hours, "hour") if hours else (days, "day")
        first = step is flow.steps[0]
        changes = self.changes.get(step.step_id, {})
        delay = {
            "amount": amount,
            "type": unit if amount else "now",
            "direction": "after",
            "action": "ecomm_abandoned_cart" if first else "previous_campaign_sent",
        }
        return {
            "id": step.step_id,
            "web_id": int(step.step_id[:6], 16),
            "workflow_id": flow.workflow_id,
            "position": step.position + 1,
            "delay": changes.get("delay", delay),
            "create_time": text(flow.created_us),
            "start_time": text(flow.created_us + DAY_US),
            "archive_url": f"http://eepurl.example/{step.step_id}",
            "status": changes.get("status", "paused"),
            "emails_sent": sent,
            "send_time": text(flow.created_us + DAY_US),
            "content_type": "template",
            "recipients": {"list_id": AUDIENCE_ID, "list_is_active": True, "recipient_count": sent},
            "settings": {
                **{"subject_line": step.name, "title": step.name, "from_name": AUDIENCE_NAME},
                **changes.get("settings", {}),
            },
            "tracking": {"opens": True, "html_clicks": True, "text_clicks": False},
            "trigger_settings": _trigger(flow),
            "report_summary": self._reports.summary(step.step_id),
        }


def _trigger(flow: Flow) -> Item:
    return {
        "workflow_type": "abandonedCart",
        "workflow_title": flow.name,
        "runtime": {"days": ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]},
        "workflow_emails_count": len(flow.steps),
    }
