"""Decisions about single subscribers and workflows: paths, content, rules, learning policies, conflicts."""

import polars as pl

from pipeline.schemas.base import STEP, SUBSCRIBER, WORKFLOW, Table, Timestamp, table
from pipeline.schemas.columns import WILSON, column, count, key, share, tonight, utc_day, word
from pipeline.schemas.vocabulary import (
    ChoiceKind,
    ConflictSeverity,
    DecisionMode,
    LintFinding,
    LintSeverity,
    PolicyEstimator,
    Resolution,
    RuleStatus,
)

SERVED = (
    "The arm stands in the account tonight, by the journal of what was written, so the next message is served with it."
)
CLUSTERED = "95%, clustered by subscriber"
OUTCOME = "conversions per decision"


class Decisions(Table, is_stamped=True):
    """One row per decision point and subscriber: the arm chosen tonight, with what chance, and why."""

    decision_point_id: pl.String = key("Decision point or content block, as the definitions name it.")
    subscriber_key: pl.Int64 = key(SUBSCRIBER)
    arm: pl.String = column("Arm that is served: a path or a variation of the content.")
    is_default: pl.Boolean = column("The default arm is served, because no arm was eligible or something failed.")
    default_reason: pl.String = column("Why the default arm is served. Null if it is not.", nullable=True)
    choice_probability: pl.Float64 = share("Chance with which this arm was chosen; 1 for a default.", nullable=False)
    confidence_probability: pl.Float64 = share("Probability that this eligible arm is the best. Null for a default.")
    score_probability: pl.Float64 = share("Expected outcome under this arm. Null without a learning policy.")
    eligible_arms: pl.String = column("Arms that the rules allow this subscriber, separated by commas.")
    reasoning: pl.String = column("The rule that held, and what counted most for or against the arm, in log-odds.")
    model_version: pl.String = column("Hash of the learning policy that chose, 'rules', or the policy switched to.")
    rule_errors: pl.String = column("Rules that could not be answered, and why. Null if all could.", nullable=True)
    is_served: pl.Boolean = column(SERVED)


@table("marts.decision_points", ("decision_point_id",))
class DecisionPoints(Table):
    """One row per decision point and content block of the definitions: what is chosen there, and how it gets there."""

    decision_point_id: pl.String = key("Decision point or content block.")
    kind: pl.String = word("What is chosen.", ChoiceKind)
    workflow_id: pl.String = key(WORKFLOW)
    step_id: pl.String = key("Branching step, or the step whose e-mail has the content block.")
    name: pl.String = column("What people call it. Null if the definitions do not say.", nullable=True)
    description: pl.String = column("What it is for. Null if the definitions do not say.", nullable=True)
    owner: pl.String = column("Who answers for it. Null if the definitions do not say.", nullable=True)
    mode: pl.String = word("How an arm is chosen among the eligible ones.", DecisionMode)
    default_arm: pl.String = column("Arm that is served when no arm is eligible or anything fails.")
    arms: pl.String = column("Names of the arms.", "JSON array")
    mailed_step_ids: pl.String = column("Steps whose messages an arm is served with.", "JSON array")
    means: pl.String = column(
        "What carries the arm to the flow: a merge field, or 'tag ' and the prefix of tags. Null without one.",
        nullable=True,
    )
    outcome_days: pl.Int64 = count("Days after the message in which the goal of the workflow counts for the arm.")
    as_of_day: pl.Date = tonight()


@table("marts.policy_choices", ("decision_point_id", "policy", "subscriber_key"))
class PolicyChoices(Table):
    """One row per decision point, policy to switch to, and subscriber: the arm that this policy chooses."""

    decision_point_id: pl.String = key("Decision point or content block.")
    policy: pl.String = key("Policy, as `policy_values` names it.")
    subscriber_key: pl.Int64 = key(SUBSCRIBER)
    arm: pl.String = column("Arm that the policy chooses.")
    as_of_day: pl.Date = tonight()


@table("marts.path_decisions", ("decision_point_id", "subscriber_key"))
class PathDecisions(Decisions):
    """One row per decision point and subscriber: the path chosen tonight, with what chance, and why."""


@table("marts.content_decisions", ("decision_point_id", "subscriber_key"))
class ContentDecisions(Decisions):
    """One row per content block and subscriber: the variation chosen tonight, with what chance, and why."""


