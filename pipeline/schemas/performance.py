"""Performance marts: what was sent, who went on, who was lost and why, and how far our counts agree with Mailchimp's.

Also the marts of the run itself: runs, quarantine and the data dictionary.
"""

from typing import Annotated

import polars as pl

from pipeline.schemas.base import Table, column, count, key, share, table

Timestamp = Annotated[pl.Datetime, "us", None]
Amount = Annotated[pl.Decimal, 18, 2]

AS_OF = "tonight: the last day whose data were used"
METHOD = "how the row was estimated"
LOW = "lower end of its 95% interval"
HIGH = "upper end of its 95% interval"
CURRENCY = "currency of the amounts"
MONEY = "currency units"
DEFINITION = "hash of the workflow's definition"
WINDOWS = ["7d", "28d", "90d", "all"]
DROP_OFF = "share of entrants lost by planned wait + grace; those still waiting are censored, a goal is no loss"


@table("marts.workflows", ("workflow_id",))
class Workflows(Table):
    """One row per flow, classic automation or one-off campaign."""

    workflow_id: pl.String = key("workflow")
    name: pl.String = column("name")
    kind: pl.String = column("flow, automation or campaign")
    category: pl.String = column("category for conflict rules", nullable=True)
    priority: pl.Int64 = column("higher wins a conflict", "rank")
    trigger: pl.String = column("what lets people in", nullable=True)
    goal_event_type: pl.String = column("event that reaches the goal", nullable=True)
    status: pl.String = column("active, paused or archived")
    steps: pl.Int64 = count("steps")
    definition_version: pl.String = column(DEFINITION)


@table("marts.steps", ("workflow_id", "step_id"))
class Steps(Table):
    """One row per step, with the planned way on from it."""

    workflow_id: pl.String = key("workflow")
    step_id: pl.String = key("step")
    position: pl.Int64 = count("place in the flow, from 1")
    name: pl.String = column("name")
    kind: pl.String = column("email, branch or wait")
    campaign_id: pl.String = column("campaign whose report counts this step", "id", nullable=True)
    status: pl.String = column("active, paused or deleted")
    next_step_id: pl.String = column("default next step; null after the last", "id", nullable=True)
    planned_delay_hours: pl.Int64 = column(
        "planned wait before the default next step, as of now", "hours", nullable=True
    )
    grace_hours: pl.Int64 = column("tolerance beyond that wait", "hours", nullable=True)


@table("marts.calendar", ("day",))
class Calendar(Table):
    """One row per day from the first fact to tonight."""

    day: pl.Date = column("day, UTC")
    year: pl.Int64 = column("year")
    quarter: pl.Int64 = column("quarter", "1-4")
    month: pl.Int64 = column("month", "1-12")
    iso_year: pl.Int64 = column("year of the ISO week")
    iso_week: pl.Int64 = column("ISO week", "1-53")
    weekday: pl.Int64 = column("day of the week, Monday = 1", "1-7")
    is_weekend: pl.Boolean = column("Saturday or Sunday")
    is_mature: pl.Boolean = column("rates of this day's messages have stopped moving")


class _WorkflowKey(Table):
    workflow_id: pl.String = key("workflow")


class _StepKey(_WorkflowKey):
    step_id: pl.String = key("step")


class _DailyKey(_StepKey):
    day: pl.Date = column("day of sending, or of entry for `entries`, UTC")


