"""Tables of the lake: what came in, typed, partitioned by day, never changed.

Every row carries `as_of_day`, the night that read it. Of two rows with one natural key the later night's counts.
No row holds an address or a member id. `subscriber_key` is a keyed hash, which only `addresses` can undo.
"""

import polars as pl

from pipeline.schemas import vocabulary
from pipeline.schemas.base import SUBSCRIBER, Table, table
from pipeline.schemas.columns import column, count, day_number, instant, key, share, word

NIGHT = "The night that read the row."
AUDIENCE = "Mailchimp audience (list)."
CAMPAIGN = "Mailchimp campaign."
AUTOMATION = "Classic automation."
POINT = "Decision point or content block."
INDUSTRY = "number as Mailchimp tells it, a share"
# States of members that Mailchimp has no word for.
NO_ADDRESS = "no address"
DELETED = "deleted"
# States of members whom a flow mails. Those of a cart or an order who never subscribed are mailed by flows on these.
MAILABLE = ("subscribed", "transactional")


@table("lake.account", ("account_id",))
class Account(Table):
    """One row per night: the Mailchimp account."""

    account_id: pl.String = key("Mailchimp account.")
    account_name: pl.String = column("Name of the account.")
    timezone: pl.String = column("Time zone of the account.", "IANA zone", nullable=True)
    as_of_day: pl.Int64 = day_number(NIGHT)


@table("lake.audiences", ("audience_id",))
class Audiences(Table):
    """One row per audience and version."""

    audience_id: pl.String = key(AUDIENCE)
    name: pl.String = column("Name of the audience.")
    created_us: pl.Int64 = instant("Creation.", nullable=True)
    as_of_day: pl.Int64 = day_number(NIGHT)


@table("lake.members", ("audience_id", "subscriber_key"))
class Members(Table):
    """One row per audience, member and version."""

    audience_id: pl.String = key(AUDIENCE)
    subscriber_key: pl.Int64 = key(SUBSCRIBER)
    contact_key: pl.Int64 = column("Keyed hash of the contact, which stays when the address changes.", nullable=True)
    status: pl.String = column(
        "Mailchimp's status of the member, such as subscribed; 'no address' of a member known by a phone number alone, "
        "'deleted' of one who is no longer there."
    )
    signup_us: pl.Int64 = instant("Signup; if that is not known, opt-in.", nullable=True)
    last_changed_us: pl.Int64 = instant("Last change in Mailchimp.", nullable=True)
    timezone: pl.String = column("Time zone as Mailchimp reports it, unchecked.", nullable=True)
    gmt_offset_hours: pl.Float64 = column("Standard time - UTC.", "hours", nullable=True)
    country_code: pl.String = column("Country of the member.", "ISO 3166", nullable=True)
    language: pl.String = column("Language of the member.", nullable=True)
    member_rating: pl.Int64 = count("Mailchimp's rating of the member's activity.", nullable=True)
    source: pl.String = column("How the member joined.", nullable=True)
    merge_fields: pl.String = column("Merge fields, without those that name a person.", "JSON object")
    tags: pl.String = column("Names of the member's tags.", "JSON array")
    as_of_day: pl.Int64 = day_number(NIGHT)


@table("lake.addresses", ("subscriber_key",))
class Addresses(Table):
    """One row per subscriber: the only table with addresses. It is private (file mode 0600) and never published."""

    subscriber_key: pl.Int64 = key(SUBSCRIBER)
    member_id: pl.String = key("Mailchimp's member id: the MD5 of the lower-cased address.")
    email_address: pl.String = column("E-mail address.")
    external_id: pl.String = column("Id by which event files name this subscriber.", nullable=True)


@table("lake.campaigns", ("campaign_id",))
class Campaigns(Table):
    """One row per campaign and version. E-mails of automations are campaigns too."""

    campaign_id: pl.String = key(CAMPAIGN)
    web_id: pl.String = key("Number of the campaign in the addresses of Mailchimp's app.", nullable=True)
    audience_id: pl.String = key(AUDIENCE)
    campaign_type: pl.String = column("Mailchimp's type of the campaign, such as regular.")
    status: pl.String = column("Mailchimp's status of the campaign, such as sent.")
    title: pl.String = column("Internal title.")
    subject_line: pl.String = column("Subject line.")
    preview_text: pl.String = column("Preview text. Null where an older release read it.", nullable=True)
    created_us: pl.Int64 = instant("Creation.", nullable=True)
    sent_us: pl.Int64 = instant("Start of sending.", nullable=True)
    emails_sent: pl.Int64 = count("Messages sent so far.")
    as_of_day: pl.Int64 = day_number(NIGHT)


