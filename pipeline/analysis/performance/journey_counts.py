"""Whether our counts of people in journeys agree with those that Mailchimp shows, and the reason where they do not."""

from datetime import date

import polars as pl

from pipeline.analysis.performance.announced import UNANNOUNCED
from pipeline.analysis.performance.reconciliation import DELETED_MEMBERS, DELETED_SHARE_LIMIT, NO_MESSAGES, RE_ENTRY
from pipeline.analysis.performance.stuck import GONE, JOURNEY
from pipeline.common.time import HOUR_US, day_number, end_of_day_us, to_date
from pipeline.schemas.base import latest
from pipeline.schemas.lake import Sources

WAITING_FIRST, LEFT_EARLY = "waiting for the first e-mail", "left before the first e-mail"
NEWER = "journey newer than the night"
NO_STEP, NO_EXITS, OTHER_END = "waiting for a deleted step", "exits are not told", "other ends of the flow"
SHARED, NOT_READ = "shared e-mail", "e-mails not read"
LATE_EXITS, ON_ITS_WAY = "exits not told yet", "last e-mail on its way"
WAY = ("step_key", "to_step_key", "delay_version", "assigned_delay_hours")
METRICS = ("started", "completed", "queued", "sent")
EVIDENCE = (
    "lost_way",
    "overdue",
    "exits",
    "waiting_first",
    "unread",
    "later",
    "repeated",
    "shared",
    "failed_emails",
    "almost_there",
)


def journey_counts(
    versions: pl.DataFrame,
    journey_steps: pl.DataFrame,
    step_entries: pl.LazyFrame,
    messages: pl.LazyFrame,
    steps: pl.DataFrame,
    edges: pl.DataFrame,
    subscribers: pl.LazyFrame,
    recipients: pl.DataFrame,
    sources: pl.LazyFrame,
    *,
    as_of: date,
) -> pl.DataFrame:
    """One row per journey and metric: `campaign_id` (the journey), `metric`, `counted`, `reported`, `reason`.

    Args:
        versions: rows of `marts.journeys`; the latest version of each journey that is a workflow is compared.
        journey_steps: latest rows of `lake.journey_steps`.
        step_entries: `core.step_entries`, and so are the tables with the names of the other arguments.
        messages: `core.messages`.
        steps: `core.steps`.
        edges: `core.edges`.
        subscribers: `core.subscribers`.
        recipients: latest rows of `lake.recipients`.
        sources: `lake.sources`, all versions.
        as_of: tonight.

    Started are those who ever entered a step, completed those who entered a last one, and queued those whose latest
    entry has come to no end. The reason is the first that the evidence bears out: `equal`; `no total announced`;
    `journey not read since DAY` (Mailchimp's count is of that night); `shared e-mail` (another workflow sends one of
    its e-mails, too, whose messages count there); `e-mails not read` (some could not be read tonight); `feeds not
    read yet: N people` (nobody knows yet when they were sent what; they are in no count); `journey newer than the
    night` (somebody started after it, or as many got mail of it: Mailchimp tells the count of now); `re-entry`
    (Mailchimp counts who came in again once more, and their messages); `no messages` (no recipient of its e-mails is
    told); `deleted members` (as many messages as that are no longer shown, a tenth at most); `waiting for the first
    e-mail` (as many wait in delays before it); `left before the first e-mail` (all its mail is read, so whoever got
    none left before); `waiting for a deleted step`; `exits are not told` (no event says who left); `exits not told
    yet` (as many wait for longer than they were to, some of them perhaps for a deleted step); `last e-mail on its
    way` (the wait of as many before a last step is over: they may be in it while their mail is not told yet); `other
    ends of the flow` (it has branches that end without a last e-mail); `unexplained`.
    """
    now = end_of_day_us(as_of)
    current = versions.filter(pl.col("is_current") & pl.col("workflow_id").is_not_null())
    keys = steps.select("workflow_id", "workflow_key").unique()
    told = ("journey_id", "workflow_id", "branches", pl.col("can_reenter").fill_null(False), *METRICS)
    is_newer = (pl.col("last_started_at").dt.timestamp("us") >= now).fill_null(False).alias("is_newer")
    known = current.select(*told, is_newer).join(keys, on="workflow_id")
    until_tonight = latest(sources.filter(pl.col("as_of_day") <= day_number(as_of)), Sources)
    failed = until_tonight.filter(pl.col("state") == "failed").collect()
    known = known.with_columns(_not_read_since(failed))
    is_mine = pl.col("workflow_key").is_in(known["workflow_key"].implode())
    entered = step_entries.filter(is_mine & (pl.col("entered_us") < now) & (pl.col("entry_source") != "queue"))
    mine = entered.select(*JOURNEY, *WAY, "entered_us", "outcome", "outcome_us").collect()
    standing = steps.filter(pl.col("status") != "deleted")
    last = standing.join(edges.select(pl.col("from_step_key").alias("step_key")), on="step_key", how="anti")
    gone = subscribers.filter(pl.col("status").is_in(GONE)).select("subscriber_key").collect()
    deleted = steps.filter(pl.col("status") == "deleted").select(pl.col("step_key").alias("to_step_key"))
    inside = (
        mine.sort("entered_us")
        .unique(JOURNEY, keep="last", maintain_order=True)
        .filter((pl.col("outcome") == "timeout") | (pl.col("outcome_us") >= now))
        .join(gone, on="subscriber_key", how="anti")
    )
    exits = mine.filter(pl.col("outcome") == "lost").group_by("workflow_key").len("exits")
    of_today = messages.join(standing.lazy().select("step_key"), on="step_key", how="semi")
    sent = of_today.group_by("workflow_key").len("our_sent").collect()
    facts = [
        _people(mine, "our_started"),
        _people(mine.join(last, on="step_key", how="semi"), "our_completed"),
        _people(inside, "our_queued"),
        _people(inside.join(deleted, on="to_step_key", how="semi"), "lost_way"),
        _people(inside.filter(pl.col("outcome_us") < now), "overdue"),
        _people(_almost_there(inside, last, edges, now), "almost_there"),
        exits,
        sent,
        _messages(
            recipients.filter(pl.col("feed_state") == "awaited"), steps, pl.col("subscriber_key").n_unique(), "unread"
        ),
        _messages(recipients.filter(pl.col("feed_us") >= now), steps, pl.len(), "later"),
        _messages(recipients.filter(pl.col("feed_sends") > 1), steps, pl.len(), "repeated"),
        _failed_emails(failed, steps),
    ]
    counted = known.join(_waiting_first(journey_steps), on="journey_id", how="left")
    counted = counted.join(_shared(journey_steps, known, steps), on="journey_id", how="left")
    for fact in facts:
        counted = counted.join(fact, on="workflow_key", how="left")
    ours = [f"our_{metric}" for metric in METRICS]
    counted = counted.with_columns(pl.col(*ours, *EVIDENCE).fill_null(0))
    counted = counted.with_columns(missing=(pl.col("sent") - pl.col("our_sent") - pl.col("later")).fill_null(0))
    rows = [
        counted.select(
            pl.col("journey_id").alias("campaign_id"),
            pl.lit(metric).alias("metric"),
            pl.col(f"our_{metric}").cast(pl.Float64).alias("counted"),
            pl.col(metric).cast(pl.Float64).alias("reported"),
            _reason(metric).alias("reason"),
        )
        for metric in METRICS
    ]
    return pl.concat(rows)


