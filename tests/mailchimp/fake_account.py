"""A made-up Mailchimp account on loopback, for tests that need what the recordings lack."""

import copy
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from pipeline.lake.keys import SubscriberKeys
from pipeline.lake.store import Lake
from pipeline.mailchimp import pulls as pull
from pipeline.mailchimp.client import MailchimpClient
from pipeline.mailchimp.pulls.pulling import PullSummary
from pipeline.schemas.base import Table
from pipeline.settings import Settings
from tests.mailchimp.contract import CONTRACT, ContractAdapter
from tests.mailchimp.loopback import Found, answer_with, page_of, refuse, serve

Tamper = Callable[[str, dict[str, str], dict[str, Any]], int | None]
AUDIENCE = "aud1"
KEYS = SubscriberKeys(b"test")
API_KEY = "0123456789abcdef0123456789abcdef-us1"
NIGHT = date(2026, 6, 29)


def member_id(number: int) -> str:
    return hashlib.md5(f"person-{number}@example.com".encode(), usedforsecurity=False).hexdigest()


def subscriber(number: int) -> int:
    return KEYS.of_member_id(member_id(number))


def member(number: int, **changes: Any) -> dict[str, Any]:
    """An API member; `changes` replace fields."""
    return {
        "id": member_id(number),
        "email_address": f"person-{number}@example.com",
        "status": "subscribed",
        "merge_fields": {},
        "timestamp_signup": "2026-01-01T08:00:00+00:00",
        "timestamp_opt": "2026-01-01T08:00:00+00:00",
        "last_changed": "2026-01-01T08:00:00+00:00",
        "location": {"gmtoff": 0, "dstoff": 0, "country_code": "", "timezone": ""},
        "tags": [],
        **changes,
    }


def report(campaign_id: str, emails_sent: int, send_time: str, **changes: Any) -> dict[str, Any]:
    """An API report without activity; `changes` replace fields."""
    return {
        "id": campaign_id,
        "send_time": send_time,
        "emails_sent": emails_sent,
        "bounces": {"hard_bounces": 0, "soft_bounces": 0, "syntax_errors": 0},
        "unsubscribed": 0,
        "abuse_reports": 0,
        "opens": {"opens_total": 0, "unique_opens": 0, "open_rate": 0, "last_open": ""},
        "clicks": {
            "clicks_total": 0,
            "unique_clicks": 0,
            "unique_subscriber_clicks": 0,
            "click_rate": 0,
            "last_click": "",
        },
        **changes,
    }


def order(order_id: str, time: str, **changes: Any) -> dict[str, Any]:
    """An API order of person 1; `changes` replace fields."""
    return {
        "id": order_id,
        "customer": {"email_address": "Person-1@example.com"},
        "currency_code": "USD",
        "order_total": 19.99,
        "tax_total": 1.1,
        "shipping_total": 4.35,
        "financial_status": "paid",
        "processed_at_foreign": time,
        **changes,
    }


def sms_only(contact_id: str, **changes: Any) -> dict[str, Any]:
    """A member known by a phone number alone."""
    return member(0, id="", email_address="", contact_id=contact_id, **changes)


