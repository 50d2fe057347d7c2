"""Tables of the lake: what came in, typed, day-partitioned, immutable.

Every Mailchimp row carries `as_of_day`, the night that read it; of two rows with one natural key the later night wins.
No row holds an address or a member id: `subscriber_key` is a keyed hash, and only `addresses` can undo it.
"""

from typing import Literal, get_args

import polars as pl

from pipeline.schemas.base import Table, column, count, day_number, instant, key, share, table

SUBSCRIBER = "keyed hash of the Mailchimp member id (63 bits)"
AS_OF = "night that read this row"
# States of members that Mailchimp has no word for.
NO_ADDRESS = "no address"
DELETED = "deleted"
SourceKind = Literal["audience", "campaign", "automation", "automation e-mail", "store", "table"]
# Of what went away, a listing no longer holds what is 'unlisted', while what is 'gone' is listed and answers 404.
SourceState = Literal["read", "failed", "unlisted", "gone"]


@table("lake.account", ("account_id",))
class Account(Table):
    """One row per night: the Mailchimp account."""

    account_id: pl.String = key("account id")
    account_name: pl.String = column("account name")
    timezone: pl.String = column("the account's zone", "IANA zone", nullable=True)
    as_of_day: pl.Int64 = day_number(AS_OF)


@table("lake.audiences", ("audience_id",))
class Audiences(Table):
    """One row per audience and version."""

    audience_id: pl.String = key("audience (list) id")
    name: pl.String = column("audience name")
    created_us: pl.Int64 = instant("creation", nullable=True)
    as_of_day: pl.Int64 = day_number(AS_OF)


@table("lake.members", ("audience_id", "subscriber_key"))
class Members(Table):
    """One row per audience, member and version."""

    audience_id: pl.String = key("audience id")
    subscriber_key: pl.Int64 = key(SUBSCRIBER)
    contact_key: pl.Int64 = column("keyed hash of the contact id, which stays when the address changes", nullable=True)
    status: pl.String = column(
        "subscribed, unsubscribed, cleaned, pending, transactional or archived; 'no address' of a member known by a "
        "phone number alone, 'deleted' of one who is no longer there"
    )
    signup_us: pl.Int64 = instant("signup, else opt-in", nullable=True)
    last_changed_us: pl.Int64 = instant("last change in Mailchimp", nullable=True)
    timezone: pl.String = column("zone as Mailchimp tells it, unchecked", nullable=True)
    gmt_offset_hours: pl.Float64 = column("offset of standard time", "hours", nullable=True)
    country_code: pl.String = column("country of the member", "ISO 3166", nullable=True)
    language: pl.String = column("language of the member", nullable=True)
    member_rating: pl.Int64 = count("Mailchimp's activity rating", nullable=True)
    source: pl.String = column("how the member joined", nullable=True)
    merge_fields: pl.String = column("merge fields without personal ones", "JSON object")
    tags: pl.String = column("names of tags", "JSON array")
    as_of_day: pl.Int64 = day_number(AS_OF)


@table("lake.addresses", ("subscriber_key",))
class Addresses(Table):
    """The one table that holds addresses: private, mode 0600, never published; one row per subscriber."""

    subscriber_key: pl.Int64 = key(SUBSCRIBER)
    member_id: pl.String = key("MD5 of the lower-cased address")
    email_address: pl.String = column("address")
    external_id: pl.String = column("id by which event files name this subscriber", nullable=True)


@table("lake.campaigns", ("campaign_id",))
class Campaigns(Table):
    """One row per campaign and version; e-mails of automations are campaigns too."""

    campaign_id: pl.String = key("campaign id")
    audience_id: pl.String = key("audience id")
    campaign_type: pl.String = column("regular, automation-email, variate, ...")
    status: pl.String = column("save, sent, sending, ...")
    title: pl.String = column("internal title")
    subject_line: pl.String = column("subject")
    created_us: pl.Int64 = instant("creation", nullable=True)
    sent_us: pl.Int64 = instant("start of sending", nullable=True)
    emails_sent: pl.Int64 = count("messages sent so far")
    as_of_day: pl.Int64 = day_number(AS_OF)


@table("lake.automations", ("workflow_id",))
class Automations(Table):
    """One row per classic automation and version."""

    workflow_id: pl.String = key("automation id")
    audience_id: pl.String = key("audience id")
    title: pl.String = column("title")
    workflow_type: pl.String = column("Mailchimp's kind of automation", nullable=True)
    status: pl.String = column("save, paused or sending")
    created_us: pl.Int64 = instant("creation", nullable=True)
    started_us: pl.Int64 = instant("start", nullable=True)
    emails_sent: pl.Int64 = count("messages sent so far")
    as_of_day: pl.Int64 = day_number(AS_OF)


