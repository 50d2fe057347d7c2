"""Workflows that collide: let the one of lower priority yield."""

from collections.abc import Iterator

from pipeline.charts.figures import conflict_chart
from pipeline.common.words import counted
from pipeline.optimizations.proposals.evidence import BY_HAND, Publication
from pipeline.optimizations.record import Proposal
from pipeline.schemas.vocabulary import ApplyKind, Risk
from pipeline.schemas.vocabulary import ProposalKind as Kind

_ADVICE = {
    "delay": "hold the entry until the other workflow has ended",
    "suppress": "do not let in who is in the other workflow",
    "replace": "take out who enters the other workflow",
}


def coordination_proposals(publication: Publication) -> Iterator[Proposal]:
    """One proposal per pair of workflows that collided in the past month and should not have."""
    replay = publication["conflict_replay"]
    for row in replay.sort("workflow_id", "prevailing_workflow_id", "conflict_type").iter_rows(named=True):
        if row["resolution"] not in _ADVICE:
            continue
        yields, prevails = row["workflow_id"], row["prevailing_workflow_id"]
        names = publication.workflow_name(yields), publication.workflow_name(prevails)
        advice = _ADVICE[row["resolution"]]
        yield Proposal(
            kind=Kind.COORDINATION,
            target=f"{yields}/{prevails}/{row['conflict_type']}",
            title=f"{names[0]} yields to {names[1]}: {advice}",
            workflow_id=yields,
            before={"resolution": "none: both mail"},
            after={
                "resolution": row["resolution"],
                "instructions": [
                    f"Open the entry conditions of '{names[0]}' in your sender.",
                    f"Add a condition on '{names[1]}': {advice}.",
                    "Save, and mark this record as done.",
                ],
            },
            apply_kind=ApplyKind.MANUAL,
            base_version=row["resolution"],
            evidence=publication.evidence(
                summary=f"{row['description']} In 30 days "
                f"{counted(row['subscribers'], 'subscriber was', 'subscribers were')} in both, on "
                f"{counted(row['collision_days'], 'subscriber-day', 'subscriber-days')}. What it cost is not known.",
                source=f"marts.conflict_replay where workflow_id = '{yields}' "
                f"and prevailing_workflow_id = '{prevails}'",
                rows=replay.filter(replay["workflow_id"] == yields).drop("description", "method"),
                chart=conflict_chart(replay),
                n=row["subscribers"],
                effect=None,
                method=row["method"],
                identification="not identified",
                window="the last 30 days",
            ),
            holdout_share=BY_HAND,
            risk=Risk.LOW,
        )
