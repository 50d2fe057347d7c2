"""Who is stuck tonight, and why. `core.step_entries` tells which waits ran out; here it is decided who still waits."""

from datetime import date

import polars as pl

from pipeline.analysis.performance.time_to_next_step import step_names
from pipeline.common.time import DAY_US, HOUR_US, end_of_day_us, to_timestamp
from pipeline.schemas import lake, performance
from pipeline.schemas.base import conform

METHOD = "timeouts not left since; the first cause that applies"
# Entering one step three times with nothing in between is a loop. Twice may be a re-entry.
LOOP_ENTRIES = 3
# The event by which the sender tells that the filter of the next step holds somebody back.
FILTER_FAILED = "filter_failed"
# Subscribers in these states get no mail, so they wait for nothing.
GONE = ["unsubscribed", "cleaned", "archived", lake.NO_ADDRESS, lake.DELETED]
JOURNEY = ["workflow_key", "subscriber_key"]


def stuck_subscribers(
    step_entries: pl.LazyFrame,
    departures: pl.LazyFrame,
    conversions: pl.LazyFrame,
    subscribers: pl.LazyFrame,
    messages: pl.LazyFrame,
    events: pl.LazyFrame,
    automation_queue: pl.DataFrame,
    journey_steps: pl.DataFrame,
    steps: pl.DataFrame,
    workflows: pl.DataFrame,
    *,
    as_of: date,
) -> pl.DataFrame:
    """`marts.stuck_subscribers`, from the tables of `core` with these names and three of the lake.

    Args:
        events: `lake.events`, all versions.
        automation_queue: `lake.automation_queue` of every night.
        journey_steps: the latest version of each step of `lake.journey_steps`.

    Returns:
        One row per subscriber and workflow whose latest stay in a step ran past its deadline by the end of tonight, and
        who since then has not entered another step, left, reached the goal or been unsubscribed. Whoever has a planned
        sending after tonight still waits as intended and is left out. `cause` is the first that the evidence shows: the
        next step is deleted; it, the step itself or the workflow is paused; the step's message bounced; the subscriber
        entered the step at least three times; a `filter_failed` event; the planned sending in Mailchimp's queue has
        passed, or Mailchimp counts people who wait at the next e-mail of the journey itself.
        `stuck_hours` count from the deadline to the end of tonight.
    """
    now = end_of_day_us(as_of)
    held = (
        _last_stays(step_entries, now)
        .pipe(_still_there, departures, conversions, subscribers, workflows, now)
        .pipe(_with_queue, automation_queue, steps, now)
        .filter(pl.col("next_send_us").is_null() | (pl.col("next_send_us") < now))
        .pipe(_with_states, steps, workflows)
        .pipe(_with_journey_queue, journey_steps, steps)
        .pipe(_with_marks, messages, events, workflows, now)
        .with_columns(_cause().alias("cause"))
    )
    table = held.with_columns(
        to_timestamp("entered_us").alias("entered_at"),
        to_timestamp("deadline_us").alias("deadline_at"),
        stuck_hours=(now - pl.col("deadline_us")) / HOUR_US,
        as_of_day=pl.lit(as_of),
        method=pl.lit(METHOD),
    )
    return conform(table.sort("workflow_id", "step_id", "subscriber_key"), performance.StuckSubscribers)


def _last_stays(step_entries: pl.LazyFrame, now: int) -> pl.DataFrame:
    """The latest stay of every journey that is past its deadline; repeated entries into one step are one stay.

    Of a loop the first deadline counts, because whoever goes round in it never reaches the deadline of the last entry.
    """
    stay_began = (
        (pl.col("step_key") != pl.col("step_key").shift()) | (pl.col("outcome").shift() != "timeout")
    ).fill_null(True)
    # The queue of a step shows who waits for it. They are in it only if no earlier step of them is known.
    is_queued = pl.col("entry_source") == "queue"
    stays = (
        step_entries.filter(pl.col("entered_us") < now)
        .select(*JOURNEY, "step_key", "to_step_key", "entered_us", "outcome", "outcome_us", "entry_source")
        .join(_late_journeys(step_entries, now), on=JOURNEY, how="semi")
        # Few journeys are late, and the streaming engine does not hold the entries of the others.
        .collect(engine="streaming")
        .filter(~is_queued | is_queued.all().over(JOURNEY))
        .sort(*JOURNEY, "entered_us", "step_key")
        .with_columns(stay=stay_began.cum_sum().over(JOURNEY))
        .group_by(*JOURNEY, "stay", maintain_order=True)
        .agg(
            pl.col("step_key", "to_step_key", "entered_us", "outcome").last(),
            first_deadline_us=pl.col("outcome_us").first(),
            last_deadline_us=pl.col("outcome_us").last(),
            entries=pl.len().cast(pl.Int64),
        )
        .group_by(JOURNEY, maintain_order=True)
        .last()
    )
    is_loop = pl.col("entries") >= LOOP_ENTRIES
    return stays.with_columns(
        deadline_us=pl.when(is_loop).then("first_deadline_us").otherwise("last_deadline_us"), is_loop=is_loop
    ).filter((pl.col("outcome") == "timeout") & (pl.col("deadline_us") < now))


def _late_journeys(step_entries: pl.LazyFrame, now: int) -> pl.LazyFrame:
    late = (pl.col("outcome") == "timeout") & (pl.col("outcome_us") < now) & (pl.col("entered_us") < now)
    return step_entries.filter(late).select(JOURNEY).unique()