@table("lake.automation_emails", ("workflow_id", "step_id"))
class AutomationEmails(Table):
    """One row per e-mail of a classic automation and version; `step_id` is also its report id."""

    workflow_id: pl.String = key("automation id")
    step_id: pl.String = key("id of the e-mail, of its campaign and of its report")
    position: pl.Int64 = count("place in the sequence, from 1")
    status: pl.String = column("save, paused or sending")
    title: pl.String = column("title")
    subject_line: pl.String = column("subject")
    delay_hours: pl.Float64 = column("wait before this e-mail", "hours", nullable=True)
    delay_action: pl.String = column("what the wait counts from", nullable=True)
    sent_us: pl.Int64 = instant("start of sending", nullable=True)
    emails_sent: pl.Int64 = count("messages sent so far")
    as_of_day: pl.Int64 = day_number(AS_OF)


@table("lake.automation_queue", ("workflow_id", "step_id", "subscriber_key", "as_of_day"))
class AutomationQueue(Table):
    """One row per subscriber waiting in the queue of an automation e-mail on that night."""

    workflow_id: pl.String = key("automation id")
    step_id: pl.String = key("id of the e-mail")
    subscriber_key: pl.Int64 = key(SUBSCRIBER)
    next_send_us: pl.Int64 = instant("planned sending", nullable=True)
    as_of_day: pl.Int64 = day_number(AS_OF)


@table("lake.removed_subscribers", ("workflow_id", "subscriber_key"))
class RemovedSubscribers(Table):
    """One row per subscriber removed from an automation by hand."""

    workflow_id: pl.String = key("automation id")
    subscriber_key: pl.Int64 = key(SUBSCRIBER)
    as_of_day: pl.Int64 = day_number(AS_OF)


@table("lake.reports", ("campaign_id",))
class Reports(Table):
    """One row per campaign and night on which its report changed: Mailchimp's own totals; null where it tells none."""

    campaign_id: pl.String = key("campaign id")
    sent_us: pl.Int64 = instant("start of sending", nullable=True)
    emails_sent: pl.Int64 = count("messages sent")
    hard_bounces: pl.Int64 = count("permanent failures", nullable=True)
    soft_bounces: pl.Int64 = count("temporary failures", nullable=True)
    syntax_errors: pl.Int64 = count("malformed addresses")
    unsubscribed: pl.Int64 = count("unsubscribes", nullable=True)
    abuse_reports: pl.Int64 = count("complaints", nullable=True)
    opens_total: pl.Int64 = count("opens", nullable=True)
    unique_opens: pl.Int64 = count("recipients who opened", nullable=True)
    last_open_us: pl.Int64 = instant("latest open", nullable=True)
    clicks_total: pl.Int64 = count("clicks", nullable=True)
    unique_clicks: pl.Int64 = count("recipient-link pairs clicked", nullable=True)
    unique_subscriber_clicks: pl.Int64 = count("recipients who clicked", nullable=True)
    click_rate: pl.Float64 = column("unique_subscriber_clicks / (emails_sent - bounces)", "share, 0-1", nullable=True)
    last_click_us: pl.Int64 = instant("latest click", nullable=True)
    total_orders: pl.Int64 = count("orders credited by Mailchimp")
    total_revenue_cents: pl.Int64 = column("revenue credited by Mailchimp", "cents")
    as_of_day: pl.Int64 = day_number(AS_OF)


@table("lake.sends", ("campaign_id", "subscriber_key"), partition="sent_us")
class Sends(Table):
    """One row per campaign, recipient and version, from sent-to, with the best known time of sending."""

    campaign_id: pl.String = key("campaign id")
    subscriber_key: pl.Int64 = key(SUBSCRIBER)
    sent_us: pl.Int64 = instant("time of sending")
    sent_at_source: pl.String = column("where that time comes from", isin=["campaign", "feed", "computed"])
    status: pl.String = column("sent, hard, soft or syntax", isin=["sent", "hard", "soft", "syntax"])
    as_of_day: pl.Int64 = day_number(AS_OF)


