"""Which fields of Mailchimp's items are read, and how: one declaration a table.

The contract requires none of these fields, so a field is required here only where a row has no meaning without it.
"""

import polars as pl

from pipeline.mailchimp import fields as read
from pipeline.mailchimp.fields import BrokenError, Field, Item

# Types of the columns that are read but not stored. With the table's own types they make every frame's schema.
HELPERS: dict[str, pl.DataType | type[pl.DataType]] = {
    "member_id": pl.String,
    "email_address": pl.String,
    "contact_id": pl.String,
    "external_id": pl.String,
    "audience_id": pl.String,
    "timestamp_signup": pl.Int64,
    "timestamp_opt": pl.Int64,
    "ip": pl.String,
}

TITLE = Field("settings.title", read.free_text, required=False, default="")
SUBJECT = Field("settings.subject_line", read.free_text, required=False, default="")
MEMBER_LOCATION = {
    "timezone": Field("location.timezone", read.free_text, required=False),
    "gmt_offset_hours": Field("location.gmtoff", read.number, required=False),
    "country_code": Field("location.country_code", read.free_text, required=False),
}
ACCOUNT = {
    "account_id": Field("account_id", read.text),
    "account_name": Field("account_name", read.free_text, required=False, default=""),
    "timezone": Field("account_timezone", read.free_text, required=False),
}
AUDIENCES = {
    "audience_id": Field("id", read.text),
    "name": Field("name", read.free_text, required=False, default=""),
    "created_us": Field("date_created", read.instant, required=False),
}
MEMBERS = {
    "member_id": Field("id", read.member_id, required=False),
    "contact_id": Field("contact_id", read.text, required=False),
    "email_address": Field("email_address", read.address, required=False),
    "status": Field("status", read.free_text, required=False),
    "timestamp_signup": Field("timestamp_signup", read.instant, required=False),
    "timestamp_opt": Field("timestamp_opt", read.instant, required=False),
    "last_changed_us": Field("last_changed", read.instant, required=False),
    **MEMBER_LOCATION,
    "language": Field("language", read.free_text, required=False),
    "member_rating": Field("member_rating", read.amount_of_things, required=False),
    "source": Field("source", read.free_text, required=False),
    "merge_fields": Field("merge_fields", read.mapping, required=False, default={}),
    "tags": Field("tags", read.list_of_items, required=False, default=[]),
}
CAMPAIGNS = {
    "campaign_id": Field("id", read.text),
    "web_id": Field("web_id", read.identifier, required=False),
    "audience_id": Field("recipients.list_id", read.text, required=False, default=""),
    "campaign_type": Field("type", read.free_text, required=False, default="regular"),
    "status": Field("status", read.free_text),
    "title": TITLE,
    "subject_line": SUBJECT,
    "preview_text": Field("settings.preview_text", read.free_text, required=False, default=""),
    "created_us": Field("create_time", read.instant, required=False),
    "sent_us": Field("send_time", read.instant, required=False),
    "emails_sent": Field("emails_sent", read.amount_of_things, required=False, default=0),
}
AUTOMATIONS = {
    "workflow_id": Field("id", read.text),
    "audience_id": Field("recipients.list_id", read.text, required=False, default=""),
    "title": TITLE,
    "workflow_type": Field("trigger_settings.workflow_type", read.free_text, required=False),
    "status": Field("status", read.free_text),
    "created_us": Field("create_time", read.instant, required=False),
    "started_us": Field("start_time", read.instant, required=False),
    "emails_sent": Field("emails_sent", read.amount_of_things, required=False, default=0),
}
AUTOMATION_EMAILS = {
    "step_id": Field("id", read.text),
    "position": Field("position", read.amount_of_things),
    "status": Field("status", read.free_text),
    "title": TITLE,
    "subject_line": SUBJECT,
    "delay": Field("delay", read.mapping, required=False, default={}),
    "sent_us": Field("send_time", read.instant, required=False),
    "emails_sent": Field("emails_sent", read.amount_of_things, required=False, default=0),
}
# In a queue `email_id` is the id of the automation's e-mail; in reports it is the member's.
QUEUE = {
    "member_id": Field("id", read.member_id, required=False),
    "email_address": Field("email_address", read.address, required=False),
    "next_send_us": Field("next_send", read.instant, required=False),
}
REMOVED = {"member_id": Field("id", read.member_id)}
# A report of another kind may lack opens, clicks or bounces. What it does not tell stays unknown.
REPORTS = {
    "campaign_id": Field("id", read.text),
    "sent_us": Field("send_time", read.instant, required=False),
    "emails_sent": Field("emails_sent", read.amount_of_things),
    "hard_bounces": Field("bounces.hard_bounces", read.amount_of_things, required=False),
    "soft_bounces": Field("bounces.soft_bounces", read.amount_of_things, required=False),
    "syntax_errors": Field("bounces.syntax_errors", read.amount_of_things, required=False, default=0),
    "unsubscribed": Field("unsubscribed", read.amount_of_things, required=False),
    "abuse_reports": Field("abuse_reports", read.amount_of_things, required=False),
    "opens_total": Field("opens.opens_total", read.amount_of_things, required=False),
    "unique_opens": Field("opens.unique_opens", read.amount_of_things, required=False),
    "last_open_us": Field("opens.last_open", read.instant, required=False),
    "clicks_total": Field("clicks.clicks_total", read.amount_of_things, required=False),
    "unique_clicks": Field("clicks.unique_clicks", read.amount_of_things, required=False),
    "unique_subscriber_clicks": Field("clicks.unique_subscriber_clicks", read.amount_of_things, required=False),
    "click_rate": Field("clicks.click_rate", read.number, required=False),
    "last_click_us": Field("clicks.last_click", read.instant, required=False),
    "total_orders": Field("ecommerce.total_orders", read.amount_of_things, required=False, default=0),
    "total_revenue_cents": Field("ecommerce.total_revenue", read.cents, required=False, default=0),
    "industry_type": Field("industry_stats.type", read.text, required=False),
    "industry_open_rate": Field("industry_stats.open_rate", read.number, required=False),
    "industry_click_rate": Field("industry_stats.click_rate", read.number, required=False),
    "industry_bounce_rate": Field("industry_stats.bounce_rate", read.number, required=False),
    "industry_unsubscribe_rate": Field("industry_stats.unsub_rate", read.number, required=False),
    "industry_complaint_rate": Field("industry_stats.abuse_rate", read.number, required=False),
}
SENT_TO = {
    "member_id": Field("email_id", read.member_id),
    "audience_id": Field("list_id", read.text, required=False, default=""),
    "status": Field("status", read.one_of("sent", "hard", "soft", "syntax")),
}
FEED = {
    "activity_type": Field("activity_type", read.free_text, required=False, default="sent"),
    "campaign_id": Field("campaign_id", read.text, required=False),
    "sent_us": Field("created_at_timestamp", read.instant, required=False),
}
RECIPIENT = {
    "member_id": Field("email_id", read.member_id),
    "activity": Field("activity", read.list_of_items, required=False, default=[]),
}
ACTIVITY = {
    "action": Field("action", read.one_of("open", "click", "bounce")),
    "occurred_us": Field("timestamp", read.instant),
    "url": Field("url", read.free_text, required=False, default=""),
    "bounce_kind": Field("type", read.free_text, required=False),
    "ip": Field("ip", read.free_text, required=False),
}
OPENER = {
    "member_id": Field("email_id", read.member_id),
    "opens": Field("opens", read.list_of_items, required=False, default=[]),
}
OPEN = {
    "occurred_us": Field("timestamp", read.instant),
    "is_proxy_open": Field("is_proxy_open", read.boolean, required=False),
}
CLICKS = {
    "link_id": Field("id", read.text),
    "url": Field("url", read.free_text, required=False, default=""),
    "total_clicks": Field("total_clicks", read.amount_of_things, required=False, default=0),
    "unique_clicks": Field("unique_clicks", read.amount_of_things, required=False, default=0),
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
# The order of a guest, or of a point of sale, names no address.
ORDERS = {
    "order_id": Field("id", read.text),
    "email_address": Field("customer.email_address", read.address, required=False),
    "currency": Field("currency_code", read.currency),
    "total_cents": Field("order_total", read.cents),
    "tax_cents": Field("tax_total", read.cents, required=False, default=0),
    "shipping_cents": Field("shipping_total", read.cents, required=False, default=0),
    "financial_status": Field("financial_status", read.free_text, required=False),
    "processed_us": Field("processed_at_foreign", read.instant),
}
STORES = {
    "store_id": Field("id", read.text),
    "name": Field("name", read.free_text, required=False, default=""),
    "currency": Field("currency_code", read.currency, required=False),
}


def known_member(row: Item) -> None:
    """A member is known by the id of their address or by their contact id; whoever has an address has a status too.

    Raises:
        BrokenError: naming what is missing.
    """
    if row["member_id"] is None and row["contact_id"] is None:
        raise BrokenError("id", "is missing, and so is contact_id")
    if row["email_address"] is not None and row["status"] is None:
        raise BrokenError("status", "is missing or empty")


def known_in_queue(row: Item) -> None:
    """Who waits in a queue is known by their id or by their address.

    Raises:
        BrokenError: naming what is missing.
    """
    if row["member_id"] is None and row["email_address"] is None:
        raise BrokenError("id", "is missing, and so is email_address")
