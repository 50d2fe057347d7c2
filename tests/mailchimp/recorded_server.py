"""Replays the real recorded responses of Mailchimp as one account on loopback.

Recorded are lists, members, campaigns, email-activity, and a part of reports. What was not recorded is derived from
what was: sent-to, open-details, click-details and the rest of a report from email-activity. Nothing else is invented;
collections that the account does not have are empty.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from tests.mailchimp.loopback import answer_with, serve

RECORDINGS = Path(__file__).parents[2] / "../shared/mailchimp/recorded"
LIST_ID = "f34247943d"
KEY = "recorded-us16"


class RecordedAccount:
    """The account of the recordings, as tables that endpoints are answered from."""

    def __init__(self, folder: Path = RECORDINGS) -> None:
        self._folder = folder
        self.account = {"account_id": LIST_ID, "account_name": "Example Co", "account_timezone": ""}
        self.lists = self.bodies("Lists__bare")[0]["lists"]
        self.members = self.bodies("Members__bare")[0]["members"]
        self.archived = self.bodies("Members__status_archived")[0]["members"]
        self.activity = self._merged_activity()
        self.campaigns = self._merged_campaigns()
        self.reports = [self._report(campaign) for campaign in self.campaigns if campaign["status"] == "sent"]

    def bodies(self, name: str) -> list[Any]:
        """The bodies of a recording's records."""
        return [one["body"] for one in json.loads((self._folder / f"{name}.json").read_text())["records"]]

    def _merged_activity(self) -> dict[str, dict[str, list[dict[str, Any]]]]:
        """Campaign -> member -> events, over all recordings."""
        merged: dict[str, dict[str, list[dict[str, Any]]]] = {}
        for name in sorted(self._folder.glob("Email_Activity__*.json")):
            for body in self.bodies(name.stem):
                for email in body["emails"]:
                    if "activity" in email:
                        events = merged.setdefault(email["campaign_id"], {}).setdefault(email["email_id"], [])
                        events += [event for event in email["activity"] if event not in events]
        for emails in merged.values():
            for events in emails.values():
                events.sort(key=lambda event: event["timestamp"])
        return merged

    def _merged_campaigns(self) -> list[dict[str, Any]]:
        merged: dict[str, dict[str, Any]] = {}
        for path in sorted(self._folder.glob("*.json")):
            for body in self.bodies(path.stem):
                for campaign in body.get("campaigns", []):
                    merged.setdefault(campaign["id"], {}).update(campaign)
        recorded = {one["id"]: one for body in self.bodies("Reports__recency_fields_probe") for one in body["reports"]}
        for campaign_id, campaign in merged.items():
            was_sent = campaign_id in self.activity
            sent_at = recorded.get(campaign_id, {}).get("send_time", campaign["create_time"]) if was_sent else ""
            campaign.setdefault("type", "regular")
            campaign.setdefault("status", "sent" if was_sent else "save")
            campaign.setdefault("send_time", sent_at)
            campaign.setdefault("emails_sent", len(self.activity.get(campaign_id, {})))
            campaign.setdefault("recipients", {"list_id": LIST_ID})
        return list(merged.values())

    def _report(self, campaign: dict[str, Any]) -> dict[str, Any]:
        emails = self.activity[campaign["id"]]

        def times(action: str) -> list[str]:
            return [event["timestamp"] for events in emails.values() for event in events if event["action"] == action]

        def people(action: str) -> int:
            return sum(any(event["action"] == action for event in events) for events in emails.values())

        hard, soft = (self._bounced(campaign["id"], kind) for kind in ("hard", "soft"))
        return {
            "id": campaign["id"],
            "send_time": campaign["send_time"],
            "emails_sent": campaign["emails_sent"],
            "bounces": {"hard_bounces": hard, "soft_bounces": soft, "syntax_errors": 0},
            "unsubscribed": 0,
            "abuse_reports": 0,
            "opens": {
                "opens_total": len(times("open")),
                "unique_opens": people("open"),
                "last_open": max(times("open"), default=""),
            },
            "clicks": {
                "clicks_total": len(times("click")),
                "unique_clicks": sum(link["unique_clicks"] for link in self.links(campaign["id"])),
                "unique_subscriber_clicks": people("click"),
                "click_rate": people("click") / max(1, campaign["emails_sent"] - hard - soft),
                "last_click": max(times("click"), default=""),
            },
            "ecommerce": {"total_orders": 0, "total_spent": 0, "total_revenue": 0},
        }

    def _bounced(self, campaign_id: str, kind: str) -> int:
        return sum(
            any(event["action"] == "bounce" and event["type"] == kind for event in events)
            for events in self.activity[campaign_id].values()
        )

    def links(self, campaign_id: str) -> list[dict[str, Any]]:
        """Click-details of a campaign."""
        clicks = [
            (event["url"], member)
            for member, events in self.activity.get(campaign_id, {}).items()
            for event in events
            if event["action"] == "click"
        ]
        return [
            {
                "id": f"link-{number}",
                "url": url,
                "total_clicks": sum(clicked == url for clicked, _ in clicks),
                "unique_clicks": len({member for clicked, member in clicks if clicked == url}),
            }
            for number, url in enumerate(sorted({url for url, _ in clicks}))
        ]

    def find(self, path: str, query: dict[str, str]) -> tuple[str, list[Any]] | dict[str, Any] | None:
        """What a path holds: the key and items of a collection, or an object, or nothing."""
        match path.strip("/").split("/"):
            case [""]:
                return self.account
            case ["lists"]:
                return "lists", self.lists
            case ["lists", _, "members"]:
                members = self.archived if query.get("status") == "archived" else self.members
                since, before = query.get("since_last_changed", ""), query.get("before_last_changed", "9999")
                return "members", [one for one in members if since < one["last_changed"] <= before]
            case ["lists", _, "merge-fields"]:
                kinds = {"ADDRESS": "address", "PHONE": "phone", "BIRTHDAY": "birthday"}
                tags = self.members[0]["merge_fields"]
                return "merge_fields", [{"tag": tag, "type": kinds.get(tag, "text")} for tag in tags]
            case ["lists", _, "members", _, "activity-feed"]:
                return "activity", []
            case ["automations"]:
                return "automations", []
            case ["campaigns"]:
                return "campaigns", self.campaigns
            case ["ecommerce", "stores"]:
                return "stores", []
            case ["reports"]:
                return "reports", self.reports
            case ["reports", campaign_id]:
                return next((report for report in self.reports if report["id"] == campaign_id), None)
            case ["reports", campaign_id, name]:
                return self._of_campaign(self.activity.get(campaign_id, {}), campaign_id, name, query.get("since", ""))
        return None

    def _of_campaign(
        self, emails: dict[str, list[dict[str, Any]]], campaign_id: str, name: str, since: str
    ) -> tuple[str, list[Any]] | None:
        common = {"campaign_id": campaign_id, "list_id": LIST_ID}
        recent = {
            member: [event for event in events if event["timestamp"] > since] for member, events in emails.items()
        }
        match name:
            case "email-activity":
                return "emails", [{**common, "email_id": one, "activity": events} for one, events in recent.items()]
            case "sent-to":
                bounce = {one: [e["type"] for e in events if e["action"] == "bounce"] for one, events in emails.items()}
                return "sent_to", [
                    {**common, "email_id": one, "status": (kinds or ["sent"])[0]} for one, kinds in bounce.items()
                ]
            case "open-details":
                opens = {
                    one: [{"timestamp": e["timestamp"]} for e in events if e["action"] == "open"]
                    for one, events in recent.items()
                }
                return "members", [{**common, "email_id": one, "opens": all_} for one, all_ in opens.items() if all_]
            case "click-details":
                return "urls_clicked", self.links(campaign_id)
            case "unsubscribed":
                return "unsubscribes", []
            case "abuse-reports":
                return "abuse_reports", []
        return None


@contextmanager
def serve_recordings(folder: Path = RECORDINGS) -> Iterator[str]:
    """Yields the base URL of a server that replays the recordings; any key with a data-centre suffix will do."""
    account = RecordedAccount(folder)

    def answer(handler: BaseHTTPRequestHandler, path: str, query: dict[str, str]) -> None:
        answer_with(handler, account.find(path, query), query)

    with serve(answer) as base_url:
        yield base_url
