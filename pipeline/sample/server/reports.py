"""Campaigns and their reports as the Marketing API shows them."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import polars as pl

from pipeline.common.time import DAY_US
from pipeline.sample.account.engagement import LINK_URLS
from pipeline.sample.account.population import FIRST_NAMES
from pipeline.sample.account.world import AUDIENCE_ID, CURRENCY, EVERY_FLOW, Flow, Step, mailchimp_id
from pipeline.sample.server.shapes import Item, instant, not_found, page, text, within
from pipeline.sample.server.totals import TOTALS, totals_by_campaign
from pipeline.sample.server.view import View, campaigns_at

Query = Mapping[str, str]
AUDIENCE_NAME = "Northwind Outdoor"
CAMPAIGN_TYPES = {"campaign": "regular", **dict.fromkeys(("flow", "journey", "automation"), "automation-email")}

INDUSTRY = {
    "type": "Retail",
    "open_rate": 0.361,
    "click_rate": 0.021,
    "bounce_rate": 0.009,
    "unopen_rate": 0.63,
    "unsub_rate": 0.002,
    "abuse_rate": 0.0001,
}
"""Averages of the account's industry, as every report repeats them."""


class ReportsApi:
    """Answers for `/campaigns` and `/reports`, as of a view."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._people = view.account.people
        self._campaigns = {campaign_id: (flow, step) for flow, step, campaign_id in campaigns_at(view.now_us)}
        self.totals = totals_by_campaign(view)
        self.recipients = cache(self._recipients)
        self.activity = cache(self._activity)

    def campaign_totals(self, campaign_id: str) -> Item:
        """Totals of one campaign, zeros and nulls if nothing was sent."""
        found = self.totals.get(campaign_id, {})
        return {name: found.get(name) or (None if name.startswith("last") else 0) for name in TOTALS}

    def summary(self, campaign_id: str) -> Item:
        """The `report_summary` of campaigns and automation e-mails."""
        total = self.campaign_totals(campaign_id)
        delivered = total["sent"] - total["hard"] - total["soft"]
        return {
            "opens": total["opens"],
            "unique_opens": total["unique_opens"],
            "open_rate": _share(total["unique_opens"], delivered),
            "clicks": total["clicks"],
            "subscriber_clicks": total["clickers"],
            "click_rate": _share(total["clickers"], delivered),
        }

    def campaigns(self, query: Query) -> Item:
        """GET /campaigns: drafts have an empty send_time, unknown values of a filter find nothing."""
        sent_in, made_in = within(query, "send_time"), within(query, "create_time")
        chosen = [
            self._campaign(*found, campaign_id)
            for campaign_id, found in self._campaigns.items()
            if made_in(found[0].created_us) and sent_in(self._sent_us(found[0]))
        ]
        for name, value in query.items():
            if name in ("type", "status"):
                chosen = [one for one in chosen if one[name] == value]
            if name == "list_id":
                chosen = [one for one in chosen if one["recipients"]["list_id"] == value]
            if name in ("folder_id", "member_id"):
                chosen = []
        field = {"send_time": "send_time", "create_time": "create_time"}.get(query.get("sort_field", ""))
        if field:
            chosen.sort(key=lambda one: str(one[field]), reverse=query.get("sort_dir") == "DESC")
        return page(query, "campaigns", chosen)

    def campaign(self, campaign_id: str) -> Item:
        """GET /campaigns/{id}."""
        if campaign_id not in self._campaigns:
            raise not_found()
        return self._campaign(*self._campaigns[campaign_id], campaign_id)

    def reports(self, query: Query) -> Item:
        """GET /reports: everything that was sent."""
        sent_in = within(query, "send_time")
        wanted = query.get("type")
        chosen = [
            (*found, campaign_id)
            for campaign_id, found in self._campaigns.items()
            if campaign_id in self.totals and sent_in(self._sent_us(found[0]))
            if wanted is None or CAMPAIGN_TYPES[found[0].kind] == wanted
        ]
        return page(query, "reports", chosen, lambda one: self._report(*one))

    def report(self, campaign_id: str) -> Item:
        """GET /reports/{id}: by the e-mail's id; the id of an automation finds nothing."""
        if campaign_id not in self.totals or campaign_id not in self._campaigns:
            raise not_found()
        return self._report(*self._campaigns[campaign_id], campaign_id)

    def sent_to(self, campaign_id: str, query: Query) -> Item:
        """GET /reports/{id}/sent-to."""
        return self._page(campaign_id, query, "sent_to", self.recipients(campaign_id), self._recipient)

    def email_activity(self, campaign_id: str, query: Query) -> Item:
        """GET /reports/{id}/email-activity: `since` narrows events, never recipients."""
        rows, keep = self.activity(campaign_id), self._filter(query)

        def item(message: Item) -> Item:
            events = [_event(row) for row in rows.get(message["subscriber"], ()) if keep(row)]
            return {**self._who(campaign_id, message["subscriber"]), "activity": events}

        return self._page(campaign_id, query, "emails", self.recipients(campaign_id), item)

    def one_activity(self, campaign_id: str, member_id: str, query: Query) -> Item:
        """GET /reports/{id}/email-activity/{hash}."""
        keep = self._filter(query)
        for message in self.recipients(campaign_id):
            person = message["subscriber"]
            if self._people.member_id[person] == member_id:
                events = [_event(row) for row in self.activity(campaign_id).get(person, ()) if keep(row)]
                return {**self._who(campaign_id, person), "activity": events}
        raise not_found()

    def open_details(self, campaign_id: str, query: Query) -> Item:
        """GET /reports/{id}/open-details: only those who opened; `since` narrows their opens."""
        keep = self._filter(query)
        bots = query.get("filter_bots") == "true"
        opens = {
            person: [row for row in rows if row["action"] == "open" and not (bots and row["is_filtered"])]
            for person, rows in self.activity(campaign_id).items()
        }
        opens = {person: rows for person, rows in opens.items() if rows}

        def item(person: int) -> Item:
            mine = [row for row in opens[person] if keep(row)]
            return {
                **self._who(campaign_id, person),
                **self._merge_fields(person),
                "contact_status": str(self._view.status[person]),
                "vip": False,
                "opens_count": len(mine),
                "proxy_excluded_opens_count": sum(not row["is_proxy"] for row in mine),
                "opens": [{"timestamp": text(row["occurred_us"]), "is_proxy_open": row["is_proxy"]} for row in mine],
            }

        body = self._page(campaign_id, query, "members", sorted(opens), item)
        body["total_opens"] = sum(len(rows) for rows in opens.values())
        body["total_proxy_excluded_opens"] = sum(not row["is_proxy"] for rows in opens.values() for row in rows)
        return body

    def click_details(self, campaign_id: str, query: Query) -> Item:
        """GET /reports/{id}/click-details: one item a link."""
        bots = query.get("filter_bots") == "true"
        clicks = [
            row
            for rows in self.activity(campaign_id).values()
            for row in rows
            if row["action"] == "click" and not (bots and row["is_filtered"])
        ]
        total, unique = len(clicks), len({(row["subscriber"], row["link"]) for row in clicks})

        def item(link: str) -> Item:
            mine = [row for row in clicks if row["link"] == link]
            people = len({row["subscriber"] for row in mine})
            return {
                "id": link_id(campaign_id, link),
                "url": LINK_URLS[link],
                "total_clicks": len(mine),
                "click_percentage": _share(len(mine), total),
                "unique_clicks": people,
                "unique_click_percentage": _share(people, unique),
                "last_click": text(max((row["occurred_us"] for row in mine), default=None)),
                "campaign_id": campaign_id,
            }

        links = list(LINK_URLS) if campaign_id in self.totals else []
        return self._page(campaign_id, query, "urls_clicked", links, item)

    def link_members(self, campaign_id: str, link: str, query: Query) -> Item:
        """GET /reports/{id}/click-details/{link}/members."""
        names = {link_id(campaign_id, name): name for name in LINK_URLS}
        if link not in names:
            raise not_found()
        clicks = {
            person: sum(row["link"] == names[link] for row in rows)
            for person, rows in self.activity(campaign_id).items()
        }

        def item(person: int) -> Item:
            return {
                **self._who(campaign_id, person),
                **self._merge_fields(person),
                "clicks": clicks[person],
                "url_id": link,
                "vip": False,
                "contact_status": str(self._view.status[person]),
            }

        return self._page(campaign_id, query, "members", [one for one, many in clicks.items() if many], item)

    def unsubscribed(self, campaign_id: str, query: Query) -> Item:
        """GET /reports/{id}/unsubscribed."""
        gone = [message for message in self.recipients(campaign_id) if message["unsubscribed_us"] is not None]

        def item(message: Item) -> Item:
            person = message["subscriber"]
            reason = "None given" if person % 3 else "No longer interested"
            return {
                **self._who(campaign_id, person),
                **self._merge_fields(person),
                "vip": False,
                "timestamp": text(message["unsubscribed_us"]),
                "reason": reason,
            }

        return self._page(campaign_id, query, "unsubscribes", gone, item)

    def abuse_reports(self, campaign_id: str) -> Item:
        """GET /reports/{id}/abuse-reports: not paged."""
        self._known(campaign_id)
        items = [
            {
                **self._who(campaign_id, message["subscriber"]),
                **self._merge_fields(message["subscriber"]),
                "id": message["subscriber"],
                "vip": False,
                "date": text(message["complained_us"]),
            }
            for message in self.recipients(campaign_id)
            if message["complained_us"] is not None
        ]
        return {"abuse_reports": items, "campaign_id": campaign_id, "total_items": len(items)}

    def _known(self, campaign_id: str) -> None:
        if campaign_id not in self._campaigns and campaign_id not in {flow.workflow_id for flow in EVERY_FLOW}:
            raise not_found()

    def _page(self, campaign_id: str, query: Query, key: str, items: list[Any], make: Any) -> Item:
        self._known(campaign_id)
        return {**page(query, key, items, make), "campaign_id": campaign_id}

    def _recipients(self, campaign_id: str) -> list[Item]:
        return self._view.messages.filter(pl.col("campaign_id") == campaign_id).sort("subscriber").to_dicts()

    def _activity(self, campaign_id: str) -> dict[int, list[Item]]:
        found: dict[int, list[Item]] = {}
        for row in self._view.activity.filter(pl.col("campaign_id") == campaign_id).to_dicts():
            found.setdefault(row["subscriber"], []).append(row)
        return found

    def _filter(self, query: Query) -> Any:
        since = instant(query, "since")
        bots = query.get("filter_bots") == "true"
        return lambda row: (since is None or row["occurred_us"] > since) and not (bots and row["is_filtered"])

    def _who(self, campaign_id: str, person: int) -> Item:
        return {
            "campaign_id": campaign_id,
            "list_id": AUDIENCE_ID,
            "list_is_active": True,
            "email_id": str(self._people.member_id[person]),
            "email_address": str(self._people.address[person]),
        }

    def _merge_fields(self, person: int) -> Item:
        return {"merge_fields": {"FNAME": FIRST_NAMES[person % len(FIRST_NAMES)], "LNAME": ""}}

    def _recipient(self, message: Item) -> Item:
        person = message["subscriber"]
        opens = [
            row["occurred_us"]
            for row in self.activity(message["campaign_id"]).get(person, ())
            if row["action"] == "open"
        ]
        return {
            **self._who(message["campaign_id"], person),
            **self._merge_fields(person),
            "vip": False,
            "status": message["bounce_kind"] or "sent",
            "open_count": len(opens),
            "last_open": text(max(opens, default=None)),
            "gmt_offset": 0,
        }

    def _sent_us(self, flow: Flow) -> int | None:
        sent = flow.sent_at_us if flow.sent_at_us is not None else flow.created_us + DAY_US
        return sent if sent < self._view.now_us else None

    def _campaign(self, flow: Flow, step: Step, campaign_id: str) -> Item:
        sent_us = self._sent_us(flow)
        total = self.campaign_totals(campaign_id)
        status = "paused" if step.status == "paused" else "sending" if flow.kind != "campaign" else "sent"
        return {
            "id": campaign_id,
            "web_id": int(campaign_id[:6], 16),
            "type": CAMPAIGN_TYPES[flow.kind],
            "create_time": text(flow.created_us),
            "archive_url": f"http://eepurl.example/{campaign_id}",
            "status": "save" if sent_us is None else status,
            "emails_sent": total["sent"],
            "send_time": text(sent_us),
            "content_type": "html",
            "recipients": {
                "list_id": AUDIENCE_ID,
                "list_is_active": True,
                "list_name": AUDIENCE_NAME,
                "segment_text": "",
                "recipient_count": total["sent"],
            },
            "settings": {"subject_line": step.name, "title": _title(flow, step), "from_name": AUDIENCE_NAME},
            "tracking": {"opens": True, "html_clicks": True, "text_clicks": False},
            "report_summary": {
                **self.summary(campaign_id),
                "ecommerce": _sales(total),
            },
            "delivery_status": {"enabled": False},
        }

    def _report(self, flow: Flow, step: Step, campaign_id: str) -> Item:
        total = self.campaign_totals(campaign_id)
        delivered = total["sent"] - total["hard"] - total["soft"]
        return {
            "id": campaign_id,
            "campaign_title": _title(flow, step),
            "type": CAMPAIGN_TYPES[flow.kind],
            "list_id": AUDIENCE_ID,
            "list_is_active": True,
            "list_name": AUDIENCE_NAME,
            "subject_line": step.name,
            "preview_text": "",
            "emails_sent": total["sent"],
            "abuse_reports": total["complaints"],
            "unsubscribed": total["unsubscribes"],
            "send_time": text(self._sent_us(flow)),
            "bounces": {"hard_bounces": total["hard"], "soft_bounces": total["soft"], "syntax_errors": 0},
            "forwards": {"forwards_count": 0, "forwards_opens": 0},
            "opens": {
                "opens_total": total["opens"],
                "unique_opens": total["unique_opens"],
                "open_rate": _share(total["unique_opens"], delivered),
                "proxy_excluded_opens": total["opens"] - total["proxy_opens"],
                "proxy_excluded_unique_opens": total["unproxied_openers"],
                "proxy_excluded_open_rate": _share(total["unproxied_openers"], delivered),
                "last_open": text(total["last_open"]),
            },
            "clicks": {
                "clicks_total": total["clicks"],
                "unique_clicks": total["unique_clicks"],
                "unique_subscriber_clicks": total["clickers"],
                "click_rate": _share(total["clickers"], delivered),
                "last_click": text(total["last_click"]),
            },
            "industry_stats": INDUSTRY,
            "list_stats": {"sub_rate": 20, "unsub_rate": 2, "open_rate": 38.5, "click_rate": 9.1},
            "ecommerce": {**_sales(total), "currency_code": CURRENCY},
            "delivery_status": {"enabled": False},
        }


def link_id(campaign_id: str, link: str) -> str:
    """The id of a link within a campaign."""
    return mailchimp_id(f"{campaign_id}/{link}")


def _event(row: Item) -> Item:
    event = {"action": row["action"], "timestamp": text(row["occurred_us"])}
    if row["action"] == "bounce":
        return {**event, "type": row["bounce_kind"]}
    if row["action"] == "click":
        event["url"] = LINK_URLS[row["link"]]
    return {**event, "ip": row["ip"]}


def _sales(total: Item) -> Item:
    """Orders of the store that Mailchimp credits: revenue is without tax and shipping, what was spent is not."""
    return {
        "total_orders": total["orders"],
        "total_spent": total["spent_cents"] / 100,
        "total_revenue": total["net_cents"] / 100,
    }


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _title(flow: Flow, step: Step) -> str:
    return flow.name if flow.name == step.name else f"{flow.name}: {step.name}"
