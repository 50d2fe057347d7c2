"""Which tests run: drafts are compared with the plans frozen at their start, and some are refused.

Here: freezing, refusals, the rows of `experiments`, and the verdicts of tests that are refused or have not begun. Not
here: statistics, exposures and files.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import date, timedelta
from typing import Any

import polars as pl

from pipeline.analysis.experiments.draft import DRAFT_TEXT, ExperimentDraft
from pipeline.analysis.experiments.exposures import OUTCOMES, Facts, first_outcomes
from pipeline.analysis.experiments.metrics import winsor_cap
from pipeline.analysis.experiments.plan import PLAN_TEXT, ExperimentPlan, changed_fields, freeze_plan
from pipeline.analysis.experiments.verdicts import too_long
from pipeline.schemas.base import empty, polars_schema
from pipeline.schemas.experiments import Experiments, ExperimentVerdicts, MemberFieldValues
from pipeline.schemas.lake import MAILABLE, ExperimentPlans
from pipeline.schemas.vocabulary import Assigner, MetricName, ProposalKind, Verdict

_WORDS_ONLY = {"owner", "name", "description"}
"""What may change after the start, because it decides nothing."""

_NAMES = {"shares": "arms", "start_day": "start", "end_day": "end", "is_open_ended": "open_ended"}
"""Fields that have another name in the file than in the draft."""

_COLUMNS = polars_schema(Experiments)
_OF_DRAFT = [field.name for field in fields(ExperimentDraft) if field.name in _COLUMNS]
_OF_PLAN = [
    "end_day",
    "baseline_mean",
    "planned_days",
    "planned_looks",
    "planned_exposures",
    "reachable_lift",
    "plan_hash",
]


@dataclass(frozen=True)
class Experiment:
    """A test tonight.

    Attributes:
        draft: the draft as it was frozen at the start, else as it is written.
        plan: the plan; none where none can be made.
        is_frozen: whether the plan is in the lake, or will be tonight.
        refusal: why the test is refused; none where it is not.
        as_of_day: tonight.
    """

    draft: ExperimentDraft
    plan: ExperimentPlan | None
    is_frozen: bool
    refusal: str | None
    as_of_day: date

    @property
    def can_be_started(self) -> bool:
        """Whether driptune draws its arms, it has a plan, and only its start has to be approved."""
        return self.draft.assigned_by is Assigner.DRIPTUNE and self.plan is not None and self.refusal is None

    @property
    def verdict(self) -> Verdict:
        """What is to be said while the test is refused, or has not begun."""
        if self.refusal is not None:
            return Verdict.REFUSED
        return Verdict.PLAN_TOO_LONG if self.plan and self.plan.is_too_long else Verdict.PLANNED

    @property
    def status(self) -> str:
        """'planned', 'running' or 'ended', or why the test is refused."""
        if self.refusal is not None:
            return f"refused: {self.refusal}"
        if not self.is_frozen:
            return "planned"
        plan = self.plan
        return "ended" if plan and not plan.is_open_ended and plan.end_day < self.as_of_day else "running"


def start_days(records: pl.DataFrame, *, as_of_day: date) -> dict[str, date]:
    """The day from which the arms of each test that driptune draws are written, by test.

    Args:
        records: rows of `optimizations`.
        as_of_day: tonight.
    """
    is_start = (pl.col("kind") == ProposalKind.EXPERIMENT_START) & (pl.col("applied_day") <= as_of_day)
    starts = records.filter(is_start).group_by("target").agg(pl.col("applied_day").min())
    return dict(starts.iter_rows())


def register(
    drafts: Sequence[ExperimentDraft],
    frozen: pl.DataFrame,
    facts: Facts,
    started: Mapping[str, date],
    *,
    baseline_days: int,
    as_of_day: date,
) -> tuple[Experiment, ...]:
    """Every test of the file tonight, in the order of their start.

    Args:
        drafts: the tests as written.
        frozen: rows of `lake.experiment_plans`.
        facts: core tables.
        started: the day from which the arms of a test that driptune draws are written, by test.
        baseline_days: days before the start from which the sample is planned.
        as_of_day: tonight.

    Returns:
        One entry per draft. A test that starts tomorrow or earlier is frozen, with a plan from what was known before
        its start. A test whose arms driptune draws starts when they are written, and not before its own day. After the
        start a changed definition is refused, with what differs, and the frozen plan stays in force.
    """
    known = {row["experiment_id"]: row for row in frozen.iter_rows(named=True)}
    registered: list[Experiment] = []
    for draft in sorted(drafts, key=lambda one: (one.start_day, one.experiment_id)):
        if row := known.get(draft.experiment_id):
            standing = DRAFT_TEXT.validate_json(row["definition"])
            if standing.assigned_by is draft.assigned_by is Assigner.EVENTS:
                # The field decides nothing before there is a winner, so it may be named later.
                standing = replace(standing, arm_field=draft.arm_field)
            if standing.assigned_by is Assigner.DRIPTUNE and draft.start_day <= standing.start_day:
                # It started when its arms were written, which may have been later than planned.
                draft = replace(draft, start_day=standing.start_day)
            plan: ExperimentPlan | None = PLAN_TEXT.validate_json(row["plan"])
            refusal = _removed(standing, facts) or _difference(standing, draft)
            registered.append(Experiment(standing, plan, True, refusal, as_of_day))
            continue
        can_begin = True
        if draft.assigned_by is Assigner.DRIPTUNE:
            can_begin = draft.experiment_id in started
            first = started.get(draft.experiment_id, as_of_day + timedelta(days=1))
            draft = replace(draft, start_day=max(draft.start_day, first))
        refusal = _removed(draft, facts) or _taken(draft, registered)
        plan = None
        if refusal is None:
            try:
                plan = _planned(draft, facts, baseline_days, as_of_day)
            except ValueError as error:
                refusal = str(error)
        is_frozen = plan is not None and can_begin and draft.has_begun(as_of_day)
        registered.append(Experiment(draft, plan, is_frozen, refusal, as_of_day))
    return tuple(registered)


def _removed(draft: ExperimentDraft, facts: Facts) -> str | None:
    if facts.step(draft.workflow_id, draft.step_id) is None:
        return f"step {draft.step_id} of workflow {draft.workflow_id} is not in the flow map, or deleted."
    return None


def _taken(draft: ExperimentDraft, earlier: Sequence[Experiment]) -> str | None:
    place = (draft.workflow_id, draft.step_id)
    for other in earlier:
        if other.can_be_started and not other.is_frozen:
            # Nobody knows whether its start will ever be approved.
            continue
        if other.plan and (other.plan.workflow_id, other.plan.step_id) == place:
            if other.plan.is_open_ended:
                return f"{other.plan.experiment_id} runs on this step without an end."
            if other.plan.end_day >= draft.start_day:
                return f"{other.plan.experiment_id} runs on this step until {other.plan.end_day}. Start after it."
    return None


def _difference(standing: ExperimentDraft, draft: ExperimentDraft) -> str | None:
    changes = {name: values for name, values in changed_fields(standing, draft).items() if name not in _WORDS_ONLY}
    if not changes:
        return None
    parts = (f"{_NAMES.get(name, name)} {_shown(old)} -> {_shown(new)}" for name, (old, new) in changes.items())
    return f"the definition changed after the start: {'; '.join(parts)}."


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(f"{part[0]} {part[1]:g}" if isinstance(part, tuple) else part.name for part in value)
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _planned(draft: ExperimentDraft, facts: Facts, baseline_days: int, as_of_day: date) -> ExperimentPlan:
    """The plan, from people whose windows closed before the start, or by tonight if that is earlier."""
    last = min(draft.start_day - timedelta(days=1), as_of_day) - timedelta(days=draft.window_days)
    first = last - timedelta(days=baseline_days - 1)
    before = first_outcomes(
        facts, draft.workflow_id, (draft.step_id,), first=first, last=last, window_days=draft.window_days
    )
    if before.is_empty():
        raise ValueError(f"nobody got this step from {first} to {last}, so no sample can be planned.")
    outcome = before[OUTCOMES[draft.primary.name]].cast(pl.Float64)
    cap = winsor_cap(before["revenue"])
    is_amount = draft.primary.name == MetricName.REVENUE
    if is_amount and cap is not None:
        outcome = outcome.clip(upper_bound=cap)
    oldest: date = before["exposed_day"].min()  # type: ignore[assignment]
    mean: float = outcome.mean()  # type: ignore[assignment]
    return freeze_plan(
        draft,
        baseline_mean=mean,
        daily_exposures=before.height / ((last - oldest).days + 1),
        baseline_deviation=outcome.std() if is_amount else None,  # type: ignore[arg-type]
        amount_cap=cap,
    )


def frozen_plans(experiments: Sequence[Experiment]) -> pl.DataFrame:
    """The frozen plans, as rows of `lake.experiment_plans`."""
    rows = [
        {
            "experiment_id": one.draft.experiment_id,
            "definition": DRAFT_TEXT.dump_json(one.draft).decode(),
            "plan": PLAN_TEXT.dump_json(one.plan).decode(),
            "plan_hash": one.plan.plan_hash,
        }
        for one in experiments
        if one.is_frozen and one.plan
    ]
    return pl.DataFrame(rows, schema=polars_schema(ExperimentPlans))


def experiment_table(experiments: Sequence[Experiment], *, as_of_day: date) -> pl.DataFrame:
    """The tests, as rows of `experiments`."""
    return pl.DataFrame([_row(one, as_of_day) for one in experiments], schema=_COLUMNS)


def _row(one: Experiment, as_of_day: date) -> dict[str, Any]:
    draft, plan = one.draft, one.plan
    sequence = "asymptotic confidence sequence"
    return {
        **{name: getattr(draft, name) for name in _OF_DRAFT},
        **{name: getattr(plan, name) for name in _OF_PLAN if plan},
        "arms": json.dumps(dict(draft.shares)),
        "metrics": json.dumps([asdict(metric) for metric in draft.metrics]),
        "primary_metric": draft.primary.name,
        "is_frozen": one.is_frozen,
        "status": one.status,
        "as_of_day": as_of_day,
        "method": sequence if draft.is_open_ended else "group-sequential alpha*t^3, whole weeks",
    }


def field_values(experiments: Sequence[Experiment], assigned: pl.DataFrame, facts: Facts) -> pl.DataFrame:
    """The arms of tests that driptune draws, as values of everybody who can be mailed.

    They are written once the start of a test is approved, and until the test has ended.

    Args:
        experiments: tonight's tests.
        assigned: rows of `experiment_assignments`.
        facts: core tables.

    Returns:
        Rows of `member_field_values`.
    """
    running = [
        (one.draft.experiment_id, one.draft.arm_field)
        for one in experiments
        if one.draft.assigned_by is Assigner.DRIPTUNE and one.status in ("planned", "running") and one.draft.arm_field
    ]
    fields = pl.DataFrame(running, schema={"experiment_id": pl.String, "field": pl.String}, orient="row")
    mailable = facts.subscribers.filter(pl.col("status").is_in(MAILABLE)).select("subscriber_key").collect()
    return (
        assigned.join(fields, on="experiment_id")
        .join(mailable, on="subscriber_key", how="semi")
        .select(
            "field",
            "subscriber_key",
            pl.col("arm").alias("value"),
            pl.lit("experiment").alias("source_kind"),
            pl.col("experiment_id").alias("source_id"),
            "as_of_day",
            pl.lit("the sticky arm of the test").alias("method"),
        )
        .select(empty(MemberFieldValues).columns)
        .sort("source_id", "subscriber_key")
    )


def stated_verdicts(verdicts: pl.DataFrame, experiments: Sequence[Experiment], *, as_of_day: date) -> pl.DataFrame:
    """The verdicts of frozen plans, and of tests that are refused or have not begun.

    Args:
        verdicts: from `experiment_verdicts`.
        experiments: tonight's tests.
        as_of_day: tonight.

    Returns:
        Rows of `experiment_verdicts`, one per test. A test whose definition was changed has the verdict 'refused' until
        the definition is as it was frozen. Its numbers by the frozen plan are shown all the same.
    """
    others = pl.DataFrame(
        list(_stated(experiments, as_of_day)), schema=polars_schema(ExperimentVerdicts), infer_schema_length=None
    )
    of_plans = verdicts.join(
        others.select("experiment_id", "verdict", "status", "recommended_action"),
        on="experiment_id",
        how="left",
        suffix="_stated",
    )
    kept = of_plans.with_columns(
        pl.coalesce(f"{name}_stated", name).alias(name) for name in ("verdict", "status", "recommended_action")
    ).with_columns(
        pl.when(pl.col("verdict_stated").is_null()).then(name).alias(name) for name in ("decided_day", "winner_arm")
    )
    kept = kept.select(verdicts.columns)
    return pl.concat([kept, others.select(verdicts.columns).join(verdicts, on="experiment_id", how="anti")]).sort(
        "experiment_id"
    )


def _stated(experiments: Sequence[Experiment], as_of_day: date) -> Iterator[dict[str, Any]]:
    for one in experiments:
        if one.refusal is None and one.is_frozen:
            continue
        action = f"Nothing yet: the test starts on {one.draft.start_day}."
        if one.draft.assigned_by is Assigner.DRIPTUNE:
            action = "Nothing yet: the test starts when its start is approved. `driptune pending` lists it."
        if one.plan and one.plan.is_too_long:
            action = too_long(one.plan)
        if one.refusal is not None and one.is_frozen:
            action = "Restore what the test started with, or give the changed test an id of its own."
        elif one.refusal is not None:
            action = "Correct the test in experiments.yaml."
        yield {
            "experiment_id": one.draft.experiment_id,
            "workflow_id": one.draft.workflow_id,
            "step_id": one.draft.step_id,
            "verdict": one.verdict,
            "primary_metric": one.draft.primary.name,
            "looks": 0,
            "information_fraction": 0.0,
            "recommended_action": action,
            "status": one.status,
            "plan_hash": one.plan.plan_hash if one.plan else None,
            "as_of_day": as_of_day,
            "method": "definition against the frozen plan",
        }