class FakeAccount:
    """What each path answers: a collection (key and items), an object, or 404; remembers what was asked."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.members = [member(1)]
        self.archived: list[dict[str, Any]] = []
        self.other_members: dict[str, list[dict[str, Any]]] = {}
        self.humans: dict[str, list[dict[str, Any]]] = {}
        # Changes an answer, or tells the status to refuse it with.
        self.tamper: Tamper = lambda path, query, page: None
        self.found: dict[str, Found] = {
            "": {"account_id": "acc", "account_name": "Test", "account_timezone": "Europe/Vienna"},
            "/lists": ("lists", [{"id": AUDIENCE, "name": "All", "date_created": "2026-01-01T00:00:00+00:00"}]),
            f"/lists/{AUDIENCE}/merge-fields": ("merge_fields", []),
            "/automations": ("automations", []),
            "/customer-journeys/journeys": ("journeys", []),
            "/campaigns": ("campaigns", []),
            "/reports": ("reports", []),
            "/ecommerce/stores": ("stores", []),
        }

    def add_audience(self, audience_id: str, *members: dict[str, Any]) -> None:
        """A further audience."""
        self._items("/lists").append(
            {"id": audience_id, "name": f"The {audience_id}", "date_created": "2026-01-01T00:00:00+00:00"}
        )
        self.found[f"/lists/{audience_id}/merge-fields"] = ("merge_fields", [])
        self.other_members[audience_id] = list(members)

    def add_store(self, store_id: str, *orders: dict[str, Any]) -> None:
        """A connected store."""
        self._items("/ecommerce/stores").append({"id": store_id, "name": f"The {store_id}", "currency_code": "USD"})
        self.found[f"/ecommerce/stores/{store_id}/orders"] = ("orders", list(orders))

    def lose(self, name: str) -> None:
        """Delete an audience, campaign, automation, e-mail or store: it is listed no more, and answers 404."""
        for path, found in list(self.found.items()):
            if name in path.split("/"):
                del self.found[path]
            elif isinstance(found, tuple):
                found[1][:] = [one for one in found[1] if not (isinstance(one, dict) and one.get("id") == name)]
            elif "emails" in found:
                found["emails"] = [one for one in found["emails"] if one["id"] != name]
                found["total_items"] = len(found["emails"])
        self.other_members.pop(name, None)

    def add_campaign(self, campaign_id: str, recipients: list[int], send_time: str, *, kind: str = "regular") -> None:
        """A campaign sent to members by number, without activity."""
        self._items("/campaigns").append(
            {
                "id": campaign_id,
                "type": kind,
                "status": "sent",
                "create_time": "2024-01-01T00:00:00+00:00",
                "send_time": send_time,
                "emails_sent": len(recipients),
                "recipients": {"list_id": AUDIENCE},
                "settings": {"title": campaign_id, "subject_line": "Hello"},
            }
        )
        self._items("/reports").append(report(campaign_id, len(recipients), send_time))
        sent_to = [{"email_id": member_id(one), "list_id": AUDIENCE, "status": "sent"} for one in recipients]
        place = f"/reports/{campaign_id}"
        self.found |= {
            f"{place}/sent-to": ("sent_to", sent_to),
            f"{place}/email-activity": ("emails", [{"email_id": one["email_id"], "activity": []} for one in sent_to]),
            f"{place}/open-details": ("members", []),
            f"{place}/click-details": ("urls_clicked", []),
            f"{place}/unsubscribed": ("unsubscribes", []),
            f"{place}/abuse-reports": ("abuse_reports", []),
        }

    def add_activity(self, campaign_id: str, number: int, *events: dict[str, Any], human: bool = True) -> None:
        """Events of a recipient; those of machines are absent from the filtered pass."""
        path = f"/reports/{campaign_id}/email-activity"
        humans = self.humans.setdefault(path, [{**one, "activity": []} for one in self._items(path)])
        for emails in (self._items(path), humans) if human else (self._items(path),):
            next(one for one in emails if one["email_id"] == member_id(number))["activity"].extend(events)

    def add_automation(self, workflow_id: str, *emails: dict[str, Any], **changes: Any) -> None:
        """A classic automation with empty queues."""
        self._items("/automations").append(
            {
                "id": workflow_id,
                "status": "sending",
                "create_time": "2026-01-01T00:00:00+00:00",
                "start_time": "2026-01-02T00:00:00+00:00",
                "recipients": {"list_id": AUDIENCE},
                "settings": {"title": "Welcome"},
                "trigger_settings": {"workflow_type": "singleWelcome", "runtime": {"hours": {"type": "automation"}}},
                **changes,
            }
        )
        place = f"/automations/{workflow_id}"
        self.found |= {
            f"{place}/emails": {"emails": list(emails), "total_items": len(emails)},
            f"{place}/removed-subscribers": {"subscribers": [], "total_items": 0},
        }
        for email in emails:
            self.found[f"{place}/emails/{email['id']}/queue"] = {"queue": [], "total_items": 0}

    def set_feed(self, number: int, *sent: tuple[str, str]) -> None:
        """A member's activity feed: campaign id and time of sending."""
        path = f"/lists/{AUDIENCE}/members/{member_id(number)}/activity-feed"
        self.found[path] = (
            "activity",
            [{"activity_type": "sent", "campaign_id": one, "created_at_timestamp": time} for one, time in sent],
        )

    def asked(self, ending: str) -> list[dict[str, str]]:
        """Queries of the requests whose path ends so."""
        return [query for path, query in self.requests if path.endswith(ending)]

    def _items(self, path: str) -> list[Any]:
        found = self.found[path]
        assert isinstance(found, tuple)
        return found[1]

    def find(self, path: str, query: dict[str, str]) -> Found:
        if path in [f"/lists/{one}/members" for one in (AUDIENCE, *self.other_members)]:
            is_main, is_archived = path == f"/lists/{AUDIENCE}/members", query.get("status") == "archived"
            members = self.members if is_main else self.other_members[path.split("/")[2]]
            if is_archived:
                members = self.archived if is_main else []
            since, before = query.get("since_last_changed", ""), query.get("before_last_changed", "9999")
            return "members", [one for one in members if since < one["last_changed"] <= before]
        if query.get("filter_bots") == "true" and path in self.humans:
            return "emails", self.humans[path]
        return self.found.get(path) or self._listed(path)

    def _listed(self, path: str) -> Found:
        """A single thing, as the listing above it shows it."""
        above, _, name = path.rpartition("/")
        found = self.found.get(above)
        items = found[1] if isinstance(found, tuple) else (found or {}).get("emails", [])
        return next((one for one in items if isinstance(one, dict) and one.get("id") == name), None)

    def answer(self, handler: BaseHTTPRequestHandler, path: str, query: dict[str, str]) -> None:
        self.requests.append((path, query))
        found = self.find(path, query)
        if found is not None:
            found = copy.deepcopy(page_of(found, query))
            status = self.tamper(path, query, found)
            if status:
                refuse(handler, status, "Problem")
                return
        answer_with(handler, found, query)