@table("lake.automations", ("workflow_id",))
class Automations(Table):
    """One row per classic automation and version."""

    workflow_id: pl.String = key(AUTOMATION)
    audience_id: pl.String = key(AUDIENCE)
    title: pl.String = column("Title.")
    workflow_type: pl.String = column("Mailchimp's type of automation.", nullable=True)
    status: pl.String = column("Mailchimp's status: save, paused or sending.")
    created_us: pl.Int64 = instant("Creation.", nullable=True)
    started_us: pl.Int64 = instant("Start.", nullable=True)
    emails_sent: pl.Int64 = count("Messages sent so far.")
    as_of_day: pl.Int64 = day_number(NIGHT)


@table("lake.automation_emails", ("workflow_id", "step_id"))
class AutomationEmails(Table):
    """One row per e-mail of a classic automation and version."""

    workflow_id: pl.String = key(AUTOMATION)
    step_id: pl.String = key("The e-mail, and also its campaign and its report.")
    position: pl.Int64 = count("Place in the automation, from 1.")
    status: pl.String = column("Mailchimp's status: save, paused or sending.")
    title: pl.String = column("Title.")
    subject_line: pl.String = column("Subject line.")
    delay_hours: pl.Float64 = column("Delay before this e-mail.", "hours", nullable=True)
    delay_action: pl.String = column("What the delay counts from.", nullable=True)
    sent_us: pl.Int64 = instant("Start of sending.", nullable=True)
    emails_sent: pl.Int64 = count("Messages sent so far.")
    as_of_day: pl.Int64 = day_number(NIGHT)


@table("lake.automation_queue", ("workflow_id", "step_id", "subscriber_key", "as_of_day"))
class AutomationQueue(Table):
    """One row per night and subscriber in the queue of an automation e-mail."""

    workflow_id: pl.String = key(AUTOMATION)
    step_id: pl.String = key("E-mail that is waited for.")
    subscriber_key: pl.Int64 = key(SUBSCRIBER)
    next_send_us: pl.Int64 = instant("Planned time of sending.", nullable=True)
    as_of_day: pl.Int64 = day_number(NIGHT)


@table("lake.removed_subscribers", ("workflow_id", "subscriber_key"))
class RemovedSubscribers(Table):
    """One row per subscriber removed from an automation by hand."""

    workflow_id: pl.String = key(AUTOMATION)
    subscriber_key: pl.Int64 = key(SUBSCRIBER)
    as_of_day: pl.Int64 = day_number(NIGHT)


@table("lake.reports", ("campaign_id",))
class Reports(Table):
    """One row per campaign and night on which its report changed: Mailchimp's own totals; null where it tells none."""

    campaign_id: pl.String = key(CAMPAIGN)
    sent_us: pl.Int64 = instant("Start of sending.", nullable=True)
    emails_sent: pl.Int64 = count("Messages sent.")
    hard_bounces: pl.Int64 = count("Messages that failed for good.", nullable=True)
    soft_bounces: pl.Int64 = count("Messages that failed for the time being.", nullable=True)
    syntax_errors: pl.Int64 = count("Messages to malformed addresses.")
    unsubscribed: pl.Int64 = count("Unsubscribes.", nullable=True)
    abuse_reports: pl.Int64 = count("Complaints.", nullable=True)
    opens_total: pl.Int64 = count("Opens.", nullable=True)
    unique_opens: pl.Int64 = count("Recipients who opened.", nullable=True)
    last_open_us: pl.Int64 = instant("Latest open.", nullable=True)
    clicks_total: pl.Int64 = count("Clicks.", nullable=True)
    unique_clicks: pl.Int64 = count("Pairs of recipient and link that were clicked.", nullable=True)
    unique_subscriber_clicks: pl.Int64 = count("Recipients who clicked.", nullable=True)
    click_rate: pl.Float64 = column("unique_subscriber_clicks / (emails_sent - bounces).", "share, 0-1", nullable=True)
    last_click_us: pl.Int64 = instant("Latest click.", nullable=True)
    total_orders: pl.Int64 = count("Orders that Mailchimp credits to the campaign.")
    total_revenue_cents: pl.Int64 = column("Revenue that Mailchimp credits to the campaign.", "cents")
    industry_type: pl.String = column("The account's industry.", nullable=True)
    industry_open_rate: pl.Float64 = column("Average open rate of the industry.", INDUSTRY, nullable=True)
    industry_click_rate: pl.Float64 = column("Average click rate of the industry.", INDUSTRY, nullable=True)
    industry_bounce_rate: pl.Float64 = column("Average bounce rate of the industry.", INDUSTRY, nullable=True)
    industry_unsubscribe_rate: pl.Float64 = column("Average unsubscribe rate of the industry.", INDUSTRY, nullable=True)
    industry_complaint_rate: pl.Float64 = column("Average complaint rate of the industry.", INDUSTRY, nullable=True)
    as_of_day: pl.Int64 = day_number(NIGHT)


