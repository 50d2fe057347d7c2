"""What applied changes really brought: those who got them against those kept out, night by night, beside the promise.

Here: who counts from when, and the words for what came out. Not here: the plan (`measurement.sizing`), and the
statistics of the nights (`measurement.looks`), which hold on every night.
"""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import polars as pl

from pipeline.analysis.experiments.draft import metrics_of
from pipeline.analysis.experiments.exposures import (
    Facts,
    in_weeks,
    messages_of,
    moments_of,
    no_moments,
    person_outcomes,
)
from pipeline.analysis.experiments.metrics import winsor_cap
from pipeline.analysis.experiments.plan import ExperimentPlan
from pipeline.common.sticky_hash import is_held_out
from pipeline.common.time import day_number, day_of, to_date
from pipeline.common.words import lift, metric_noun
from pipeline.common.written import stood_when_sent
from pipeline.optimizations.measurement.looks import SPARE_SHARE, lift_looks
from pipeline.optimizations.measurement.sizing import APPLIED, HELD_OUT, PLAN_ALPHA
from pipeline.optimizations.record import IN_EFFECT, Record, ends_of
from pipeline.schemas.base import conform, empty
from pipeline.schemas.loop import RealisedLift
from pipeline.schemas.vocabulary import GuardrailName, MetricRole
from pipeline.schemas.vocabulary import MeasurementPhase as Phase
from pipeline.schemas.vocabulary import RealisedOutcome as Kept
from pipeline.schemas.vocabulary import RecordStatus as Status

ALPHA = 0.05
"""Error of an open-ended measurement."""
TRAFFIC_DAYS = 56
"""Days before a change whose traffic tells where an open-ended interval should be tightest, and where amounts are
capped."""
DAYS_UNTIL_REACHED = 2
"""Whoever signs up on a day is published that night and written to the next day: from the day after that, the change
surely holds for them."""
_ENDS = ("", "_low", "_high")
_WATCHED_WEEKS = 10_000
"""Added to the weeks of the watch, which are strata of their own: its split is another one."""


def realised_lift(records: Sequence[Record], facts: Facts, written: pl.DataFrame, *, as_of_day: date) -> pl.DataFrame:
    """Every night of every change that is, or was, in effect.

    Args:
        records: the ledger's records; those never applied, or without a measure, have no rows.
        facts: core tables.
        written: rows of `core.written_values`.
        as_of_day: tonight.

    Returns:
        Rows of `schemas.loop.RealisedLift`. Their intervals cover the truth on all nights at once. A subscriber counts
        once, with the first message of the place since the first whole day of the change, if they were a member long
        enough before it to be written to; in both arms alike, so who counts does not depend on the change. That is the
        first message that was served: the value that they were to hold stood in the account when it was sent. Where a
        table gives values to some people and those kept out hold none, it is the first message of everybody. The
        outcome is what the person did within the window after it, at whatever message. A night reads only windows
        that had closed by then, so what it said never changes. Once the hold-out is smaller, people who are let in
        later do not count, and neither does anybody whose window was open on the day of that.
    """
    tried = [record for record in records if _is_measured(record, as_of_day)]
    against = [record for record in tried if record.proposal.holdout_share > 0]
    ends = ends_of(records)
    plans = [_plan(record, facts, ends) for record in against]
    moments = [
        moments_of(plan, _exposures(one, plan, facts, written, ends, as_of_day))
        for one, plan in zip(against, plans, strict=True)
    ]
    looks = lift_looks(pl.concat([no_moments(), *moments]), plans, as_of_day=as_of_day)
    seen = set(looks["experiment_id"])
    unseen = [record for record in tried if record.optimization_id not in seen]
    return pl.concat([judged(looks, said(against, ends)), _unseen(unseen, ends, as_of_day)]).sort(
        "optimization_id", "as_of_day", "metric"
    )


def in_a_word(realised: pl.DataFrame) -> pl.DataFrame:
    """Tonight's row of each change that tells what became of it: of its promise, unless a guardrail says harm."""
    is_harm, is_primary = pl.col("outcome") == Kept.HARM, pl.col("role") == MetricRole.PRIMARY
    latest = realised.filter("is_latest").sort(is_harm, is_primary, descending=True, maintain_order=True)
    return latest.unique("optimization_id", keep="first", maintain_order=True)