@table(
    "lake.email_activity", ("campaign_id", "subscriber_key", "action", "occurred_us", "url"), partition="occurred_us"
)
class EmailActivity(Table):
    """One row per open, click or bounce; two links clicked in one second are two rows."""

    campaign_id: pl.String = key("campaign id")
    subscriber_key: pl.Int64 = key(SUBSCRIBER)
    action: pl.String = column("open, click or bounce", isin=["open", "click", "bounce"])
    occurred_us: pl.Int64 = instant("time of the event")
    url: pl.String = column("link of a click, else empty")
    bounce_kind: pl.String = column("hard or soft, for bounces", nullable=True)
    ip_key: pl.Int64 = column("keyed hash of the IP address", "id", nullable=True)
    is_image_proxy: pl.Boolean = column("the IP address belongs to a known image proxy")
    is_bot: pl.Boolean = column("absent when Mailchimp filters bots")
    as_of_day: pl.Int64 = day_number(AS_OF)


@table("lake.open_details", ("campaign_id", "subscriber_key", "occurred_us"), partition="occurred_us")
class OpenDetails(Table):
    """One row per open with Mailchimp's own mark of proxy opens."""

    campaign_id: pl.String = key("campaign id")
    subscriber_key: pl.Int64 = key(SUBSCRIBER)
    occurred_us: pl.Int64 = instant("time of the open")
    is_proxy_open: pl.Boolean = column("opened by a privacy proxy", nullable=True)
    as_of_day: pl.Int64 = day_number(AS_OF)


@table("lake.click_details", ("campaign_id", "link_id"))
class ClickDetails(Table):
    """One row per campaign, link and version: Mailchimp's totals by link."""

    campaign_id: pl.String = key("campaign id")
    link_id: pl.String = key("link id")
    url: pl.String = column("link")
    total_clicks: pl.Int64 = count("clicks")
    unique_clicks: pl.Int64 = count("recipients who clicked this link")
    as_of_day: pl.Int64 = day_number(AS_OF)


@table("lake.unsubscribes", ("campaign_id", "subscriber_key"), partition="occurred_us")
class Unsubscribes(Table):
    """One row per unsubscribe attributed to a campaign."""

    campaign_id: pl.String = key("campaign id")
    subscriber_key: pl.Int64 = key(SUBSCRIBER)
    occurred_us: pl.Int64 = instant("time of the unsubscribe")
    reason: pl.String = column("reason given", nullable=True)
    as_of_day: pl.Int64 = day_number(AS_OF)


@table("lake.abuse_reports", ("campaign_id", "subscriber_key"), partition="occurred_us")
class AbuseReports(Table):
    """One row per complaint attributed to a campaign."""

    campaign_id: pl.String = key("campaign id")
    subscriber_key: pl.Int64 = key(SUBSCRIBER)
    occurred_us: pl.Int64 = instant("time of the complaint")
    as_of_day: pl.Int64 = day_number(AS_OF)


@table("lake.orders", ("store_id", "order_id"), partition="processed_us")
class Orders(Table):
    """One row per order of a connected store and version."""

    store_id: pl.String = key("store id")
    order_id: pl.String = key("order id")
    subscriber_key: pl.Int64 = column(f"{SUBSCRIBER}; null for the order of a guest", "id", nullable=True)
    currency: pl.String = column("currency of the order", "ISO 4217")
    total_cents: pl.Int64 = column("order total, undeducted", "cents")
    tax_cents: pl.Int64 = column("tax within the total", "cents")
    shipping_cents: pl.Int64 = column("shipping within the total", "cents")
    financial_status: pl.String = column("paid, refunded, cancelled, ...", nullable=True)
    processed_us: pl.Int64 = instant("time of the order")
    as_of_day: pl.Int64 = day_number(AS_OF)


@table("lake.events", ("event_id",), partition="occurred_us")
class Events(Table):
    """One row per event of the user's own stream."""

    event_id: pl.String = key("unique id of the event")
    occurred_us: pl.Int64 = instant("time of the event")
    event_type: pl.String = column("entry, step_entered, exit, conversion, purchase, refund, signup, visit, ...")
    subscriber_key: pl.Int64 = key(SUBSCRIBER)
    workflow_id: pl.String = column("flow", "id", nullable=True)
    step_id: pl.String = column("step of the flow", "id", nullable=True)
    order_id: pl.String = column("order", "id", nullable=True)
    revenue_cents: pl.Int64 = column("net revenue; a refund's is what was given back", "cents", nullable=True)
    currency: pl.String = column("currency of the revenue", "ISO 4217", nullable=True)
    plan: pl.String = column("subscription plan after the event", nullable=True)
    reason: pl.String = column("reason of an exit", nullable=True)
    next_step_id: pl.String = column("step the subscriber was routed to", "id", nullable=True)
    assigned_delay_hours: pl.Int64 = column("wait assigned before the next step", "hours", nullable=True)
    is_delay_randomised: pl.Boolean = column("the wait was drawn by lot", nullable=True)
    properties: pl.String = column("everything else that came with the event", "JSON object")
    as_of_day: pl.Int64 = day_number(AS_OF)


