"""Core facts and their dimensions: one row per message, engagement, step entry, conversion, subscriber, step.

All columns are integers, words or booleans, so that any SQL engine builds equal rows: times are microseconds since
1970, days are days since 1970. Facts hold nothing that depends on the night that computes them: a window that is
recomputed later gives equal rows for equal input.
"""

import polars as pl

from pipeline.schemas import vocabulary
from pipeline.schemas.base import STEP, SUBSCRIBER, WORKFLOW, Table, table
from pipeline.schemas.columns import column, count, day_number, instant, key, word

WORKFLOW_KEY = "Workflow: 63 bits of a hash of workflow_id."
DEFINITION = "Hash of the workflow's definition: trigger, goal, steps, routes and delays."
STEP_KEY = "Step: 63 bits of a hash of workflow_id and step_id."
SENT = "When the message was sent."
SENT_DAY = "Day on which the message was sent."
SENT_SOURCE = "Where the time of sending comes from."
BOUNCE = "How the message bounced. Null if it did not."
IS_DRAWN = "The delay was drawn at random."
NET = "Total - shipping - tax - refunds, in the workspace's currency."


class _Message(Table):
    subscriber_key: pl.Int64 = key(SUBSCRIBER)
    step_key: pl.Int64 = key(STEP_KEY)
    workflow_key: pl.Int64 = key(WORKFLOW_KEY)
    campaign_id: pl.String = key("Mailchimp campaign of the message.")


class _Entry(Table):
    subscriber_key: pl.Int64 = key(SUBSCRIBER)
    workflow_key: pl.Int64 = key(WORKFLOW_KEY)
    step_key: pl.Int64 = key(STEP_KEY)
    entered_us: pl.Int64 = instant("When the step was entered.")
    day: pl.Int64 = day_number("Day of the entry.")
    entry_source: pl.String = word("How the entry is known.", vocabulary.EntrySource)


class _WorkflowKey(Table):
    workflow_key: pl.Int64 = key(WORKFLOW_KEY)


class WorkflowColumns(Table):
    """What `core.workflows` and `marts.workflows` both say about a workflow."""

    workflow_id: pl.String = key(WORKFLOW)
    name: pl.String = column("Name of the workflow.")
    kind: pl.String = word("Where the workflow comes from.", vocabulary.WorkflowKind)
    category: pl.String = column("Category, by which conflicts.yaml sets workflows against each other.", nullable=True)
    priority: pl.Int64 = column("Of two workflows in conflict the one with the higher priority prevails.", "rank")
    trigger: pl.String = column("What lets subscribers in. Null where nobody has written it down.", nullable=True)
    goal_event_type: pl.String = column("Event type that reaches the goal. Null without a goal.", nullable=True)
    status: pl.String = word("Whether the workflow is in use.", vocabulary.WorkflowStatus)


@table("core.workflows", ("workflow_key",))
class CoreWorkflows(WorkflowColumns, _WorkflowKey):
    """One row per workflow: a flow of the user's map, a classic automation, or a one-off campaign with its one step."""

    definition_version: pl.String = column(DEFINITION)


class _StepKey(Table):
    step_key: pl.Int64 = key(STEP_KEY)
    workflow_key: pl.Int64 = key(WORKFLOW_KEY)


class StepColumns(Table):
    """What `core.steps` and `marts.steps` both say about a step."""

    workflow_id: pl.String = key(WORKFLOW)
    step_id: pl.String = key(STEP)
    position: pl.Int64 = count("Place in the workflow, from 1.")
    name: pl.String = column("Name of the step.")
    kind: pl.String = word("What the step does.", vocabulary.StepKind)
    campaign_id: pl.String = key("Mailchimp campaign of the step. Null if it sends no e-mail.", nullable=True)
    status: pl.String = word("Whether the step is in use.", vocabulary.StepStatus)
    subject: pl.String = column("Subject line of the e-mail. Null where it is not known.", nullable=True)
    preview: pl.String = column("Preview text of the e-mail. Null where it is not known.", nullable=True)


@table("core.steps", ("step_key",))
class CoreSteps(StepColumns, _StepKey):
    """One row per step."""