def brought_in_words(row: Mapping[str, Any]) -> str:
    """What a change brought, with its interval, and what it promised, of a row of `realised_lift` with a lift."""
    found = lift(row["realised_lift"], row["realised_lift_low"], row["realised_lift_high"])
    promise = "" if row["promised_lift"] is None else f", promised {lift(row['promised_lift'])}"
    return f"{metric_noun(row['metric'])} {found}{promise}"


def answer_in_words(row: Mapping[str, Any]) -> str:
    """When the answer came and what it was, or when it is expected, of a row of `realised_lift`.

    A row of an older publication does not tell it.
    """
    if row.get("answered_day") is not None:
        found = (row["answered_lift"], row["answered_lift_low"], row["answered_lift_high"])
        return f"on {row['answered_day']}: {lift(*found)}" if found[0] is not None else f"on {row['answered_day']}"
    day = row.get("expected_answer_day")
    return f"expected by {day}" if day is not None else "no date: no plan"


def _is_measured(record: Record, as_of_day: date) -> bool:
    went_in_effect = (*IN_EFFECT, Status.ROLLING_BACK, Status.ROLLED_BACK)
    was_applied = record.status in went_in_effect and record.proposal.measure is not None
    return was_applied and record.applied_day is not None and record.applied_day <= as_of_day


def _first_day(record: Record) -> date:
    """The first whole day of the change."""
    assert record.applied_day is not None
    return record.applied_day + timedelta(days=1)


def _last_day(record: Record, ends: Mapping[str, date]) -> date | None:
    end = ends.get(record.optimization_id)
    return end and end - timedelta(days=1)


def _plan(record: Record, facts: Facts, ends: Mapping[str, date]) -> ExperimentPlan:
    """The comparison of a change, with what is read of its place before the change."""
    measure, first = record.proposal.measure, _first_day(record)
    assert measure is not None
    before_from = first - timedelta(days=TRAFFIC_DAYS + measure.window_days)
    sent = _messages(record, facts, first=before_from, last=first - timedelta(days=1))
    exposed = sent.filter(pl.col("day") < day_number(first) - measure.window_days)
    before = _outcomes(record, exposed.unique("subscriber_key", keep="first", maintain_order=True), sent, facts)
    return comparison(record, _last_day(record, ends), before["revenue"])


def comparison(record: Record, last: date | None, revenue_before: pl.Series) -> ExperimentPlan:
    """How a change is compared with those kept out of it: by its plan, or without one by an open-ended test.

    Args:
        record: a record that was applied, with a measure and a hold-out.
        last: last day of the change; none while it is in effect.
        revenue_before: amount of each person with a message of the place in the eight weeks before the change.
    """
    proposal, first = record.proposal, _first_day(record)
    assert proposal.measure is not None
    window, plan = proposal.measure.window_days, proposal.plan
    days = plan.days if plan else None
    longest = first + timedelta(days=round((days or 0) * (1 + SPARE_SHARE)) + window)
    return ExperimentPlan(
        experiment_id=record.optimization_id,
        workflow_id=proposal.workflow_id or "",
        step_id=proposal.step_id or "",
        hypothesis=proposal.title,
        owner=proposal.author,
        shares=((HELD_OUT, proposal.holdout_share), (APPLIED, 1 - proposal.holdout_share)),
        metrics=metrics_of(proposal.measure.metric, (), tuple(GuardrailName)),
        minimum_lift=proposal.expected_lift or 0.0,
        window_days=window,
        alpha=PLAN_ALPHA if days else ALPHA,
        power=0.0,
        start_day=first,
        planned_days=days or TRAFFIC_DAYS,
        planned_exposures=plan.people if plan else max(len(revenue_before), 1),
        end_day=min(longest, last + timedelta(days=window)) if last else longest,
        is_open_ended=days is None,
        amount_cap=winsor_cap(revenue_before),
    )


def _messages(record: Record, facts: Facts, *, first: date, last: date) -> pl.DataFrame:
    """The messages of the change's place that reached somebody who was there long enough, the oldest first."""
    proposal = record.proposal
    assert proposal.measure is not None
    steps = proposal.measure.step_ids or ((proposal.step_id,) if proposal.step_id else ())
    signup = facts.subscribers.select("subscriber_key", signup_day=day_of("signup_us")).collect()
    was_reached = pl.col("signup_day") <= pl.col("day") - DAYS_UNTIL_REACHED
    return (
        messages_of(facts, proposal.workflow_id, steps, first=first, last=last)
        .join(signup, on="subscriber_key", how="left", maintain_order="left")
        .filter(was_reached.fill_null(True))
        .with_columns(exposed_day=to_date("day"))
    )


