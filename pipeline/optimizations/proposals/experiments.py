"""Tests: write the arms of one that is planned; send everybody the better arm of one that has a winner."""

import json
from collections.abc import Iterator
from typing import Any

import polars as pl

from pipeline.analysis.experiments.plan import LONGEST_PLAN_DAYS
from pipeline.charts.figures import experiment_chart
from pipeline.common.means import condition, in_words
from pipeline.common.words import lift, share
from pipeline.optimizations.proposals.deliveries import first_a_means
from pipeline.optimizations.proposals.evidence import BY_HAND, HELD_OUT, Publication, hold_out
from pipeline.optimizations.record import Measure, Proposal
from pipeline.schemas.vocabulary import ApplyKind, Assigner, MetricName, Risk
from pipeline.schemas.vocabulary import ProposalKind as Kind


def start_proposals(publication: Publication) -> Iterator[Proposal]:
    """One proposal per planned test whose arms driptune draws, and whose sample comes together in time."""
    is_drawn = (pl.col("assigned_by") == Assigner.DRIPTUNE) & (pl.col("status") == "planned")
    planned = publication["experiments"].filter(is_drawn & (pl.col("planned_days") <= LONGEST_PLAN_DAYS))
    for row in planned.sort("experiment_id").iter_rows(named=True):
        yield _start(publication, row)


def _start(publication: Publication, row: dict[str, Any]) -> Proposal:
    name, means = row["experiment_id"], row["arm_field"]
    called = row["name"] or name
    arms: dict[str, float] = json.loads(row["arms"])
    control, *others = arms
    drawn = publication["member_field_values"].filter(pl.col("source_id") == name)
    step = row["step_id"]
    place = f"{publication.workflow_name(row['workflow_id'])}, {publication.step_name(row['workflow_id'], step)}"
    if means is None:
        apply_kind = ApplyKind.MANUAL
        title = f"{place}: say how the arms of '{called}' reach the step, then it can start"
        after: dict[str, Any] = {"instructions": first_a_means("the arms", "experiments.yaml", name)}
    else:
        steps = [
            _building(publication, row, control, others),
            "driptune then writes the arms, every night for newcomers, until the test ends. A message counts from when "
            "its arm stood in the account.",
        ]
        apply_kind = ApplyKind.MEMBER_FIELDS
        title = f"{place}: start the test '{called}', its arms in {in_words(means)}"
        after = {
            "field": means,
            "source": "member_field_values",
            "column": "value",
            "where": {"source_id": name},
            "values": list(arms),
            "instructions": steps,
        }
    shares = ", ".join(f"{arm} {part:.0%}" for arm, part in arms.items())
    mean = row["baseline_mean"]
    level = f"{mean:.3g} a person" if row["primary_metric"] == MetricName.REVENUE else share(mean)
    return Proposal(
        kind=Kind.EXPERIMENT_START,
        target=name,
        title=title,
        workflow_id=row["workflow_id"],
        step_id=step,
        before={"arms": "drawn, and written to nobody"},
        after=after,
        apply_kind=apply_kind,
        base_version=f"{row['arms']} at {row['workflow_id']}/{step}",
        evidence=publication.evidence(
            summary=f"{row['hypothesis']} Arms: {shares}. It takes {row['planned_exposures']:,} people, "
            f"{row['planned_days']} days of this step, to find {row['minimum_lift']:+.0%} of {row['primary_metric']} "
            f"({level} when it was planned) with a chance of {row['power']:.0%}.",
            source=f"marts.experiments where experiment_id = '{name}'",
            rows=drawn.group_by("value").agg(subscribers=pl.len()).sort("value"),
            at=(row["workflow_id"], step),
            n=drawn.height,
            effect=None,
            method=row["method"],
            identification="not identified",
            window=f"{row['window_days']} days after each message",
        ),
        # The control is what the other arms are compared with.
        holdout_share=BY_HAND,
        risk=Risk.MEDIUM,
    )


def _building(publication: Publication, row: dict[str, Any], control: str, others: list[str]) -> str:
    """What to build in the flow before a test starts."""
    means, step = row["arm_field"], publication.step_name(row["workflow_id"], row["step_id"])
    if means in publication["release_starts"]["wait_field"].to_list():
        return (
            f"Nothing has to be built. driptune lets each person into the flow as many hours after they came as "
            f"{in_words(means)} holds, so the arms of this test are hours. Approve the release of the flow first."
        )
    each = "; ".join(f"arm {arm} if {condition(means, arm)}" for arm in others)
    return (
        f"At the step '{step}', send {each}; and arm {control}, the control, to everybody else. Build this before you "
        "approve."
    )


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
        marked = hold_out(f"test {name}")
        steps = [
            publication.way_to(row["workflow_id"], row["step_id"]),
            f"Send arm {winner} to everybody, but where {condition(marked['field'], marked['holdout_value'])}: "
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
