"""Policies of paths and content that are known to earn more than the rules."""

from collections.abc import Iterator

import polars as pl

from pipeline.charts.figures import decision_chart
from pipeline.optimizations.proposals.evidence import OUTCOME_DAYS, Publication
from pipeline.optimizations.record import Measure, Proposal
from pipeline.schemas.vocabulary import ApplyKind, MetricName, Risk
from pipeline.schemas.vocabulary import ProposalKind as Kind


def policy_proposals(publication: Publication) -> Iterator[Proposal]:
    """One proposal per decision point or content block whose learnt policy surely gains."""
    values = publication["policy_values"]
    better = values.filter((pl.col("policy") != "rules") & (pl.col("status") == "ok") & (pl.col("gain_low") > 0))
    for table, kind in (("path_decisions", Kind.PATH_POLICY), ("content_decisions", Kind.CONTENT_POLICY)):
        decided = publication[table]
        rows = better.filter(pl.col("decision_point_id").is_in(decided["decision_point_id"].unique().implode()))
        for row in (
            rows.sort("decision_point_id", "method").unique("decision_point_id", keep="first").iter_rows(named=True)
        ):
            point = row["decision_point_id"]
            of_point = decided.filter(pl.col("decision_point_id") == point)
            lift = {name: row[name] / row["logged_mean"] for name in ("gain", "gain_low", "gain_high")}
            yield Proposal(
                kind=kind,
                target=point,
                title=f"{point}: let the learnt policy choose in place of the rules' order",
                before={"chosen_by": "rules"},
                after={"field": point.upper().replace("-", "")[:10], "source": table, "decision_point_id": point},
                apply_kind=ApplyKind.MEMBER_FIELDS,
                base_version=row["policy"],
                evidence=publication.evidence(
                    summary=f"On {row['decisions']:,} logged decisions the policy would have earned "
                    f"{row['value_mean']:.3f} a decision; what was served earned {row['logged_mean']:.3f}.",
                    source=f"marts.policy_values where decision_point_id = '{point}'",
                    rows=values.filter(pl.col("decision_point_id") == point),
                    chart=decision_chart(of_point),
                    n=row["decisions"],
                    effect=row["gain"],
                    effect_low=row["gain_low"],
                    effect_high=row["gain_high"],
                    effect_unit="outcome a decision",
                    method=row["method"],
                    identification="randomised",
                    window="matured decisions of the log",
                ),
                expected_lift=lift["gain"],
                expected_lift_low=lift["gain_low"],
                expected_lift_high=lift["gain_high"],
                risk=Risk.MEDIUM,
                measure=Measure(metric=MetricName.CONVERSION, window_days=OUTCOME_DAYS),
            )