@table("lake.sends", ("campaign_id", "subscriber_key"), partition="sent_us")
class Sends(Table):
    """One row per campaign, recipient and version, from Mailchimp's sent-to report, with the time of sending."""

    campaign_id: pl.String = key(CAMPAIGN)
    subscriber_key: pl.Int64 = key(SUBSCRIBER)
    sent_us: pl.Int64 = instant("Time of sending.")
    sent_at_source: pl.String = word("Where that time comes from.", vocabulary.SentAtSource)
    status: pl.String = word("Whether the message bounced, and how.", vocabulary.SendStatus)
    as_of_day: pl.Int64 = day_number(NIGHT)


@table(
    "lake.email_activity", ("campaign_id", "subscriber_key", "action", "occurred_us", "url"), partition="occurred_us"
)
class EmailActivity(Table):
    """One row per open, click or bounce. Two links clicked in one second are two rows."""

    campaign_id: pl.String = key(CAMPAIGN)
    subscriber_key: pl.Int64 = key(SUBSCRIBER)
    action: pl.String = word("What happened.", vocabulary.ActivityAction)
    occurred_us: pl.Int64 = instant("Time of the event.")
    url: pl.String = column("Link that was clicked, else empty.")
    bounce_kind: pl.String = column("Mailchimp's type of a bounce: hard or soft.", nullable=True)
    ip_key: pl.Int64 = key("Keyed hash of the IP address.", nullable=True)
    is_image_proxy: pl.Boolean = column("The IP address belongs to a known image proxy.")
    is_bot: pl.Boolean = column("Mailchimp leaves the row out when it filters bots.")
    as_of_day: pl.Int64 = day_number(NIGHT)


@table("lake.open_details", ("campaign_id", "subscriber_key", "occurred_us"), partition="occurred_us")
class OpenDetails(Table):
    """One row per open, with Mailchimp's mark of opens by a privacy proxy."""

    campaign_id: pl.String = key(CAMPAIGN)
    subscriber_key: pl.Int64 = key(SUBSCRIBER)
    occurred_us: pl.Int64 = instant("Time of the open.")
    is_proxy_open: pl.Boolean = column("A privacy proxy opened it. Null if Mailchimp does not say.", nullable=True)
    as_of_day: pl.Int64 = day_number(NIGHT)


@table("lake.click_details", ("campaign_id", "link_id"))
class ClickDetails(Table):
    """One row per campaign, link and version: Mailchimp's totals by link."""

    campaign_id: pl.String = key(CAMPAIGN)
    link_id: pl.String = key("Link, by Mailchimp's id.")
    url: pl.String = column("Link.")
    total_clicks: pl.Int64 = count("Clicks.")
    unique_clicks: pl.Int64 = count("Recipients who clicked this link.")
    as_of_day: pl.Int64 = day_number(NIGHT)


