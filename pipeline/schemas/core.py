"""Core facts and their dimensions: one row per message, engagement, step entry, conversion, subscriber, step.

Written on integers so that any SQL engine builds equal rows: times in epoch microseconds, days as days since 1970.
Facts hold nothing that depends on 'tonight': a window recomputed later gives equal rows for equal input.
"""

import polars as pl

from pipeline.schemas.base import Table, column, count, day_number, instant, key, table
from pipeline.schemas.lake import SUBSCRIBER

WORKFLOW = "63-bit hash of workflow_id"
STEP = "63-bit hash of workflow_id and step_id"


@table("core.workflows", ("workflow_key",))
class CoreWorkflows(Table):
    """One row per flow of the user's map, classic automation, or one-off campaign (a workflow of one step)."""

    workflow_key: pl.Int64 = key(WORKFLOW)
    workflow_id: pl.String = key("flow, automation or campaign id")
    name: pl.String = column("name")
    kind: pl.String = column("where it comes from", isin=["flow", "automation", "campaign"])
    category: pl.String = column("category for conflict rules", nullable=True)
    priority: pl.Int64 = column("higher wins a conflict", "rank")
    trigger: pl.String = column("what lets people in", nullable=True)
    goal_event_type: pl.String = column("event that reaches the goal", nullable=True)
    status: pl.String = column("active, paused or archived")
    definition_version: pl.String = column("hash of the definition")


@table("core.steps", ("step_key",))
class CoreSteps(Table):
    """One row per step."""

    step_key: pl.Int64 = key(STEP)
    workflow_key: pl.Int64 = key(WORKFLOW)
    workflow_id: pl.String = key("workflow id")
    step_id: pl.String = key("step id")
    position: pl.Int64 = count("place in the flow, from 1")
    name: pl.String = column("name")
    kind: pl.String = column("what the step does", isin=["email", "branch", "wait"])
    campaign_id: pl.String = column("campaign whose report counts this step", "id", nullable=True)
    status: pl.String = column("active, paused or deleted")


@table("core.edges", ("from_step_key", "to_step_key", "delay_version"))
class CoreEdges(Table):
    """One row per planned transition and version of its delay; [valid_from_us, valid_to_us)."""

    workflow_key: pl.Int64 = key(WORKFLOW)
    from_step_key: pl.Int64 = key(STEP)
    to_step_key: pl.Int64 = key(STEP)
    delay_version: pl.Int64 = count("version of the delay, from 1")
    delay_hours: pl.Int64 = column("planned wait", "hours", ge=0)
    grace_hours: pl.Int64 = column("tolerance beyond the wait", "hours", ge=0)
    valid_from_us: pl.Int64 = instant("first entry this version applies to")
    valid_to_us: pl.Int64 = instant("first entry it no longer applies to")
    is_default: pl.Boolean = column("taken when no route was recorded")


@table("core.zone_offsets", ("zone", "from_us"))
class CoreZoneOffsets(Table):
    """One row per zone and period of constant offset; [from_us, to_us)."""

    zone: pl.String = key("IANA zone")
    from_us: pl.Int64 = instant("start of the period")
    to_us: pl.Int64 = instant("end of the period")
    offset_us: pl.Int64 = column("local time minus UTC", "microseconds")


@table("core.subscribers", ("subscriber_key",))
class CoreSubscribers(Table):
    """One row per subscriber, as last known."""

    subscriber_key: pl.Int64 = key(SUBSCRIBER)
    status: pl.String = column("Mailchimp's status")
    zone: pl.String = column("IANA zone used for local time")
    zone_source: pl.String = column("member, gmtoff, default", isin=["member", "gmtoff", "default"])
    signup_us: pl.Int64 = instant("signup", nullable=True)
    first_purchase_us: pl.Int64 = instant("first purchase", nullable=True)
    plan: pl.String = column("latest subscription plan", nullable=True)
    cohort_value: pl.String = column("the merge field that forms cohorts; null where none is named", nullable=True)
    country_code: pl.String = column("country", "ISO 3166", nullable=True)
    language: pl.String = column("language", nullable=True)
    member_rating: pl.Int64 = count("Mailchimp's activity rating", nullable=True)
    merge_fields: pl.String = column("merge fields without personal ones", "JSON object")
    tags: pl.String = column("names of tags", "JSON array")


