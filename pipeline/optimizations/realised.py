"""What applied changes really brought: those who got them against those kept out, night by night, beside the promise.

Here: who counts from when, and the words for what came out. Not here: the statistics of a comparison, which are those
of an open-ended test (`analysis/experiments.py`), so that they hold on every night.
"""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

import polars as pl

from pipeline.analysis.experiments.draft import metrics_of
from pipeline.analysis.experiments.exposures import Facts, in_weeks, message_outcomes, moments_of, no_moments
from pipeline.analysis.experiments.metrics import winsor_cap
from pipeline.analysis.experiments.plan import ExperimentPlan
from pipeline.analysis.experiments.results import experiment_results
from pipeline.common.sticky_hash import is_held_out
from pipeline.common.time import day_of, to_date
from pipeline.common.written import stood_when_sent
from pipeline.optimizations.record import IN_EFFECT, Record, ends_of
from pipeline.schemas.base import conform, empty
from pipeline.schemas.loop import RealisedLift
from pipeline.schemas.vocabulary import GuardrailName, MetricRole
from pipeline.schemas.vocabulary import RealisedOutcome as Kept
from pipeline.schemas.vocabulary import RecordStatus as Status

APPLIED, HELD_OUT = "applied", "held out"
ALPHA = 0.05
#: Days before a change whose traffic tells where its interval should be tightest: as many days after it.
TRAFFIC_DAYS = 56
#: Whoever signs up on a day is published that night and written to the next day: from the day after that, the change
#: surely holds for them.
DAYS_UNTIL_REACHED = 2
#: An estimate and its bounds.
_ENDS = ("", "_low", "_high")


def realised_lift(records: Sequence[Record], facts: Facts, written: pl.DataFrame, *, as_of_day: date) -> pl.DataFrame:
    """Every night of every change that is, or was, in effect.

    Args:
        records: the ledger's records; those never applied, or without a measure, have no rows.
        facts: core tables.
        written: rows of `core.written_values`.
        as_of_day: tonight.

    Returns:
        Rows of `schemas.loop.RealisedLift`. Intervals are those of an asymptotic confidence sequence: they cover the
        truth on all nights at once. A subscriber counts with the first message of the place since the first whole day
        of the change, if they were a member long enough before it to be written to; in both arms alike, so who counts
        does not depend on the change. They count from the first message that was served: the value that they were to
        hold stood in the account when it was sent.
    """
    tried = [record for record in records if _is_measured(record, as_of_day)]
    against = [record for record in tried if record.proposal.holdout_share > 0]
    ends = ends_of(records)
    plans = [_plan(record, facts, ends) for record in against]
    moments = [
        moments_of(plan, _exposures(one, plan, facts, written, as_of_day))
        for one, plan in zip(against, plans, strict=True)
    ]
    results = experiment_results(pl.concat([no_moments(), *moments]), plans, as_of_day=as_of_day)
    seen = set(results["experiment_id"])
    unseen = [record for record in tried if record.optimization_id not in seen]
    return pl.concat([_judged(results, _said(against, ends)), _unseen(unseen, ends, as_of_day)]).sort(
        "optimization_id", "as_of_day", "metric"
    )


def in_a_word(realised: pl.DataFrame) -> pl.DataFrame:
    """Tonight's row of each change that tells what became of it: of its promise, unless a guardrail says harm."""
    is_harm, is_primary = pl.col("outcome") == Kept.HARM, pl.col("role") == MetricRole.PRIMARY
    latest = realised.filter("is_latest").sort(is_harm, is_primary, descending=True, maintain_order=True)
    return latest.unique("optimization_id", keep="first", maintain_order=True)


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
    """The comparison as an open-ended test, planned from what was known before the change."""
    proposal, first = record.proposal, _first_day(record)
    assert proposal.measure is not None
    window = proposal.measure.window_days
    before_from = first - timedelta(days=TRAFFIC_DAYS + window)
    before = _messages(record, facts, first=before_from, last=first - timedelta(days=window + 1)).unique(
        "subscriber_key", keep="first", maintain_order=True
    )
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
        alpha=ALPHA,
        power=0.0,
        start_day=first,
        planned_days=TRAFFIC_DAYS,
        planned_exposures=max(before.height, 1),
        end_day=_last_day(record, ends) or date.max,
        is_open_ended=True,
        amount_cap=winsor_cap(before["revenue"]),
    )