@table("lake.unsubscribes", ("campaign_id", "subscriber_key"), partition="occurred_us")
class Unsubscribes(Table):
    """One row per unsubscribe attributed to a campaign."""

    campaign_id: pl.String = key(CAMPAIGN)
    subscriber_key: pl.Int64 = key(SUBSCRIBER)
    occurred_us: pl.Int64 = instant("Time of the unsubscribe.")
    reason: pl.String = column("Reason that was given.", nullable=True)
    as_of_day: pl.Int64 = day_number(NIGHT)


@table("lake.abuse_reports", ("campaign_id", "subscriber_key"), partition="occurred_us")
class AbuseReports(Table):
    """One row per complaint attributed to a campaign."""

    campaign_id: pl.String = key(CAMPAIGN)
    subscriber_key: pl.Int64 = key(SUBSCRIBER)
    occurred_us: pl.Int64 = instant("Time of the complaint.")
    as_of_day: pl.Int64 = day_number(NIGHT)


@table("lake.orders", ("store_id", "order_id"), partition="processed_us")
class Orders(Table):
    """One row per order of a connected store and version."""

    store_id: pl.String = key("Store.")
    order_id: pl.String = key("Order.")
    subscriber_key: pl.Int64 = key(f"{SUBSCRIBER} Null for the order of a guest.", nullable=True)
    currency: pl.String = column("Currency of the order.", "ISO 4217")
    total_cents: pl.Int64 = column("Total of the order, tax and shipping included.", "cents")
    tax_cents: pl.Int64 = column("Tax within the total.", "cents")
    shipping_cents: pl.Int64 = column("Shipping within the total.", "cents")
    financial_status: pl.String = column("Status of the payment, such as paid or refunded.", nullable=True)
    processed_us: pl.Int64 = instant("Time of the order.")
    as_of_day: pl.Int64 = day_number(NIGHT)


@table("lake.events", ("event_id",), partition="occurred_us")
class Events(Table):
    """One row per event of the user's own stream."""

    event_id: pl.String = key("Event.")
    occurred_us: pl.Int64 = instant("Time of the event.")
    event_type: pl.String = column("Type of the event, such as entry, purchase, or one that a goal names.")
    subscriber_key: pl.Int64 = key(SUBSCRIBER)
    workflow_id: pl.String = key("Workflow that the event names.", nullable=True)
    step_id: pl.String = key("Step that the event names.", nullable=True)
    order_id: pl.String = key("Order that the event names.", nullable=True)
    revenue_cents: pl.Int64 = column("Net revenue; of a refund the amount given back.", "cents", nullable=True)
    currency: pl.String = column("Currency of the revenue.", "ISO 4217", nullable=True)
    plan: pl.String = column("Subscription plan after the event.", nullable=True)
    reason: pl.String = column("Reason of an exit.", nullable=True)
    next_step_id: pl.String = key("Step that the subscriber was routed to.", nullable=True)
    assigned_delay_hours: pl.Int64 = column("Delay assigned before the next step.", "hours", nullable=True)
    is_delay_randomised: pl.Boolean = column("That delay was drawn at random.", nullable=True)
    properties: pl.String = column("Everything else that came with the event.", "JSON object")
    as_of_day: pl.Int64 = day_number(NIGHT)


@table("lake.send_time_assignments", ("subscriber_key", "period", "assigned_local_hour"))
class SendTimeAssignments(Table):
    """One row per subscriber, period of 28 days, and send time assigned in it: our own log of the draws."""

    subscriber_key: pl.Int64 = key(SUBSCRIBER)
    period: pl.Int64 = column("Number of the period of 28 days since 1970-01-01.")
    assigned_local_hour: pl.Int64 = column("Hour to send at.", "local hour, 0-23", ge=0, le=23)
    is_randomised: pl.Boolean = column("The hour was drawn at random.")
    choice_probability: pl.Float64 = share("Chance with which this hour was assigned, drawn or not.", nullable=False)
    as_of_day: pl.Int64 = day_number("The night that first assigned it.")


@table("lake.experiment_plans", ("experiment_id",))
class ExperimentPlans(Table):
    """One row per test that has started: its definition and its plan, as frozen at the start."""

    experiment_id: pl.String = key("Test, as experiments.yaml names it.")
    definition: pl.String = column("The test as defined when it started.", "JSON object")
    plan: pl.String = column("The plan made from it.", "JSON object")
    plan_hash: pl.String = column("SHA-256 of the plan.")
    as_of_day: pl.Int64 = day_number("The night that froze it.")