@table("core.sends", ("step_key", "subscriber_key"))
class CoreSends(Table):
    """One row per message as last told by Mailchimp; `messages` adds what became of it."""

    subscriber_key: pl.Int64 = key(SUBSCRIBER)
    step_key: pl.Int64 = key(STEP)
    workflow_key: pl.Int64 = key(WORKFLOW)
    campaign_id: pl.String = key("campaign id")
    sent_us: pl.Int64 = instant("time of sending")
    sent_at_source: pl.String = column("campaign, feed or computed")
    day: pl.Int64 = day_number("day of sending")
    bounce_kind: pl.String = column("hard, soft or syntax", nullable=True)


@table("core.shared_ips", ("ip_key", "day"))
class CoreSharedIps(Table):
    """One row per address and day on which it clicked for so many recipients that it must be a scanner."""

    ip_key: pl.Int64 = key("keyed hash of the IP address")
    day: pl.Int64 = day_number("day of the clicks")
    recipients: pl.Int64 = count("recipients it clicked for")


@table("core.engagements", ("campaign_id", "subscriber_key", "action", "occurred_us", "url"))
class CoreEngagements(Table):
    """One row per open or click of a message, tagged human or machine and why; `day` is the message's day."""

    subscriber_key: pl.Int64 = key(SUBSCRIBER)
    step_key: pl.Int64 = key(STEP)
    workflow_key: pl.Int64 = key(WORKFLOW)
    campaign_id: pl.String = key("campaign id")
    action: pl.String = column("open or click", isin=["open", "click"])
    occurred_us: pl.Int64 = instant("time of the engagement")
    url: pl.String = column("link of a click, else empty")
    sent_us: pl.Int64 = instant("time of sending of the message")
    day: pl.Int64 = day_number("day of sending")
    is_human: pl.Boolean = column("no mark of a machine")
    machine_cause: pl.String = column(
        "first mark that applies: proxy, bot_filter, image_proxy, before_delivery, too_fast, all_links, shared_ip, "
        "unsubscribe_link; null = human",
        nullable=True,
    )


@table("core.messages", ("step_key", "subscriber_key"))
class CoreMessages(Table):
    """One row per message: a subscriber, a step, a send."""

    subscriber_key: pl.Int64 = key(SUBSCRIBER)
    step_key: pl.Int64 = key(STEP)
    workflow_key: pl.Int64 = key(WORKFLOW)
    campaign_id: pl.String = key("campaign id")
    sent_us: pl.Int64 = instant("time of sending")
    sent_at_source: pl.String = column("campaign, feed or computed")
    day: pl.Int64 = day_number("day of sending")
    local_hour_of_week: pl.Int64 = column("local hour of sending, Monday 00 = 0", "0-167")
    bounce_kind: pl.String = column("hard, soft or syntax", nullable=True)
    has_machine_marks: pl.Boolean = column("sent when Mailchimp tells machine opens apart (since 2024-06-22)")
    opens: pl.Int64 = count("opens")
    human_opens: pl.Int64 = count("opens without a mark of a machine")
    first_open_us: pl.Int64 = instant("first open", nullable=True)
    first_human_open_us: pl.Int64 = instant("first open without a mark of a machine", nullable=True)
    clicks: pl.Int64 = count("clicks")
    human_clicks: pl.Int64 = count("clicks without a mark of a machine")
    first_click_us: pl.Int64 = instant("first click", nullable=True)
    first_human_click_us: pl.Int64 = instant("first click without a mark of a machine", nullable=True)
    unsubscribed_us: pl.Int64 = instant("unsubscribe attributed to this message", nullable=True)
    complained_us: pl.Int64 = instant("complaint about this message", nullable=True)


@table("core.tracked_steps", ("step_key", "event_type", "day"))
class CoreTrackedSteps(Table):
    """One row per step and day of events that tell entries; of other steps entries are inferred from messages."""

    step_key: pl.Int64 = key(STEP)
    event_type: pl.String = column("step_entered, or entry for first steps", isin=["step_entered", "entry"])
    day: pl.Int64 = day_number("day of the events")
    told_day: pl.Int64 = day_number("first night that told them")