def _outcomes(record: Record, exposed: pl.DataFrame, sent: pl.DataFrame, facts: Facts) -> pl.DataFrame:
    proposal = record.proposal
    assert proposal.measure is not None
    return person_outcomes(exposed, sent, facts, proposal.workflow_id, window_days=proposal.measure.window_days)


def _exposures(
    record: Record,
    plan: ExperimentPlan,
    facts: Facts,
    written: pl.DataFrame,
    ends: Mapping[str, date],
    as_of_day: date,
) -> pl.DataFrame:
    """Each person once, with the first message that was served: what was to be written stood when it was sent.

    Where nothing is to be written to somebody, because a person makes the change or those kept out hold nothing, the
    first message counts. So it does for everybody if a table says who gets a value and those kept out hold nothing:
    hours are for people who engage, and it is not known for whom of those kept out there would have been one. Counting
    only those who got one showed harm of 22% where the hours brought 13%.
    """
    sent = _messages(record, facts, first=plan.start_day, last=as_of_day)
    last = _last_day(record, ends)
    rows = _in_arms(record, sent.filter(pl.col("day") <= day_number(last)) if last else sent)
    to_applied, to_held_out = record.proposal.is_written_to
    to_applied &= to_held_out or "source" not in record.proposal.after
    is_to_hold = pl.when(pl.col("arm") == HELD_OUT).then(to_held_out).otherwise(to_applied)
    mine = written.filter(pl.col("optimization_id") == record.optimization_id)
    served = stood_when_sent(rows.filter(is_to_hold), mine).select(rows.columns)
    first = (
        pl.concat([rows.filter(~is_to_hold), served])
        .sort("sent_us", "subscriber_key")
        .unique("subscriber_key", keep="first", maintain_order=True)
    )
    counted = first.filter(~_is_between_shares(record, plan.window_days) & pl.col("arm").is_not_null())
    outcomes = _outcomes(record, counted, sent, facts).join(
        counted.select("subscriber_key", "arm"), on="subscriber_key", maintain_order="left"
    )
    return in_weeks(
        plan, outcomes.with_columns(experiment_id=pl.lit(record.optimization_id)), as_of_day=as_of_day
    ).with_columns(
        week=pl.col("week") + pl.when(_is_watched(record)).then(_WATCHED_WEEKS).otherwise(0),
    )


def _in_arms(record: Record, sent: pl.DataFrame) -> pl.DataFrame:
    """The messages with the arm of their receiver; it is null for those who are let in once the hold-out is smaller."""
    keys, name = sent["subscriber_key"], record.optimization_id
    before, now = (is_held_out(keys, name, share) for share in (record.proposal.holdout_share, record.holdout_share))
    return (
        sent.with_columns(before.alias("was_out"), now.alias("is_out"))
        .with_columns(
            arm=pl.when(~pl.col("was_out"))
            .then(pl.lit(APPLIED))
            .when(pl.col("is_out") | ~_is_watched(record))
            .then(pl.lit(HELD_OUT))
        )
        .drop("was_out", "is_out")
    )


def _is_watched(record: Record) -> pl.Expr:
    """Whether the exposure is one of the watch, with fewer people kept out."""
    since = record.watched_from_day
    return pl.lit(False) if since is None else pl.col("exposed_day") >= since


def _is_between_shares(record: Record, window_days: int) -> pl.Expr:
    """Whether the window of the message was open on the day on which people were let in."""
    if record.watched_from_day is None:
        return pl.lit(False)
    opened = record.watched_from_day - timedelta(days=window_days)
    return pl.col("exposed_day").is_between(opened, record.watched_from_day, closed="left")


