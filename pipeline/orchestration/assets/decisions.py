"""Assets of decisions: which path and content everybody gets tonight, how rules and policies do, and the log."""

from datetime import date
from typing import Any

import polars as pl

from pipeline.analysis.statistics.policy_values import policy_values
from pipeline.charts.figures import decision_chart
from pipeline.config.decisions import load_decisions
from pipeline.decisions import night as nights
from pipeline.decisions.night import DecisionNight, Facts
from pipeline.orchestration.asset import log_asset, tables_asset
from pipeline.orchestration.picture import image
from pipeline.schemas import core, lake, reductions
from pipeline.schemas import decisions as marts
from pipeline.settings import Settings

GROUP = "decisions"
FACTS = {
    "subscribers": core.CoreSubscribers,
    "messages": core.CoreMessages,
    "conversions": core.CoreConversions,
    "subscriber_hours": reductions.SubscriberHours,
    "step_entries": core.CoreStepEntries,
    "workflows": core.CoreWorkflows,
    "steps": core.CoreSteps,
    "edges": core.CoreEdges,
}


def _night(as_of: date, settings: Settings, log: pl.DataFrame, facts: Facts) -> DecisionNight:
    definitions = load_decisions(settings.definitions)
    return nights.decision_night(definitions, facts, log, as_of=as_of, horizon_days=settings.decision_horizon_days)


def _decision_summary(rows: pl.DataFrame) -> dict[str, Any]:
    return {
        "decision_points": rows["decision_point_id"].n_unique(),
        "subscribers": rows["subscriber_key"].n_unique(),
        "defaults": int(rows["is_default"].sum()),
        "with_rule_errors": rows["rule_errors"].count(),
        **image(decision_chart(rows)),
    }


@tables_asset(
    [marts.PathDecisions, marts.ContentDecisions, marts.RuleCoverage, marts.DecisionLint, marts.PolicyValues],
    group=GROUP,
    reads=FACTS,
    reads_lake={"log": lake.Decisions},
    summaries={
        marts.PathDecisions: _decision_summary,
        marts.ContentDecisions: _decision_summary,
        marts.RuleCoverage: lambda rows: {
            "rules": rows.height,
            "dead": int(rows["is_dead"].sum()),
            "universal": int(rows["is_universal"].sum()),
            "in_error": rows["error"].count(),
        },
        marts.DecisionLint: lambda rows: {
            "errors": rows.filter(pl.col("severity") == "error").height,
            "warnings": rows.filter(pl.col("severity") == "warning").height,
        },
        marts.PolicyValues: lambda rows: {
            "decision_points": rows["decision_point_id"].n_unique(),
            "estimated": rows["value_mean"].count(),
            "surely_better": rows.filter(pl.col("gain_low") > 0).height,
        },
    },
)
def choose(as_of: date, settings: Settings, log: pl.DataFrame, **facts: pl.DataFrame) -> tuple[pl.DataFrame, ...]:
    """An arm for everybody at every decision point and content block."""
    known = Facts(**facts)
    night = _night(as_of, settings, log, known)
    return (
        nights.path_decisions(night),
        nights.content_decisions(night),
        nights.coverage(night),
        nights.lint(night, known),
        policy_values(nights.valued_log(night), as_of_day=as_of),
    )


@log_asset(lake.Decisions, group=GROUP, reads=FACTS, reads_lake={"log": lake.Decisions})
def decision_log(as_of: date, settings: Settings, log: pl.DataFrame, **facts: pl.DataFrame) -> pl.DataFrame:
    """Decisions about to be served, kept with what was known, for learning and replay."""
    known = Facts(**facts)
    return nights.log_rows(_night(as_of, settings, log, known), known)


@log_asset(lake.PolicyModels, group=GROUP, reads=FACTS, reads_lake={"log": lake.Decisions})
def policy_models(as_of: date, settings: Settings, log: pl.DataFrame, **facts: pl.DataFrame) -> pl.DataFrame:
    """Tonight's policies, kept for replay."""
    return nights.model_rows(_night(as_of, settings, log, Facts(**facts)))


decision_assets = [choose, decision_log, policy_models]
