"""Who was exposed to a step, with which arm, and what followed within the window.

Here: outcomes of messages, arms as they were drawn or as the sender told them, exposures and their moments. Not here:
statistics.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import reduce
from operator import or_

import polars as pl
from pandera.typing.polars import DataFrame, LazyFrame

from pipeline.analysis.experiments.assignment import assign_arms
from pipeline.analysis.experiments.draft import ExperimentDraft
from pipeline.analysis.experiments.metrics import MOMENTS, reduce_exposures
from pipeline.analysis.experiments.plan import ExperimentPlan
from pipeline.common.quoting import json_field
from pipeline.common.time import CENTS, DAY_US, day_number, day_of, to_date
from pipeline.common.written import standing, stood_when_sent
from pipeline.schemas import core
from pipeline.schemas.base import empty
from pipeline.schemas.experiments import ExperimentAssignments
from pipeline.schemas.lake import MAILABLE
from pipeline.schemas.vocabulary import Assigner, MetricName, ProposalKind

PRE_PERIOD_DAYS = 28
"""Days before an exposure whose revenue explains part of the revenue after it (CUPED); whole weeks."""

OUTCOMES = {
    MetricName.CLICK: "is_clicked",
    MetricName.CONVERSION: "is_converted",
    MetricName.REVENUE: "revenue",
    "unsubscribe": "is_unsubscribed",
    "complaint": "is_complained",
}

REACTIONS = {
    "is_clicked": "first_human_click_us",
    "is_unsubscribed": "unsubscribed_us",
    "is_complained": "complained_us",
}
"""Outcomes that a message itself tells, and the column with their moment."""


@dataclass(frozen=True)
class Facts:
    """The tables of `core` that tests read."""

    steps: DataFrame[core.CoreSteps]
    workflows: DataFrame[core.CoreWorkflows]
    messages: LazyFrame[core.CoreMessages]
    conversions: LazyFrame[core.CoreConversions]
    subscribers: LazyFrame[core.CoreSubscribers]

    def step(self, workflow_id: str, step_id: str) -> dict[str, object] | None:
        """The row of `core.steps`; none where there is no such step, or it was deleted."""
        found = self.steps.filter(
            (pl.col("workflow_id") == workflow_id) & (pl.col("step_id") == step_id) & (pl.col("status") != "deleted")
        )
        return found.row(0, named=True) if found.height else None


def messages_of(
    facts: Facts, workflow_id: str | None, step_ids: Sequence[str], *, first: date, last: date
) -> pl.DataFrame:
    """The messages of steps, of a workflow, or of all workflows.

    Args:
        facts: core tables.
        workflow_id, step_ids: the place; no workflow = all except one-off campaigns; no steps = all of the workflow.
        first, last: UTC days of sending.

    Returns:
        Keys, times and reactions of `core.messages`, the oldest first. Bounced ones count, for a subject can do that.
    """
    keys = facts.steps.filter(_place(facts, workflow_id, step_ids))["step_key"]
    # DuckDB answers comparisons alone: with `is_in` each message of the account would be read.
    is_here = reduce(or_, (pl.col("step_key") == key for key in keys), pl.lit(False))
    is_then = (pl.col("day") >= day_number(first)) & (pl.col("day") <= day_number(last))
    columns = ("subscriber_key", "step_key", "day", "sent_us", *REACTIONS.values())
    read = facts.messages.filter(is_then & is_here).select(columns).collect()
    return read.sort("sent_us", "subscriber_key")


def message_outcomes(
    facts: Facts, workflow_id: str | None, step_ids: Sequence[str], *, first: date, last: date, window_days: int
) -> pl.DataFrame:
    """What followed each of the messages of `messages_of`, until `window_days` days after it.

    Returns:
        One row per message: `subscriber_key`, `sent_us`, `exposed_day` (Date), `is_clicked`, `is_converted`,
        `is_unsubscribed`, `is_complained` (Boolean), `revenue`, and `revenue_before`, that of the 28 days before the
        message (null for subscribers who were not there yet); amounts are in the workspace's currency. Clicks,
        unsubscribes and complaints are those of the message itself.
    """
    sent = messages_of(facts, workflow_id, step_ids, first=first, last=last)
    own = sent.with_columns(
        (pl.col(moment) - pl.col("sent_us") < window_days * DAY_US).fill_null(False).alias(name)
        for name, moment in REACTIONS.items()
    )
    return _with_orders(own, facts, workflow_id, window_days)


def person_outcomes(
    exposed: pl.DataFrame, sent: pl.DataFrame, facts: Facts, workflow_id: str | None, *, window_days: int
) -> pl.DataFrame:
    """What people did within the window after their exposure, each person once.

    Args:
        exposed: the message by which each person is exposed, as rows of `messages_of` with a unique `subscriber_key`.
        sent: all messages of the place until the last window has closed, as rows of `messages_of`.
        facts, workflow_id: core tables, and the workflow whose goal counts; none = any conversion.
        window_days: outcomes count until this many days after the exposure.

    Returns:
        The columns of `message_outcomes`, one row per person. A click, an unsubscribe or a complaint counts at
        whatever message of the place it came, so an outcome belongs to the person and not to one message.
    """
    since = exposed.select("subscriber_key", exposed_us="sent_us")
    later = sent.join(since, on="subscriber_key").filter(pl.col("sent_us") >= pl.col("exposed_us"))
    reacted = later.group_by("subscriber_key").agg(
        (pl.col(moment) - pl.col("exposed_us") < window_days * DAY_US).fill_null(False).any().alias(name)
        for name, moment in REACTIONS.items()
    )
    return _with_orders(exposed.join(reacted, on="subscriber_key", how="left"), facts, workflow_id, window_days)


def first_outcomes(
    facts: Facts, workflow_id: str | None, step_ids: Sequence[str], *, first: date, last: date, window_days: int
) -> pl.DataFrame:
    """What people did after the first message of a place from `first` to `last`, as `person_outcomes` tells it."""
    sent = messages_of(facts, workflow_id, step_ids, first=first, last=last + timedelta(days=window_days))
    exposed = sent.filter(pl.col("day") <= day_number(last)).unique("subscriber_key", keep="first", maintain_order=True)
    return person_outcomes(exposed, sent, facts, workflow_id, window_days=window_days)


def _with_orders(sent: pl.DataFrame, facts: Facts, workflow_id: str | None, window_days: int) -> pl.DataFrame:
    """Messages that tell who reacted, with the conversions and amounts before and after them."""
    here = facts.workflows.filter(pl.col("workflow_id").eq_missing(workflow_id))
    goals = here["goal_event_type"].drop_nulls().to_list()
    is_goal = pl.col("event_type").is_in(goals) if goals else pl.lit(True)
    since = pl.col("occurred_us") - pl.col("sent_us")
    is_after, is_before = (
        since.is_between(0, window_days * DAY_US, closed="left"),
        since.is_between(-PRE_PERIOD_DAYS * DAY_US, 0, closed="left"),
    )
    cents = pl.col("net_cents").filter
    bought = (
        facts.conversions.select("subscriber_key", "event_type", "occurred_us", "is_order", "net_cents")
        .join(sent.lazy().select("subscriber_key", "sent_us"), on="subscriber_key")
        .filter(is_after | is_before)
        .group_by("subscriber_key", "sent_us")
        .agg(
            is_converted=(is_after & is_goal).any(),
            revenue=cents(is_after & pl.col("is_order")).sum() / CENTS,
            revenue_before=cents(is_before & pl.col("is_order")).sum() / CENTS,
        )
        .collect()
    )
    was_there = pl.col("signup_us") <= pl.col("sent_us") - PRE_PERIOD_DAYS * DAY_US
    return (
        sent.join(bought, on=["subscriber_key", "sent_us"], how="left")
        .join(facts.subscribers.select("subscriber_key", "signup_us").collect(), on="subscriber_key", how="left")
        .select(
            "subscriber_key",
            "sent_us",
            *REACTIONS,
            pl.col("is_converted").fill_null(False),
            pl.col("revenue").fill_null(0.0),
            exposed_day=to_date("day"),
            revenue_before=pl.when(was_there).then(pl.col("revenue_before").fill_null(0.0)),
        )
        .sort("exposed_day", "subscriber_key")
    )


def _place(facts: Facts, workflow_id: str | None, step_ids: Sequence[str]) -> pl.Expr:
    if workflow_id is None:
        flows = facts.workflows.filter(pl.col("kind") != "campaign")["workflow_id"]
        return pl.col("workflow_id").is_in(flows.implode())
    is_here = pl.col("workflow_id") == workflow_id
    return is_here & pl.col("step_id").is_in(list(step_ids)) if step_ids else is_here


def told(
    members: pl.LazyFrame, events: pl.LazyFrame, *, fields: Sequence[str], experiments: Sequence[str]
) -> pl.DataFrame:
    """The first arm that the sender told for each subscriber. It stays, even if the field is used for something else.

    Args:
        members: all versions of `lake.members`.
        events: all versions of `lake.events`.
        fields: merge fields that hold arms.
        experiments: tests whose arms stand in the properties `experiment` and `arm` of events.

    Returns:
        `source` (the field or the test), `subscriber_key` and `arm`.
    """
    parts = [_told_by_field(members, field) for field in dict.fromkeys(fields)]
    if experiments:
        parts.append(_told_by_events(events, experiments))
    return pl.concat([pl.DataFrame(schema=_TOLD), *parts])


def _told_by_field(members: pl.LazyFrame, field: str) -> pl.DataFrame:
    return (
        members.with_columns(arm=json_field(pl.col("merge_fields"), field))
        .filter(pl.col("arm").fill_null("") != "")
        .sort("as_of_day", "audience_id")
        .unique("subscriber_key", keep="first", maintain_order=True)
        .select(pl.lit(field).alias("source"), "subscriber_key", "arm")
        .collect()
    )


def _told_by_events(events: pl.LazyFrame, experiments: Sequence[str]) -> pl.DataFrame:
    return (
        events.filter(pl.col("properties").str.contains('"experiment"', literal=True))
        .select(
            "subscriber_key",
            "occurred_us",
            "event_id",
            source=pl.col("properties").str.json_path_match("$.experiment"),
            arm=pl.col("properties").str.json_path_match("$.arm"),
        )
        .filter(pl.col("source").is_in(list(experiments)) & pl.col("arm").is_not_null())
        .sort("occurred_us", "event_id")
        .unique(["source", "subscriber_key"], keep="first", maintain_order=True)
        .select(*_TOLD)
        .collect()
    )


_TOLD = {"source": pl.String, "subscriber_key": pl.Int64, "arm": pl.String}


def assignments(
    drafts: Sequence[ExperimentDraft], facts: Facts, told: pl.DataFrame, written: pl.DataFrame, *, as_of_day: date
) -> pl.DataFrame:
    """The arm of every subscriber in every test that has begun, or that driptune could begin.

    Args:
        drafts: the tests whose plan is frozen, and those whose arms driptune draws once their start is approved.
        facts: core tables.
        told: rows of `told`.
        written: rows of `core.written_values`.
        as_of_day: tonight.

    Returns:
        Rows of `experiment_assignments`. Where driptune draws the arms, everybody has one who can be mailed or was
        mailed since the start. It depends on the subscriber and the frozen plan only, so no night changes it.
    """
    return pl.concat(
        [
            empty(ExperimentAssignments),
            *(
                (
                    _drawn(draft, facts, standing(of_test(written, draft.experiment_id), as_of_day))
                    if draft.assigned_by is Assigner.DRIPTUNE
                    else _told(draft, told)
                )
                .pipe(_dated, draft, facts, as_of_day)
                .select(empty(ExperimentAssignments).columns)
                for draft in drafts
            ),
        ]
    )


def of_test(written: pl.DataFrame, experiment_id: str) -> pl.DataFrame:
    """The arms written for a test, of rows of `core.written_values`."""
    is_its = pl.col("proposed_kind") == ProposalKind.EXPERIMENT_START
    return written.filter(is_its & (pl.col("target") == experiment_id))


def _drawn(draft: ExperimentDraft, facts: Facts, stands: pl.DataFrame) -> pl.DataFrame:
    keys = facts.steps.filter((pl.col("workflow_id") == draft.workflow_id) & (pl.col("step_id") == draft.step_id))[
        "step_key"
    ]
    mailed = facts.messages.filter(
        pl.col("step_key").is_in(keys.to_list()) & (pl.col("day") >= day_number(draft.start_day))
    )
    mailable = facts.subscribers.filter(pl.col("status").is_in(MAILABLE))
    audience = pl.concat([mailable.select("subscriber_key"), mailed.select("subscriber_key")]).unique().collect()
    drawn = assign_arms(audience, experiment_id=draft.experiment_id, salt=draft.salt, shares=dict(draft.shares))
    return drawn.join(stands.select("subscriber_key", "value"), on="subscriber_key", how="left").with_columns(
        is_served=pl.col("value").eq_missing(pl.col("arm"))
    )


def _told(draft: ExperimentDraft, told: pl.DataFrame) -> pl.DataFrame:
    by_events = draft.assigned_by is Assigner.EVENTS
    source = draft.experiment_id if by_events else draft.arm_field
    shares = pl.DataFrame(draft.shares, schema={"arm": pl.String, "assignment_probability": pl.Float64}, orient="row")
    return (
        told.filter(pl.col("source") == source)
        .join(shares, on="arm")
        .with_columns(
            experiment_id=pl.lit(draft.experiment_id),
            is_served=pl.lit(True),
            method=pl.lit("as events told it first" if by_events else f"as merge field {source} held it first"),
        )
    )


def _dated(rows: pl.DataFrame, draft: ExperimentDraft, facts: Facts, as_of_day: date) -> pl.DataFrame:
    """The first day on which the arm could be sent: the start, or the signup if that is later."""
    signup = to_date("signup_day").fill_null(draft.start_day)
    return (
        rows.join(
            facts.subscribers.select("subscriber_key", signup_day=day_of("signup_us")).collect(),
            on="subscriber_key",
            how="left",
        )
        .with_columns(
            assigned_day=pl.max_horizontal(signup, pl.lit(draft.start_day)), as_of_day=pl.lit(as_of_day, dtype=pl.Date)
        )
        .sort("subscriber_key")
    )


def exposures(
    plan: ExperimentPlan, assigned: pl.DataFrame, facts: Facts, written: pl.DataFrame | None, *, as_of_day: date
) -> pl.DataFrame:
    """The first message of the step to each assigned subscriber since the start, with what followed by person.

    Args:
        plan, assigned, facts: the frozen plan, rows of `experiment_assignments`, and core tables.
        written: for a test whose arms driptune draws, the arms written for it, as rows of `core.written_values`. A
            message counts only if its arm stood in the account when it was sent. Absent where the sender has the arms.
        as_of_day: tonight.

    Returns:
        The columns of `person_outcomes` with `experiment_id`, `arm`, and the columns of `in_weeks`.
    """
    last = as_of_day if plan.is_open_ended else min(as_of_day, plan.end_day)
    sent = messages_of(facts, plan.workflow_id, (plan.step_id,), first=plan.start_day, last=last)
    arms = assigned.filter(pl.col("experiment_id") == plan.experiment_id).select("subscriber_key", "arm")
    exposed = sent.join(arms, on="subscriber_key", maintain_order="left")
    if written is not None:
        served = stood_when_sent(exposed, written).filter(pl.col("value") == pl.col("arm"))
        exposed = served.select(exposed.columns).sort("sent_us", "subscriber_key")
    first = exposed.unique("subscriber_key", keep="first", maintain_order=True)
    outcomes = person_outcomes(first, sent, facts, plan.workflow_id, window_days=plan.window_days)
    named = outcomes.join(arms, on="subscriber_key").with_columns(experiment_id=pl.lit(plan.experiment_id))
    return in_weeks(plan, named.sort("exposed_day", "subscriber_key"), as_of_day=as_of_day)


def in_weeks(plan: ExperimentPlan, exposed: pl.DataFrame, *, as_of_day: date) -> pl.DataFrame:
    """Exposures with `week`, in blocks of seven days since the start, and whether they are mature tonight."""
    return exposed.with_columns(
        week=(pl.col("exposed_day") - plan.start_day).dt.total_days() // 7,
        is_matured=pl.col("exposed_day") <= as_of_day - timedelta(days=plan.window_days),
    )


def moments_of(plan: ExperimentPlan, exposed: pl.DataFrame) -> pl.DataFrame:
    """Additive moments of every metric of a plan, from its `exposures`."""
    parts = []
    for metric in plan.metrics:
        is_revenue = metric.name == MetricName.REVENUE
        parts.append(
            reduce_exposures(
                exposed,
                metric.name,
                value=OUTCOMES[metric.name],
                cap=plan.amount_cap if is_revenue else None,
                covariate="revenue_before" if is_revenue else None,
            )
        )
    return pl.concat(parts)


def no_moments() -> pl.DataFrame:
    """Moments of no exposure."""
    names = {"experiment_id": pl.String, "metric": pl.String, "arm": pl.String, "exposed_day": pl.Date}
    amounts = {name: pl.Int64 if name == "exposures" else pl.Float64 for name in MOMENTS}
    return pl.DataFrame(schema={**names, "stratum": pl.Int64, **amounts})


def daily_shares(plan: ExperimentPlan, exposed: pl.DataFrame) -> pl.DataFrame:
    """Exposures of every arm on every day (mature or not) with the declared share: what the sample-ratio test reads."""
    declared = pl.DataFrame(plan.shares, schema={"arm": pl.String, "share": pl.Float64}, orient="row")
    counted = exposed.group_by("exposed_day", "arm").agg(exposures=pl.len().cast(pl.Int64))
    return (
        exposed.select("exposed_day")
        .unique()
        .join(declared, how="cross")
        .join(counted, on=["exposed_day", "arm"], how="left")
        .select(
            pl.lit(plan.experiment_id).alias("experiment_id"),
            pl.col("exposed_day").alias("day"),
            "arm",
            pl.col("exposures").fill_null(0),
            "share",
        )
    )