@table("lake.send_time_assignments", ("subscriber_key", "period", "assigned_local_hour"))
class SendTimeAssignments(Table):
    """One row per subscriber, period of four weeks and hour assigned in it: our own log of the draw."""

    subscriber_key: pl.Int64 = key(SUBSCRIBER)
    period: pl.Int64 = column("number of the period of 28 days since 1970-01-01")
    assigned_local_hour: pl.Int64 = column("hour to send at", "local hour, 0-23", ge=0, le=23)
    is_randomised: pl.Boolean = column("the hour was drawn by lot")
    choice_probability: pl.Float64 = share("chance with which this hour was going to be assigned", nullable=False)
    as_of_day: pl.Int64 = day_number("night that first assigned it")


@table("lake.experiment_plans", ("experiment_id",))
class ExperimentPlans(Table):
    """One row per test that has started: its definition and plan as they were then, for good."""

    experiment_id: pl.String = key("test")
    definition: pl.String = column("the test as defined when it started", "JSON object")
    plan: pl.String = column("the plan made of it", "JSON object")
    plan_hash: pl.String = column("SHA-256 of the plan")
    as_of_day: pl.Int64 = day_number("night that froze it")


@table("lake.decisions", ("decision_point_id", "subscriber_key", "night"))
class Decisions(Table):
    """One row per decision point, subscriber who stood before it, and night: what was served, and what led to it."""

    decision_point_id: pl.String = key("decision point or content block")
    subscriber_key: pl.Int64 = key(SUBSCRIBER)
    night: pl.Int64 = day_number("night of the decision")
    arm: pl.String = column("path or variation served")
    is_default: pl.Boolean = column("the default was served")
    choice_probability: pl.Float64 = share("chance with which the arm was chosen", nullable=False)
    rule_chances: pl.String = column("chance of each arm by the rules alone", "JSON array")
    model_version: pl.String = column("hash of the policy, or 'rules'")
    definition: pl.String = column("the decision point as defined that night", "YAML")
    profile: pl.String = column("what was known of the subscriber", "JSON object")
    as_of_day: pl.Int64 = day_number(AS_OF)


@table("lake.policy_models", ("decision_point_id", "model_version"))
class PolicyModels(Table):
    """One row per decision point and policy that ever decided there."""

    decision_point_id: pl.String = key("decision point or content block")
    model_version: pl.String = key("hash of the policy")
    model: pl.String = column("arms, features and posterior", "JSON object")
    as_of_day: pl.Int64 = day_number("night that first used it")


@table("lake.quarantine", ("source", "reference", "field"))
class Quarantine(Table):
    """One row per row that broke its contract; says where it stands, never what it held."""

    source: pl.String = column("lake table the row was meant for")
    reference: pl.String = column("file and row, or endpoint and position")
    field: pl.String = column("first field that broke the contract")
    reason: pl.String = column("what was wrong and what is expected")
    as_of_day: pl.Int64 = day_number(AS_OF)


@table("lake.renamed", ("address_key",))
class Renamed(Table):
    """One row per address whose owner is known under another key, and version: people who changed their address."""

    address_key: pl.Int64 = key("keyed hash of the member id that belongs to the address")
    subscriber_key: pl.Int64 = key("key under which the person is known")
    audience_id: pl.String = key("audience that told it")
    as_of_day: pl.Int64 = day_number(AS_OF)


@table("lake.sources", ("kind", "source_id"))
class Sources(Table):
    """One row per thing that is read from Mailchimp, and version: whether all that was announced of it came.

    What is counted of an audience is its members, of a campaign its recipients, of an automation its e-mails, of an
    e-mail of an automation its queue, of a store its orders.
    """

    kind: pl.String = column("what it is; 'table' for one of the lake's own", isin=list(get_args(SourceKind)))
    source_id: pl.String = key("its id, or the table's name")
    name: pl.String = column("its name; empty where it has none")
    state: pl.String = column("how it was found", isin=list(get_args(SourceState)))
    since_day: pl.Int64 = column(
        "night on which it went away; of what failed, the last night on which it was read",
        "days since 1970-01-01, UTC",
        nullable=True,
    )
    announced: pl.Int64 = count("rows that Mailchimp announced", nullable=True)
    set_aside: pl.Int64 = count("rows that broke their contract")
    left_out: pl.Int64 = count("good rows not kept: of later nights, before the first day, without any time")
    detail: pl.String = column("why it was not read, or not all of it; empty if it was")
    as_of_day: pl.Int64 = day_number(AS_OF)