@table("core.arrivals", ("step_key", "subscriber_key", "entered_us"))
class CoreArrivals(Table):
    """One row per entry into a step, before what became of it; `step_entries` adds that."""

    subscriber_key: pl.Int64 = key(SUBSCRIBER)
    workflow_key: pl.Int64 = key(WORKFLOW)
    step_key: pl.Int64 = key(STEP)
    entered_us: pl.Int64 = instant("entry")
    day: pl.Int64 = day_number("day of entry")
    entry_source: pl.String = column("event, queue or sent_to", isin=["event", "queue", "sent_to"])
    next_step_key: pl.Int64 = column("step the event routed to", "id", nullable=True)
    assigned_delay_hours: pl.Int64 = column("wait told by the event", "hours", nullable=True)
    is_delay_randomised: pl.Boolean = column("the wait was drawn by lot")


@table("core.departures", ("subscriber_key", "workflow_key", "reason", "occurred_us"))
class CoreDepartures(Table):
    """One row per end of a subscriber's journeys: in one workflow, or in all (`workflow_key` 0)."""

    subscriber_key: pl.Int64 = key(SUBSCRIBER)
    workflow_key: pl.Int64 = key("workflow left, 0 = every workflow")
    reason: pl.String = column("exit reason (glossary)")
    occurred_us: pl.Int64 = instant("time of the departure")
    day: pl.Int64 = day_number("day of the departure")


@table("core.step_entries", ("step_key", "subscriber_key", "entered_us"))
class CoreStepEntries(Table):
    """One row per entry into a step, with what became of it.

    `outcome` is what came first of: `advanced` (entered the routed next step), `goal`, `lost` (an exit that is neither
    goal nor completion), `completed` (the step was the last), `timeout` (none until planned wait + grace). A timeout's
    `outcome_us` is its deadline and may lie after tonight: until then the subscriber is waiting.
    """

    subscriber_key: pl.Int64 = key(SUBSCRIBER)
    workflow_key: pl.Int64 = key(WORKFLOW)
    step_key: pl.Int64 = key(STEP)
    entered_us: pl.Int64 = instant("entry")
    day: pl.Int64 = day_number("day of entry")
    entry_source: pl.String = column("event, queue or sent_to", isin=["event", "queue", "sent_to"])
    to_step_key: pl.Int64 = column("step the subscriber was routed to; null after the last step", "id", nullable=True)
    delay_version: pl.Int64 = count("version of the planned delay; 0 after the last step")
    assigned_delay_hours: pl.Int64 = column("wait assigned before the next step", "hours", nullable=True)
    is_delay_randomised: pl.Boolean = column("the wait was drawn by lot")
    outcome: pl.String = column("what came first", isin=["advanced", "goal", "lost", "completed", "timeout"])
    outcome_us: pl.Int64 = instant("when it came")
    outcome_day: pl.Int64 = day_number("day it came")
    exit_reason: pl.String = column(
        "reason of goal, loss, completion or timeout (glossary); null when advanced", nullable=True
    )


@table("core.conversions", ("conversion_id",))
class CoreConversions(Table):
    """One row per conversion: an order (from the store or the events, once) net of refunds, or a goal event."""

    conversion_id: pl.String = key("order:<id> or event:<id>")
    subscriber_key: pl.Int64 = key(SUBSCRIBER)
    event_type: pl.String = column("purchase, conversion or a goal's event type")
    occurred_us: pl.Int64 = instant("time of the conversion")
    day: pl.Int64 = day_number("day of the conversion")
    is_order: pl.Boolean = column("is an order")
    net_cents: pl.Int64 = column("total - shipping - tax - refunds, in the workspace's currency", "cents")


@table("core.credits", ("conversion_id", "view"))
class CoreCredits(Table):
    """One row per conversion and view of attribution that credits a message: one conversion, one credit a view.

    `report`: last human click within 5 days, else last human open within 1 day.
    `mailchimp_compat`: the last touch, an open within 5 days or a click within 30 days, machine or not.
    """

    conversion_id: pl.String = key("conversion id")
    view: pl.String = column("rule of attribution", isin=["report", "mailchimp_compat"])
    subscriber_key: pl.Int64 = key(SUBSCRIBER)
    step_key: pl.Int64 = key(STEP)
    workflow_key: pl.Int64 = key(WORKFLOW)
    touch: pl.String = column("click or open", isin=["click", "open"])
    touch_us: pl.Int64 = instant("time of the credited touch")
    message_day: pl.Int64 = day_number("day of sending of the credited message")
    day: pl.Int64 = day_number("day of the conversion")
    is_order: pl.Boolean = column("is an order")
    net_cents: pl.Int64 = column("net revenue", "cents")
