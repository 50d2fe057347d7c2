"""Reductions: additive counts and histograms, by day, from which all analysis is done.

`day` is always the day by which the window is recomputed; sums over days give any period. Nothing depends on tonight.
"""

import polars as pl

from pipeline.schemas.base import Table, column, count, day_number, key, table
from pipeline.schemas.core import STEP, WORKFLOW


@table("reductions.step_days", ("step_key", "day"))
class StepDays(Table):
    """Step and day of sending; unique counts are messages."""

    workflow_key: pl.Int64 = key(WORKFLOW)
    step_key: pl.Int64 = key(STEP)
    day: pl.Int64 = day_number("day of sending")
    sent: pl.Int64 = count("messages")
    delivered: pl.Int64 = count("messages that did not bounce")
    hard_bounces: pl.Int64 = count("permanent failures and malformed addresses")
    soft_bounces: pl.Int64 = count("temporary failures")
    opens: pl.Int64 = count("opens")
    unique_opens: pl.Int64 = count("delivered messages opened at least once")
    unique_human_opens: pl.Int64 = count("delivered messages opened without a mark of a machine")
    unmarked_sent: pl.Int64 = count("messages of which machine opens cannot be known")
    clicks: pl.Int64 = count("clicks")
    unique_clicks: pl.Int64 = count("delivered messages clicked at least once")
    unique_human_clicks: pl.Int64 = count("delivered messages clicked without a mark of a machine")
    prompt_human_clicks: pl.Int64 = count("of them clicked within a day of sending: final a day later")
    unique_human_engagements: pl.Int64 = count("delivered messages opened or clicked without a mark of a machine")
    unsubscribes: pl.Int64 = count("unsubscribes")
    complaints: pl.Int64 = count("complaints")


@table("reductions.entry_days", ("step_key", "day"))
class EntryDays(Table):
    """Step and day of entry."""

    workflow_key: pl.Int64 = key(WORKFLOW)
    step_key: pl.Int64 = key(STEP)
    day: pl.Int64 = day_number("day of entry")
    entries: pl.Int64 = count("entries")


@table("reductions.credit_days", ("step_key", "day", "view"))
class CreditDays(Table):
    """Step, day of sending of the credited message, and view of attribution."""

    workflow_key: pl.Int64 = key(WORKFLOW)
    step_key: pl.Int64 = key(STEP)
    day: pl.Int64 = day_number("day of sending of the credited message")
    view: pl.String = column("rule of attribution")
    conversions: pl.Int64 = count("credited conversions")
    orders: pl.Int64 = count("credited orders")
    net_cents: pl.Int64 = column("credited net revenue", "cents")


@table(
    "reductions.funnel_transitions", ("from_step_key", "to_step_key", "delay_version", "day", "outcome", "elapsed_days")
)
class FunnelTransitions(Table):
    """Transition, day of entry, outcome and calendar days until it; timeouts may lie after tonight."""

    workflow_key: pl.Int64 = key(WORKFLOW)
    from_step_key: pl.Int64 = key(STEP)
    to_step_key: pl.Int64 = key(STEP)
    delay_version: pl.Int64 = count("version of the planned delay")
    day: pl.Int64 = day_number("day of entry")
    outcome: pl.String = column("advanced, goal, lost or timeout")
    elapsed_days: pl.Int64 = column("day of the outcome minus day of entry", "days", ge=0)
    subscribers: pl.Int64 = count("entries")


@table(
    "reductions.transition_hours", ("from_step_key", "to_step_key", "delay_version", "day", "outcome", "elapsed_hours")
)
class TransitionHours(Table):
    """Transition, day of entry, outcome and whole hours until it."""

    workflow_key: pl.Int64 = key(WORKFLOW)
    from_step_key: pl.Int64 = key(STEP)
    to_step_key: pl.Int64 = key(STEP)
    delay_version: pl.Int64 = count("version of the planned delay")
    day: pl.Int64 = day_number("day of entry")
    outcome: pl.String = column("advanced, goal, lost or timeout")
    elapsed_hours: pl.Int64 = column("hours from entry to outcome, rounded down", "hours", ge=0)
    subscribers: pl.Int64 = count("entries")


