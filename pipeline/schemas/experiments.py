"""Tests inside flow steps: their plans, who got which arm, what each night showed, and what was decided."""

import polars as pl

from pipeline.schemas.base import Table, column, count, key, share, table

LIFT = "relative change against the control"


@table("marts.experiments", ("experiment_id",))
class Experiments(Table):
    """One row per test of experiments.yaml: its plan, as frozen when it started, else as it would be tonight."""

    experiment_id: pl.String = key("test")
    workflow_id: pl.String = key("workflow of the step")
    step_id: pl.String = key("step under test")
    hypothesis: pl.String = column("what is expected and why, in the owner's words")
    owner: pl.String = column("who answers for the test")
    arms: pl.String = column("JSON object of arm -> declared share, the control first")
    assigned_by: pl.String = column("where arms come from", isin=["driptune", "field", "events"])
    arm_field: pl.String = column("merge field that holds the arm, or is to hold a winner; null if none", nullable=True)
    metrics: pl.String = column("JSON array of metrics with kind, role and good direction")
    primary_metric: pl.String = column("the metric that decides")
    minimum_lift: pl.Float64 = column("smallest relative change worth having, in the good direction", "ratio", gt=0)
    window_days: pl.Int64 = count("days after an exposure in which its outcome counts")
    alpha: pl.Float64 = share("two-sided error over all looks, arms and metrics", nullable=False)
    power: pl.Float64 = share("chance of finding the minimum lift", nullable=False)
    start_day: pl.Date = column("first day of exposure", "date")
    end_day: pl.Date = column("last night of the test, whatever the sample", "date", nullable=True)
    baseline_mean: pl.Float64 = column(
        "the step's own primary metric before the start", "share or currency", nullable=True
    )
    planned_days: pl.Int64 = count("days of exposure, whole weeks; null without a plan", nullable=True)
    planned_looks: pl.Int64 = count("nights with a look; null without a plan", nullable=True)
    planned_exposures: pl.Int64 = count(
        "exposures of all arms at which the information fraction is 1; null without a plan", nullable=True
    )
    is_open_ended: pl.Boolean = column("watched by a confidence sequence, without a planned end")
    is_frozen: pl.Boolean = column("the test has started, and its plan no longer changes")
    status: pl.String = column("planned, running, ended, or refused and why")
    plan_hash: pl.String = column("SHA-256 of the plan", nullable=True)
    as_of_day: pl.Date = column("tonight", "date")
    method: pl.String = column("how the sample was planned")


@table("marts.experiment_assignments", ("experiment_id", "subscriber_key"))
class ExperimentAssignments(Table):
    """One row per test and subscriber: the arm, sticky from the first night on."""

    experiment_id: pl.String = key("test")
    subscriber_key: pl.Int64 = key("keyed hash of the subscriber")
    arm: pl.String = column("assigned arm")
    assigned_day: pl.Date = column("first day on which the arm could be sent", "date")
    assignment_probability: pl.Float64 = share("declared share of the arm when assigned", nullable=False)
    as_of_day: pl.Date = column("tonight", "date")
    method: pl.String = column("how the arm was drawn")