@table("marts.rule_coverage", ("rule_id",))
class RuleCoverage(Table, is_stamped=True):
    """One row per rule of rules.yaml: how many subscribers match it tonight."""

    rule_id: pl.String = key("Rule.")
    subscribers: pl.Int64 = count("Subscribers for whom the rule was evaluated.")
    matches: pl.Int64 = count("Subscribers who match.")
    match_rate: pl.Float64 = share("matches / subscribers. Null without subscribers.", interval=WILSON)
    is_dead: pl.Boolean = column("Nobody matches.")
    is_universal: pl.Boolean = column("Everybody matches.")
    error: pl.String = column("Why the rule cannot be answered. Null if it can.", nullable=True)
    status: pl.String = word("Whether the rule does its work.", RuleStatus)


@table("marts.decision_lint", ("decision_point_id", "finding", "subject"))
class DecisionLint(Table, is_stamped=True):
    """One row per fault of a decision point or content block."""

    decision_point_id: pl.String = key("Decision point or content block.")
    finding: pl.String = word("Kind of fault.", LintFinding)
    subject: pl.String = column("Arm or rule that has the fault.")
    severity: pl.String = word("An error makes decisions wrong; a warning is probably not meant.", LintSeverity)
    description: pl.String = column("What is wrong and what to do.")


@table("marts.policy_values", ("decision_point_id", "policy", "method"))
class PolicyValues(Table):
    """One row per decision point, policy and estimator: what the policy would have brought, had it chosen."""

    decision_point_id: pl.String = key("Decision point or content block.")
    policy: pl.String = key(
        "Policy that is valued: 'rules' chooses by rules, priority and weight alone; 'learnt' chooses what tonight's "
        "learning policy holds for best; 'always ARM' chooses that arm wherever it is eligible."
    )
    decisions: pl.Int64 = count("Decisions in the log that were served and whose outcome is known.")
    subscribers: pl.Int64 = count("Subscribers behind those decisions.")
    effective_samples: pl.Float64 = column("Effective sample size of the importance weights.", "count", ge=0)
    logged_mean: pl.Float64 = column("Mean outcome of the policy that was logged.", OUTCOME)
    value_mean: pl.Float64 = column(
        "Mean outcome of `policy`. Null if it cannot be estimated.", OUTCOME, nullable=True, interval=CLUSTERED
    )
    gain: pl.Float64 = column(
        "value_mean - logged_mean. Null if it cannot be estimated.", OUTCOME, nullable=True, interval=CLUSTERED
    )
    status: pl.String = column("'ok', or how many effective samples are missing.")
    as_of_day: pl.Date = tonight()
    method: pl.String = word("Estimator.", PolicyEstimator)


class _Subscriber(Table):
    subscriber_key: pl.Int64 = key(SUBSCRIBER)


class _Conflict(Table):
    workflow_id: pl.String = key("Workflow that yields.")
    prevailing_workflow_id: pl.String = key("Workflow that prevails: of higher priority, or entered earlier.")
    conflict_type: pl.String = column("Type of the conflict, as conflicts.yaml names it.")
    severity: pl.String = word("Severity of the conflict, from conflicts.yaml.", ConflictSeverity)
    description: pl.String = column("Description of the conflict, from conflicts.yaml.")
    resolution: pl.String = word("What happens to the workflow that yields.", Resolution)


@table("marts.workflow_conflicts", ("subscriber_key", "workflow_id", "prevailing_workflow_id", "conflict_type"))
class WorkflowConflicts(_Conflict, _Subscriber, is_stamped=True):
    """One row per subscriber and pair of workflows in conflict tonight: which of both yields, how, and why."""

    reason: pl.String = column("Why this workflow yields.")


@table("marts.conflict_replay", ("workflow_id", "prevailing_workflow_id", "conflict_type"))
class ConflictReplay(_Conflict, is_stamped=True):
    """One row per pair of workflows and conflict rule: what would have collided in the past 30 days."""

    subscribers: pl.Int64 = count("Subscribers with a collision.")
    collisions: pl.Int64 = count("Pairs of stays that overlap.")
    collision_days: pl.Int64 = count("Days of overlap, summed over subscribers.")
    first_day: pl.Date = utc_day("First day of an overlap.")
    last_day: pl.Date = utc_day("Last day of an overlap.")


@table("marts.capped_sends", ("subscriber_key", "workflow_id", "step_id"))
class CappedSends(_Subscriber, is_stamped=True):
    """One row per planned message that a cap of one day in constraints.yaml moves. Empty without such a cap."""

    workflow_id: pl.String = key(WORKFLOW)
    step_id: pl.String = key(STEP)
    planned_at: Timestamp = column("When the workflow would send the message.", "UTC")
    local_day: pl.Date = column("Day in the subscriber's zone on which it is planned.", "date, local")
    resolved_local_day: pl.Date = column("Next such day with room for it.", "date, local")
    reason: pl.String = column("Why the message is moved.")