@table("core.edges", ("from_step_key", "to_step_key", "delay_version"))
class CoreEdges(Table):
    """One row per planned transition and delay version, valid from `valid_from_us` to just before `valid_to_us`."""

    workflow_key: pl.Int64 = key(WORKFLOW_KEY)
    from_step_key: pl.Int64 = key("Step that the transition leaves.")
    to_step_key: pl.Int64 = key("Step that the transition leads to.")
    delay_version: pl.Int64 = count("Version of the delay, from 1.")
    delay_hours: pl.Int64 = column("Planned delay.", "hours", ge=0)
    grace_hours: pl.Int64 = column("Time beyond the delay before a subscriber counts as stuck.", "hours", ge=0)
    valid_from_us: pl.Int64 = instant("First entry that this version applies to.")
    valid_to_us: pl.Int64 = instant("First entry that it no longer applies to.")
    is_default: pl.Boolean = column("The transition is taken where no route was recorded.")
    edge_source: pl.String = word("How the transition is known.", vocabulary.EdgeSource)
    observed_people: pl.Int64 = count("People who went an observed transition. Null for a planned one.", nullable=True)


@table("core.zone_offsets", ("zone", "from_us"))
class CoreZoneOffsets(Table):
    """One row per time zone and period of constant offset, from `from_us` until before `to_us`."""

    zone: pl.String = key("IANA time zone.")
    from_us: pl.Int64 = instant("Start of the period.")
    to_us: pl.Int64 = instant("End of the period.")
    offset_us: pl.Int64 = column("Local time - UTC.", "microseconds")


@table("core.subscribers", ("subscriber_key",))
class CoreSubscribers(Table):
    """One row per subscriber, as last known."""

    subscriber_key: pl.Int64 = key(SUBSCRIBER)
    status: pl.String = column("Mailchimp's status of the member.")
    zone: pl.String = column("IANA time zone of the subscriber's local time.")
    zone_source: pl.String = word("Where the zone comes from.", vocabulary.ZoneSource)
    signup_us: pl.Int64 = instant("Signup.", nullable=True)
    first_purchase_us: pl.Int64 = instant("First purchase. Null if there is none.", nullable=True)
    plan: pl.String = column("Latest subscription plan. Null if no event names one.", nullable=True)
    cohort_value: pl.String = column("Value of the merge field that forms cohorts. Null without one.", nullable=True)
    country_code: pl.String = column("Country of the member.", "ISO 3166", nullable=True)
    language: pl.String = column("Language of the member.", nullable=True)
    member_rating: pl.Int64 = count("Mailchimp's rating of the member's activity.", nullable=True)
    merge_fields: pl.String = column("Merge fields, without those that name a person.", "JSON object")
    tags: pl.String = column("Names of the member's tags.", "JSON array")


@table("core.written_values", ("means", "subscriber_key", "from_us"))
class CoreWrittenValues(Table):
    """One row per value that driptune wrote to a member, or found there, and the time for which it stood."""

    means: pl.String = key("Merge field, or 'tag ' and the prefix of tags.")
    subscriber_key: pl.Int64 = key(SUBSCRIBER)
    from_us: pl.Int64 = instant("When the account was read back and held the value.")
    until_us: pl.Int64 = instant("When it held another value. Null while the value stands.", nullable=True)
    value: pl.String = column("The value; empty where the field was emptied.")
    optimization_id: pl.String = key("Record of the ledger under which it was written.")
    proposed_kind: pl.String = word("What the record changes.", vocabulary.ProposalKind)
    target: pl.String = column("Where the record changes it, such as a decision point or a test.")


@table("core.sends", ("step_key", "subscriber_key"))
class CoreSends(_Message):
    """One row per message as Mailchimp last reported it. `core.messages` adds what became of it."""

    sent_us: pl.Int64 = instant(SENT)
    sent_at_source: pl.String = word(SENT_SOURCE, vocabulary.SentAtSource)
    day: pl.Int64 = day_number(SENT_DAY)
    bounce_kind: pl.String = word(BOUNCE, vocabulary.BounceKind, nullable=True)


