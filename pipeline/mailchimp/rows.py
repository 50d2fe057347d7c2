"""API items become lake frames: pure, one function a table.

Items that break the contract are set aside with the field and the reason. Times later than the night, and everything
else that decides which rows are kept, belong to `pull`.
"""

import json
import logging
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any

import polars as pl

from pipeline.lake.keys import SubscriberKeys
from pipeline.lake.store import QuarantinedRow
from pipeline.mailchimp import fields as read
from pipeline.mailchimp.fields import Field, Parsed, read_items
from pipeline.schemas import lake as tables
from pipeline.schemas.base import Table, identity, polars_schema

logger = logging.getLogger(__name__)

HOURS = {"now": 0.0, "hour": 1.0, "day": 24.0, "week": 168.0}
# Networks from which mail services fetch images for their users, as widely known; not checked against a published list.
IMAGE_PROXIES = tuple(
    IPv4Network(network)
    for network in (
        "66.249.80.0/20",  # Google
        "72.14.199.0/24",
        "74.125.0.0/16",
        "17.0.0.0/8",  # Apple
        "104.28.0.0/16",
        "67.195.0.0/16",  # Yahoo
        "72.30.0.0/16",
        "74.6.0.0/16",
        "98.136.0.0/14",
    )
)
_PROXY_BOUNDS = tuple((int(network.network_address), int(network.broadcast_address)) for network in IMAGE_PROXIES)


@dataclass(frozen=True)
class Rows:
    """Rows for one lake table (its columns but `as_of_day`, perhaps a few more) and those set aside."""

    model: type[Table]
    frame: pl.DataFrame
    quarantined: list[QuarantinedRow]