class Night:
    """Pulls from a served account into a lake in a temporary folder, every request checked against the contract."""

    def __init__(self, folder: Path, base_url: str, **settings: Any) -> None:
        self.settings = Settings(data_dir=folder, definitions=folder / "definitions", _env_file=None, **settings)  # type: ignore[call-arg]
        self.lake = Lake(self.settings.lake_dir)
        adapter = ContractAdapter(pool_maxsize=8) if CONTRACT.exists() else None
        self.client = MailchimpClient(base_url, API_KEY, settings=self.settings, adapter=adapter)

    def run(self, as_of: date = NIGHT) -> dict[str, int]:
        """All pulls of a night; new rows by table."""
        rows: dict[str, int] = {}
        for one in ORDER:
            rows |= self.pull(one, as_of).rows
        return rows

    def pull(self, function: Any, as_of: date = NIGHT) -> PullSummary:
        return function(self.client, self.lake, KEYS, self.settings, as_of)


ORDER = (
    pull.pull_account_and_audiences,
    pull.pull_members,
    pull.pull_automations,
    pull.pull_campaigns,
    pull.pull_journeys,
    pull.pull_reports,
    pull.pull_activity,
    pull.pull_orders,
)


@contextmanager
def served(account: FakeAccount, folder: Path, **settings: Any) -> Iterator[Night]:
    """A night against the account on loopback."""
    with serve(account.answer) as base_url:
        yield Night(folder, base_url, **settings)


def click(time: str, url: str = "https://example.com/a", ip: str = "203.0.113.9") -> dict[str, Any]:
    return {"action": "click", "timestamp": time, "url": url, "ip": ip}


def opened(time: str, ip: str = "203.0.113.9") -> dict[str, Any]:
    return {"action": "open", "timestamp": time, "ip": ip}


def automation_email(step_id: str, position: int, **delay: Any) -> dict[str, Any]:
    return {
        "id": step_id,
        "position": position,
        "status": "sending",
        "delay": delay,
        "send_time": "",
        "emails_sent": 1,
        "settings": {"title": step_id, "subject_line": "Hello"},
    }


def rows(night: Night, model: type[Table]) -> list[dict[str, Any]]:
    """The table's rows as last known."""
    return night.lake.latest(model).collect().to_dicts()
