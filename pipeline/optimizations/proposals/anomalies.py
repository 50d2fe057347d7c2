"""What is abnormal and does harm, while it goes on: a proposal per cause."""

import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import polars as pl

from pipeline.charts.figures import trend_chart
from pipeline.common.words import metric_noun, metric_nouns, share
from pipeline.optimizations.proposals.evidence import BY_HAND, Publication
from pipeline.optimizations.record import Proposal
from pipeline.schemas.vocabulary import ApplyKind, Risk
from pipeline.schemas.vocabulary import ProposalKind as Kind

#: Severities that ask for somebody's hand; what is less stands in the tables.
GRAVE = ("high", "critical")
COURSE_DAYS = 28
_NEVER_SEEN = 1e-6
# What a cause is about, the day of an alarm of it, and the metric.
Alarm = tuple[str, str, str]


def anomaly_proposals(publication: Publication) -> Iterator[Proposal]:
    """One proposal per grave cause that still goes on and is not muted."""
    known = publication["anomalies"]
    standing = known.filter(
        pl.col("is_latest") & pl.col("is_adverse") & ~pl.col("is_muted") & pl.col("severity").is_in(GRAVE)
    )
    opportunities = {row["opportunity_id"]: row for row in publication["opportunities"].iter_rows(named=True)}
    on_record = _on_record(publication["optimizations"])
    for (cause,), rows in standing.group_by(["cause_id"], maintain_order=True):
        worst = rows.sort("tail_probability")
        alarm = worst.row(0, named=True)
        opportunity = opportunities.get(f"anomaly/{cause}", opportunities.get(_decay_id(alarm)))
        gain = opportunity["expected_gain"] if opportunity else None
        mine = _alarms(known.filter(pl.col("cause_id") == cause))
        target = next((name for name, alarms in on_record.items() if alarms & mine), str(cause))
        yield _proposal(publication, target, worst, gain, course(alarm, opportunities))


def _on_record(records: pl.DataFrame) -> dict[str, set[Alarm]]:
    """The alarms of each cause that is on record, the oldest first.

    A cause is known by its first day, and a night that reads more may find an earlier one. What shares an alarm with a
    record is the same cause, and people decide about it once.
    """
    mine = records.filter(pl.col("kind") == Kind.ANOMALY).sort("created_at", "target")
    return {
        target: {(target.rpartition("@")[0], row["day"], row["metric"]) for row in json.loads(evidence)["rows"]}
        for target, evidence in mine.select("target", "evidence").iter_rows()
    }


def _alarms(rows: pl.DataFrame) -> set[Alarm]:
    subject = str(rows.item(0, "cause_id")).rpartition("@")[0]
    return {(subject, str(day), metric) for day, metric in rows.select("day", "metric").iter_rows()}


def course(alarm: Mapping[str, Any], opportunities: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The opportunity that tells where a slow decay led, if an alarm is a sign of one.

    A row of an older publication does not tell it.

    Args:
        alarm: a row of `anomalies`.
        opportunities: rows of `opportunities` by id.
    """
    decay = opportunities.get(_decay_id(alarm)) if alarm["anomaly_kind"] == "drift" else None
    return decay if decay and decay.get("since_day") is not None else None


def _decay_id(alarm: Mapping[str, Any]) -> str:
    return f"decay/{alarm['workflow_id']}/{alarm['step_id']}/{alarm['metric']}"


def _proposal(
    publication: Publication, cause: str, rows: pl.DataFrame, gain: float | None, decay: Mapping[str, Any] | None
) -> Proposal:
    worst: dict[str, Any] = rows.row(0, named=True)
    since = decay["since_day"] if decay else worst["cause_first_day"]
    workflow, step = worst["workflow_id"], worst["step_id"]
    is_step = worst["cause_scope"] == "step" and workflow is not None and step is not None
    place = (
        f"{publication.workflow_name(workflow)}, {publication.step_name(workflow, step)}"
        if is_step
        else "The whole account"
    )
    metrics = ", ".join(rows["metric"].unique().sort())
    trends = publication["metric_trends"].filter(
        (pl.col("workflow_id") == workflow) & (pl.col("step_id") == step) & (pl.col("metric") == worst["metric"])
    )
    return Proposal(
        kind=Kind.ANOMALY,
        target=cause,
        title=f"{place}: look into {metric_nouns(rows['metric'])}, out of line since {since}",
        workflow_id=workflow if is_step else None,
        step_id=step if is_step else None,
        before={"since": str(since), "metrics": metrics},
        after={
            "instructions": [
                "Check in your sender whether the step runs, whom it lets in, and what changed on the first day.",
                "Mend it, or mute the series in mutes.yaml until a day if it is meant to be so.",
                "Mark this record as done. While it goes on, the pages and the digest still tell it.",
            ]
        },
        apply_kind=ApplyKind.MANUAL,
        base_version=cause.rpartition("@")[2],
        evidence=publication.evidence(
            summary=_summary(worst, decay, trends),
            source=f"marts.anomalies where cause_id = '{worst['cause_id']}'",
            rows=rows.select("day", "metric", "value", "expected_value", "severity", "tail_probability"),
            chart=trend_chart(trends),
            at=(workflow, step) if is_step else None,
            n=worst["denominator"] or worst["numerator"],
            effect=worst["value"] - worst["expected_value"],
            effect_unit=worst["metric"],
            method=worst["method"],
            identification="observational",
            window=f"the last {worst['window_nights']} nights" if worst["window_nights"] > 1 else "the last night",
        ),
        expected_gain=gain,
        risk=Risk.LOW,
        holdout_share=BY_HAND,
    )


def _summary(worst: dict[str, Any], decay: Mapping[str, Any] | None, trends: pl.DataFrame) -> str:
    """What happened: of a slow drift from where to where it led, else the night and its forecast."""
    is_rate = worst["metric_kind"] == "rate"
    noun = metric_noun(worst["metric"])
    what = f"The share of {noun}" if is_rate else f"The number of {noun}"
    if decay:
        former, present = (share(decay[f"{time}_rate"]) for time in ("former", "present"))
        return f"{what} fell slowly from {former} to the {present} of the last four weeks. No single night shows it."
    told = share if is_rate else _count
    direction = "fell" if worst["direction"] == "down" else "rose"
    weeks = dict(trends.select("day", "smoothed_value").iter_rows())
    before, now = (weeks.get(worst["day"] - timedelta(days=days)) for days in (COURSE_DAYS, 0))
    if worst["anomaly_kind"] == "drift" and before is not None and now is not None:
        return (
            f"{what} {direction} slowly: the week to {worst['day']} has {told(now)}, and the week "
            f"{COURSE_DAYS} days before had {told(before)}. No single night shows it."
        )
    expected, low, high = (told(worst[f"expected_value{end}"]) for end in ("", "_low", "_high"))
    return (
        f"{what} {direction} to {told(worst['value'])} on {worst['day']}, where {expected} was expected "
        f"({low} to {high}). Chance alone brings a night as far out {_seldom(worst['tail_probability'])}."
    )


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _seldom(probability: float) -> str:
    return f"once in {1 / probability:,.0f}" if probability > _NEVER_SEEN else "less than once in a million"