def _still_there(
    stays: pl.DataFrame,
    departures: pl.LazyFrame,
    conversions: pl.LazyFrame,
    subscribers: pl.LazyFrame,
    workflows: pl.DataFrame,
    now: int,
) -> pl.DataFrame:
    held = stays.lazy().select("subscriber_key").unique()
    goals = (
        conversions.filter(pl.col("occurred_us") < now)
        .select("subscriber_key", "event_type", "occurred_us")
        .join(held, on="subscriber_key", how="semi")
        .join(workflows.lazy().select("workflow_key", pl.col("goal_event_type").alias("event_type")), on="event_type")
        .select(*JOURNEY, left_us="occurred_us")
        .collect(engine="streaming")
    )
    ends = (
        departures.filter(pl.col("occurred_us") < now)
        .select(*JOURNEY, left_us="occurred_us")
        .join(held, on="subscriber_key", how="semi")
        .collect(engine="streaming")
    )
    of_one = pl.concat([goals, ends]).group_by(JOURNEY).agg(pl.col("left_us").max())
    of_all = (
        ends.filter(pl.col("workflow_key") == 0)
        .group_by("subscriber_key")
        .agg(pl.col("left_us").max().alias("quit_us"))
    )
    gone = subscribers.filter(pl.col("status").is_in(GONE)).select("subscriber_key").collect()
    left = pl.max_horizontal("left_us", "quit_us").fill_null(0)
    return (
        stays.join(gone, on="subscriber_key", how="anti")
        .join(of_one, on=JOURNEY, how="left")
        .join(of_all, on="subscriber_key", how="left")
        .filter(left < pl.col("entered_us"))
        .drop("left_us", "quit_us")
    )


def _with_queue(stays: pl.DataFrame, automation_queue: pl.DataFrame, steps: pl.DataFrame, now: int) -> pl.DataFrame:
    """With `next_send_us`, the sending planned for each stay in tonight's queue."""
    planned = (
        automation_queue.filter((pl.col("as_of_day") + 1) * DAY_US == now)
        .join(steps.select("workflow_id", "step_id", "workflow_key"), on=["workflow_id", "step_id"])
        .group_by(JOURNEY)
        .agg(pl.col("next_send_us").min())
    )
    return stays.join(planned, on=JOURNEY, how="left")


def _with_journey_queue(stays: pl.DataFrame, journey_steps: pl.DataFrame, steps: pl.DataFrame) -> pl.DataFrame:
    """With `queue_count`, how many Mailchimp counts at the e-mail that is planned next; null where it counts nobody."""
    queues = journey_steps.group_by("campaign_id").agg(pl.col("queue_count").max()).drop_nulls()
    waiting = steps.join(queues, on="campaign_id").select(pl.col("step_key").alias("to_step_key"), "queue_count")
    return stays.join(waiting, on="to_step_key", how="left")


def _with_states(stays: pl.DataFrame, steps: pl.DataFrame, workflows: pl.DataFrame) -> pl.DataFrame:
    return (
        stays.join(step_names(steps, "to").drop("workflow_id"), on="to_step_key")
        .join(steps.select(pl.col("step_key").alias("to_step_key"), to_status="status"), on="to_step_key")
        .join(steps.select("step_key", "workflow_id", "step_id", step_status="status"), on="step_key")
        .join(workflows.select("workflow_key", workflow_status="status"), on="workflow_key")
    )


def _with_marks(
    stays: pl.DataFrame, messages: pl.LazyFrame, events: pl.LazyFrame, workflows: pl.DataFrame, now: int
) -> pl.DataFrame:
    keys = messages.filter(pl.col("bounce_kind").is_not_null()).select("step_key", "subscriber_key")
    bounced = keys.collect().with_columns(is_bounced=True)
    filtered = (
        events.filter((pl.col("event_type") == FILTER_FAILED) & (pl.col("occurred_us") < now))
        .select("event_id", "as_of_day", "subscriber_key", "workflow_id", "occurred_us")
        .collect()
        .sort("as_of_day", "occurred_us")
        .unique("event_id", keep="last", maintain_order=True)
        .join(workflows.select("workflow_id", "workflow_key"), on="workflow_id")
        .group_by(JOURNEY)
        .agg(filtered_us=pl.col("occurred_us").max())
    )
    return (
        stays.join(bounced.unique(), on=["step_key", "subscriber_key"], how="left")
        .join(filtered, on=JOURNEY, how="left")
        .with_columns(
            pl.col("is_bounced").fill_null(False),
            is_filtered=(pl.col("filtered_us") >= pl.col("entered_us")).fill_null(False),
        )
    )


def _cause() -> pl.Expr:
    is_paused = pl.any_horizontal(pl.col("to_status", "step_status", "workflow_status") == "paused")
    return (
        pl.when(pl.col("to_status") == "deleted")
        .then(pl.lit("deleted target"))
        .when(is_paused)
        .then(pl.lit("paused step"))
        .when("is_bounced")
        .then(pl.lit("bounced"))
        .when("is_loop")
        .then(pl.lit("loop"))
        .when("is_filtered")
        .then(pl.lit("failed filter"))
        .when(pl.col("next_send_us").is_not_null() | (pl.col("queue_count") > 0))
        .then(pl.lit("queue stall"))
        .otherwise(pl.lit("unknown"))
    )