class _Counts(Table):
    entries: pl.Int64 = count("entries into the step")
    sent: pl.Int64 = count("messages handed over for delivery")
    delivered: pl.Int64 = count("messages that did not bounce; not inbox placement")
    hard_bounces: pl.Int64 = count("permanent failures and malformed addresses")
    soft_bounces: pl.Int64 = count("temporary failures")
    opens: pl.Int64 = count("opens, machines included")
    unique_opens: pl.Int64 = count("delivered messages opened, machines included")
    unique_human_opens: pl.Int64 = count(
        "delivered messages opened without a mark of a machine; null where marks cannot be known", nullable=True
    )
    clicks: pl.Int64 = count("clicks, machines included")
    unique_clicks: pl.Int64 = count("delivered messages clicked, machines included")
    unique_human_clicks: pl.Int64 = count("delivered messages clicked without a mark of a machine")
    prompt_human_clicks: pl.Int64 = count("of them clicked within a day of sending: final a day later")
    unique_human_engagements: pl.Int64 = count("delivered messages opened or clicked without a mark of a machine")
    unmarked_sent: pl.Int64 = count("messages of which machine opens cannot be known")
    unsubscribes: pl.Int64 = count("unsubscribes attributed to the messages")
    complaints: pl.Int64 = count("complaints; a lower bound, as only feedback loops tell")
    conversions: pl.Int64 = count("conversions credited to the messages (view 'report')")
    revenue_amount: Amount = column("net revenue credited to the messages (view 'report')", MONEY)
    mailchimp_compat_conversions: pl.Int64 = count("conversions credited by Mailchimp's rule")
    mailchimp_compat_revenue_amount: Amount = column("net revenue credited by Mailchimp's rule", MONEY)
    currency: pl.String = column(CURRENCY, "ISO 4217")


class _Rates(_Counts):
    window: pl.String = column("days of sending or entry up to tonight", isin=WINDOWS)
    first_day: pl.Date = column("first day of the window; of 'all' the first with a fact")
    as_of_day: pl.Date = column(AS_OF)
    delivery_rate: pl.Float64 = share("delivered / sent")
    delivery_rate_low: pl.Float64 = share(LOW)
    delivery_rate_high: pl.Float64 = share(HIGH)
    hard_bounce_rate: pl.Float64 = share("hard_bounces / sent")
    hard_bounce_rate_low: pl.Float64 = share(LOW)
    hard_bounce_rate_high: pl.Float64 = share(HIGH)
    soft_bounce_rate: pl.Float64 = share("soft_bounces / sent")
    soft_bounce_rate_low: pl.Float64 = share(LOW)
    soft_bounce_rate_high: pl.Float64 = share(HIGH)
    open_rate: pl.Float64 = share("unique_opens / delivered, machines included")
    open_rate_low: pl.Float64 = share(LOW)
    open_rate_high: pl.Float64 = share(HIGH)
    unmarked_open_rate: pl.Float64 = share("unique_human_opens / delivered; null where marks cannot be known")
    unmarked_open_rate_low: pl.Float64 = share(LOW)
    unmarked_open_rate_high: pl.Float64 = share(HIGH)
    human_open_rate_low: pl.Float64 = share(
        "least share opened by people (every marked open was only a machine's); null where marks cannot be known"
    )
    human_open_rate_high: pl.Float64 = share("largest share opened by people (behind every machine stood a reader)")
    click_rate: pl.Float64 = share("unique_clicks / delivered, as Mailchimp counts it")
    click_rate_low: pl.Float64 = share(LOW)
    click_rate_high: pl.Float64 = share(HIGH)
    human_click_rate: pl.Float64 = share("unique_human_clicks / delivered")
    human_click_rate_low: pl.Float64 = share(LOW)
    human_click_rate_high: pl.Float64 = share(HIGH)
    click_to_open_rate_low: pl.Float64 = share("unique_human_clicks / (all openers or human clickers)")
    click_to_open_rate_high: pl.Float64 = share(
        "unique_human_clicks / unique_human_engagements; null where marks cannot be known"
    )
    unsubscribe_rate: pl.Float64 = share("unsubscribes / delivered")
    unsubscribe_rate_low: pl.Float64 = share(LOW)
    unsubscribe_rate_high: pl.Float64 = share(HIGH)
    complaint_rate: pl.Float64 = share("complaints / delivered; a lower bound")
    complaint_rate_low: pl.Float64 = share(LOW)
    complaint_rate_high: pl.Float64 = share(HIGH)
    conversion_rate: pl.Float64 = share("conversions / delivered; null where there are more conversions than messages")
    conversion_rate_low: pl.Float64 = share(LOW)
    conversion_rate_high: pl.Float64 = share(HIGH)
    revenue_per_recipient_amount: pl.Float64 = column("revenue_amount / delivered", MONEY, nullable=True)
    mature_sent: pl.Int64 = count("messages old enough for their rates to have stopped moving")
    is_mature: pl.Boolean = column("every message of the window is mature")
    definition_version: pl.String = column(DEFINITION)


