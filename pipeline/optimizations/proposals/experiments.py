"""Winners of tests: send everybody the better arm, and keep some on the control to see whether it holds."""

import json
from collections.abc import Iterator
from typing import Any

import polars as pl

from pipeline.charts.figures import experiment_chart
from pipeline.common.words import lift
from pipeline.optimizations.proposals.evidence import HELD_OUT, Publication, hold_out
from pipeline.optimizations.record import Measure, Proposal
from pipeline.schemas.vocabulary import ApplyKind, Risk
from pipeline.schemas.vocabulary import ProposalKind as Kind


def winner_proposals(publication: Publication) -> Iterator[Proposal]:
    """One proposal per test with a winner."""
    plans = publication["experiments"].select("experiment_id", "hypothesis", "arms", "arm_field", "window_days")
    winners = publication["experiment_verdicts"].filter(pl.col("verdict") == "winner")
    for row in winners.join(plans, on="experiment_id").sort("experiment_id").iter_rows(named=True):
        yield _winner(publication, row)


def _winner(publication: Publication, row: dict[str, Any]) -> Proposal:
    name, winner, field = row["experiment_id"], row["winner_arm"], row["arm_field"]
    control = next(iter(json.loads(row["arms"])))
    of_test = publication["experiment_results"].filter(pl.col("experiment_id") == name)
    last = of_test.filter((pl.col("role") == "primary") & (pl.col("arm") == winner)).sort("as_of_day").tail(1)
    n = last.select(pl.sum_horizontal("exposures", "control_exposures").sum()).item()
    place = (
        f"{publication.workflow_name(row['workflow_id'])}, {publication.step_name(row['workflow_id'], row['step_id'])}"
    )
    if field:
        apply_kind, after = ApplyKind.MEMBER_FIELDS, {"field": field, "value": winner, "holdout_value": control}
    else:
        marked = hold_out(Kind.EXPERIMENT_WINNER, name)
        steps = [
            f"Open the step '{row['step_id']}' of '{row['workflow_id']}' in your sender.",
            f"Send arm {winner} to everybody but those with {marked['field']} = {marked['holdout_value']}: "
            f"they keep arm {control}.",
            "Save, and mark this record as done.",
        ]
        apply_kind, after = ApplyKind.MANUAL, {"instructions": steps, "arm": winner, **marked}
    return Proposal(
        kind=Kind.EXPERIMENT_WINNER,
        target=name,
        title=f"{place}: send arm {winner} to everybody",
        workflow_id=row["workflow_id"],
        step_id=row["step_id"],
        before={"arms": json.loads(row["arms"])},
        after=after,
        apply_kind=apply_kind,
        base_version=str(row["plan_hash"]),
        evidence=publication.evidence(
            summary=f"{row['hypothesis']} The test decided on {row['decided_day']} that arm {winner} beats "
            f"{control} on {row['primary_metric']}: {_measured(row, last)}",
            source=f"marts.experiment_verdicts where experiment_id = '{name}'",
            rows=last.select("arm", "metric", "exposures", "metric_mean", "control_exposures", "control_metric_mean"),
            chart=experiment_chart(of_test),
            at=(row["workflow_id"], row["step_id"]),
            n=n,
            effect=row["lift"],
            effect_low=row["lift_low"],
            effect_high=row["lift_high"],
            effect_unit=f"relative change of {row['primary_metric']}, interval valid over all nights",
            method=row["method"],
            identification="randomised",
            window=f"{row['window_days']} days after each message, {row['looks']} nights looked at",
        ),
        expected_lift=row["shrunk_lift"],
        expected_lift_low=row["shrunk_lift_low"],
        expected_lift_high=row["shrunk_lift_high"],
        holdout_share=HELD_OUT,
        measure=Measure(metric=row["primary_metric"], window_days=row["window_days"]),
        risk=Risk.MEDIUM,
    )


def _measured(row: dict[str, Any], last: pl.DataFrame) -> str:
    """The difference in words: relative, or absolute where the control brought nothing."""
    if row["lift"] is None:
        return f"{last.item(0, 'metric_mean'):.4g} against {last.item(0, 'control_metric_mean'):.4g} for each message."
    return (
        f"measured {lift(row['lift'])}, to be expected {lift(row['shrunk_lift'])}, because measured winners promise "
        "more than they keep."
    )