@table("reductions.exit_days", ("step_key", "day", "outcome_day", "exit_reason"))
class ExitDays(Table):
    """Step, day of entry, day of the end of the journey, and its reason; timeouts may lie after tonight."""

    workflow_key: pl.Int64 = key(WORKFLOW)
    step_key: pl.Int64 = key("step the journey ended in")
    day: pl.Int64 = day_number("day of entry into that step")
    outcome_day: pl.Int64 = day_number("day the journey ended")
    exit_reason: pl.String = column("reason (glossary)")
    subscribers: pl.Int64 = count("journeys")


@table("reductions.cohort_cells", ("cohort_type", "cohort", "workflow_key", "day", "age_weeks"))
class CohortCells(Table):
    """Cohort, workflow, day of entry into the workflow, and week since entry.

    `entrants` stands in week 0; conversions and exits in the week in which the first of each came.
    """

    cohort_type: pl.String = column("signup_date, first_purchase, subscription_plan or member_field")
    cohort: pl.String = column("month (YYYY-MM) or plan")
    workflow_key: pl.Int64 = key(WORKFLOW)
    day: pl.Int64 = day_number("day of entry into the workflow")
    age_weeks: pl.Int64 = column("whole weeks since entry", "weeks", ge=0)
    entrants: pl.Int64 = count("entries into the workflow")
    conversions: pl.Int64 = count("first conversions, unless an unsubscribe or complaint came before")
    exits: pl.Int64 = count("unsubscribes and complaints before any conversion")


@table("reductions.hours_of_week", ("workflow_key", "day", "local_hour_of_week"))
class HoursOfWeek(Table):
    """Workflow, day of sending, local hour of sending."""

    workflow_key: pl.Int64 = key(WORKFLOW)
    day: pl.Int64 = day_number("day of sending")
    local_hour_of_week: pl.Int64 = column("local hour of sending, Monday 00 = 0", "0-167")
    delivered: pl.Int64 = count("delivered messages")
    unique_human_opens: pl.Int64 = count("opened without a mark of a machine")
    unique_human_clicks: pl.Int64 = count("clicked without a mark of a machine")


@table(
    "reductions.assigned_delays",
    ("from_step_key", "to_step_key", "day", "assigned_delay_hours", "is_delay_randomised", "segment", "converted_days"),
)
class AssignedDelays(Table):
    """Transition, day of entry, assigned wait, segment, and calendar days until the first conversion since entry."""

    workflow_key: pl.Int64 = key(WORKFLOW)
    from_step_key: pl.Int64 = key(STEP)
    to_step_key: pl.Int64 = key(STEP)
    day: pl.Int64 = day_number("day of entry")
    assigned_delay_hours: pl.Int64 = column("assigned wait", "hours", ge=0)
    is_delay_randomised: pl.Boolean = column("the wait was drawn by lot")
    segment: pl.String = column("subscription plan, or 'none'")
    converted_days: pl.Int64 = column("days until the first conversion, -1 = none within 60 days", "days")
    subscribers: pl.Int64 = count("entries")


@table("reductions.subscriber_hours", ("subscriber_key", "day", "local_hour_of_week"))
class SubscriberHours(Table):
    """Subscriber, day and local hour of the week: what was sent, what people did with it, and what they did unasked.

    `day` is the day of sending for messages and their opens and clicks, whose hour may lie on a later day.
    """

    subscriber_key: pl.Int64 = key("subscriber (keyed hash)")
    day: pl.Int64 = day_number("day of sending, or of the behaviour")
    local_hour_of_week: pl.Int64 = column("local hour at which it happened, Monday 00 = 0", "0-167", ge=0, le=167)
    sends: pl.Int64 = count("messages that did not bounce")
    human_opens: pl.Int64 = count("opens known to be no machine's")
    human_clicks: pl.Int64 = count("clicks without a mark of a machine")
    behaviour_events: pl.Int64 = count("entries, visits and orders")