@table("marts.step_metrics_daily", ("day", "workflow_id", "step_id"))
class StepMetricsDaily(_Counts, _DailyKey):
    """One row per step and day with entries or messages; what came of a message counts on its day of sending."""

    is_mature: pl.Boolean = column("rates of this day's messages have stopped moving")
    definition_version: pl.String = column(DEFINITION)


@table("marts.step_metrics", ("workflow_id", "step_id", "window"))
class StepMetrics(_Rates, _StepKey):
    """One row per step and window up to tonight, with every rate's Wilson 95% interval."""


@table("marts.workflow_metrics", ("workflow_id", "window"))
class WorkflowMetrics(_Rates, _WorkflowKey):
    """One row per workflow and window up to tonight; a subscriber counts once per message, not per workflow."""

    entrants: pl.Int64 = count("entries into first steps")


@table("marts.metric_changes", ("workflow_id", "metric"))
class MetricChanges(Table):
    """One row per workflow or the whole account, and rate: the last 28 closed days against the 28 before."""

    as_of_day: pl.Date = column(AS_OF)
    workflow_id: pl.String = column("workflow; null = the whole account", "id", nullable=True)
    metric: pl.String = column("rate")
    first_day: pl.Date = column("first day of the current period; the previous one has as many days and ends before")
    last_day: pl.Date = column("last closed day")
    numerator: pl.Int64 = count("events of the current period")
    denominator: pl.Int64 = count("messages of the current period")
    current_rate: pl.Float64 = share("numerator / denominator")
    current_rate_low: pl.Float64 = share("lower end of its Wilson 95% interval at effective numbers")
    current_rate_high: pl.Float64 = share("upper end of its Wilson 95% interval at effective numbers")
    previous_numerator: pl.Int64 = count("events of the previous period")
    previous_denominator: pl.Int64 = count("messages of the previous period")
    previous_rate: pl.Float64 = share("previous_numerator / previous_denominator")
    previous_rate_low: pl.Float64 = share("lower end of its Wilson 95% interval at effective numbers")
    previous_rate_high: pl.Float64 = share("upper end of its Wilson 95% interval at effective numbers")
    rate_difference: pl.Float64 = column("current_rate - previous_rate", "share", nullable=True)
    rate_difference_low: pl.Float64 = column("lower end of its 95% interval", "share", nullable=True)
    rate_difference_high: pl.Float64 = column("upper end of its 95% interval", "share", nullable=True)
    dispersion: pl.Float64 = column("variance between days against chance alone", "ratio", ge=1.0)
    change: pl.String = column(
        "where the interval leaves out zero", isin=["up", "down", "no clear change", "not comparable"]
    )
    is_adverse: pl.Boolean = column("whether it clearly changed for the worse")
    method: pl.String = column("how the row was estimated")


@table("marts.funnel", ("workflow_id", "from_step_id", "to_step_id"))
class Funnel(Table):
    """One row per transition between two steps: entrants = advanced + lost + goal_exits + waiting."""

    workflow_id: pl.String = key("workflow")
    from_step_id: pl.String = key("step entered")
    to_step_id: pl.String = key("step planned next")
    first_day: pl.Date = column("first day of entry that counts")
    entrants: pl.Int64 = count("entries into the first step that were routed to the second")
    advanced: pl.Int64 = count("entered the second step in time")
    lost: pl.Int64 = count("left, or stayed behind beyond planned wait + grace")
    timeouts: pl.Int64 = count("of `lost`, those who stayed behind")
    goal_exits: pl.Int64 = count("reached the goal first: no loss")
    waiting: pl.Int64 = count("undecided tonight: neither lost nor advanced")
    drop_off_rate: pl.Float64 = share(DROP_OFF)
    drop_off_rate_low: pl.Float64 = share(LOW)
    drop_off_rate_high: pl.Float64 = share(HIGH)
    effective_entrants: pl.Float64 = column("fully followed entrants that would tell as much", "count", nullable=True)
    advance_rate: pl.Float64 = share("share of entrants that enter the second step in time")
    goal_rate: pl.Float64 = share("share of entrants that reach the goal first")
    median_hours: pl.Float64 = column("median time to the second step of those who reach it", "hours", nullable=True)
    p25_hours: pl.Float64 = column("25% quantile of that time", "hours", nullable=True)
    p75_hours: pl.Float64 = column("75% quantile of that time", "hours", nullable=True)
    is_mature: pl.Boolean = column("nobody is waiting tonight")
    status: pl.String = column("'ok', or why there is no estimate")
    as_of_day: pl.Date = column(AS_OF)
    method: pl.String = column(METHOD)