@table("core.engagements", ("campaign_id", "subscriber_key", "action", "occurred_us", "url"))
class CoreEngagements(_Message):
    """One row per open or click of a message, with the mark of a machine if it bears one."""

    action: pl.String = word("What was done.", vocabulary.EngagementAction)
    occurred_us: pl.Int64 = instant("When it was done.")
    url: pl.String = column("Link that was clicked. Empty for an open.")
    sent_us: pl.Int64 = instant(SENT)
    day: pl.Int64 = day_number(SENT_DAY)
    is_human: pl.Boolean = column("The engagement bears no mark of a machine.")
    machine_cause: pl.String = word("First mark that applies. Null if none.", vocabulary.MachineCause, nullable=True)


@table("core.messages", ("step_key", "subscriber_key"))
class CoreMessages(_Message):
    """One row per message: one e-mail of one step to one subscriber, and what became of it."""

    sent_us: pl.Int64 = instant(SENT)
    sent_at_source: pl.String = word(SENT_SOURCE, vocabulary.SentAtSource)
    day: pl.Int64 = day_number(SENT_DAY)
    local_hour_of_week: pl.Int64 = column("Local hour of sending within the week, Monday 00:00 = 0.", "0-167")
    bounce_kind: pl.String = word(BOUNCE, vocabulary.BounceKind, nullable=True)
    has_machine_marks: pl.Boolean = column("Sent since 2024-06-22, when Mailchimp began to mark opens by machines.")
    opens: pl.Int64 = count("Opens, those by machines included.")
    human_opens: pl.Int64 = count("Opens without a mark of a machine.")
    first_open_us: pl.Int64 = instant("First open. Null if there is none.", nullable=True)
    first_human_open_us: pl.Int64 = instant("First open without a mark of a machine.", nullable=True)
    clicks: pl.Int64 = count("Clicks, those by machines included.")
    human_clicks: pl.Int64 = count("Clicks without a mark of a machine.")
    first_click_us: pl.Int64 = instant("First click. Null if there is none.", nullable=True)
    first_human_click_us: pl.Int64 = instant("First click without a mark of a machine.", nullable=True)
    unsubscribed_us: pl.Int64 = instant("Unsubscribe that Mailchimp attributes to the message.", nullable=True)
    complained_us: pl.Int64 = instant("Complaint about the message.", nullable=True)


@table("core.tracked_steps", ("step_key", "event_type", "day"))
class CoreTrackedSteps(Table):
    """One row per step and day with events that report entries into it. Other steps are entered when they send."""

    step_key: pl.Int64 = key(STEP_KEY)
    event_type: pl.String = word("Type of the events; 'entry' stands for a first step.", vocabulary.EntryEventType)
    day: pl.Int64 = day_number("Day of the events.")


@table("core.arrivals", ("step_key", "subscriber_key", "entered_us"))
class CoreArrivals(_Entry):
    """One row per entry into a step. `core.step_entries` adds what became of it."""

    next_step_key: pl.Int64 = key("Step that the event names as the next one. Null if it names none.", nullable=True)
    assigned_delay_hours: pl.Int64 = column("Delay that was assigned to this entry.", "hours", nullable=True)
    is_delay_randomised: pl.Boolean = column(IS_DRAWN)


@table("core.opt_outs", ("campaign_id", "subscriber_key", "reason"))
class CoreOptOuts(Table):
    """One row per unsubscribe, and per complaint, that Mailchimp attributes to a campaign."""

    campaign_id: pl.String = key("Mailchimp campaign.")
    subscriber_key: pl.Int64 = key(SUBSCRIBER)
    reason: pl.String = word("'unsubscribed' or 'complaint'.", vocabulary.ExitReason)
    occurred_us: pl.Int64 = instant("When it happened.")
    day: pl.Int64 = day_number("Day of it.")


@table("core.departures", ("subscriber_key", "workflow_key", "reason", "occurred_us"))
class CoreDepartures(Table):
    """One row per event that ends stays of a subscriber: in one workflow, or in all of them (`workflow_key` 0)."""

    subscriber_key: pl.Int64 = key(SUBSCRIBER)
    workflow_key: pl.Int64 = key("Workflow that is left; 0 = every workflow.")
    reason: pl.String = word("Why it is left.", vocabulary.ExitReason)
    occurred_us: pl.Int64 = instant("When it is left.")
    day: pl.Int64 = day_number("Day on which it is left.")


