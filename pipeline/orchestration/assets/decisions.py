"""Assets of decisions: which path and content everybody gets tonight, how rules and policies do, and the log."""

from dataclasses import dataclass
from typing import Any

import polars as pl
from pandera.typing.polars import DataFrame

from pipeline.charts.figures import decision_chart
from pipeline.config.decisions import load_decisions
from pipeline.decisions import night as nights
from pipeline.decisions.night import DecisionNight, Delivered, Facts
from pipeline.orchestration.asset import Latest, Night, asset
from pipeline.orchestration.picture import image
from pipeline.orchestration.resources.warehouse import Warehouse
from pipeline.schemas import core, lake, loop
from pipeline.schemas import decisions as marts

COUNTED = ("decision_point_id", "subscriber_key", "arm", "is_default", "is_served", "rule_errors")


@dataclass(frozen=True)
class Standing:
    """The ledger as decisions read it."""

    records: DataFrame[loop.Optimizations]
    written: DataFrame[core.CoreWrittenValues]


def _decision_night(facts: Facts, log: pl.DataFrame, standing: Standing, night: Night) -> DecisionNight:
    definitions, window_days = load_decisions(night.settings.definitions), night.settings.decision_horizon_days
    delivered = Delivered(standing.records, standing.written)
    return nights.decision_night(definitions, facts, log, delivered, as_of=night.as_of, window_days=window_days)


def _decision_summary(decisions: pl.LazyFrame) -> dict[str, Any]:
    rows = decisions.select(*COUNTED).collect()
    return {
        "decision_points": rows["decision_point_id"].n_unique(),
        "subscribers": rows["subscriber_key"].n_unique(),
        "defaults": int(rows["is_default"].sum()),
        "served": int(rows["is_served"].sum()),
        "with_rule_errors": rows["rule_errors"].count(),
        **image(decision_chart(rows)),
    }


def _coverage_summary(rows: pl.DataFrame) -> dict[str, Any]:
    return {
        "rules": rows.height,
        "dead": int(rows["is_dead"].sum()),
        "universal": int(rows["is_universal"].sum()),
        "in_error": rows["error"].count(),
    }


def _lint_summary(rows: pl.DataFrame) -> dict[str, Any]:
    return {
        "errors": rows.filter(pl.col("severity") == "error").height,
        "warnings": rows.filter(pl.col("severity") == "warning").height,
    }


def _value_summary(rows: pl.DataFrame) -> dict[str, Any]:
    return {
        "decision_points": rows["decision_point_id"].n_unique(),
        "estimated": rows["value_mean"].count(),
        "surely_better": rows.filter(pl.col("gain_low") > 0).height,
    }


@asset(
    *(marts.DecisionPoints, marts.PathDecisions, marts.ContentDecisions, marts.RuleCoverage, marts.DecisionLint),
    *(marts.PolicyValues, marts.PolicyChoices),
    group="decisions",
    summary=(
        *(lambda rows: {"decision_points": rows.height, "with_a_means": rows["means"].count()}, _decision_summary),
        *(_decision_summary, _coverage_summary, _lint_summary, _value_summary),
        lambda rows: {"policies": rows.select("decision_point_id", "policy").unique().collect().height},
    ),
)
def choose(
    facts: Facts, log: Latest[lake.Decisions], standing: Standing, warehouse: Warehouse, night: Night
) -> tuple[pl.DataFrame | pl.LazyFrame, ...]:
    """An arm for everybody who can be mailed, at every decision point and content block."""
    tonight = _decision_night(facts, log, standing, night)
    values, matched = nights.values(tonight), []
    of_everybody = (marts.PathDecisions, marts.ContentDecisions, marts.PolicyChoices)
    with warehouse.replacing(*of_everybody) as add:
        for profiles in nights.profiles_in_blocks(facts, as_of=night.as_of):
            add(marts.PathDecisions, nights.path_decisions(tonight, profiles))
            add(marts.ContentDecisions, nights.content_decisions(tonight, profiles))
            add(marts.PolicyChoices, nights.policy_choices(tonight, values, profiles))
            matched.append(nights.matches(tonight, profiles))
    paths, content, choices = (warehouse.scan(model) for model in of_everybody)
    coverage = nights.coverage(tonight, matched)
    findings = nights.lint(tonight, facts, coverage)
    return nights.decision_points(tonight), paths, content, coverage, findings, values, choices


@asset(lake.Decisions, group="decisions", kinds=("polars", "parquet"))
def decision_log(facts: Facts, log: Latest[lake.Decisions], standing: Standing, night: Night) -> pl.DataFrame:
    """Decisions about those who come to the decision point next, kept with what was known, for learning and replay."""
    tonight = _decision_night(facts, log, standing, night)
    blocks = nights.profiles_in_blocks(facts, as_of=night.as_of)
    return pl.concat(nights.log_rows(tonight, facts, profiles) for profiles in blocks)


@asset(lake.PolicyModels, group="decisions", kinds=("polars", "parquet"))
def policy_models(facts: Facts, log: Latest[lake.Decisions], standing: Standing, night: Night) -> pl.DataFrame:
    """Tonight's policies, kept for replay."""
    return nights.model_rows(_decision_night(facts, log, standing, night))
