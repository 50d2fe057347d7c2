"""Policies of paths and content that are known to earn more than the one that is served: switch to them."""

from collections.abc import Iterator
from typing import Any

import polars as pl

from pipeline.charts.figures import decision_chart
from pipeline.decisions.targets import LEARNT, RULES, better_policies
from pipeline.optimizations.proposals.deliveries import KINDS, TABLES, change_of, measure_of
from pipeline.optimizations.proposals.evidence import Publication
from pipeline.optimizations.record import Proposal
from pipeline.schemas.vocabulary import ApplyKind, Risk

_WORDS = {RULES: "let the rules choose", LEARNT: "let the learnt policy choose, without exploring"}


def policy_proposals(publication: Publication) -> Iterator[Proposal]:
    """One proposal per decision point or content block that is served, and at which another policy surely gains."""
    values = publication["policy_values"]
    points = publication["decision_points"].filter(pl.col("means").is_not_null())
    better = better_policies(values).join(points, on="decision_point_id", how="inner")
    for row in better.sort("decision_point_id").iter_rows(named=True):
        of_point = pl.col("decision_point_id") == row["decision_point_id"]
        yield _switch(publication, row, values.filter(of_point), publication[TABLES[row["kind"]]].filter(of_point))


def _switch(publication: Publication, row: dict[str, Any], values: pl.DataFrame, decided: pl.DataFrame) -> Proposal:
    name, policy, means = row["decision_point_id"], row["policy"], row["means"]
    lift = {end: row[f"gain{end}"] / row["logged_mean"] for end in ("", "_low", "_high")}
    at_point = {"decision_point_id": name}
    what = _WORDS.get(policy) or f"{policy.replace('always', 'always choose')} where it is allowed"
    return Proposal(
        kind=KINDS[row["kind"]],
        target=name,
        title=f"{publication.workflow_name(row['workflow_id'])}, {row['name'] or name}: {what}",
        workflow_id=row["workflow_id"],
        step_id=row["step_id"],
        before={"chosen_by": "the policy that explores"},
        after={
            **change_of(row),
            "policy": policy,
            "source": "policy_choices",
            "where": {**at_point, "policy": policy},
            "holdout_source": TABLES[row["kind"]],
            "holdout_where": at_point,
        },
        apply_kind=ApplyKind.MEMBER_FIELDS,
        base_version=f"{policy} by {means}",
        evidence=publication.evidence(
            summary=f"On {row['decisions']:,} decisions that were served, '{policy}' would have earned "
            f"{row['value_mean']:.3f} a decision; what was served earned {row['logged_mean']:.3f}. Those kept out go "
            "on as they are.",
            source=f"marts.policy_values where decision_point_id = '{name}'",
            rows=values,
            chart=decision_chart(decided),
            at=(row["workflow_id"], row["step_id"]),
            n=row["decisions"],
            effect=row["gain"],
            effect_low=row["gain_low"],
            effect_high=row["gain_high"],
            effect_unit="conversions a decision",
            method=row["method"],
            identification="randomised",
            window=f"the workflow's goal within {row['outcome_days']} days after the message, served decisions only",
        ),
        expected_lift=lift[""],
        expected_lift_low=lift["_low"],
        expected_lift_high=lift["_high"],
        risk=Risk.MEDIUM,
        measure=measure_of(row),
    )
