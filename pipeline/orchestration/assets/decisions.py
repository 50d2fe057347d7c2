"""Assets of decisions: which path and content everybody gets tonight, how rules and policies do, and the log."""

from typing import Any

import polars as pl

from pipeline.analysis.statistics.policy_values import policy_values
from pipeline.charts.figures import decision_chart
from pipeline.config.decisions import load_decisions
from pipeline.decisions import night as nights
from pipeline.decisions.night import DecisionNight, Facts
from pipeline.orchestration.asset import Latest, Night, asset
from pipeline.orchestration.picture import image
from pipeline.schemas import decisions as marts
from pipeline.schemas import lake


def _decision_night(facts: Facts, log: pl.DataFrame, night: Night) -> DecisionNight:
    definitions, horizon_days = load_decisions(night.settings.definitions), night.settings.decision_horizon_days
    return nights.decision_night(definitions, facts, log, as_of=night.as_of, horizon_days=horizon_days)


def _decision_summary(rows: pl.DataFrame) -> dict[str, Any]:
    return {
        "decision_points": rows["decision_point_id"].n_unique(),
        "subscribers": rows["subscriber_key"].n_unique(),
        "defaults": int(rows["is_default"].sum()),
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
    *(marts.PathDecisions, marts.ContentDecisions, marts.RuleCoverage, marts.DecisionLint, marts.PolicyValues),
    group="decisions",
    summary=(_decision_summary, _decision_summary, _coverage_summary, _lint_summary, _value_summary),
)
def choose(facts: Facts, log: Latest[lake.Decisions], night: Night) -> tuple[pl.DataFrame, ...]:
    """An arm for everybody at every decision point and content block."""
    tonight = _decision_night(facts, log, night)
    return (
        nights.path_decisions(tonight),
        nights.content_decisions(tonight),
        nights.coverage(tonight),
        nights.lint(tonight, facts),
        policy_values(nights.valued_log(tonight), as_of_day=night.as_of),
    )


@asset(lake.Decisions, group="decisions", kinds=("polars", "parquet"))
def decision_log(facts: Facts, log: Latest[lake.Decisions], night: Night) -> pl.DataFrame:
    """Decisions that are about to be served, kept with what was known, for learning and replay."""
    return nights.log_rows(_decision_night(facts, log, night), facts)


@asset(lake.PolicyModels, group="decisions", kinds=("polars", "parquet"))
def policy_models(facts: Facts, log: Latest[lake.Decisions], night: Night) -> pl.DataFrame:
    """Tonight's policies, kept for replay."""
    return nights.model_rows(_decision_night(facts, log, night))