TITLE = Field("settings.title", read.free_text, required=False, default="")
SUBJECT = Field("settings.subject_line", read.free_text, required=False, default="")
MEMBER_LOCATION = {
    "timezone": Field("location.timezone", read.text, required=False),
    "gmt_offset_hours": Field("location.gmtoff", read.number, required=False),
    "country_code": Field("location.country_code", read.text, required=False),
}
ACCOUNT = {
    "account_id": Field("account_id", read.text),
    "account_name": Field("account_name", read.free_text, required=False, default=""),
    "timezone": Field("account_timezone", read.text, required=False),
}
AUDIENCES = {
    "audience_id": Field("id", read.text),
    "name": Field("name", read.free_text, required=False, default=""),
    "created_us": Field("date_created", read.instant, required=False),
}
MEMBERS = {
    "member_id": Field("id", read.member_id),
    "email_address": Field("email_address", read.address),
    "status": Field("status", read.text),
    "timestamp_signup": Field("timestamp_signup", read.instant, required=False),
    "timestamp_opt": Field("timestamp_opt", read.instant, required=False),
    "last_changed_us": Field("last_changed", read.instant, required=False),
    **MEMBER_LOCATION,
    "language": Field("language", read.text, required=False),
    "member_rating": Field("member_rating", read.amount_of_things, required=False),
    "source": Field("source", read.free_text, required=False),
    "merge_fields": Field("merge_fields", read.mapping, required=False, default={}),
    "tags": Field("tags", read.list_of_items, required=False, default=[]),
}
CAMPAIGNS = {
    "campaign_id": Field("id", read.text),
    "audience_id": Field("recipients.list_id", read.text, required=False, default=""),
    "campaign_type": Field("type", read.text, required=False, default="regular"),
    "status": Field("status", read.text),
    "title": TITLE,
    "subject_line": SUBJECT,
    "created_us": Field("create_time", read.instant, required=False),
    "sent_us": Field("send_time", read.instant, required=False),
    "emails_sent": Field("emails_sent", read.amount_of_things, required=False, default=0),
}
AUTOMATIONS = {
    "workflow_id": Field("id", read.text),
    "audience_id": Field("recipients.list_id", read.text, required=False, default=""),
    "title": TITLE,
    "workflow_type": Field("trigger_settings.workflow_type", read.text, required=False),
    "status": Field("status", read.text),
    "created_us": Field("create_time", read.instant, required=False),
    "started_us": Field("start_time", read.instant, required=False),
    "emails_sent": Field("emails_sent", read.amount_of_things, required=False, default=0),
}
AUTOMATION_EMAILS = {
    "step_id": Field("id", read.text),
    "position": Field("position", read.amount_of_things),
    "status": Field("status", read.text),
    "title": TITLE,
    "subject_line": SUBJECT,
    "delay": Field("delay", read.mapping, required=False, default={}),
    "sent_us": Field("send_time", read.instant, required=False),
    "emails_sent": Field("emails_sent", read.amount_of_things, required=False, default=0),
}
# In a queue `email_id` is the id of the automation's e-mail; in reports it is the member's.
QUEUE = {
    "member_id": Field("id", read.member_id),
    "next_send_us": Field("next_send", read.instant, required=False),
}
REMOVED = {"member_id": Field("id", read.member_id)}
REPORTS = {
    "campaign_id": Field("id", read.text),
    "sent_us": Field("send_time", read.instant, required=False),
    "emails_sent": Field("emails_sent", read.amount_of_things),
    "hard_bounces": Field("bounces.hard_bounces", read.amount_of_things),
    "soft_bounces": Field("bounces.soft_bounces", read.amount_of_things),
    "syntax_errors": Field("bounces.syntax_errors", read.amount_of_things, required=False, default=0),
    "unsubscribed": Field("unsubscribed", read.amount_of_things),
    "abuse_reports": Field("abuse_reports", read.amount_of_things, required=False, default=0),
    "opens_total": Field("opens.opens_total", read.amount_of_things),
    "unique_opens": Field("opens.unique_opens", read.amount_of_things),
    "last_open_us": Field("opens.last_open", read.instant, required=False),
    "clicks_total": Field("clicks.clicks_total", read.amount_of_things),
    "unique_clicks": Field("clicks.unique_clicks", read.amount_of_things),
    "unique_subscriber_clicks": Field("clicks.unique_subscriber_clicks", read.amount_of_things),
    "click_rate": Field("clicks.click_rate", read.number, required=False, default=0.0),
    "last_click_us": Field("clicks.last_click", read.instant, required=False),
    "total_orders": Field("ecommerce.total_orders", read.amount_of_things, required=False, default=0),
    "total_revenue_cents": Field("ecommerce.total_revenue", read.cents, required=False, default=0),
}
SENT_TO = {
    "member_id": Field("email_id", read.member_id),
    "audience_id": Field("list_id", read.text),
    "status": Field("status", read.one_of("sent", "hard", "soft", "syntax")),
}
FEED = {
    "activity_type": Field("activity_type", read.text, required=False, default="sent"),
    "campaign_id": Field("campaign_id", read.text, required=False),
    "sent_us": Field("created_at_timestamp", read.instant, required=False),
}
RECIPIENT = {
    "member_id": Field("email_id", read.member_id),
    "activity": Field("activity", read.list_of_items),
}
ACTIVITY = {
    "action": Field("action", read.one_of("open", "click", "bounce")),
    "occurred_us": Field("timestamp", read.instant),
    "url": Field("url", read.free_text, required=False, default=""),
    "bounce_kind": Field("type", read.text, required=False),
    "ip": Field("ip", read.text, required=False),
}
OPENER = {
    "member_id": Field("email_id", read.member_id),
    "opens": Field("opens", read.list_of_items),
}
OPEN = {
    "occurred_us": Field("timestamp", read.instant),
    "is_proxy_open": Field("is_proxy_open", read.boolean, required=False),
}
CLICKS = {
    "link_id": Field("id", read.text),
    "url": Field("url", read.free_text, required=False, default=""),
    "total_clicks": Field("total_clicks", read.amount_of_things),
    "unique_clicks": Field("unique_clicks", read.amount_of_things),
}
UNSUBSCRIBES = {
    "member_id": Field("email_id", read.member_id),
    "occurred_us": Field("timestamp", read.instant),
    "reason": Field("reason", read.free_text, required=False),
}
ABUSE = {
    "member_id": Field("email_id", read.member_id),
    "occurred_us": Field("date", read.instant),
}
ORDERS = {
    "order_id": Field("id", read.text),
    "email_address": Field("customer.email_address", read.address),
    "currency": Field("currency_code", read.text),
    "total_cents": Field("order_total", read.cents),
    "tax_cents": Field("tax_total", read.cents, required=False, default=0),
    "shipping_cents": Field("shipping_total", read.cents, required=False, default=0),
    "financial_status": Field("financial_status", read.text, required=False),
    "processed_us": Field("processed_at_foreign", read.instant),
}