def _people(entries: pl.DataFrame, name: str) -> pl.DataFrame:
    return entries.group_by("workflow_key").agg(pl.col("subscriber_key").n_unique().cast(pl.Int64).alias(name))


def _almost_there(inside: pl.DataFrame, last: pl.DataFrame, edges: pl.DataFrame, now: int) -> pl.DataFrame:
    """The entries of those whose wait before a last step is over."""
    before_last = inside.join(last, left_on="to_step_key", right_on="step_key", how="semi")
    planned = edges.select("delay_version", "delay_hours", "to_step_key", step_key="from_step_key")
    waiting = before_last.join(planned, on=["step_key", "to_step_key", "delay_version"])
    wait = pl.coalesce("assigned_delay_hours", "delay_hours")
    return waiting.filter(pl.col("entered_us") + wait * HOUR_US <= now)


def _messages(recipients: pl.DataFrame, steps: pl.DataFrame, number: pl.Expr, name: str) -> pl.DataFrame:
    """A number of the recipients of each workflow's e-mails."""
    of_steps = recipients.join(steps.select("campaign_id", "workflow_key"), on="campaign_id")
    return of_steps.group_by("workflow_key").agg(number.cast(pl.Int64).alias(name))


def _shared(journey_steps: pl.DataFrame, known: pl.DataFrame, steps: pl.DataFrame) -> pl.DataFrame:
    """How many e-mails of each journey count at another workflow, because that one sends them too."""
    owners = steps.select("campaign_id", owner="workflow_key").drop_nulls("campaign_id")
    emails = journey_steps.filter(pl.col("step_kind") == "email").join(owners, on="campaign_id")
    elsewhere = emails.join(known.select("journey_id", "workflow_key"), on="journey_id")
    return elsewhere.filter(pl.col("owner") != pl.col("workflow_key")).group_by("journey_id").len("shared")


