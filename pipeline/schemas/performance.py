"""Performance marts: what was sent, who went on, who was lost and why, and how our counts compare with Mailchimp's.

The marts of the run itself are here too: `runs`, `quarantine` and `data_dictionary`.
"""

import polars as pl

from pipeline.schemas import vocabulary
from pipeline.schemas.base import STEP, SUBSCRIBER, WORKFLOW, Amount, Table, Timestamp, table
from pipeline.schemas.columns import WILSON, column, count, key, method_name, share, tonight, utc_day, word
from pipeline.schemas.core import DEFINITION, StepColumns, WorkflowColumns
from pipeline.schemas.lake import QuarantineColumns

CURRENCY = "Currency of every amount of the row: the workspace's."
MONEY = "currency units"
PER_RECIPIENT = "revenue_amount / delivered. Null if nothing was delivered."
ON_LOG_SCALE = "95%, on the log scale; null where fewer than three messages' worth of revenue is known"
ENTRANTS = "Entries into the first of both steps that were routed to the second, in the days counted."
LOST = "Entrants who left, or were still in the first step when planned delay and grace had passed."
DROP_OFF = (
    "Share of entrants lost by the end of planned delay and grace. Those waiting are censored; a goal is no loss."
)
TIME = "Time from entry to the second step, of those who reach it. Null if too few do."
LOCAL_HOUR = "local hour, 0-23"
RECONCILED = "count; click_rate a share"
EFFECTIVE = "95%, Wilson at effective numbers"


@table("marts.workflows", ("workflow_id",))
class Workflows(WorkflowColumns):
    """One row per workflow: a flow of flows.yaml, a classic automation, or a one-off campaign."""

    steps: pl.Int64 = count("Steps of the workflow.")
    definition_version: pl.String = column(DEFINITION)


@table("marts.steps", ("workflow_id", "step_id"))
class Steps(StepColumns):
    """One row per step, with its default next step as planned tonight."""

    next_step_id: pl.String = key("Default next step. Null after the last step.", nullable=True)
    planned_delay_hours: pl.Int64 = column("Planned delay before the default next step.", "hours", nullable=True)
    grace_hours: pl.Int64 = column("Time after that delay until a subscriber is stuck.", "hours", nullable=True)
    quiet_from_hour: pl.Int64 = column("Begin of quiet hours. Null without any.", LOCAL_HOUR, nullable=True)
    quiet_until_hour: pl.Int64 = column("End of quiet hours. Null without any.", LOCAL_HOUR, nullable=True)
    allowed_weekdays: pl.String = column("Local days on which it may send, by comma.", "0-6, Monday = 0")
    hourly_cap: pl.Int64 = count("Most recipients in one local hour. Null without a cap.", nullable=True)
    next_step_source: pl.String = word("How the way to that step is known.", vocabulary.EdgeSource, nullable=True)
    observed_people: pl.Int64 = count("People who went that way. Null if it is not an observed one.", nullable=True)
    writable_delay_action: pl.String = column(
        "What the delay before the e-mail counts from, as Mailchimp names it. Null where the API cannot write it.",
        nullable=True,
    )


@table("marts.calendar", ("day",))
class Calendar(Table):
    """One row per day from the first fact to tonight."""

    day: pl.Date = utc_day("The day.")
    year: pl.Int64 = column("Calendar year.", "year")
    quarter: pl.Int64 = column("Quarter of the year.", "1-4")
    month: pl.Int64 = column("Month of the year.", "1-12")
    iso_year: pl.Int64 = column("Year that the ISO week belongs to.", "year")
    iso_week: pl.Int64 = column("ISO week of the year.", "1-53")
    weekday: pl.Int64 = column("Day of the week, Monday = 1.", "1-7")
    is_weekend: pl.Boolean = column("The day is a Saturday or Sunday.")
    is_mature: pl.Boolean = column("The rates of messages sent on this day no longer change.")


