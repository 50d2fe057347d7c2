"""Tests inside workflow steps: their plans, who got which arm, what each night showed, and what was decided."""

import polars as pl

from pipeline.schemas.base import STEP, SUBSCRIBER, WORKFLOW, Table, table
from pipeline.schemas.columns import column, count, key, method_name, share, utc_day, word
from pipeline.schemas.vocabulary import Assigner, FieldSource, MetricKind, MetricName, MetricRole, Verdict

TEST = "Test, as experiments.yaml names it."
MEAN = "share or currency units"
TOTAL = "events or currency units"
MONEY = "currency units"
ERROR = "standard errors"
REPEATED = "holds on all nights at once"
BY_KIND = "95%, Wilson for a rate, else normal"
POSTERIOR = "95%, posterior"


@table("marts.experiments", ("experiment_id",))
class Experiments(Table, is_stamped=True):
    """One row per test of experiments.yaml with its plan: the frozen one once it has started, until then tonight's."""

    experiment_id: pl.String = key(TEST)
    workflow_id: pl.String = key(WORKFLOW)
    step_id: pl.String = key(STEP)
    name: pl.String = column("What people call the test. Null if the definitions do not say.", nullable=True)
    description: pl.String = column("What it is for. Null if the definitions do not say.", nullable=True)
    hypothesis: pl.String = column("What is expected and why, in the owner's words.")
    owner: pl.String = column("Who answers for the test.")
    arms: pl.String = column("Declared share of each arm, the control first.", "JSON object")
    assigned_by: pl.String = word("Who decides the arm of a subscriber.", Assigner)
    arm_field: pl.String = column(
        "What holds the arm or a winner: a merge field, or 'tag ' and the prefix of tags. Null without one.",
        nullable=True,
    )
    metrics: pl.String = column("Metrics with their kind, role and good direction.", "JSON array")
    primary_metric: pl.String = word("Metric that decides the test.", MetricName)
    minimum_lift: pl.Float64 = column("Smallest relative change worth having, in the good direction.", "ratio", gt=0)
    window_days: pl.Int64 = count("Days after an exposure in which its outcome counts.")
    alpha: pl.Float64 = share("Two-sided error rate over all nights, arms and metrics together.", nullable=False)
    power: pl.Float64 = share("Chance that the test finds the minimum lift if it is real.", nullable=False)
    start_day: pl.Date = utc_day("First day of exposure.")
    end_day: pl.Date = utc_day("Last night of the test. Null if none is planned.", nullable=True)
    baseline_mean: pl.Float64 = column(
        "Primary metric of the step before the start. Null without a plan.", MEAN, nullable=True
    )
    planned_days: pl.Int64 = count("Planned days of exposure, whole weeks. Null without a plan.", nullable=True)
    planned_looks: pl.Int64 = count(
        "Planned nights on which the test is looked at. Null without a plan.", nullable=True
    )
    planned_exposures: pl.Int64 = count("Planned exposures of all arms together. Null without a plan.", nullable=True)
    reachable_lift: pl.Float64 = column(
        "Smallest change that can be found in 180 days. Null if the planned one can, if none can, or without a plan.",
        "ratio",
        nullable=True,
    )
    is_open_ended: pl.Boolean = column("The test has no planned end and is watched by a confidence sequence.")
    is_frozen: pl.Boolean = column("The test has started, and its plan no longer changes.")
    status: pl.String = column("'planned', 'running', 'ended', or 'refused:' and why.")
    plan_hash: pl.String = column("SHA-256 of the plan. Null without a plan.", nullable=True)


@table("marts.experiment_assignments", ("experiment_id", "subscriber_key"))
class ExperimentAssignments(Table, is_stamped=True):
    """One row per test and subscriber: the arm, which never changes once it is assigned."""

    experiment_id: pl.String = key(TEST)
    subscriber_key: pl.Int64 = key(SUBSCRIBER)
    arm: pl.String = column("Arm of the subscriber.")
    assigned_day: pl.Date = utc_day("First day on which a message of this arm could be sent.")
    assignment_probability: pl.Float64 = share("Declared share of the arm when it was assigned.", nullable=False)
    is_served: pl.Boolean = column(
        "The arm stands in the account tonight, by the journal of what was written, or the sender itself told it."
    )