@table("lake.decisions", ("decision_point_id", "subscriber_key", "night"))
class Decisions(Table):
    """One row per decision point, subscriber about to pass it, and night: what was chosen, and what led to it."""

    decision_point_id: pl.String = key(POINT)
    subscriber_key: pl.Int64 = key(SUBSCRIBER)
    night: pl.Int64 = day_number("Night of the decision.")
    arm: pl.String = column("Arm that is served: a path or a variation of the content.")
    is_default: pl.Boolean = column("The default arm is served.")
    choice_probability: pl.Float64 = share("Chance with which the arm was chosen.", nullable=False)
    rule_chances: pl.String = column("Chance of each arm by rules, priority and weight alone.", "JSON array")
    eligible_arms: pl.String = column(
        "Arms that the rules allowed, separated by commas. Null in rows of nights that did not keep them.",
        nullable=True,
    )
    model_version: pl.String = column("Hash of the learning policy that chose, or 'rules'.")
    definition: pl.String = column("The decision point as defined that night.", "YAML")
    profile: pl.String = column("What was known of the subscriber that night.", "JSON object")
    as_of_day: pl.Int64 = day_number(NIGHT)


@table("lake.policy_models", ("decision_point_id", "model_version"))
class PolicyModels(Table):
    """One row per decision point and learning policy that ever chose there."""

    decision_point_id: pl.String = key(POINT)
    model_version: pl.String = key("Hash of the learning policy.")
    model: pl.String = column("Arms, features and posterior.", "JSON object")
    as_of_day: pl.Int64 = day_number("The night that first used it.")


class QuarantineColumns(Table):
    """What `lake.quarantine` and `marts.quarantine` both say about an input row."""

    source: pl.String = column("Lake table that the row was meant for.")
    reference: pl.String = column("Where the row is: file and row number, or endpoint and position.")
    field: pl.String = column("First field that broke the contract.")
    reason: pl.String = column("What was wrong with it.")


@table("lake.quarantine", ("source", "reference", "field"))
class Quarantine(QuarantineColumns):
    """One row per input row that broke its contract. It says where the input row is, never what it held."""

    as_of_day: pl.Int64 = day_number(NIGHT)


@table("lake.renamed", ("address_key",))
class Renamed(Table):
    """One row per address whose owner is known under another key, and version: people who changed their address."""

    address_key: pl.Int64 = key("Keyed hash of the member id that belongs to the address.")
    subscriber_key: pl.Int64 = key("Key under which the person is known.")
    audience_id: pl.String = key("Audience that told it.")
    as_of_day: pl.Int64 = day_number(NIGHT)


@table("lake.sources", ("kind", "source_id"))
class Sources(Table):
    """One row per thing that is read from Mailchimp, and version: whether all that was announced of it came.

    Of an audience its members are counted, of a campaign its recipients, of an automation its e-mails, of an e-mail of
    an automation its queue, of a store its orders.
    """

    kind: pl.String = word("What it is; 'table' is one of the lake's own.", vocabulary.SourceKind)
    source_id: pl.String = key("Its id, or the table's name.")
    notes: pl.Int64 = count("Notes of it so far. Of several rows of one night the last one counts.", nullable=True)
    name: pl.String = column("Its name. Empty where it has none.")
    state: pl.String = word("How it was found.", vocabulary.SourceState)
    since_day: pl.Int64 = column(
        "Night on which it went away; of what failed, the last night on which it was read.",
        "days since 1970-01-01, UTC",
        nullable=True,
    )
    announced: pl.Int64 = count("Rows that Mailchimp announced.", nullable=True)
    set_aside: pl.Int64 = count("Rows that broke their contract.")
    left_out: pl.Int64 = count("Good rows that are not kept: of later nights, before the first day, without any time.")
    later: pl.String = column(
        "Rows of a campaign that belong to later nights and that its report may hold, by metric: JSON, null if none.",
        nullable=True,
    )
    unread: pl.Int64 = count("People of whom the activity feed has not been read yet. Null = 0.", nullable=True)
    detail: pl.String = column("Why it was not read, or not all of it. Empty if it was.")
    as_of_day: pl.Int64 = day_number(NIGHT)