@table("marts.time_to_next_step", ("workflow_id", "from_step_id", "to_step_id", "delay_version"))
class TimeToNextStep(Table):
    """One row per transition and version of its planned delay: when those who go on do so."""

    workflow_id: pl.String = key("workflow")
    from_step_id: pl.String = key("step entered")
    to_step_id: pl.String = key("step planned next")
    delay_version: pl.Int64 = count("version of the planned delay")
    planned_delay_hours: pl.Int64 = column("planned wait", "hours", nullable=True)
    entrants: pl.Int64 = count("entries under this version")
    advanced: pl.Int64 = count("entered the second step in hours that are fully followed")
    waiting: pl.Int64 = count("undecided in hours that are fully followed")
    median_hours: pl.Float64 = column("median time of those who reach it", "hours", nullable=True)
    p25_hours: pl.Float64 = column("25% quantile of that time", "hours", nullable=True)
    p75_hours: pl.Float64 = column("75% quantile of that time", "hours", nullable=True)
    status: pl.String = column("'ok', or why there is no estimate")
    as_of_day: pl.Date = column(AS_OF)
    method: pl.String = column(METHOD)


@table("marts.bottlenecks", ("workflow_id", "from_step_id", "to_step_id"))
class Bottlenecks(Table):
    """One row per transition, ranked by the conversions that a typical drop-off would have saved."""

    workflow_id: pl.String = key("workflow")
    from_step_id: pl.String = key("step entered")
    to_step_id: pl.String = key("step planned next")
    rank: pl.Int64 = column("1 = largest avoidable loss of the account", "rank", ge=1)
    entrants: pl.Int64 = count("entries routed to the second step")
    lost: pl.Int64 = count("left, or stayed behind beyond planned wait + grace")
    drop_off_rate: pl.Float64 = share(DROP_OFF)
    drop_off_rate_low: pl.Float64 = share(LOW)
    drop_off_rate_high: pl.Float64 = share(HIGH)
    benchmark_rate: pl.Float64 = share("drop-off typical of the account's other transitions")
    downstream_goal_probability: pl.Float64 = share("P(goal | second step reached); see `loss_unit`")
    avoidable_loss: pl.Float64 = column(
        "entrants x max(0, drop-off - benchmark) x downstream probability", "see loss_unit", nullable=True
    )
    loss_unit: pl.String = column(
        "goals; completions where the workflow has neither goal nor conversions", isin=["goals", "completions"]
    )
    avoidable_loss_low: pl.Float64 = column(LOW, "see loss_unit", nullable=True)
    avoidable_loss_high: pl.Float64 = column(HIGH, "see loss_unit", nullable=True)
    first_rank_probability: pl.Float64 = share("probability that this is the account's largest avoidable loss")
    status: pl.String = column("'ok', or why there is no estimate")
    as_of_day: pl.Date = column(AS_OF)
    method: pl.String = column(METHOD)


@table("marts.exit_reasons", ("workflow_id", "step_id", "window", "exit_reason"))
class ExitReasons(Table):
    """One row per step, window of days of exit, and reason: why journeys ended there."""

    workflow_id: pl.String = key("workflow")
    step_id: pl.String = key("step the journey ended in")
    window: pl.String = column("days of exit up to tonight", isin=WINDOWS)
    exit_reason: pl.String = column("reason (glossary)")
    exits: pl.Int64 = count("journeys ended in this step for this reason")
    ended: pl.Int64 = count("journeys ended in this step")
    exit_rate: pl.Float64 = share("exits / ended")
    exit_rate_low: pl.Float64 = share(LOW)
    exit_rate_high: pl.Float64 = share(HIGH)
    as_of_day: pl.Date = column(AS_OF)
    method: pl.String = column(METHOD)


