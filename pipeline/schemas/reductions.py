"""Reductions: additive counts and histograms by day, from which all analyses are computed.

`day` is always the day by which the engine recomputes a window. Sums over days give any period. Nothing depends on the
night that computes the rows.
"""

import polars as pl

from pipeline.schemas.base import SUBSCRIBER, Squares, Table, table
from pipeline.schemas.columns import column, count, day_number, key, word
from pipeline.schemas.core import NET, SENT_DAY, STEP_KEY, WORKFLOW_KEY
from pipeline.schemas.vocabulary import AttributionView, CohortType, ExitReason, TransitionOutcome

ENTRY_DAY = "Day of entry."
CREDITED_DAY = "Day on which the credited message was sent."


class _Step(Table):
    workflow_key: pl.Int64 = key(WORKFLOW_KEY)
    step_key: pl.Int64 = key(STEP_KEY)


class _Transition(Table):
    workflow_key: pl.Int64 = key(WORKFLOW_KEY)
    from_step_key: pl.Int64 = key("Step that was entered.")
    to_step_key: pl.Int64 = key("Step that the entry was routed to.")


@table("reductions.step_days", ("step_key", "day"))
class StepDays(_Step):
    """Step and day of sending. Unique counts count messages: one for each subscriber and step."""

    day: pl.Int64 = day_number(SENT_DAY)
    sent: pl.Int64 = count("Messages.")
    delivered: pl.Int64 = count("Messages that did not bounce.")
    hard_bounces: pl.Int64 = count("Messages that failed for good, malformed addresses included.")
    soft_bounces: pl.Int64 = count("Messages that failed for the time being.")
    opens: pl.Int64 = count("Opens.")
    unique_opens: pl.Int64 = count("Delivered messages opened at least once.")
    unique_human_opens: pl.Int64 = count("Delivered messages with an open without a mark of a machine.")
    unmarked_sent: pl.Int64 = count("Messages sent before Mailchimp marked opens by machines.")
    clicks: pl.Int64 = count("Clicks.")
    unique_clicks: pl.Int64 = count("Delivered messages clicked at least once.")
    unique_human_clicks: pl.Int64 = count("Delivered messages with a click without a mark of a machine.")
    prompt_human_clicks: pl.Int64 = count("Those of them whose first such click came within 24 hours of sending.")
    unique_human_engagements: pl.Int64 = count("Delivered messages with an open or click without a mark of a machine.")
    unsubscribes: pl.Int64 = count("Messages with an attributed unsubscribe.")
    complaints: pl.Int64 = count("Messages with a complaint.")


@table("reductions.link_days", ("step_key", "url", "day"))
class LinkDays(_Step):
    """Step, link and day of sending: clicks on links of delivered messages, without links that unsubscribe."""

    url: pl.String = column("Link.")
    day: pl.Int64 = day_number(SENT_DAY)
    clicks: pl.Int64 = count("Clicks on the link.")
    unique_clicks: pl.Int64 = count("Messages in which the link was clicked at least once.")
    unique_human_clicks: pl.Int64 = count("Those of them with a click on the link that bears no mark of a machine.")


@table("reductions.entry_days", ("step_key", "day"))
class EntryDays(_Step):
    """Step and day of entry."""

    day: pl.Int64 = day_number(ENTRY_DAY)
    entries: pl.Int64 = count("Entries into the step.")


@table("reductions.credit_days", ("step_key", "day", "view"))
class CreditDays(_Step):
    """Step, day of sending of the credited message, and attribution view."""

    day: pl.Int64 = day_number(CREDITED_DAY)
    view: pl.String = word("Rule by which a conversion is credited to a message.", AttributionView)
    conversions: pl.Int64 = count("Credited conversions.")
    orders: pl.Int64 = count("Those of them that are orders.")
    net_cents: pl.Int64 = column(NET, "cents")
    squared_cents: Squares = column("Sum of the squares of the messages' credited revenue.", "cents squared")


@table(
    "reductions.funnel_transitions", ("from_step_key", "to_step_key", "delay_version", "day", "outcome", "elapsed_days")
)
class FunnelTransitions(_Transition):
    """Transition, day of entry, outcome, and calendar days until the outcome. Timeouts may lie after tonight."""

    delay_version: pl.Int64 = count("Version of the planned delay.")
    day: pl.Int64 = day_number(ENTRY_DAY)
    outcome: pl.String = word("What became of the entries first.", TransitionOutcome)
    elapsed_days: pl.Int64 = column("Day of the outcome - day of entry.", "days", ge=0)
    subscribers: pl.Int64 = count("Entries.")


@table(
    "reductions.transition_hours", ("from_step_key", "to_step_key", "delay_version", "day", "outcome", "elapsed_hours")
)
class TransitionHours(_Transition):
    """Transition, day of entry, outcome, and whole hours until the outcome."""

    delay_version: pl.Int64 = count("Version of the planned delay.")
    day: pl.Int64 = day_number(ENTRY_DAY)
    outcome: pl.String = word("What became of the entries first.", TransitionOutcome)
    elapsed_hours: pl.Int64 = column("Hours from entry to outcome, rounded down.", "hours", ge=0)
    subscribers: pl.Int64 = count("Entries.")