def judged(looks: pl.DataFrame, promises: pl.DataFrame) -> pl.DataFrame:
    """The nights with what was promised, and in a word what came of it.

    Args:
        looks: rows of `lift_looks`.
        promises: rows of `said`.

    Returns:
        Rows of `schemas.loop.RealisedLift`.
    """
    is_primary = pl.col("role") == MetricRole.PRIMARY
    has_improved = pl.when("is_increase_good").then("has_risen").otherwise("has_fallen")
    has_worsened = pl.when("is_increase_good").then("has_fallen").otherwise("has_risen")
    falls_short = (pl.col("lift_high") < pl.col("promised_lift")).fill_null(False).cast(pl.Int8)
    outcome = (
        pl.when(has_worsened)
        .then(pl.lit(Kept.HARM))
        .when(falls_short.cum_max().over("optimization_id", "metric", order_by="as_of_day") == 1)
        .then(pl.lit(Kept.LESS))
        .when(has_improved & is_primary)
        .then(pl.lit(Kept.WORKS))
        .when(is_primary & pl.col("answered_day").is_not_null())
        .then(pl.lit(Kept.NO_ANSWER))
        .otherwise(pl.lit(Kept.MEASURING))
    )
    without = pl.col("exposures") * pl.col("control_metric_mean")
    promised = [pl.when(is_primary).then(f"promised_lift{end}").alias(f"promised_lift{end}") for end in _ENDS]
    answered = [pl.when(is_primary).then(f"answered_lift{end}").alias(f"answered_lift{end}") for end in _ENDS]
    rows = looks.rename({"experiment_id": "optimization_id"}).join(promises, on="optimization_id")
    return conform(
        rows.with_columns(*promised, *answered)
        .with_columns(outcome=outcome)
        .with_columns(
            is_latest=pl.col("as_of_day") == pl.col("as_of_day").max().over("optimization_id"),
            # What was known on a night stays as it was: on earlier nights the change was still in effect.
            last_day=pl.when(pl.col("last_day") <= pl.col("as_of_day")).then("last_day"),
            held_out_exposures="control_exposures",
            **{f"applied_mean{end}": pl.col(f"metric_mean{end}") for end in _ENDS},
            **{f"held_out_mean{end}": pl.col(f"control_metric_mean{end}") for end in _ENDS},
            **{f"realised_lift{end}": pl.col(f"lift{end}") for end in _ENDS},
            **{f"incremental_total{end}": without * pl.col(f"lift{end}") for end in _ENDS},
        ),
        RealisedLift,
    )


def _unseen(records: Sequence[Record], ends: Mapping[str, date], as_of_day: date) -> pl.DataFrame:
    """One row for each change of which nothing can be told tonight, and why."""
    rows = []
    for record in records:
        measure = record.proposal.measure
        assert measure is not None
        closes = _first_day(record) + timedelta(days=measure.window_days)
        is_compared = record.proposal.holdout_share > 0
        days = record.proposal.plan.days if record.proposal.plan and is_compared else None
        planned = record.proposal.plan.people if record.proposal.plan and days else None
        rows.append(
            {
                "optimization_id": record.optimization_id,
                "as_of_day": as_of_day,
                "metric": str(measure.metric),
                "role": str(MetricRole.PRIMARY),
                "is_latest": True,
                "exposures": 0,
                "held_out_exposures": 0,
                "phase": str(Phase.PLANNED if days else Phase.OPEN_ENDED),
                "planned_exposures": planned,
                "expected_answer_day": closes + timedelta(days=days - 1) if days else None,
                "is_significant": False,
                "outcome": str(Kept.MEASURING if is_compared else Kept.NOT_MEASURED),
                "status": f"not enough data: the first windows close on {closes}"
                if is_compared
                else "not identified: it was made for everybody, nobody was kept out",
                "method": "nothing to compare yet" if is_compared else "none",
            }
        )
    if not rows:
        return empty(RealisedLift)
    return conform(
        pl.DataFrame(rows, infer_schema_length=None).join(said(records, ends), on="optimization_id"), RealisedLift
    )


def said(records: Sequence[Record], ends: Mapping[str, date]) -> pl.DataFrame:
    """What each record says of itself: `optimization_id`, the kind, the place, its first and last day, the promise."""
    rows = [
        {
            "optimization_id": record.optimization_id,
            "proposed_kind": str(record.proposal.kind),
            "workflow_id": record.proposal.workflow_id,
            "step_id": record.proposal.step_id,
            "first_day": _first_day(record),
            "last_day": _last_day(record, ends),
            **{f"promised_lift{end}": getattr(record.proposal, f"expected_lift{end}") for end in _ENDS},
        }
        for record in records
    ]
    text, lift = pl.String, pl.Float64
    schema = {
        "optimization_id": text,
        "proposed_kind": text,
        "workflow_id": text,
        "step_id": text,
        "first_day": pl.Date,
        "last_day": pl.Date,
        **{f"promised_lift{end}": lift for end in _ENDS},
    }
    return pl.DataFrame(rows, schema=schema)