@table("marts.stuck_subscribers", ("workflow_id", "step_id", "subscriber_key"))
class StuckSubscribers(Table):
    """One row per subscriber who tonight is in a step beyond planned wait + grace, with the cause."""

    workflow_id: pl.String = key("workflow")
    step_id: pl.String = key("step the subscriber is in")
    to_step_id: pl.String = key("step planned next")
    subscriber_key: pl.Int64 = key("keyed hash of the subscriber")
    cause: pl.String = column(
        "first that applies",
        isin=["deleted target", "paused step", "bounced", "loop", "failed filter", "queue stall", "unknown"],
    )
    entered_at: Timestamp = column("latest entry into the step", "UTC")
    deadline_at: Timestamp = column("planned wait + grace after it", "UTC")
    entries: pl.Int64 = count("entries of this subscriber into this step")
    stuck_hours: pl.Float64 = column("time since the deadline, at the end of tonight", "hours", ge=0)
    as_of_day: pl.Date = column(AS_OF)
    method: pl.String = column(METHOD)


@table("marts.revenue_attribution", ("workflow_id", "step_id", "view", "window"))
class RevenueAttribution(Table):
    """One row per step, view of attribution and window of days of sending; one conversion, one credit a view."""

    workflow_id: pl.String = key("workflow")
    step_id: pl.String = key("step")
    view: pl.String = column("rule of attribution", isin=["report", "mailchimp_compat"])
    window: pl.String = column("days of sending up to tonight", isin=WINDOWS)
    delivered: pl.Int64 = count("delivered messages")
    conversions: pl.Int64 = count("credited conversions")
    orders: pl.Int64 = count("credited orders")
    revenue_amount: Amount = column("credited net revenue", MONEY)
    currency: pl.String = column(CURRENCY, "ISO 4217")
    revenue_share: pl.Float64 = column("of what the view credits in this window", "share", nullable=True)
    revenue_per_recipient_amount: pl.Float64 = column("revenue_amount / delivered", MONEY, nullable=True)
    as_of_day: pl.Date = column(AS_OF)
    method: pl.String = column(METHOD)


@table("marts.reconciliation", ("campaign_id", "metric"))
class Reconciliation(Table):
    """One row per campaign, audience or store and metric: our count against Mailchimp's total, and why they differ."""

    campaign_id: pl.String = key(
        "campaign (of a step of a classic automation: its e-mail); of members their audience, of orders their store"
    )
    workflow_id: pl.String = column("workflow", "id", nullable=True)
    step_id: pl.String = column("step", "id", nullable=True)
    metric: pl.String = column("what is counted")
    counted: pl.Float64 = column("from messages, one by one", "count, click_rate a share", nullable=True)
    reported: pl.Float64 = column("by Mailchimp's report or listing", "count, click_rate a share", nullable=True)
    difference: pl.Float64 = column("counted - reported", "count, click_rate a share", nullable=True)
    reason: pl.String = column("'equal', why they differ, or 'unexplained'; since when something is gone or not read")
    as_of_day: pl.Date = column(AS_OF)


@table("marts.runs", ("run_id",))
class Runs(Table):
    """One row per nightly run."""

    run_id: pl.String = key("run")
    as_of_day: pl.Date = column(AS_OF)
    version: pl.String = column("code that ran")
    started_at: Timestamp = column("start", "UTC")
    finished_at: Timestamp = column("end; null while it runs", "UTC", nullable=True)
    status: pl.String = column("success, failure or running")
    rows_read: pl.Int64 = count("new rows written to the lake", nullable=True)
    rows_quarantined: pl.Int64 = count("rows that broke their contract", nullable=True)


@table("marts.quarantine", ("source", "reference", "field"))
class QuarantinedRows(Table):
    """One row per input row that broke its contract; says where it stands, never what it held."""

    source: pl.String = column("table the row was meant for")
    reference: pl.String = column("file and row, or endpoint and position")
    field: pl.String = column("first field that broke the contract")
    reason: pl.String = column("what was wrong and what is expected")
    as_of_day: pl.Date = column("night that read it")


@table("marts.data_dictionary", ("table", "column"))
class DataDictionary(Table):
    """One row per column of a published table."""

    table_name: pl.String = column("table", "name", alias="table")
    column_name: pl.String = column("column", "name", alias="column")
    position: pl.Int64 = column("place in the table, from 1", "rank")
    type: pl.String = column("DuckDB type")
    unit: pl.String = column("unit of measure; empty where there is none")
    meaning: pl.String = column("what it says")