@table("marts.experiment_results", ("experiment_id", "as_of_day", "metric", "arm"))
class ExperimentResults(Table):
    """One row per test, night, metric and treatment, over the exposures whose window had closed by that night."""

    experiment_id: pl.String = key(TEST)
    as_of_day: pl.Date = utc_day("Night on which the test is looked at.")
    metric: pl.String = key("Metric.")
    arm: pl.String = key("Treatment.")
    control: pl.String = key("Arm that the treatment is compared with.")
    role: pl.String = word("What the metric decides.", MetricRole)
    kind: pl.String = word("How the metric is computed.", MetricKind)
    is_increase_good: pl.Boolean = column("A higher value of the metric is better.")
    look: pl.Int64 = count("Number of the night, from 1.")
    information_fraction: pl.Float64 = column("Closed exposures / planned exposures.", "ratio", ge=0)
    is_last_look: pl.Boolean = column("The test ends with this night.")
    exposures: pl.Int64 = count("Exposures of the treatment whose window has closed.")
    control_exposures: pl.Int64 = count("Exposures of the control whose window has closed.")
    metric_total: pl.Float64 = column("Sum of the outcomes of the treatment.", TOTAL)
    control_metric_total: pl.Float64 = column("Sum of the outcomes of the control.", TOTAL)
    metric_mean: pl.Float64 = column(
        "metric_total / exposures. Null without exposures.", MEAN, nullable=True, interval=BY_KIND
    )
    control_metric_mean: pl.Float64 = column(
        "control_metric_total / control_exposures. Null without these.", MEAN, nullable=True, interval=BY_KIND
    )
    lift: pl.Float64 = column(
        "Treatment / control - 1, by week of exposure. Null while unknown.", "ratio", nullable=True, interval=REPEATED
    )
    z_score: pl.Float64 = column("Test statistic of the difference. Null while unknown.", ERROR, nullable=True)
    better_probability: pl.Float64 = share(
        "Chance that the treatment is the better one, by this night alone: look once. Null while unknown.",
        nullable=True,
    )
    critical_z: pl.Float64 = column("|z| needed on this night. Null before the first look.", ERROR, nullable=True)
    log_lift: pl.Float64 = column(
        "Natural logarithm of 1 + lift. Null where `lift` is null.", "log ratio", nullable=True
    )
    log_lift_standard_error: pl.Float64 = column(
        "Standard error of `log_lift`. Null where that is null.", "log ratio", nullable=True
    )
    is_significant: pl.Boolean = column("A difference was shown on this night or an earlier one, by Holm's rule.")
    status: pl.String = column("'ok', or what is missing.")
    method: pl.String = method_name()


@table("marts.experiment_verdicts", ("experiment_id",))
class ExperimentVerdicts(Table, is_stamped=True):
    """One row per test with its verdict tonight. After the first decisive night the verdict no longer changes.

    The columns without `latest` are of that night. A winner goes on being measured until the planned sample is reached,
    and the columns with `latest` say how it stands tonight.
    """

    experiment_id: pl.String = key(TEST)
    workflow_id: pl.String = key(WORKFLOW)
    step_id: pl.String = key(STEP)
    verdict: pl.String = word("What the test says.", Verdict)
    decided_day: pl.Date = utc_day("First decisive night. Null while the test goes on.", nullable=True)
    primary_metric: pl.String = column("Metric that decides the test.")
    arm: pl.String = column("Arm that `lift` is about: the winner, else the best. Null before results.", nullable=True)
    winner_arm: pl.String = column("Arm to send to everyone. Null without a winner.", nullable=True)
    looks: pl.Int64 = count("Nights on which the test was looked at until the decision.")
    information_fraction: pl.Float64 = column("Closed / planned exposures at the decision.", "ratio", ge=0)
    lift: pl.Float64 = column(
        "Arm / control - 1, as measured. Null while unknown.", "ratio", nullable=True, interval=REPEATED
    )
    shrunk_lift: pl.Float64 = column(
        "Lift to expect, given all tests: posterior mean. Null where `lift` is.",
        "ratio",
        nullable=True,
        interval=POSTERIOR,
    )
    exposures: pl.Int64 = count("Closed exposures of `arm` at the decision. Null before results.", nullable=True)
    control_exposures: pl.Int64 = count("The same of the control. Null before results.", nullable=True)
    latest_day: pl.Date = utc_day("Last night on which `arm` was looked at. Null before results.", nullable=True)
    latest_exposures: pl.Int64 = count("Closed exposures of `arm` by then. Null before results.", nullable=True)
    latest_control_exposures: pl.Int64 = count("The same of the control. Null before results.", nullable=True)
    latest_lift: pl.Float64 = column(
        "Arm / control - 1 by then, as measured. Null while unknown.", "ratio", nullable=True, interval=REPEATED
    )
    mismatch_probability: pl.Float64 = share(
        "Sequential p-value of the declared shares of the arms, by the people of all nights. Null before anybody."
    )
    has_mismatch: pl.Boolean = column(
        "The arms do not receive their declared shares. Null before anybody.", nullable=True
    )
    vetoed_by: pl.String = column("Arms with the guardrails that they harm. Null if there are none.", nullable=True)
    recommended_action: pl.String = column("What to do, in words.")
    status: pl.String = column("'ok', what is missing, or why the test or a further look is refused.")
    plan_hash: pl.String = column("SHA-256 of the plan. Null without a plan.", nullable=True)


