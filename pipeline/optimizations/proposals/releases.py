"""Flows whose owner wants driptune to let people in: one proposal each, with what would start and what bounds it."""

import json
from collections.abc import Iterator
from typing import Any

import polars as pl

from pipeline.optimizations.proposals.evidence import HELD_OUT, Publication
from pipeline.optimizations.record import Proposal
from pipeline.schemas.vocabulary import ApplyKind, Risk
from pipeline.schemas.vocabulary import ProposalKind as Kind


def release_proposals(publication: Publication) -> Iterator[Proposal]:
    """One proposal per flow that says `released_by: driptune`. Its risk is high, because mail starts by it."""
    for row in publication["release_starts"].sort("workflow_id").iter_rows(named=True):
        yield _release(publication, row)


def _release(publication: Publication, row: dict[str, Any]) -> Proposal:
    workflow, step, start = row["workflow_id"], row["step_id"], json.loads(row["start"])
    place = publication.workflow_name(workflow)
    hour = pl.col("release_at").dt.truncate("1h")
    planned = publication["release_plan"].filter((pl.col("workflow_id") == workflow) & (pl.col("status") == "planned"))
    return Proposal(
        kind=Kind.RELEASE,
        target=workflow,
        title=f"{place}: let people in by {_in_words(start)}, each at the moment decided for them",
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
            summary=f"Tonight {row['planned']:,} people wait and would be let in. {row['late']:,} more are too late; "
            f"{row['held_back']:,} are held back by a conflict, the frequency cap or a hold-out. No lift is promised.",
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


def _in_words(start: dict[str, Any]) -> str:
    if "trigger" in start:
        trigger = start["trigger"]
        return f"the API trigger of step {trigger['step']} in journey {trigger['journey']}"
    return f"the event '{start['event']}'" if "event" in start else f"the tag '{start['tag']}'"