class _WorkflowKey(Table):
    workflow_id: pl.String = key(WORKFLOW)


class _StepKey(_WorkflowKey):
    step_id: pl.String = key(STEP)


class _DailyKey(_StepKey):
    day: pl.Date = utc_day("Day of sending for all counts of messages; day of entry for `entries`.")


class _Counts(Table):
    entries: pl.Int64 = count("Entries into the step. A subscriber who enters twice counts twice.")
    sent: pl.Int64 = count("Messages handed to Mailchimp for delivery.")
    delivered: pl.Int64 = count("Messages that did not bounce. Whether they reached the inbox is not known.")
    hard_bounces: pl.Int64 = count("Messages that failed for good, malformed addresses included.")
    soft_bounces: pl.Int64 = count("Messages that failed for the time being, after all retries.")
    opens: pl.Int64 = count("Opens of the messages, those by machines included.")
    unique_opens: pl.Int64 = count("Delivered messages opened at least once, by a person or a machine.")
    unique_human_opens: pl.Int64 = count(
        "Delivered messages with an open without a mark of a machine. Null if `unmarked_sent` is above 0.",
        nullable=True,
    )
    clicks: pl.Int64 = count("Clicks on links of the messages, those by machines included.")
    unique_clicks: pl.Int64 = count("Delivered messages clicked at least once, by a person or a machine.")
    unique_human_clicks: pl.Int64 = count("Delivered messages with a click that bears no mark of a machine.")
    prompt_human_clicks: pl.Int64 = count("Those of `unique_human_clicks` whose first such click came within 24 hours.")
    unique_human_engagements: pl.Int64 = count("Delivered messages with an open or click without a mark of a machine.")
    unmarked_sent: pl.Int64 = count("Messages sent before Mailchimp marked opens by machines (2024-06-22).")
    unsubscribes: pl.Int64 = count("Unsubscribes that Mailchimp attributes to the messages.")
    complaints: pl.Int64 = count("Complaints about the messages. A lower bound: not every mail provider reports them.")
    conversions: pl.Int64 = count("Conversions credited to the messages, attribution view 'report'.")
    revenue_amount: Amount = column("Net revenue of the orders among `conversions`.", MONEY)
    squared_revenue: pl.Float64 = column(
        "Sum of the squares of each message's part of it, from which intervals of means come.", f"{MONEY} squared", ge=0
    )
    mailchimp_compat_conversions: pl.Int64 = count("Conversions credited in the view 'mailchimp_compat'.")
    mailchimp_compat_revenue_amount: Amount = column("Net revenue of the orders among them.", MONEY)
    currency: pl.String = column(CURRENCY, "ISO 4217")