def _messages(record: Record, facts: Facts, *, first: date, last: date) -> pl.DataFrame:
    """The messages of the change's place that reached somebody who was there long enough, the oldest first."""
    proposal = record.proposal
    assert proposal.measure is not None
    signup = facts.subscribers.select("subscriber_key", signup_day=day_of("signup_us")).with_columns(
        to_date("signup_day")
    )
    was_reached = pl.col("signup_day") <= pl.col("exposed_day") - timedelta(days=DAYS_UNTIL_REACHED)
    return (
        message_outcomes(
            facts,
            proposal.workflow_id,
            proposal.measure.step_ids or ((proposal.step_id,) if proposal.step_id else ()),
            first=first,
            last=last,
            window_days=proposal.measure.window_days,
        )
        .join(signup, on="subscriber_key", how="left", maintain_order="left")
        .filter(was_reached.fill_null(True))
        .sort("sent_us", maintain_order=True)
    )


def _exposures(
    record: Record, plan: ExperimentPlan, facts: Facts, written: pl.DataFrame, as_of_day: date
) -> pl.DataFrame:
    """Per subscriber the first message of the place that was served: what was to be written stood when it was sent.

    Where nothing is to be written to somebody, because a person makes the change or those kept out hold nothing, the
    first message counts.
    """
    rows = _messages(record, facts, first=plan.start_day, last=min(plan.end_day, as_of_day))
    out = is_held_out(rows["subscriber_key"], record.optimization_id, record.proposal.holdout_share)
    arm = pl.when(out).then(pl.lit(HELD_OUT)).otherwise(pl.lit(APPLIED))
    assigned = rows.with_columns(experiment_id=pl.lit(record.optimization_id), arm=arm)
    to_applied, to_held_out = record.proposal.is_written_to
    is_to_hold = pl.when(pl.col("arm") == HELD_OUT).then(to_held_out).otherwise(to_applied)
    mine = written.filter(pl.col("optimization_id") == record.optimization_id)
    served = stood_when_sent(assigned.filter(is_to_hold), mine).select(assigned.columns)
    first = pl.concat([assigned.filter(~is_to_hold), served]).sort("sent_us", "subscriber_key")
    return in_weeks(plan, first.unique("subscriber_key", keep="first", maintain_order=True), as_of_day=as_of_day)


def _judged(results: pl.DataFrame, said: pl.DataFrame) -> pl.DataFrame:
    """The nights with what was promised, and in a word what came of it."""
    is_primary = pl.col("role") == MetricRole.PRIMARY
    is_better = (pl.col("z_score") > 0) == pl.col("is_increase_good")
    outcome = (
        pl.when(pl.col("is_significant") & ~is_better)
        .then(pl.lit(Kept.HARM))
        .when(pl.col("lift_high") < pl.col("promised_lift"))
        .then(pl.lit(Kept.LESS))
        .when(pl.col("is_significant") & is_primary)
        .then(pl.lit(Kept.WORKS))
        .otherwise(pl.lit(Kept.MEASURING))
    )
    without = pl.col("exposures") * pl.col("control_metric_mean")
    promised = [pl.when(is_primary).then(f"promised_lift{end}").alias(f"promised_lift{end}") for end in _ENDS]
    rows = results.rename({"experiment_id": "optimization_id"}).join(said, on="optimization_id")
    return conform(
        rows.with_columns(promised)
        .with_columns(outcome=outcome)
        .with_columns(
            is_latest=pl.col("as_of_day") == pl.col("as_of_day").max().over("optimization_id"),
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
        rows.append(
            {
                "optimization_id": record.optimization_id,
                "as_of_day": as_of_day,
                "metric": str(measure.metric),
                "role": str(MetricRole.PRIMARY),
                "is_latest": True,
                "exposures": 0,
                "held_out_exposures": 0,
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
    return conform(pl.DataFrame(rows).join(_said(records, ends), on="optimization_id"), RealisedLift)


def _said(records: Sequence[Record], ends: Mapping[str, date]) -> pl.DataFrame:
    """What each record says of itself."""
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