@table("core.step_entries", ("step_key", "subscriber_key", "entered_us"))
class CoreStepEntries(_Entry):
    """One row per entry into a step, with what became of it first.

    An entry 'advanced' if the routed next step was entered; it reached the 'goal'; it was 'lost' to an exit that is
    neither a goal nor a completion; it is 'completed' if the step was the last; and it is a 'timeout' if none of this
    came before planned delay and grace had passed. `outcome_us` of a timeout is that deadline. It may lie after the
    night that computes the row; until then the subscriber is waiting.
    """

    to_step_key: pl.Int64 = key("Step that the subscriber was routed to. Null after the last step.", nullable=True)
    delay_version: pl.Int64 = count("Version of the planned delay; 0 after the last step.")
    assigned_delay_hours: pl.Int64 = column("Delay assigned before the next step.", "hours", nullable=True)
    is_delay_randomised: pl.Boolean = column(IS_DRAWN)
    outcome: pl.String = word("What came first.", vocabulary.EntryOutcome)
    outcome_us: pl.Int64 = instant("When it came.")
    outcome_day: pl.Int64 = day_number("Day on which it came.")
    exit_reason: pl.String = word("Why the stay ended. Null if it advanced.", vocabulary.ExitReason, nullable=True)


@table("core.conversion_claims", ("claim_source", "claim_id", "order_id", "day"))
class CoreConversionClaims(Table):
    """One row per event or order of a store that tells of a conversion or a refund."""

    claim_source: pl.String = word("Who tells it.", vocabulary.ClaimSource)
    claim_id: pl.String = key("Event, or store.")
    event_type: pl.String = column("'purchase', 'conversion', 'refund', or the event type of a goal.")
    subscriber_key: pl.Int64 = key(SUBSCRIBER)
    order_id: pl.String = key("Order. Null if the event names none.", nullable=True)
    occurred_us: pl.Int64 = instant("When the subscriber converted or was refunded.")
    day: pl.Int64 = day_number("Day of it.")
    net_cents: pl.Int64 = column("Total - shipping - tax; of a refund the amount given back.", "cents")


@table("core.conversions", ("conversion_id",))
class CoreConversions(Table):
    """One row per conversion: a goal event, or an order, counted once even if both store and events report it.

    Where events of several types tell of one order, the goals of workflows among them have rows of their own.
    """

    conversion_id: pl.String = key("order:<id>, store:<store>:<id>, event:<id>, or goal:<type>:<order>.")
    subscriber_key: pl.Int64 = key(SUBSCRIBER)
    event_type: pl.String = column("'purchase', 'conversion', or the event type of a goal.")
    occurred_us: pl.Int64 = instant("When the subscriber converted.")
    day: pl.Int64 = day_number("Day of the conversion.")
    is_order: pl.Boolean = column("The conversion is an order.")
    is_repeated: pl.Boolean = column("Another row is the order: this one tells of a goal that was reached with it.")
    net_cents: pl.Int64 = column(NET, "cents")


@table("core.credits", ("conversion_id", "view"))
class CoreCredits(Table):
    """One row per conversion and attribution view in which a message is credited with it. A view credits one message.

    In view 'report' the last human click within 5 days is credited, else the last human open within 1 day. In view
    'mailchimp_compat' the last touch is: an open within 5 days or a click within 30 days, by a machine or not.
    """

    conversion_id: pl.String = key("Conversion.")
    view: pl.String = word("Rule by which a conversion is credited to a message.", vocabulary.AttributionView)
    subscriber_key: pl.Int64 = key(SUBSCRIBER)
    step_key: pl.Int64 = key(STEP_KEY)
    workflow_key: pl.Int64 = key(WORKFLOW_KEY)
    touch: pl.String = word("Engagement that earned the credit.", vocabulary.EngagementAction)
    touch_us: pl.Int64 = instant("When it happened.")
    message_day: pl.Int64 = day_number("Day on which the credited message was sent.")
    day: pl.Int64 = day_number("Day of the conversion.")
    is_order: pl.Boolean = column("The conversion is an order.")
    net_cents: pl.Int64 = column(NET, "cents")
