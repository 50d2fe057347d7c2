"""What is read from Mailchimp every night, one function per asset: account, members, automations, campaigns, orders.

The activity of single campaigns has its own module, `pull_activity`.
"""

from datetime import date
from typing import Any

import polars as pl

from pipeline.common.errors import ConfigurationError, NotFoundError
from pipeline.lake.keys import SubscriberKeys
from pipeline.lake.store import Lake
from pipeline.mailchimp import rows as parse
from pipeline.mailchimp.activity import pull_activity
from pipeline.mailchimp.client import MailchimpClient
from pipeline.mailchimp.fields import Field, read_items, text
from pipeline.mailchimp.pulling import Pull, PullSummary, WindowState
from pipeline.mailchimp.send_times import journey_campaigns
from pipeline.schemas import lake as tables
from pipeline.settings import Settings

__all__ = [
    "pull_account_and_audiences",
    "pull_activity",
    "pull_automations",
    "pull_campaigns",
    "pull_members",
    "pull_orders",
    "pull_reports",
]

# Kinds of merge fields that name a person, whatever their tag.
PERSONAL_KINDS = frozenset({"address", "phone", "birthday"})
MEMBER_FIELDS = (
    "id,email_address,status,timestamp_signup,timestamp_opt,last_changed,location,language,member_rating,source,"
    "merge_fields,tags"
)
CAMPAIGN_FIELDS = (
    "id,type,status,create_time,send_time,emails_sent,recipients.list_id,settings.title,settings.subject_line"
)
REPORT_FIELDS = (
    "id,send_time,emails_sent,bounces,unsubscribed,abuse_reports,opens.opens_total,opens.unique_opens,opens.last_open,"
    "clicks,ecommerce"
)
ORDER_FIELDS = (
    "id,customer.email_address,currency_code,order_total,tax_total,shipping_total,financial_status,processed_at_foreign"
)


def pull_account_and_audiences(
    client: MailchimpClient, lake: Lake, keys: SubscriberKeys, settings: Settings, as_of: date
) -> PullSummary:
    """The account and its audiences.

    Raises:
        ConfigurationError: if the lake holds another account's data.
        SourceError: nothing is written then; so for every function here.
    """
    pull = Pull(client, lake, keys, settings, as_of)
    account = client.get("/", {"fields": "account_id,account_name,account_timezone"})
    known = lake.latest(tables.Account).collect()["account_id"].to_list()
    if known and account.get("account_id") not in known:
        what = "this folder holds the data of another account"
        raise ConfigurationError("DRIPTUNE_DATA_DIR", what, "Give each account a folder of its own.")
    pull.add(parse.table_rows(tables.Account, "/", parse.ACCOUNT, [account]))
    audiences = client.listing("/lists", "lists", {"fields": _projection("lists", "id,name,date_created")})
    found = parse.table_rows(tables.Audiences, "/lists", parse.AUDIENCES, audiences)
    pull.add(_until(found, pull, "created_us"))
    pull.write()
    return pull.summary()


def pull_members(
    client: MailchimpClient, lake: Lake, keys: SubscriberKeys, settings: Settings, as_of: date
) -> PullSummary:
    """Members that changed since the last pull, the archived ones by a sweep of their own, and their addresses."""
    pull = Pull(client, lake, keys, settings, as_of)
    state = WindowState(lake)
    windows = state.section("members")
    for audience_id in lake.latest(tables.Audiences).select("audience_id").collect()["audience_id"].sort():
        since = windows.get(audience_id, "")
        if since >= pull.until:
            continue
        rows = _changed_members(pull, audience_id, since)
        lake.remember_addresses(rows.frame.select("subscriber_key", "member_id", "email_address", "external_id"))
        pull.add(_until(rows, pull, "signup_us", "last_changed_us"))
        windows[audience_id] = pull.until
    pull.write()
    state.save()
    return pull.summary()


def pull_automations(
    client: MailchimpClient, lake: Lake, keys: SubscriberKeys, settings: Settings, as_of: date
) -> PullSummary:
    """Classic automations, their e-mails, who waits in their queues and who was removed. Journeys cannot be read."""
    pull = Pull(client, lake, keys, settings, as_of)
    found = parse.table_rows(
        tables.Automations, "/automations", parse.AUTOMATIONS, client.listing("/automations", "automations")
    )
    automations = _until(found, pull, "created_us")
    pull.add(automations)
    workflows = automations.frame["workflow_id"].to_list()

    def details(workflow_id: str) -> list[parse.Rows]:
        place = f"/automations/{workflow_id}"
        items = client.unpaged("/automations/{workflow_id}/emails", "emails", workflow_id=workflow_id)
        emails = parse.automation_email_rows(f"{place}/emails", items, workflow_id)
        removed = client.unpaged(
            "/automations/{workflow_id}/removed-subscribers", "subscribers", workflow_id=workflow_id
        )
        queues = [
            parse.table_rows(
                tables.AutomationQueue,
                f"{place}/emails/{step_id}/queue",
                parse.QUEUE,
                client.unpaged(
                    "/automations/{workflow_id}/emails/{step_id}/queue",
                    "queue",
                    workflow_id=workflow_id,
                    step_id=step_id,
                ),
                keys,
                workflow_id=workflow_id,
                step_id=step_id,
            )
            for step_id in emails.frame["step_id"]
        ]
        place = f"{place}/removed-subscribers"
        gone = parse.table_rows(tables.RemovedSubscribers, place, parse.REMOVED, removed, keys, workflow_id=workflow_id)
        return [_not_yet_sent(emails, pull), gone, *queues]

    for group in client.map(details, workflows):
        for rows in group:
            pull.add(rows)
    pull.write()
    return pull.summary()