class _Rates(_Counts):
    window: pl.String = word("Days up to tonight that are counted, by day of sending or entry.", vocabulary.Window)
    first_day: pl.Date = utc_day("First day of the window; of 'all' the first day with a fact.")
    as_of_day: pl.Date = tonight()
    delivery_rate: pl.Float64 = share("delivered / sent. Null if nothing was sent.", interval=WILSON)
    hard_bounce_rate: pl.Float64 = share("hard_bounces / sent. Null if nothing was sent.", interval=WILSON)
    soft_bounce_rate: pl.Float64 = share("soft_bounces / sent. Null if nothing was sent.", interval=WILSON)
    open_rate: pl.Float64 = share(
        "unique_opens / delivered, machines included. Null if nothing was delivered.", interval=WILSON
    )
    unmarked_open_rate: pl.Float64 = share(
        "unique_human_opens / delivered. Null if `unmarked_sent` is above 0.", interval=WILSON
    )
    human_open_rate_low: pl.Float64 = share(
        "Smallest possible share that people opened: marked opens do not count. Null if `unmarked_sent` is above 0."
    )
    human_open_rate_high: pl.Float64 = share(
        "Largest possible share that people opened: a person is behind every open."
    )
    click_rate: pl.Float64 = share(
        "unique_clicks / delivered, as Mailchimp counts it. Null if nothing was delivered.", interval=WILSON
    )
    human_click_rate: pl.Float64 = share(
        "unique_human_clicks / delivered. Null if nothing was delivered.", interval=WILSON
    )
    click_to_open_rate_low: pl.Float64 = share("unique_human_clicks / messages opened at all or clicked by a person.")
    click_to_open_rate_high: pl.Float64 = share(
        "unique_human_clicks / unique_human_engagements. Null if `unmarked_sent` is above 0."
    )
    unsubscribe_rate: pl.Float64 = share("unsubscribes / delivered. Null if nothing was delivered.", interval=WILSON)
    complaint_rate: pl.Float64 = share(
        "complaints / delivered, a lower bound. Null if nothing was delivered.", interval=WILSON
    )
    conversion_rate: pl.Float64 = share(
        "conversions / delivered. Null if there are fewer messages than conversions, or none.", interval=WILSON
    )
    revenue_per_recipient_amount: pl.Float64 = column(PER_RECIPIENT, MONEY, nullable=True, interval=ON_LOG_SCALE)
    mature_sent: pl.Int64 = count("Messages old enough that their rates no longer change.")
    is_mature: pl.Boolean = column("Every message of the window is that old.")
    definition_version: pl.String = column(DEFINITION)


@table("marts.step_metrics_daily", ("day", "workflow_id", "step_id"))
class StepMetricsDaily(_Counts, _DailyKey):
    """One row per step and day with entries or messages. What came of a message counts on its day of sending."""

    is_mature: pl.Boolean = column("The rates of messages sent on this day no longer change.")
    definition_version: pl.String = column(DEFINITION)


@table("marts.step_metrics", ("workflow_id", "step_id", "window"))
class StepMetrics(_Rates, _StepKey):
    """One row per step and window up to tonight, every rate with its 95% Wilson interval."""


@table("marts.step_links", ("workflow_id", "step_id", "window", "url"))
class StepLinks(_StepKey, is_stamped=True):
    """One row per step, link and window with messages: who clicked the link. Some links nobody clicked."""

    url: pl.String = column("Link, without what names a person. Links that unsubscribe are left out.")
    window: pl.String = word("Days up to tonight that are counted, by day of sending.", vocabulary.Window)
    delivered: pl.Int64 = count("Messages of the step that did not bounce.")
    clicks: pl.Int64 = count("Clicks on the link, those by machines included.")
    unique_clicks: pl.Int64 = count("Delivered messages in which the link was clicked, by a person or a machine.")
    unique_human_clicks: pl.Int64 = count("Delivered messages in which a person clicked the link.")
    click_share: pl.Float64 = share("unique_human_clicks / their sum over the links of the step. Null without any.")
    human_click_rate: pl.Float64 = share("unique_human_clicks / delivered.", interval=WILSON)


@table("marts.workflow_metrics", ("workflow_id", "window"))
class WorkflowMetrics(_Rates, _WorkflowKey):
    """One row per workflow and window up to tonight. A subscriber counts once per message, not once per workflow."""

    entrants: pl.Int64 = count("Entries into the first step of the workflow.")
    incremental_revenue_amount: pl.Float64 = column(
        "What those whom the flow's hold-out lets in bought in the window, less what as many people held out bought. "
        "Null where no hold-out of the flow stood for the whole window, or `holdouts` compares nothing.",
        MONEY,
        nullable=True,
        interval="95%, normal",
    )