def table_rows(
    model: type[Table],
    endpoint: str,
    fields: dict[str, Field],
    items: Sequence[Any],
    keys: SubscriberKeys | None = None,
    **constants: str,
) -> Rows:
    """Rows of a table whose items need no more than their fields read.

    Args:
        model: the lake table.
        endpoint: where the items come from, ids filled in.
        fields: how each column is read.
        items: API items.
        keys: turns `member_id` or `email_address` into `subscriber_key`.
        constants: columns that are the same for every item.

    Raises:
        ContractBrokenError: if many items are broken.
    """
    parsed = read_items(identity(model).name, endpoint, fields, items)
    frame = _frame(parsed, model).with_columns(pl.lit(value).alias(name) for name, value in constants.items())
    return Rows(model, _with_subscriber(frame, keys) if keys else frame, parsed.quarantined)


def member_rows(
    endpoint: str,
    items: Sequence[Any],
    keys: SubscriberKeys,
    *,
    audience_id: str,
    private: frozenset[str],
    external_id: str | None,
) -> Rows:
    """Members of an audience; keeps `member_id`, `email_address` and `external_id` beside the table's columns.

    Args:
        endpoint: where the items come from.
        items: API members.
        keys: maker of subscriber keys.
        audience_id: the audience.
        private: tags of merge fields that are not stored.
        external_id: tag of the merge field by which event files name a subscriber.
    """
    parsed = read_items(identity(tables.Members).name, endpoint, MEMBERS, items)
    columns = parsed.columns
    columns["external_id"] = [_external_id(fields, external_id) for fields in columns["merge_fields"]]
    columns["merge_fields"] = [_public_fields(fields, private) for fields in columns["merge_fields"]]
    columns["tags"] = [_tag_names(tags) for tags in columns["tags"]]
    frame = _frame(parsed, tables.Members).with_columns(
        pl.coalesce(pl.col("timestamp_signup", "timestamp_opt").cast(pl.Int64)).alias("signup_us"),
        pl.col("external_id").cast(pl.String),
        pl.lit(audience_id).alias("audience_id"),
    )
    return Rows(tables.Members, _with_subscriber(frame, keys), parsed.quarantined)


def automation_email_rows(endpoint: str, items: Sequence[Any], workflow_id: str) -> Rows:
    """E-mails of a classic automation with their delay in hours (null where its unit is unknown)."""
    parsed = read_items(identity(tables.AutomationEmails).name, endpoint, AUTOMATION_EMAILS, items)
    delays = parsed.columns.pop("delay")
    parsed.columns["delay_hours"] = [_delay_hours(delay) for delay in delays]
    parsed.columns["delay_action"] = [delay.get("action") or None for delay in delays]
    frame = _frame(parsed, tables.AutomationEmails).with_columns(pl.lit(workflow_id).alias("workflow_id"))
    return Rows(tables.AutomationEmails, frame, parsed.quarantined)


def activity_rows(endpoint: str, items: Sequence[Any], keys: SubscriberKeys, campaign_id: str) -> Rows:
    """Opens, clicks and bounces of a campaign, one row an event; `is_bot` is for the caller who has both passes."""
    parsed = _exploded(tables.EmailActivity, endpoint, items, RECIPIENT, "activity", ACTIVITY)
    addresses = parsed.columns.pop("ip")
    frame = _frame(parsed, tables.EmailActivity).with_columns(pl.Series("ip", addresses, dtype=pl.String))
    known = pl.Series("ip", sorted(set(addresses) - {None}), dtype=pl.String)
    proxies = [ip for ip in known if is_image_proxy(ip)]
    frame = frame.with_columns(
        keys.of_ip(frame["ip"]).alias("ip_key"),
        # Only opens fetch images: a click from the same network is a person behind a privacy relay.
        ((pl.col("action") == "open") & pl.col("ip").is_in(proxies).fill_null(False)).alias("is_image_proxy"),
        pl.lit(campaign_id).alias("campaign_id"),
    )
    return Rows(tables.EmailActivity, _with_subscriber(frame.drop("ip"), keys), parsed.quarantined)