def _failed_emails(failed: pl.DataFrame, steps: pl.DataFrame) -> pl.DataFrame:
    """How many e-mails of each workflow could not be read tonight."""
    emails = failed.filter(pl.col("kind") == "campaign").select(campaign_id="source_id")
    return emails.join(steps, on="campaign_id").group_by("workflow_key").len("failed_emails")


def _not_read_since(failed: pl.DataFrame) -> pl.Expr:
    """The last night on which each journey was read; null if that is tonight."""
    of_list = failed.filter(pl.col("kind") == "journey list")["since_day"].max()
    since = dict(failed.filter(pl.col("kind") == "journey").select("source_id", "since_day").iter_rows())
    one = pl.col("journey_id").replace_strict(since, default=None, return_dtype=pl.Int64)
    return pl.coalesce(one, pl.lit(of_list, dtype=pl.Int64)).alias("not_read_since")


def _waiting_first(journey_steps: pl.DataFrame) -> pl.DataFrame:
    """How many wait in each journey before its first e-mail went out to them."""
    first = pl.col("position").filter(pl.col("step_kind") == "email").min().over("journey_id")
    before = journey_steps.filter(pl.col("position") <= first)
    return before.group_by("journey_id").agg(pl.col("queue_count").sum().alias("waiting_first"))


def _reason(metric: str) -> pl.Expr:
    short, unread = pl.col(metric) - pl.col(f"our_{metric}"), pl.col("unread")
    # Messages that wait are as many as the messages missing, or fewer; of people each waits once.
    are_unread = (unread > 0) & (short > 0) & (pl.lit(metric == "sent") | (short <= unread))
    missing, explained = pl.col("missing"), pl.lit("unexplained")
    has_deleted = (missing > 0) & (missing <= DELETED_SHARE_LIMIT * pl.col("sent"))
    # Who got the last e-mail since the night has left the queue; so perhaps have those who wait for too long.
    since = pl.col("later") + (pl.col("overdue") if metric == "queued" else 0)
    has_grown = pl.col("is_newer") & ((short > 0) | pl.lit(metric == "queued"))
    if metric == "started":
        explained = (
            pl.when((short > 0) & (short <= pl.col("waiting_first")))
            .then(pl.lit(WAITING_FIRST))
            .when((short > 0) & (missing <= 0))
            .then(pl.lit(LEFT_EARLY))
            .otherwise(explained)
        )
    elif metric == "queued":
        explained = (
            pl.when((short > 0) & (short <= pl.col("waiting_first")))
            .then(pl.lit(WAITING_FIRST))
            .when((-short > 0) & (-short <= pl.col("lost_way")))
            .then(pl.lit(NO_STEP))
            .when((-short > 0) & (pl.col("exits") == 0))
            .then(pl.lit(NO_EXITS))
            .when((-short > 0) & (-short <= pl.col("overdue")))
            .then(pl.lit(LATE_EXITS))
            .otherwise(explained)
        )
    elif metric == "completed":
        explained = (
            pl.when((short > 0) & (short <= pl.col("almost_there")))
            .then(pl.lit(ON_ITS_WAY))
            .when(pl.col("branches") > 0)
            .then(pl.lit(OTHER_END))
            .otherwise(explained)
        )
    return (
        pl.when(pl.col(metric).is_null())
        .then(pl.lit(UNANNOUNCED))
        .when(short == 0)
        .then(pl.lit("equal"))
        .when(pl.col("not_read_since").is_not_null())
        .then(pl.format("journey not read since {}", to_date("not_read_since").dt.to_string("%Y-%m-%d")))
        .when(pl.col("shared") > 0)
        .then(pl.lit(SHARED))
        .when((pl.col("failed_emails") > 0) & (missing > 0) & (short > 0))
        .then(pl.lit(NOT_READ))
        .when(are_unread)
        .then(pl.format("feeds not read yet: {} people", unread))
        .when(has_grown | ((pl.col("later") > 0) & (short.abs() <= since)))
        .then(pl.lit(NEWER))
        .when((pl.col("can_reenter") | (pl.col("repeated") > 0)) & (missing > 0) & (short > 0))
        .then(pl.lit(RE_ENTRY))
        .when((pl.col("our_sent") == 0) & (missing > 0) & (short > 0))
        .then(pl.lit(NO_MESSAGES))
        .when(has_deleted & (short.abs() <= missing + pl.col("later")))
        .then(pl.lit(DELETED_MEMBERS))
        .otherwise(explained)
    )