def pull_campaigns(
    client: MailchimpClient, lake: Lake, keys: SubscriberKeys, settings: Settings, as_of: date
) -> PullSummary:
    """All campaigns. Never filtered by the API: there an unknown `type` or `status` is a silent empty answer."""
    pull = Pull(client, lake, keys, settings, as_of)
    items = client.listing("/campaigns", "campaigns", {"fields": _projection("campaigns", CAMPAIGN_FIELDS)})
    rows = parse.table_rows(tables.Campaigns, "/campaigns", parse.CAMPAIGNS, items)
    pull.add(_not_yet_sent(_until(rows, pull, "created_us"), pull))
    pull.write()
    return pull.summary()


def pull_reports(
    client: MailchimpClient, lake: Lake, keys: SubscriberKeys, settings: Settings, as_of: date
) -> PullSummary:
    """Mailchimp's own totals by campaign; e-mails of automations and journeys missing in the list are asked for."""
    pull = Pull(client, lake, keys, settings, as_of)
    items = client.listing("/reports", "reports", {"fields": _projection("reports", REPORT_FIELDS)})
    rows = parse.table_rows(tables.Reports, "/reports", parse.REPORTS, items)
    pull.add(_until(rows, pull, "sent_us"))

    def report(campaign_id: str) -> list[dict[str, Any]]:
        try:
            return [client.get("/reports/{campaign_id}", {"fields": REPORT_FIELDS}, campaign_id=campaign_id)]
        except NotFoundError:  # never sent, or deleted: deletion leaves no other trace
            return []

    missing = sorted(journey_campaigns(lake, settings) - set(rows.frame["campaign_id"]))
    single = [item for found in client.map(report, missing) for item in found]
    pull.add(_until(parse.table_rows(tables.Reports, "/reports/{campaign_id}", parse.REPORTS, single), pull, "sent_us"))
    pull.write()
    return pull.summary()


def pull_orders(
    client: MailchimpClient, lake: Lake, keys: SubscriberKeys, settings: Settings, as_of: date
) -> PullSummary:
    """Every order of every connected store: orders have no time filter, and a first purchase needs them all."""
    pull = Pull(client, lake, keys, settings, as_of)
    stores = client.listing("/ecommerce/stores", "stores", {"fields": _projection("stores", "id")})
    store_ids = read_items("orders", "/ecommerce/stores", {"id": Field("id", text)}, stores)

    def orders(store_id: str) -> parse.Rows:
        items = client.listing(
            "/ecommerce/stores/{store_id}/orders",
            "orders",
            {"fields": _projection("orders", ORDER_FIELDS)},
            store_id=store_id,
        )
        place = f"/ecommerce/stores/{store_id}/orders"
        return parse.table_rows(tables.Orders, place, parse.ORDERS, items, keys, store_id=store_id)

    for rows in client.map(orders, store_ids.columns["id"]):
        pull.add(rows)
    pull.write()
    return pull.summary()


def _changed_members(pull: Pull, audience_id: str, since: str) -> parse.Rows:
    client, settings = pull.client, pull.settings
    kinds = client.listing(
        "/lists/{list_id}/merge-fields",
        "merge_fields",
        {"fields": _projection("merge_fields", "tag,type")},
        list_id=audience_id,
    )
    personal = {str(one.get("tag")) for one in kinds if isinstance(one, dict) and one.get("type") in PERSONAL_KINDS}
    window: dict[str, str | int] = {
        "fields": _projection("members", MEMBER_FIELDS),
        "before_last_changed": pull.until,
        "sort_field": "last_changed",
        "sort_dir": "ASC",
    }
    if since:
        window["since_last_changed"] = since
    endpoint = "/lists/{list_id}/members"
    items = client.listing(endpoint, "members", window, list_id=audience_id)
    items += client.listing(endpoint, "members", {**window, "status": "archived"}, list_id=audience_id)
    external = {settings.external_id_field} if settings.external_id_field else set()
    return parse.member_rows(
        f"/lists/{audience_id}/members",
        items,
        pull.keys,
        audience_id=audience_id,
        private=frozenset(settings.personal_fields) | personal | external,
        external_id=settings.external_id_field,
    )


def _until(rows: parse.Rows, pull: Pull, *instants: str) -> parse.Rows:
    """The rows none of whose instants lies after the night."""
    frame = rows.frame.filter(pl.all_horizontal((pl.col(name) <= pull.end_us).fill_null(True) for name in instants))
    return parse.Rows(rows.model, frame, rows.quarantined)


def _not_yet_sent(rows: parse.Rows, pull: Pull) -> parse.Rows:
    """The rows, those sent after the night as they stood on it."""
    is_later = pl.col("sent_us") > pull.end_us
    frame = rows.frame.with_columns(
        pl.when(is_later).then(None).otherwise("sent_us").alias("sent_us"),
        pl.when(is_later).then(0).otherwise("emails_sent").alias("emails_sent"),
    )
    return parse.Rows(rows.model, frame, rows.quarantined)


def _projection(key: str, fields: str) -> str:
    """The `fields` parameter for items under `key`; it excludes `exclude_fields`."""
    return ",".join([*(f"{key}.{name}" for name in fields.split(",")), "total_items"])
