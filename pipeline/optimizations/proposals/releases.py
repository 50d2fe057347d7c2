"""Flows whose owner wants driptune to let people in: one proposal each, with what would start and what bounds it."""

import json
from collections.abc import Iterator
from typing import Any

import polars as pl

from pipeline.common.words import counted
from pipeline.optimizations.proposals.evidence import BY_HAND, HELD_OUT, Publication
from pipeline.optimizations.record import IN_EFFECT, Proposal
from pipeline.schemas.vocabulary import ApplyKind, Risk
from pipeline.schemas.vocabulary import ProposalKind as Kind


def release_proposals(publication: Publication) -> Iterator[Proposal]:
    """One proposal per flow that says `released_by: driptune`. Its risk is high, because mail starts by it.

    Where the flow is released and some people are late, another proposal would let them in all the same.
    """
    is_standing = pl.col("status").is_in([str(status) for status in IN_EFFECT]) & (pl.col("kind") == Kind.RELEASE)
    released = set(publication["optimizations"].filter(is_standing)["target"])
    for row in publication["release_starts"].sort("workflow_id").iter_rows(named=True):
        yield _release(publication, row)
        if row["late"] and row["workflow_id"] in released:
            yield _late(publication, row)


def _release(publication: Publication, row: dict[str, Any]) -> Proposal:
    workflow, step, start = row["workflow_id"], row["step_id"], json.loads(row["start"])
    place = publication.workflow_name(workflow)
    hour = pl.col("release_at").dt.truncate("1h")
    planned = publication["release_plan"].filter((pl.col("workflow_id") == workflow) & (pl.col("status") == "planned"))
    return Proposal(
        kind=Kind.RELEASE,
        target=workflow,
        title=f"{place}: let people in, each at the moment decided for them",
        workflow_id=workflow,
        step_id=step,
        before={"released": "nobody: driptune lets no one into this flow"},
        after={
            "start": start,
            "hourly_cap": row["hourly_cap"],
            "most": row["most"],
            "instructions": [
                f"Approving this starts mail. From then on driptune lets people into '{place}' by {_in_words(start)}, "
                "every ten minutes, and the flow sends to them.",
                "Nothing else may let the same people in: take out every other starting point of the flow first.",
                f"At most {row['hourly_cap']:,} people an hour are let in, and {row['most']:,} in all. Another number, "
                "`release_at_most` in flows.yaml, takes another approval.",
                "A tenth of the people, drawn by lot, is let in at the old planned time. Quiet hours and allowed days "
                "hold for them, too.",
                "`driptune release --stop` ends it at once. Whoever was let in stays in the flow.",
            ],
        },
        apply_kind=ApplyKind.RELEASE,
        base_version="release",
        evidence=publication.evidence(
            summary=_tonight(row),
            source=f"marts.release_plan where workflow_id = '{workflow}'",
            rows=planned.group_by(hour=hour).agg(people=pl.len()).sort("hour"),
            at=(workflow, step),
            n=row["planned"],
            effect=None,
            method=row["method"],
            identification="not identified",
            window="tonight",
        ),
        holdout_share=HELD_OUT,
        risk=Risk.HIGH,
    )


def _late(publication: Publication, row: dict[str, Any]) -> Proposal:
    """Those whose moment passed too long ago, because the machine was off or the flow was not released yet."""
    workflow, step, start = row["workflow_id"], row["step_id"], json.loads(row["start"])
    place = publication.workflow_name(workflow)
    late = publication["release_plan"].filter((pl.col("workflow_id") == workflow) & (pl.col("status") == "late"))
    last = late.select(pl.col("planned_at").dt.date().max().cast(pl.String)).item()
    return Proposal(
        kind=Kind.RELEASE,
        target=f"{workflow}/late",
        title=f"{place}: let those in who are late",
        workflow_id=workflow,
        step_id=step,
        before={"released": "nobody of them: their moment passed too long ago"},
        after={
            "start": start,
            "hourly_cap": row["hourly_cap"],
            "most": row["most"],
            "late_until": last,
            "instructions": [
                f"Approving this starts mail. driptune lets those into '{place}' whose moment was planned until {last} "
                "and passed without them. They are spread over 24 hours.",
                "Who is late after that day takes another approval. `late_releases: spread` in constraints.yaml lets "
                "everybody in who is late, without one.",
                "Read the e-mail first: it may no longer be right for them.",
            ],
        },
        apply_kind=ApplyKind.RELEASE,
        base_version="late",
        evidence=publication.evidence(
            summary=f"Tonight {late.height:,} people are late. Nobody of them is let in without another approval. No "
            "lift is promised.",
            source=f"marts.release_plan where workflow_id = '{workflow}' and status = 'late'",
            rows=late.group_by(day=pl.col("planned_at").dt.date()).agg(people=pl.len()).sort("day"),
            at=(workflow, step),
            n=late.height,
            effect=None,
            method=row["method"],
            identification="not identified",
            window="tonight",
        ),
        holdout_share=BY_HAND,
        risk=Risk.HIGH,
    )


def _tonight(row: dict[str, Any]) -> str:
    """How many people wait, and what becomes of the others; only what there is."""
    waits = counted(row["planned"], "person waits", "people wait") if row["planned"] else "nobody waits"
    told = [f"Tonight {waits}{' and would be let in' if row['planned'] else ''}."]
    if row["late"]:
        told.append(f"{counted(row['late'], 'is', 'are')} too late.")
    if row["held_back"]:
        held = counted(row["held_back"], "is", "are")
        told.append(f"{held} held back by a conflict, the frequency cap or a hold-out.")
    return " ".join([*told, "No lift is promised."])


def _in_words(start: dict[str, Any]) -> str:
    if "trigger" in start:
        trigger = start["trigger"]
        return f"the API trigger of step {trigger['step']} in journey {trigger['journey']}"
    return f"the event '{start['event']}'" if "event" in start else f"the tag '{start['tag']}'"
