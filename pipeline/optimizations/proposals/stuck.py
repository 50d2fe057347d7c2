"""Subscribers who are stuck: mend the cause, a proposal per step and cause."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import polars as pl

from pipeline.common.words import counted
from pipeline.optimizations.proposals.evidence import BY_HAND, Publication
from pipeline.optimizations.record import Proposal
from pipeline.schemas.vocabulary import ApplyKind, Risk
from pipeline.schemas.vocabulary import ProposalKind as Kind

MENDING: Mapping[str, str] = MappingProxyType(
    {
        "paused step": "start the paused step, or route around it",
        "bounced": "take those who bounced out of the flow",
        "failed filter": "let those whom the filter holds go on by another path",
        "deleted target": "point the branch to a step that exists",
        "queue stall": "start the e-mail's queue again",
        "loop": "end the loop that sends people back to this step",
    }
)
_PLACE = ["workflow_id", "step_id", "cause"]


def stuck_proposals(publication: Publication) -> Iterator[Proposal]:
    """One proposal per step and cause with somebody stuck."""
    stuck = publication["stuck_subscribers"].filter(pl.col("cause").is_in(list(MENDING)))
    groups = stuck.group_by(_PLACE).agg(
        people=pl.len(), longest_hours=pl.col("stuck_hours").max(), to_step_id=pl.col("to_step_id").drop_nulls().min()
    )
    for row in groups.sort(_PLACE).iter_rows(named=True):
        yield _proposal(publication, row)


def _proposal(publication: Publication, row: Mapping[str, Any]) -> Proposal:
    workflow, step, cause = (row[name] for name in _PLACE)
    advice, place = MENDING[cause], f"{publication.workflow_name(workflow)}, {publication.step_name(workflow, step)}"
    target = row["to_step_id"] or step
    after: dict[str, Any] = {
        "instructions": [
            publication.way_to(workflow, target),
            f"{advice.capitalize()}.",
            "Save, and mark this record as done: whoever is still stuck tomorrow is listed again.",
        ]
    }
    apply_kind = ApplyKind.MANUAL
    if cause in ("queue stall", "paused step") and publication.is_classic_automation(workflow):
        apply_kind, after = ApplyKind.API_PATCH, {"operation": "start", "workflow_id": workflow, "email_id": target}
    return Proposal(
        kind=Kind.STUCK,
        target=f"{workflow}/{step}/{cause}",
        title=f"{place}: {advice}",
        workflow_id=workflow,
        step_id=step,
        before={"cause": cause},
        after=after,
        apply_kind=apply_kind,
        base_version=cause,
        evidence=publication.evidence(
            summary=f"{counted(row['people'], 'person is', 'people are')} in this step beyond its planned wait and "
            f"grace, the longest for {counted(round(row['longest_hours'] / 24), 'day', 'days')}. Cause: {cause}.",
            source=f"marts.stuck_subscribers where workflow_id = '{workflow}' and step_id = '{step}' "
            f"and cause = '{cause}'",
            rows=pl.DataFrame([{name: row[name] for name in (*_PLACE, "people", "longest_hours")}]),
            at=(workflow, step),
            n=row["people"],
            effect=None,
            method="timeouts not left since; the first cause that applies",
            identification="not identified",
            window="tonight",
        ),
        risk=Risk.LOW,
        # Nobody is left stuck for the sake of a comparison.
        holdout_share=BY_HAND,
    )
