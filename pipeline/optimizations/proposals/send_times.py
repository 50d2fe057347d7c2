"""Hours of sending: a share drawn by lot first, and the recommended hours for all once their lift is known."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from pipeline.charts.figures import send_time_chart
from pipeline.common.words import lift as lift_words
from pipeline.optimizations.proposals.evidence import OUTCOME_DAYS, Publication
from pipeline.optimizations.record import Measure, Proposal
from pipeline.schemas.vocabulary import ApplyKind, MetricName, Risk
from pipeline.schemas.vocabulary import ProposalKind as Kind

HOUR_FIELD = "SENDHOUR"


STEPS = (
    f"Before each e-mail that is to follow, split the flow by the merge field {HOUR_FIELD}, a local hour from 0 to 23. "
    "Put into each branch a wait until that hour in the contact's time zone. Who holds nothing goes on as today.",
    "Write into constraints.yaml, for all workflows or for one: `send_hours_from: 2026-07-01`, with the first day on "
    "which its mail follows the hours. What the hours bring is counted from that day on, and from no earlier one.",
    "Build this before you approve. driptune then writes the hours, every night and for newcomers.",
)
"""How the flows are built, and how it is told that they are."""


@dataclass(frozen=True)
class _Phase:
    """How far the hours are known: what is proposed, and of which column the hours come."""

    version: str
    title: str
    told: str
    column: str = "assigned_local_hour"


def send_time_proposals(publication: Publication) -> Iterator[Proposal]:
    """One proposal for the account: draw hours for a share, and mail at the assigned hours once some are known."""
    assigned, lift = publication["send_time_assignments"], publication["send_time_lift"]
    if assigned.is_empty() or lift.is_empty():
        return
    known = lift.filter("is_lift_shown")
    is_known = not known.is_empty()
    row = (known if is_known else lift).row(0, named=True)
    phase = _phase(publication, row)
    yield Proposal(
        kind=Kind.SEND_TIME,
        target="account",
        title=phase.title,
        before={"hour": "the hour at which each flow reaches the step"},
        after={
            "field": HOUR_FIELD,
            "source": "send_time_assignments",
            "column": phase.column,
            "instructions": list(STEPS),
        },
        apply_kind=ApplyKind.MEMBER_FIELDS,
        base_version=phase.version,
        evidence=publication.evidence(
            summary=phase.told,
            source="marts.send_time_profiles",
            rows=publication["send_time_clusters"].select("cluster_id", "subscribers", "sends", "engagements"),
            chart=send_time_chart(publication["send_time_profiles"]),
            n=row["randomised_sends"],
            effect=row["engagement_lift"],
            effect_low=row["engagement_lift_low"],
            effect_high=row["engagement_lift_high"],
            effect_unit="relative change of engagement",
            method=row["method"],
            identification="randomised" if is_known else "not identified",
            window="the last 180 days",
        ),
        expected_lift=row["engagement_lift"] if is_known else None,
        expected_lift_low=row["engagement_lift_low"] if is_known else None,
        expected_lift_high=row["engagement_lift_high"] if is_known else None,
        risk=Risk.LOW,
        measure=Measure(metric=MetricName.CLICK, window_days=OUTCOME_DAYS),
    )


def _phase(publication: Publication, lift: Mapping[str, Any]) -> _Phase:
    """Only drawing, where of nobody a better hour than today's is known; else moving, with or without a known lift."""
    assigned, everybody = publication["send_time_assignments"], publication["subscriber_send_times"]
    drawn = int(assigned["is_randomised"].sum())
    own = everybody.filter(pl.col("fallback_level") == "subscriber")
    moved = own.filter(pl.col("recommended_local_hour") != pl.col("current_local_hour")).height
    needed = (
        f"It takes {lift['randomised_sends_needed']:,} further messages at hours drawn by lot until the lift is known "
        "to within 10%. No lift is promised before."
    )
    title = f"Mail {moved:,} subscribers at their own hour"
    best = f"Of {own.height:,} subscribers other hours than today's are known; for {moved:,} of them one is better."
    if lift["is_lift_shown"]:
        gain = lift_words(lift["engagement_lift"])
        return _Phase(
            "lift known", title, f"{best} On messages whose hour was drawn the recommended hours engage {gain} better."
        )
    if moved:
        return _Phase("exploring", f"{title}, and {drawn:,} at one drawn by lot", f"{best} {needed}")
    return _Phase(
        "drawing",
        f"Draw the hour of mail for {drawn:,} subscribers",
        "What mail at other hours than today's does is unknown, so no hour is recommended and nobody is moved for "
        f"good. An hour drawn by lot for {drawn:,} of {everybody.height:,} subscribers, for four weeks at a time, "
        f"tells. {needed}",
        column="drawn_local_hour",
    )