def open_rows(endpoint: str, items: Sequence[Any], keys: SubscriberKeys, campaign_id: str) -> Rows:
    """Opens of a campaign with Mailchimp's mark of proxy opens."""
    parsed = _exploded(tables.OpenDetails, endpoint, items, OPENER, "opens", OPEN)
    frame = _frame(parsed, tables.OpenDetails).with_columns(pl.lit(campaign_id).alias("campaign_id"))
    return Rows(tables.OpenDetails, _with_subscriber(frame, keys), parsed.quarantined)


def feed_times(endpoint: str, items: Sequence[Any]) -> dict[str, int]:
    """Time of sending (epoch microseconds) by campaign, from one member's activity feed; the first send counts."""
    parsed = read_items(identity(tables.Sends).name, endpoint, FEED, items)
    times: dict[str, int] = {}
    for kind, campaign, sent_us in zip(*parsed.columns.values(), strict=True):
        if kind == "sent" and campaign and sent_us is not None:
            times[campaign] = min(sent_us, times.get(campaign, sent_us))
    return times


def is_image_proxy(address: str) -> bool:
    """Whether an IP address belongs to a known image proxy; what is no IPv4 address does not."""
    try:
        value = int.from_bytes(socket.inet_pton(socket.AF_INET, address))
    except (OSError, ValueError):
        return False
    return any(first <= value <= last for first, last in _PROXY_BOUNDS)


def _exploded(
    model: type[Table],
    endpoint: str,
    items: Sequence[Any],
    outer: dict[str, Field],
    inner: str,
    fields: dict[str, Field],
) -> Parsed:
    """One row per element of the list `inner` of each item, which brings along its member."""
    source = identity(model).name
    parents = read_items(source, endpoint, outer, items)
    pairs = [
        (member, element)
        for member, elements in zip(parents.columns["member_id"], parents.columns[inner], strict=True)
        for element in elements
    ]
    parsed = read_items(source, endpoint, fields, [element for _, element in pairs])
    parsed.columns["member_id"] = [pairs[index][0] for index in parsed.kept]
    parsed.quarantined += parents.quarantined
    return parsed


def _frame(parsed: Parsed, model: type[Table]) -> pl.DataFrame:
    return parsed.frame(polars_schema(model))


def _with_subscriber(frame: pl.DataFrame, keys: SubscriberKeys) -> pl.DataFrame:
    if "member_id" in frame.columns:
        return frame.with_columns(keys.of_member_id(frame["member_id"].cast(pl.String)).alias("subscriber_key"))
    return frame.with_columns(keys.of_address(frame["email_address"].cast(pl.String)).alias("subscriber_key"))


def _public_fields(fields: dict[str, Any], private: frozenset[str]) -> str:
    public = {tag: value for tag, value in fields.items() if tag not in private}
    return json.dumps(read.without_addresses(public), ensure_ascii=False, sort_keys=True)


def _external_id(fields: dict[str, Any], tag: str | None) -> str | None:
    value = fields.get(tag) if tag else None
    return str(value) if isinstance(value, str | int) and value != "" else None


def _tag_names(tags: list[Any]) -> str:
    names = sorted(str(tag["name"]) for tag in tags if isinstance(tag, dict) and "name" in tag)
    return json.dumps(read.without_addresses(names), ensure_ascii=False)


def _delay_hours(delay: dict[str, Any]) -> float | None:
    amount, unit = delay.get("amount", 0), delay.get("type")
    if unit not in HOURS or not isinstance(amount, int):
        if delay:
            logger.warning("An automation e-mail's delay has a unit we do not know; its planned wait stays unknown.")
        return None
    return (-1 if delay.get("direction") == "before" else 1) * amount * HOURS[unit]