@table("reductions.exit_days", ("step_key", "day", "outcome_day", "exit_reason"))
class ExitDays(_Step):
    """Step in which stays ended, day of entry, day of the end, and reason. Timeouts may lie after tonight."""

    day: pl.Int64 = day_number("Day of entry into that step.")
    outcome_day: pl.Int64 = day_number("Day on which the stays ended.")
    exit_reason: pl.String = word("Why they ended.", ExitReason)
    subscribers: pl.Int64 = count("Stays.")


@table("reductions.cohort_cells", ("cohort_type", "cohort", "workflow_key", "day", "entry_day", "age_weeks"))
class CohortCells(Table):
    """Cohort, workflow, day of entry into the workflow, week since entry, and day on which it happened.

    `entrants` are counted in week 0. Conversions and exits are counted in the week in which the first of each came.
    """

    cohort_type: pl.String = word("What the cohorts are formed by.", CohortType)
    cohort: pl.String = column("Month (YYYY-MM), plan, or value of the member field.")
    workflow_key: pl.Int64 = key(WORKFLOW_KEY)
    day: pl.Int64 = day_number("Day of the entry, conversion or exit.")
    entry_day: pl.Int64 = day_number("Day of entry into the workflow.")
    age_weeks: pl.Int64 = column("Whole weeks since entry.", "weeks", ge=0)
    entrants: pl.Int64 = count("Entries into the workflow.")
    conversions: pl.Int64 = count("First conversions, unless an unsubscribe or complaint came before.")
    exits: pl.Int64 = count("First unsubscribes or complaints, unless a conversion came before.")


@table("reductions.frequency_days", ("step_key", "day", "messages_7d", "messages_28d"))
class FrequencyDays(_Step):
    """Step, day of sending, and number of messages that the recipient had got in the 7 and 28 days before."""

    day: pl.Int64 = day_number(SENT_DAY)
    messages_7d: pl.Int64 = column("Delivered messages of the 7 days before; 10 = ten or more.", "count", ge=0, le=10)
    messages_28d: pl.Int64 = column(
        "Delivered messages of the 28 days before; 20 = twenty or more.", "count", ge=0, le=20
    )
    delivered: pl.Int64 = count("Messages that did not bounce.")
    unique_human_clicks: pl.Int64 = count("Those of them with a click without a mark of a machine.")
    unsubscribes: pl.Int64 = count("Those of them with an attributed unsubscribe.")


@table("reductions.hours_of_week", ("workflow_key", "day", "local_hour_of_week"))
class HoursOfWeek(Table):
    """Workflow, day of sending, and local hour of sending."""

    workflow_key: pl.Int64 = key(WORKFLOW_KEY)
    day: pl.Int64 = day_number(SENT_DAY)
    local_hour_of_week: pl.Int64 = column("Local hour of sending within the week, Monday 00:00 = 0.", "0-167")
    delivered: pl.Int64 = count("Messages that did not bounce.")
    unique_human_opens: pl.Int64 = count("Those of `delivered` with an open without a mark of a machine.")
    unique_human_clicks: pl.Int64 = count("Those of `delivered` with a click without a mark of a machine.")


@table(
    "reductions.assigned_delays",
    ("from_step_key", "to_step_key", "day", "entry_day", "assigned_delay_hours", "is_delay_randomised", "segment"),
)
class AssignedDelays(_Transition):
    """Transition, day of entry, assigned delay, segment, and day on which it happened."""

    day: pl.Int64 = day_number("Day of the entry or conversion.")
    entry_day: pl.Int64 = day_number(ENTRY_DAY)
    assigned_delay_hours: pl.Int64 = column("Delay assigned to the entries.", "hours", ge=0)
    is_delay_randomised: pl.Boolean = column("The delay was drawn at random.")
    segment: pl.String = column("Subscription plan, or 'none'.")
    entrants: pl.Int64 = count("Entries.")
    conversions: pl.Int64 = count("First conversions within 60 days.")


@table("reductions.subscriber_hours", ("subscriber_key", "day", "local_hour_of_week"))
class SubscriberHours(Table):
    """Subscriber, day and local hour of the week: messages, engagement with them, and behaviour of the subscriber.

    `day` is the day of sending for messages and for opens and clicks, even if these happened on a later day.
    """

    subscriber_key: pl.Int64 = key(SUBSCRIBER)
    day: pl.Int64 = day_number("Day of sending, or of the behaviour.")
    local_hour_of_week: pl.Int64 = column("Local hour at which it happened, Monday 00:00 = 0.", "0-167", ge=0, le=167)
    sends: pl.Int64 = count("Messages that did not bounce.")
    human_opens: pl.Int64 = count("Opens without a mark of a machine, of messages whose marks are known.")
    human_clicks: pl.Int64 = count("Clicks without a mark of a machine.")
    behaviour_events: pl.Int64 = count("Entries, visits and orders.")