@table("marts.metric_changes", ("workflow_id", "metric"))
class MetricChanges(Table):
    """One row per rate and workflow, or the whole account: the last 28 closed days against the 28 days before."""

    as_of_day: pl.Date = tonight()
    workflow_id: pl.String = key("Workflow. Null for the whole account.", nullable=True)
    metric: pl.String = word("The rate that is compared.", vocabulary.ComparedRate)
    first_day: pl.Date = utc_day("First day of the current period. The previous period ends on the day before.")
    last_day: pl.Date = utc_day("Last day of the current period: the last one whose rates no longer change.")
    numerator: pl.Int64 = count("Events of the current period.")
    denominator: pl.Int64 = count("Messages of the current period.")
    current_rate: pl.Float64 = share("numerator / denominator.", interval=EFFECTIVE)
    previous_numerator: pl.Int64 = count("Events of the previous period.")
    previous_denominator: pl.Int64 = count("Messages of the previous period.")
    previous_rate: pl.Float64 = share("previous_numerator / previous_denominator.", interval=EFFECTIVE)
    rate_difference: pl.Float64 = column("current_rate - previous_rate.", "share", nullable=True, interval="95%")
    dispersion: pl.Float64 = column("Variance of the rate between days, relative to chance alone.", "ratio", ge=1.0)
    change: pl.String = word("Direction of the change, if its interval excludes zero.", vocabulary.RateChange)
    is_adverse: pl.Boolean = column("The rate clearly changed for the worse.")
    method: pl.String = method_name()


class _TransitionKey(_WorkflowKey):
    from_step_id: pl.String = key("First step of the transition: the one that was entered.")
    to_step_id: pl.String = key("Second step of the transition: the one planned next.")


@table("marts.industry", ("metric",))
class Industry(Table, is_stamped=True):
    """One row per rate that Mailchimp tells of the account's industry, beside the account's own."""

    metric: pl.String = word("The rate, machines included, as Mailchimp counts it.", vocabulary.IndustryRate)
    industry_type: pl.String = column("The account's industry, as Mailchimp names it.")
    industry_rate: pl.Float64 = share("Average of the industry, as Mailchimp tells it.", nullable=False)
    window: pl.String = word("Days up to tonight that are counted for the account.", vocabulary.Window)
    numerator: pl.Int64 = count("Events of the account.")
    denominator: pl.Int64 = count("Messages of the account: sent for bounces, else delivered.")
    account_rate: pl.Float64 = share("numerator / denominator. Null without messages.", interval=WILSON)
    comparison: pl.String = word("Where the account's interval lies.", vocabulary.IndustryComparison)


@table("marts.funnel", ("workflow_id", "from_step_id", "to_step_id"))
class Funnel(_TransitionKey, is_stamped=True):
    """One row per transition between two steps. `entrants` = `advanced` + `lost` + `goal_exits` + `waiting`."""

    first_day: pl.Date = utc_day("First day of entry that counts; the last one is tonight.")
    entrants: pl.Int64 = count(ENTRANTS)
    advanced: pl.Int64 = count("Entrants who entered the second step in time.")
    lost: pl.Int64 = count(LOST)
    timeouts: pl.Int64 = count("Those of `lost` who did not leave but stayed too long.")
    goal_exits: pl.Int64 = count("Entrants who reached the goal first. They are not lost.")
    waiting: pl.Int64 = count("Entrants whose planned delay and grace have not passed tonight. Nothing is decided yet.")
    drop_off_rate: pl.Float64 = share(DROP_OFF, interval=EFFECTIVE)
    effective_entrants: pl.Float64 = column(
        "Entrants, all followed to the end, that would give as wide an interval. Null without one.",
        "count",
        nullable=True,
    )
    advance_rate: pl.Float64 = share("Share of entrants who enter the second step in time, those waiting censored.")
    goal_rate: pl.Float64 = share("Share of entrants who reach the goal first, those waiting censored.")
    median_hours: pl.Float64 = column(f"Median. {TIME}", "hours", nullable=True)
    p25_hours: pl.Float64 = column(f"25% quantile. {TIME}", "hours", nullable=True)
    p75_hours: pl.Float64 = column(f"75% quantile. {TIME}", "hours", nullable=True)
    is_mature: pl.Boolean = column("Nobody is waiting tonight.")
    status: pl.String = word("Whether the rates could be estimated; otherwise they are null.", vocabulary.FunnelStatus)


