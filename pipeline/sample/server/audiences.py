"""Account, audience, members and automations as the Marketing API shows them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from pipeline.common.time import DAY_US
from pipeline.sample.account.population import FIRST_NAMES, PLANS
from pipeline.sample.account.world import AUDIENCE_ID, PLANTED, SERIES, Flow, Step, mailchimp_id, us
from pipeline.sample.account.zones import ZONES, standard_offset_hours
from pipeline.sample.server.reports import AUDIENCE_NAME, ReportsApi
from pipeline.sample.server.shapes import Item, invalid, not_found, page, text, within
from pipeline.sample.server.view import View

Query = Mapping[str, str]
AUTOMATIONS = {flow.workflow_id: flow for flow in SERIES if flow.kind == "automation"}
WORKFLOW_TYPES = {"signup": "welcomeSeries", "cart_abandoned": "abandonedCart"}
DELAY_ACTIONS = {"signup": "signup", "cart_abandoned": "ecomm_abandoned_cart"}
AUDIENCE_CREATED = text(us("2025-06-30"))
MERGE_FIELDS = (("FNAME", "First name"), ("LNAME", "Last name"), ("PLAN", "Plan"), (PLANTED.aa_field, "A/A test"))


@dataclass
class Changes:
    """What was written to the account, by subscriber, by automation e-mail, and merge fields added."""

    members: dict[int, Item] = field(default_factory=dict)
    emails: dict[str, Item] = field(default_factory=dict)
    merge_fields: list[tuple[str, str]] = field(default_factory=list)


class AccountApi:
    """Answers for account, audience, members and automations, as of a view and `changes` since."""

    def __init__(self, view: View, reports: ReportsApi) -> None:
        self._view = view
        self._reports = reports
        self.changes = Changes()
        self._people = view.account.people
        self._number = {str(self._people.member_id[one]): int(one) for one in view.members.tolist()}

    def root(self) -> Item:
        """GET /."""
        return {
            "account_id": "a1b2c3d4e5f60718293a4b5c6",
            "login_id": "1",
            "account_name": AUDIENCE_NAME,
            "account_timezone": "America/New_York",
            "role": "owner",
            "member_since": AUDIENCE_CREATED,
            "pricing_plan_type": "monthly",
            "first_payment": "",
            "pro_enabled": False,
            "total_subscribers": int((self._view.status[self._view.members] == "subscribed").sum()),
        }

    def lists(self, query: Query) -> Item:
        """GET /lists."""
        made = within(query, "date_created")(us("2025-06-30"))
        return {
            **page(query, "lists", [self.audience(AUDIENCE_ID)] if made and not query.get("email") else []),
            "constraints": {"may_create": False, "max_instances": 1, "current_total_instances": 1},
        }

    def audience(self, list_id: str) -> Item:
        """GET /lists/{id}."""
        self._known(list_id)
        status = self._view.status[self._view.members]
        return {
            "id": AUDIENCE_ID,
            "web_id": 615_001,
            "name": AUDIENCE_NAME,
            "contact": {"company": AUDIENCE_NAME, "address1": "", "city": "Boston", "state": "MA", "country": "US"},
            "permission_reminder": "You signed up on our website.",
            "use_archive_bar": True,
            "campaign_defaults": {"from_name": AUDIENCE_NAME, "from_email": "", "subject": "", "language": "en"},
            "date_created": AUDIENCE_CREATED,
            "list_rating": 4,
            "email_type_option": False,
            "visibility": "prv",
            "double_optin": False,
            "has_welcome": False,
            "marketing_permissions": False,
            "modules": [],
            "stats": {
                "member_count": int((status == "subscribed").sum()),
                "unsubscribe_count": int((status == "unsubscribed").sum()),
                "cleaned_count": int((status == "cleaned").sum()),
                "campaign_last_sent": "",
            },
        }

    def merge_fields(self, list_id: str, query: Query) -> Item:
        """GET /lists/{id}/merge-fields."""
        self._known(list_id)
        fields = [
            _merge_field(number, tag, name)
            for number, (tag, name) in enumerate((*MERGE_FIELDS, *self.changes.merge_fields), 1)
            if query.get("type", "text") == "text" and query.get("required") != "true"
        ]
        return {**page(query, "merge_fields", fields), "list_id": AUDIENCE_ID}

    def _changed_us(self, person: int) -> int:
        changed_us: int = max(
            int(self._view.changed_us[person]), self.changes.members.get(person, {}).get("changed_us", 0)
        )
        return changed_us

    def add_merge_field(self, list_id: str, tag: str, name: str) -> Item:
        """A further merge field of the audience."""
        self._known(list_id)
        known = (*MERGE_FIELDS, *self.changes.merge_fields)
        if tag in {one for one, _ in known}:
            raise invalid(f"A merge field with the tag {tag} exists already.")
        self.changes.merge_fields.append((tag, name))
        return _merge_field(len(known) + 1, tag, name)

    def members(self, list_id: str, query: Query) -> Item:
        """GET /lists/{id}/members: without the archived unless asked for."""
        self._known(list_id)
        wanted = query.get("status")
        changed, joined = within(query, "last_changed"), within(query, "timestamp_opt")
        chosen = [
            one
            for one in self._view.members.tolist()
            if (self._view.status[one] == wanted if wanted else self._view.status[one] != "archived")
            and changed(self._changed_us(one))
            and joined(int(self._people.signup_us[one]))
        ]
        if query.get("vip_only") == "true" or query.get("unique_email_id") or query.get("interest_ids"):
            chosen = []
        keys = {"last_changed": self._view.changed_us, "timestamp_opt": self._people.signup_us}
        key = keys.get(query.get("sort_field", "timestamp_opt"), self._people.signup_us)
        chosen.sort(key=lambda one: (int(key[one]), one), reverse=query.get("sort_dir") == "DESC")
        return {**page(query, "members", chosen, self._member), "list_id": AUDIENCE_ID}

    def member(self, list_id: str, member_id: str) -> Item:
        """GET /lists/{id}/members/{hash}."""
        return self._member(self.person(list_id, member_id))

    def activity_feed(self, list_id: str, member_id: str, query: Query) -> Item:
        """GET /lists/{id}/members/{hash}/activity-feed, newest first: alone knows when automations sent."""
        person = self.person(list_id, member_id)
        wanted = query.get("activity_filters")
        kinds = set(wanted.split(",")) if wanted else {"sent", "open", "click", "bounce", "unsub"}
        found = [item for item in self._feed.get(person, ()) if item[1] in kinds]
        body = page(query, "activity", found, lambda item: _feed_item(*item))
        del body["total_items"]
        return {**body, "email_id": member_id, "list_id": AUDIENCE_ID}

    def automations(self, query: Query) -> Item:
        """GET /automations: classic ones only; journeys cannot be read."""
        made, started = within(query, "create_time"), within(query, "start_time")
        wanted = query.get("status")
        chosen = [
            self._automation(flow)
            for flow in AUTOMATIONS.values()
            if made(flow.created_us) and started(flow.created_us + DAY_US) and wanted in (None, "sending")
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
        """GET /automations/{id}/emails/{id}/queue: who is waiting for this e-mail tonight."""
        self.email_of(workflow_id, email_id)
        waiting = self._view.queued.filter(
            (pl.col("workflow_id") == workflow_id) & (pl.col("next_step_id") == email_id)
        )
        items = [
            {
                "id": str(self._people.member_id[person]),
                "workflow_id": workflow_id,
                "email_id": email_id,
                "list_id": AUDIENCE_ID,
                "email_address": str(self._people.address[person]),
                "next_send": text(moment),
            }
            for person, moment in waiting.select("subscriber", "next_us").iter_rows()
        ]
        return {"workflow_id": workflow_id, "email_id": email_id, "queue": items, "total_items": len(items)}

    def queued(self, workflow_id: str, email_id: str, member_id: str) -> Item:
        """GET /automations/{id}/emails/{id}/queue/{hash}."""
        for item in self.queue(workflow_id, email_id)["queue"]:
            if item["id"] == member_id:
                found: dict[str, Any] = item
                return found
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

    @cached_property
    def _feed(self) -> dict[int, list[tuple[int, str, str]]]:
        messages = self._view.messages
        parts = [
            messages.select("subscriber", pl.col("sent_us").alias("at"), pl.lit("sent").alias("kind"), "campaign_id"),
            messages.filter(pl.col("unsubscribed_us").is_not_null()).select(
                "subscriber", pl.col("unsubscribed_us").alias("at"), pl.lit("unsub").alias("kind"), "campaign_id"
            ),
            self._view.activity.select(
                "subscriber", pl.col("occurred_us").alias("at"), pl.col("action").alias("kind"), "campaign_id"
            ),
        ]
        found: dict[int, list[tuple[int, str, str]]] = {}
        for person, *item in pl.concat(parts).sort("at", descending=True, maintain_order=True).iter_rows():
            found.setdefault(person, []).append(tuple(item))
        return found

    def _known(self, list_id: str) -> None:
        if list_id != AUDIENCE_ID:
            raise not_found()

    def person(self, list_id: str, member_id: str) -> int:
        """The number of an existing member."""
        self._known(list_id)
        if member_id.lower() not in self._number:
            raise not_found()
        return self._number[member_id.lower()]

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

    def _member(self, person: int) -> Item:
        people = self._people
        zone, _, country, language = ZONES[people.zone[person]]
        signup = int(people.signup_us[person])
        in_test = signup >= us(PLANTED.aa_from)
        # As in real audiences: some zones unknown, some no IANA names, some signups without a time.
        known = "" if person % 37 == 0 else "Eastern Time (US)" if person % 101 == 0 else zone
        name = FIRST_NAMES[person % len(FIRST_NAMES)]
        plan = PLANS[people.plan[person]]
        changes = self.changes.members.get(person, {})
        chosen = {"beta": person % 9 == 0, **changes.get("tags", {})}
        tags = [{"id": int(mailchimp_id(tag)[:6], 16), "name": tag} for tag, is_on in chosen.items() if is_on]
        return {
            "id": str(people.member_id[person]),
            "email_address": str(people.address[person]),
            "unique_email_id": str(people.member_id[person])[:10],
            "contact_id": str(people.member_id[person])[::-1],
            "full_name": name,
            "web_id": 360_000_000 + person,
            "email_type": "html",
            "status": changes.get("status", str(self._view.status[person])),
            "consents_to_one_to_one_messaging": True,
            "merge_fields": {
                "FNAME": name,
                "LNAME": "",
                "PLAN": plan,
                PLANTED.aa_field: "AB"[people.aa_arm[person]] if in_test else "",
                **changes.get("merge_fields", {}),
            },
            "interests": {},
            "stats": {"avg_open_rate": 0, "avg_click_rate": 0},
            "ip_signup": "",
            "timestamp_signup": "" if person % 10 == 0 else text(signup),
            "ip_opt": "",
            "timestamp_opt": text(signup),
            "member_rating": int(np.clip(1 + people.engagement[person] * 2, 1, 5)),
            "last_changed": text(self._changed_us(person)),
            "language": language,
            "vip": False,
            "email_client": "",
            "location": {
                "latitude": 0,
                "longitude": 0,
                "gmtoff": int(standard_offset_hours(int(people.zone[person]))),
                "dstoff": int(standard_offset_hours(int(people.zone[person]))),
                "country_code": country,
                "timezone": known,
                "region": "",
            },
            "source": "API - Generic",
            "tags_count": len(tags),
            "tags": tags,
            "list_id": AUDIENCE_ID,
        }

    def _automation(self, flow: Flow) -> Item:
        totals = [self._reports.campaign_totals(step.step_id) for step in flow.steps]
        return {
            "id": flow.workflow_id,
            "create_time": text(flow.created_us),
            "start_time": text(flow.created_us + DAY_US),
            "status": "sending",
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
        changes = self.changes.emails.get(step.step_id, {})
        delay = {
            "amount": amount,
            "type": unit if amount else "now",
            "direction": "after",
            "action": DELAY_ACTIONS[flow.trigger] if first else "previous_campaign_sent",
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
            "status": changes.get("status", "sending"),
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
        "workflow_type": WORKFLOW_TYPES[flow.trigger],
        "workflow_title": flow.name,
        "runtime": {"days": ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]},
        "workflow_emails_count": len(flow.steps),
    }


def _feed_item(moment: int, kind: str, campaign_id: str) -> dict[str, Any]:
    return {"activity_type": kind, "created_at_timestamp": text(moment), "campaign_id": campaign_id}


def _merge_field(number: int, tag: str, name: str) -> Item:
    return {"merge_id": number, "tag": tag, "name": name, "type": "text", "required": False, "list_id": AUDIENCE_ID}
