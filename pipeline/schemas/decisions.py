"""Decisions about single subscribers and workflows: paths, content, rules, policies, conflicts."""

import polars as pl

from pipeline.schemas.base import Table, column, count, key, share, table
from pipeline.schemas.performance import Timestamp


class Decisions(Table):
    """One row per decision point and subscriber: what is served tonight, with what chance, and why."""

    decision_point_id: pl.String = key("decision point or content block")
    subscriber_key: pl.Int64 = key("keyed hash of the subscriber")
    arm: pl.String = column("path or variation served")
    is_default: pl.Boolean = column("the default was served because nothing was eligible or something failed")
    default_reason: pl.String = column("why the default was served", nullable=True)
    choice_probability: pl.Float64 = share("logged chance of this arm; 1 for a default", nullable=False)
    confidence_probability: pl.Float64 = share("posterior probability that the arm is the best of those eligible")
    score_probability: pl.Float64 = share("expected outcome of the arm; null without a policy")
    eligible_arms: pl.String = column("eligible arms, separated by commas")
    reasoning: pl.String = column("the condition that held and the largest contributions, in log-odds")
    model_version: pl.String = column("hash of the policy, or 'rules'")
    rule_errors: pl.String = column("rules that could not be answered", nullable=True)
    as_of_day: pl.Date = column("tonight", "date")
    method: pl.String = column("how the arm was chosen")


@table("marts.path_decisions", ("decision_point_id", "subscriber_key"))
class PathDecisions(Decisions):
    """One row per decision point and subscriber: the path served tonight, with what chance, and why."""


@table("marts.content_decisions", ("decision_point_id", "subscriber_key"))
class ContentDecisions(Decisions):
    """One row per content block and subscriber: the variation served tonight, with what chance, and why."""


@table("marts.rule_coverage", ("rule_id",))
class RuleCoverage(Table):
    """One row per rule: whom it reaches tonight."""

    rule_id: pl.String = key("rule")
    subscribers: pl.Int64 = count("subscribers asked")
    matches: pl.Int64 = count("subscribers that match")
    match_rate: pl.Float64 = share("matches / subscribers")
    match_rate_low: pl.Float64 = share("Wilson 95% bound")
    match_rate_high: pl.Float64 = share("Wilson 95% bound")
    is_dead: pl.Boolean = column("nobody matches")
    is_universal: pl.Boolean = column("everybody matches")
    error: pl.String = column("why the rule cannot be answered", nullable=True)
    status: pl.String = column("ok, dead, error or no subscribers")
    as_of_day: pl.Date = column("tonight", "date")
    method: pl.String = column("how it was computed")


@table("marts.decision_lint", ("decision_point_id", "finding", "subject"))
class DecisionLint(Table):
    """One row per fault of a decision point."""

    decision_point_id: pl.String = key("decision point")
    finding: pl.String = column("kind of fault")
    subject: pl.String = column("arm, rule or step at fault")
    severity: pl.String = column("error: decisions are wrong; warning: probably not meant", isin=["error", "warning"])
    description: pl.String = column("what is wrong and what to do")
    as_of_day: pl.Date = column("tonight", "date")
    method: pl.String = column("how it was found")


@table("marts.policy_values", ("decision_point_id", "policy", "method"))
class PolicyValues(Table):
    """One row per decision point, target policy and estimator: what the policy would have earned."""

    decision_point_id: pl.String = key("decision point")
    policy: pl.String = key("target policy")
    decisions: pl.Int64 = count("matured decisions in the log")
    subscribers: pl.Int64 = count("subscribers in the log")
    effective_samples: pl.Float64 = column("effective sample size of the importance weights", "count", ge=0)
    logged_mean: pl.Float64 = column("mean outcome of the policy that was logged", "outcome")
    value_mean: pl.Float64 = column("mean outcome of the target policy", "outcome", nullable=True)
    value_mean_low: pl.Float64 = column("95% bound, clustered by subscriber", "outcome", nullable=True)
    value_mean_high: pl.Float64 = column("95% bound, clustered by subscriber", "outcome", nullable=True)
    gain: pl.Float64 = column("target - logged", "outcome", nullable=True)
    gain_low: pl.Float64 = column("95% bound, clustered by subscriber", "outcome", nullable=True)
    gain_high: pl.Float64 = column("95% bound, clustered by subscriber", "outcome", nullable=True)
    status: pl.String = column("ok, or how much is missing")
    as_of_day: pl.Date = column("tonight", "date")
    method: pl.String = column("estimator", isin=["SNIPS", "doubly robust"])


@table("marts.workflow_conflicts", ("subscriber_key", "workflow_id", "prevailing_workflow_id", "conflict_type"))
class WorkflowConflicts(Table):
    """One row per subscriber and pair of active workflows in conflict: which yields, how and why."""

    subscriber_key: pl.Int64 = key("keyed hash of the subscriber")
    workflow_id: pl.String = key("workflow that yields")
    prevailing_workflow_id: pl.String = key("workflow that prevails")
    conflict_type: pl.String = column("kind of conflict, from the rule")
    severity: pl.String = column("severity, from the rule")
    description: pl.String = column("description, from the rule")
    resolution: pl.String = column(
        "what happens to the yielding workflow", isin=["allow", "delay", "suppress", "replace"]
    )
    reason: pl.String = column("why this one yields")
    as_of_day: pl.Date = column("tonight", "date")
    method: pl.String = column("how it was found")


@table("marts.conflict_replay", ("workflow_id", "prevailing_workflow_id", "conflict_type"))
class ConflictReplay(Table):
    """One row per pair of workflows and rule: what would have collided in the past 30 days."""

    workflow_id: pl.String = key("workflow that yields")
    prevailing_workflow_id: pl.String = key("workflow that prevails")
    conflict_type: pl.String = column("kind of conflict, from the rule")
    severity: pl.String = column("severity, from the rule")
    description: pl.String = column("description, from the rule")
    resolution: pl.String = column(
        "what would have happened to the yielding workflow", isin=["allow", "delay", "suppress", "replace"]
    )
    subscribers: pl.Int64 = count("subscribers with a collision")
    collisions: pl.Int64 = count("overlapping stays")
    collision_days: pl.Int64 = count("subscriber-days of overlap")
    first_day: pl.Date = column("first day of overlap", "date")
    last_day: pl.Date = column("last day of overlap", "date")
    as_of_day: pl.Date = column("tonight", "date")
    method: pl.String = column("how it was found")


@table("marts.capped_sends", ("subscriber_key", "workflow_id", "step_id"))
class CappedSends(Table):
    """One row per planned message that the cap of a local day moves, with the day it fits into; none without a cap."""

    subscriber_key: pl.Int64 = key("keyed hash of the subscriber")
    workflow_id: pl.String = key("workflow of the message")
    step_id: pl.String = key("step of the message")
    planned_at: Timestamp = column("when the flow would send it", "UTC")
    local_day: pl.Date = column("the subscriber's day it is planned for", "date")
    resolved_local_day: pl.Date = column("the next of the subscriber's days with room", "date")
    reason: pl.String = column("why it waits")
    as_of_day: pl.Date = column("tonight", "date")
    method: pl.String = column("how it was found")