@table("marts.time_to_next_step", ("workflow_id", "from_step_id", "to_step_id", "delay_version"))
class TimeToNextStep(_TransitionKey, is_stamped=True):
    """One row per transition and version of its planned delay: when those who go on to the next step do so."""

    delay_version: pl.Int64 = count("Version of the planned delay, from 1.")
    planned_delay_hours: pl.Int64 = column("Planned delay of that version.", "hours", nullable=True)
    entrants: pl.Int64 = count("Entries that were routed to the second step under this version.")
    advanced: pl.Int64 = count("Those who entered the second step within the hours that are fully followed.")
    waiting: pl.Int64 = count("Those for whom nothing is decided within the hours that are fully followed.")
    median_hours: pl.Float64 = column(f"Median. {TIME}", "hours", nullable=True)
    p25_hours: pl.Float64 = column(f"25% quantile. {TIME}", "hours", nullable=True)
    p75_hours: pl.Float64 = column(f"75% quantile. {TIME}", "hours", nullable=True)
    status: pl.String = word("Whether the times could be estimated.", vocabulary.TransitionTimeStatus)


@table("marts.bottlenecks", ("workflow_id", "from_step_id", "to_step_id"))
class Bottlenecks(_TransitionKey, is_stamped=True):
    """One row per transition, ranked by the goals that a drop-off typical of the other transitions would have saved."""

    rank: pl.Int64 = column("1 = largest avoidable loss of the account. Losses in completions come last.", "rank", ge=1)
    entrants: pl.Int64 = count(ENTRANTS)
    lost: pl.Int64 = count(LOST)
    drop_off_rate: pl.Float64 = share(DROP_OFF, interval=EFFECTIVE)
    benchmark_rate: pl.Float64 = share("Typical drop-off: median of the account's other transitions, by entrants.")
    downstream_goal_probability: pl.Float64 = share(
        "Chance of `loss_unit` for a subscriber who reaches the second step."
    )
    avoidable_loss: pl.Float64 = column(
        "entrants x max(0, drop_off_rate - benchmark_rate) x downstream_goal_probability.",
        "see loss_unit",
        nullable=True,
        interval="95%",
    )
    loss_unit: pl.String = word("What is lost: goals, where the workflow has any.", vocabulary.LossUnit)
    first_rank_probability: pl.Float64 = share("Probability that this is the largest avoidable loss of the account.")
    status: pl.String = word("Whether the loss could be estimated.", vocabulary.BottleneckStatus)


@table("marts.exit_reasons", ("workflow_id", "step_id", "window", "exit_reason"))
class ExitReasons(_StepKey, is_stamped=True):
    """One row per step, window of days of exit, and reason: why stays in the workflow ended in this step."""

    window: pl.String = word("Days up to tonight that are counted, by day of exit.", vocabulary.Window)
    exit_reason: pl.String = word("Why the stay ended.", vocabulary.ExitReason)
    exits: pl.Int64 = count("Stays that ended in this step for this reason.")
    ended: pl.Int64 = count("Stays that ended in this step for any reason.")
    exit_rate: pl.Float64 = share("exits / ended.", interval=WILSON)


@table("marts.stuck_subscribers", ("workflow_id", "step_id", "subscriber_key"))
class StuckSubscribers(_StepKey, is_stamped=True):
    """One row per subscriber who tonight has been in a step beyond planned delay and grace, with the cause."""

    to_step_id: pl.String = key("Step planned next.")
    subscriber_key: pl.Int64 = key(SUBSCRIBER)
    cause: pl.String = word("Why the subscriber is stuck: the first cause that the data show.", vocabulary.StuckCause)
    entered_at: Timestamp = column("Latest entry into the step.", "UTC")
    deadline_at: Timestamp = column("End of planned delay and grace; in a loop counted from the first entry.", "UTC")
    entries: pl.Int64 = count("Entries of this subscriber into this step in this stay.")
    stuck_hours: pl.Float64 = column("Time from the deadline to the end of tonight.", "hours", ge=0)


