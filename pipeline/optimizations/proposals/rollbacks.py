"""Changes in effect that do harm: take them back."""

import json
from collections.abc import Iterator
from typing import Any

import polars as pl

from pipeline.charts.figures import realised_chart
from pipeline.common.words import lift
from pipeline.optimizations.proposals.evidence import BY_HAND, Publication
from pipeline.optimizations.realised import in_a_word
from pipeline.optimizations.record import IN_EFFECT, Proposal
from pipeline.schemas.vocabulary import ApplyKind, Risk
from pipeline.schemas.vocabulary import ProposalKind as Kind
from pipeline.schemas.vocabulary import RealisedOutcome as Kept


def rollback_proposals(publication: Publication) -> Iterator[Proposal]:
    """One proposal per change in effect that lowers what it was to raise, or raises unsubscribes or complaints."""
    in_effect = publication["optimizations"].filter(pl.col("status").is_in([str(status) for status in IN_EFFECT]))
    harmful = in_a_word(publication["realised_lift"]).filter(pl.col("outcome") == Kept.HARM)
    changes = in_effect.select("optimization_id", "title", "before", "after", "apply_kind")
    for row in harmful.join(changes, on="optimization_id").sort("optimization_id").iter_rows(named=True):
        nights = publication["realised_lift"].filter(pl.col("optimization_id") == row["optimization_id"])
        tonight = nights.filter("is_latest")
        yield Proposal(
            kind=Kind.ROLLBACK,
            target=row["optimization_id"],
            title=f"Take back: {row['title']}",
            workflow_id=row["workflow_id"],
            step_id=row["step_id"],
            before=json.loads(row["after"]),
            after={"roll_back": row["optimization_id"], **_way_back(publication, row)},
            apply_kind=ApplyKind(row["apply_kind"]),
            base_version=str(row["first_day"]),
            evidence=publication.evidence(
                summary=f"Since {row['first_day']} those with the change have {row['metric']} "
                f"{lift(row['realised_lift'], row['realised_lift_low'], row['realised_lift_high'])} against those kept "
                "out. The interval holds on all nights at once.",
                source=f"marts.realised_lift where optimization_id = '{row['optimization_id']}'",
                rows=tonight.select("metric", "role", "exposures", "held_out_exposures", "realised_lift", "outcome"),
                chart=realised_chart(nights.filter(pl.col("metric") == row["metric"])),
                at=(row["workflow_id"], row["step_id"]) if row["step_id"] else None,
                n=row["exposures"] + row["held_out_exposures"],
                effect=row["realised_lift"],
                effect_low=row["realised_lift_low"],
                effect_high=row["realised_lift_high"],
                effect_unit=f"relative change of {row['metric']}",
                method=row["method"],
                identification="randomised",
                window=f"since {row['first_day']}",
            ),
            risk=Risk.LOW,
            # What does harm is taken back for everybody.
            holdout_share=BY_HAND,
        )


def _way_back(publication: Publication, row: dict[str, Any]) -> dict[str, Any]:
    """What the change wrote to, which the way back writes to as well; by hand, what to put back."""
    change = json.loads(row["after"])
    if row["apply_kind"] == ApplyKind.MANUAL:
        stood = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in json.loads(row["before"]).items())
        way = publication.way_to(row["workflow_id"], row["step_id"])
        return {"instructions": [way, f"Put back what stood before: {stood}.", "Save, and mark this record as done."]}
    return {name: change[name] for name in ("field", "operation", "workflow_id", "email_id") if name in change}