@table("marts.experiment_results", ("experiment_id", "as_of_day", "metric", "arm"))
class ExperimentResults(Table):
    """One row per test, night, metric and treatment, of matured exposures up to that night."""

    experiment_id: pl.String = key("test")
    as_of_day: pl.Date = column("night of the look", "date")
    metric: pl.String = key("metric")
    arm: pl.String = key("treatment")
    control: pl.String = key("arm it is compared with")
    role: pl.String = column("what the metric decides", isin=["primary", "secondary", "guardrail"])
    kind: pl.String = column("how the metric is computed", isin=["rate", "mean", "ratio"])
    is_increase_good: pl.Boolean = column("direction in which the metric is better")
    look: pl.Int64 = count("number of the night, from 1")
    information_fraction: pl.Float64 = column("matured exposures / planned exposures", "ratio", ge=0)
    is_last_look: pl.Boolean = column("nothing is computed after this night")
    exposures: pl.Int64 = count("matured exposures of the treatment")
    control_exposures: pl.Int64 = count("matured exposures of the control")
    metric_total: pl.Float64 = column("sum of outcomes of the treatment", "events or currency")
    control_metric_total: pl.Float64 = column("sum of outcomes of the control", "events or currency")
    metric_mean: pl.Float64 = column("total / exposures of the treatment", "share or currency", nullable=True)
    metric_mean_low: pl.Float64 = column("95% bound: Wilson for a rate, else normal", "as the mean", nullable=True)
    metric_mean_high: pl.Float64 = column("95% bound: Wilson for a rate, else normal", "as the mean", nullable=True)
    control_metric_mean: pl.Float64 = column("total / exposures of the control", "share or currency", nullable=True)
    control_metric_mean_low: pl.Float64 = column("95% bound", "as the mean", nullable=True)
    control_metric_mean_high: pl.Float64 = column("95% bound", "as the mean", nullable=True)
    lift: pl.Float64 = column(f"{LIFT}, stratified by week", "ratio", nullable=True)
    lift_low: pl.Float64 = column("repeated confidence bound, valid over all looks", "ratio", nullable=True)
    lift_high: pl.Float64 = column("repeated confidence bound, valid over all looks", "ratio", nullable=True)
    z_score: pl.Float64 = column("test statistic", "standard errors", nullable=True)
    critical_z: pl.Float64 = column("|z| needed tonight; null before the first look", "standard errors", nullable=True)
    log_lift: pl.Float64 = column("log(1 + lift)", "log ratio", nullable=True)
    log_lift_standard_error: pl.Float64 = column("its standard error", "log ratio", nullable=True)
    is_significant: pl.Boolean = column("the claim stands, on this night or an earlier one (Holm)")
    status: pl.String = column("ok, or what is missing")
    method: pl.String = column("design and statistic")


@table("marts.experiment_verdicts", ("experiment_id",))
class ExperimentVerdicts(Table):
    """One row per test: tonight's verdict, which after the first decisive night no longer changes."""

    experiment_id: pl.String = key("test")
    workflow_id: pl.String = key("workflow of the step")
    step_id: pl.String = key("step under test")
    verdict: pl.String = column(
        "what the test says",
        isin=[
            "refused",
            "planned",
            "invalid",
            "stopped for harm",
            "winner",
            "futile",
            "no difference",
            "continue",
        ],
    )
    decided_day: pl.Date = column("first decisive night; null while it continues", "date", nullable=True)
    primary_metric: pl.String = column("the metric that decides")
    arm: pl.String = column("the arm that the lift speaks of: the winner, else the best", nullable=True)
    winner_arm: pl.String = column("the arm to send to everyone", nullable=True)
    looks: pl.Int64 = count("nights looked at until the decision")
    information_fraction: pl.Float64 = column("matured / planned exposures at the decision", "ratio", ge=0)
    lift: pl.Float64 = column(f"{LIFT}, as measured", "ratio", nullable=True)
    lift_low: pl.Float64 = column("repeated confidence bound", "ratio", nullable=True)
    lift_high: pl.Float64 = column("repeated confidence bound", "ratio", nullable=True)
    shrunk_lift: pl.Float64 = column("lift to expect: posterior mean, given all tests", "ratio", nullable=True)
    shrunk_lift_low: pl.Float64 = column("95% posterior bound", "ratio", nullable=True)
    shrunk_lift_high: pl.Float64 = column("95% posterior bound", "ratio", nullable=True)
    vetoed_by: pl.String = column("guardrails that were harmed, by arm", nullable=True)
    recommended_action: pl.String = column("what to do, in words")
    status: pl.String = column("ok, what is missing, or why the test or a further look is refused")
    plan_hash: pl.String = column("SHA-256 of the plan", nullable=True)
    as_of_day: pl.Date = column("tonight", "date")
    method: pl.String = column("how the verdict was reached")


@table("marts.member_field_values", ("field", "subscriber_key"))
class MemberFieldValues(Table):
    """One row per merge field and subscriber: the value that the sender should hold, of running tests."""

    field: pl.String = key("merge field (Mailchimp's tag)")
    subscriber_key: pl.Int64 = key("keyed hash of the subscriber")
    value: pl.String = column("value to write")
    source_kind: pl.String = column("what asks for the value", isin=["experiment"])
    source_id: pl.String = key("test that asks for it")
    as_of_day: pl.Date = column("tonight", "date")
    method: pl.String = column("how the value was found")