@table("marts.revenue_attribution", ("workflow_id", "step_id", "view", "window"))
class RevenueAttribution(_StepKey, is_stamped=True):
    """One row per step, attribution view and window of days of sending. In a view a conversion is credited once."""

    view: pl.String = word("Rule by which a conversion is credited to a message.", vocabulary.AttributionView)
    window: pl.String = word("Days up to tonight that are counted, by day of sending.", vocabulary.Window)
    delivered: pl.Int64 = count("Messages that did not bounce.")
    conversions: pl.Int64 = count("Conversions credited to messages of the window.")
    orders: pl.Int64 = count("Those of `conversions` that are orders.")
    revenue_amount: Amount = column("Net revenue of those orders.", MONEY)
    currency: pl.String = column(CURRENCY, "ISO 4217")
    revenue_share: pl.Float64 = column(
        "Share of the revenue that the view credits in the window.", "share", nullable=True
    )
    revenue_per_recipient_amount: pl.Float64 = column(PER_RECIPIENT, MONEY, nullable=True, interval=ON_LOG_SCALE)


@table("marts.reconciliation", ("campaign_id", "metric"))
class Reconciliation(Table):
    """One row per campaign, audience or store and metric: our count against Mailchimp's total, and why they differ."""

    campaign_id: pl.String = key("Campaign. For members their audience, for orders their store.")
    workflow_id: pl.String = key("Workflow of the campaign's step. Null if no step has it.", nullable=True)
    step_id: pl.String = key("Step that the campaign belongs to. Null if no step has it.", nullable=True)
    metric: pl.String = word("What is counted.", vocabulary.ReconciledMetric)
    counted: pl.Float64 = column("Our count, from single rows. Null if none was read.", RECONCILED, nullable=True)
    reported: pl.Float64 = column("Mailchimp's total. Null without one.", RECONCILED, nullable=True)
    difference: pl.Float64 = column("counted - reported, no count being 0.", RECONCILED, nullable=True)
    reason: pl.String = column("'equal', or why both differ, 'unexplained' if the data do not show it.")
    as_of_day: pl.Date = tonight()


@table("marts.runs", ("run_id",))
class Runs(Table):
    """One row per run of the nightly that ended, and the one that published this table."""

    run_id: pl.String = key("Run, as Dagster names it.")
    as_of_day: pl.Date = utc_day("The night that was computed: the last UTC day whose data were used.")
    version: pl.String = column("Release of driptune that published this table.")
    started_at: Timestamp = column("Start of the run.", "UTC")
    finished_at: Timestamp = column("End of the run. Null if Dagster does not know it.", "UTC", nullable=True)
    status: pl.String = word("How the run ended.", vocabulary.RunStatus)
    rows_read: pl.Int64 = count("New rows that the night wrote to the lake. Null if it wrote nothing.", nullable=True)
    rows_quarantined: pl.Int64 = count("Rows that the night set aside in `quarantine`.", nullable=True)


@table("marts.quarantine", ("source", "reference", "field"))
class QuarantinedRows(QuarantineColumns):
    """One row per input row that broke its contract. It says where the input row is, never what it held."""

    as_of_day: pl.Date = utc_day("The night that read the row.")


@table("marts.data_dictionary", ("table", "column"))
class DataDictionary(Table):
    """One row per column of a published table."""

    table_name: pl.String = column("Table.", "name", alias="table")
    column_name: pl.String = column("Column.", "name", alias="column")
    position: pl.Int64 = column("Place of the column in its table, from 1.", "rank")
    type: pl.String = column("DuckDB type of the column.")
    unit: pl.String = column("Unit of the values. Empty for words, texts and yes or no.")
    meaning: pl.String = column("What the values say, and when they are null.")