@table("marts.member_field_values", ("source_id", "subscriber_key"))
class MemberFieldValues(Table, is_stamped=True):
    """One row per test that driptune assigns, and subscriber: the value that Mailchimp is to hold for it."""

    field: pl.String = key("Merge field, or 'tag ' and the prefix of tags.")
    subscriber_key: pl.Int64 = key(SUBSCRIBER)
    value: pl.String = column("Value to write.")
    source_kind: pl.String = word("What asks for the value.", FieldSource)
    source_id: pl.String = key("Test that asks for the value.")


@table("marts.holdouts", ("workflow_id",))
class Holdouts(Table, is_stamped=True):
    """One row per flow, and one for the whole account: attributed revenue beside what it really added."""

    workflow_id: pl.String = key("Flow or automation. Null for all of them together.", nullable=True)
    holdout_id: pl.String = key("Hold-out, as holdouts.yaml names it. Null without one.", nullable=True)
    share: pl.Float64 = share("Share of subscribers who are held out. Null without a hold-out.")
    start_day: pl.Date = utc_day("First day on which they get nothing. Null without a hold-out.", nullable=True)
    subscribers: pl.Int64 = count("Subscribers who would have come in since then and are not held out.")
    held_out: pl.Int64 = count("Subscribers who would have come in since then and are held out.")
    held_out_messages: pl.Int64 = count("Messages that were delivered to them all the same.", nullable=True)
    attributed_revenue_amount: pl.Float64 = column(
        "Net revenue credited to messages to `subscribers`, view 'report'. Null without a hold-out.",
        MONEY,
        nullable=True,
    )
    revenue_per_subscriber_amount: pl.Float64 = column(
        "All net revenue of `subscribers` per head, credited or not. Null if not compared.", MONEY, nullable=True
    )
    held_out_revenue_per_subscriber_amount: pl.Float64 = column(
        "The same of `held_out`. Null if not compared.", MONEY, nullable=True
    )
    incremental_revenue_amount: pl.Float64 = column(
        "subscribers x difference of both: revenue that would not have come otherwise. Null if `status` is not 'ok'.",
        MONEY,
        nullable=True,
        interval=f"95%, {REPEATED}",
    )
    currency: pl.String = column("Currency of every amount of the row: the workspace's.", "ISO 4217")
    status: pl.String = column("'ok', or why nothing is compared.")


@table("marts.holdout_members", ("holdout_id", "subscriber_key"))
class HoldoutMembers(Table, is_stamped=True):
    """One row per hold-out and subscriber held out. It never changes who they are."""

    holdout_id: pl.String = key("Hold-out, as holdouts.yaml names it.")
    workflow_id: pl.String = key("Flow that they do not get. Null for all flows.", nullable=True)
    subscriber_key: pl.Int64 = key(SUBSCRIBER)
