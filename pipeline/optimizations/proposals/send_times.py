"""Hours of sending: a share drawn by lot first, and the recommended hours for all once their lift is known."""

from collections.abc import Iterator

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


def send_time_proposals(publication: Publication) -> Iterator[Proposal]:
    """One proposal for the account: mail at the assigned hours."""
    assigned, lift = publication["send_time_assignments"], publication["send_time_lift"]
    if assigned.is_empty() or lift.is_empty():
        return
    known = lift.filter("is_lift_shown")
    row = (known if not known.is_empty() else lift).row(0, named=True)
    drawn, people = int(assigned["is_randomised"].sum()), assigned.height
    own = publication["subscriber_send_times"].filter(pl.col("fallback_level") == "subscriber")
    moved = own.filter(pl.col("recommended_local_hour") != pl.col("current_local_hour")).height
    is_known = not known.is_empty()
    if is_known:
        gain = lift_words(row["engagement_lift"])
        told = f"On messages whose hour was drawn the recommended hours engage {gain} better."
    else:
        told = (
            f"What the hours bring is not known yet: it takes {row['randomised_sends_needed']:,} messages at hours "
            f"drawn by lot, so {drawn:,} of {people:,} subscribers get one. No lift is promised before."
        )
    yield Proposal(
        kind=Kind.SEND_TIME,
        target="account",
        title=f"Mail {people:,} subscribers at their own hour" + ("" if is_known else f", {drawn:,} of them by lot"),
        before={"hour": "the hour at which each flow reaches the step"},
        after={
            "field": HOUR_FIELD,
            "source": "send_time_assignments",
            "column": "assigned_local_hour",
            "instructions": list(STEPS),
        },
        apply_kind=ApplyKind.MEMBER_FIELDS,
        base_version="lift known" if is_known else "exploring",
        evidence=publication.evidence(
            summary=f"{own.height:,} subscribers have enough history for an hour of their own; for {moved:,} of them "
            f"it is another than today's. {told}",
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
