"""All decisions of a night, from facts to tables: profiles, policies learnt from the log, and what they choose.

How a single choice is made is in `selection`. Definitions and the lake are read elsewhere.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl
from pandera.typing.polars import DataFrame, LazyFrame

from pipeline.analysis.experiments import exposures
from pipeline.analysis.statistics.policy_values import policy_values
from pipeline.common.people import blocks_of_people
from pipeline.common.sticky_hash import is_held_out
from pipeline.common.time import DAY_US, day_number, numbered_day
from pipeline.common.written import standing
from pipeline.decisions.definitions import DecisionDefinition, DecisionDefinitions
from pipeline.decisions.learning import PolicyModel, fit_policy
from pipeline.decisions.lint import lint_decision_points, rule_coverage, rule_matches
from pipeline.decisions.log import (
    empty_log,
    learning_log,
    logged_decisions,
    model_text,
    served_decisions,
    valued_decisions,
    waiting_before,
)
from pipeline.decisions.memberships import stays
from pipeline.decisions.profile import FEATURES, merge_field_names, subscriber_profiles
from pipeline.decisions.selection import decide
from pipeline.decisions.targets import LEARNT, better_policies
from pipeline.schemas import core, reductions
from pipeline.schemas.base import conform, empty
from pipeline.schemas.decisions import (
    ContentDecisions,
    DecisionLint,
    DecisionPoints,
    PathDecisions,
    PolicyChoices,
    RuleCoverage,
)
from pipeline.schemas.lake import MAILABLE, Decisions, PolicyModels
from pipeline.schemas.vocabulary import ProposalKind, RecordStatus

OF_POINTS = [str(ProposalKind.PATH_POLICY), str(ProposalKind.CONTENT_POLICY)]
"""Kinds of records that deliver a decision point, or switch it to another policy."""
_STANDS = [str(RecordStatus.APPLIED), str(RecordStatus.VERIFIED)]
_WROTE = [*_STANDS, *(str(one) for one in (RecordStatus.APPLYING, RecordStatus.ROLLING_BACK, RecordStatus.ROLLED_BACK))]
_COMES = [str(status) for status in (RecordStatus.PENDING, RecordStatus.APPROVED, RecordStatus.APPLYING)]


_OF_PEOPLE = ("subscribers", "messages", "conversions", "subscriber_hours", "step_entries")


@dataclass(frozen=True)
class Facts:
    """The core facts and reductions that decisions are made from."""

    subscribers: LazyFrame[core.CoreSubscribers]
    messages: LazyFrame[core.CoreMessages]
    conversions: LazyFrame[core.CoreConversions]
    subscriber_hours: LazyFrame[reductions.SubscriberHours]
    step_entries: LazyFrame[core.CoreStepEntries]
    workflows: DataFrame[core.CoreWorkflows]
    steps: DataFrame[core.CoreSteps]
    edges: DataFrame[core.CoreEdges]

    def of(self, people: pl.Expr) -> "Facts":
        """The facts about some people."""
        some: dict[str, Any] = {name: getattr(self, name).filter(people) for name in _OF_PEOPLE}
        return replace(self, **some)


@dataclass(frozen=True)
class Delivered:
    """What the ledger says of decisions.

    Attributes:
        records: rows of `optimizations`.
        written: rows of `core.written_values`.
    """

    records: pl.DataFrame
    written: pl.DataFrame

    def of_point(self, decision_point_id: str) -> pl.DataFrame:
        """The values written for a decision point."""
        is_its = pl.col("proposed_kind").is_in(OF_POINTS) & (pl.col("target") == decision_point_id)
        return self.written.filter(is_its)

    def chosen_for(self, decision_point_id: str) -> pl.DataFrame:
        """The values that were chosen for the person who holds them: without the default of those kept out.

        Somebody who is kept out holds the default whatever is chosen, so it says nothing about the choice.
        """
        rows = self.of_point(decision_point_id)
        for record in self._records(decision_point_id, _WROTE).iter_rows(named=True):
            if "holdout_value" in json.loads(record["after"]):
                is_its = pl.col("optimization_id") == record["optimization_id"]
                is_out = is_held_out(rows["subscriber_key"], record["optimization_id"], record["holdout_share"])
                rows = rows.filter(~(is_its & pl.lit(is_out)))
        return rows

    def switch(self, decision_point_id: str) -> "Switch | None":
        """The policy that a decision point was switched to: by the record of the point that was applied last."""
        standing = self._records(decision_point_id, _STANDS).sort("applied_day", "decided_at")
        if standing.is_empty():
            return None
        last = standing.row(-1, named=True)
        policy = json.loads(last["after"]).get("policy")
        return Switch(policy, last["optimization_id"], last["standing_holdout_share"]) if policy else None

    def policies(self, decision_point_id: str) -> set[str]:
        """The policies to which records that wait or stand switch a decision point."""
        texts = self._records(decision_point_id, [*_COMES, *_STANDS])["after"]
        return {policy for text in texts if (policy := json.loads(text).get("policy"))}

    def _records(self, decision_point_id: str, statuses: list[str]) -> pl.DataFrame:
        is_its = pl.col("kind").is_in(OF_POINTS) & (pl.col("target") == decision_point_id)
        return self.records.filter(is_its & pl.col("status").is_in(statuses))


@dataclass(frozen=True)
class Switch:
    """A policy that chooses for all but those kept out of a record, for whom the exploring policy goes on."""

    policy: str
    optimization_id: str
    holdout_share: float


@dataclass(frozen=True)
class DecisionNight:
    """What is needed to decide for everybody tonight.

    Attributes:
        definitions: what the user's files say.
        learnt: for each decision point, its rows of `log.learning_log`.
        models: for each decision point that learns, tonight's policy.
        delivered: what the ledger says.
        now: the moment from which rules count back: the end of tonight.
        as_of: tonight.
        window_days: days after the message in which the goal of the workflow counts.
    """

    definitions: DecisionDefinitions
    learnt: dict[str, pl.DataFrame]
    models: dict[str, PolicyModel]
    delivered: Delivered
    now: datetime
    as_of: date
    window_days: int

    @property
    def points(self) -> tuple[DecisionDefinition, ...]:
        """All decision points and content blocks."""
        return (*self.definitions.paths, *self.definitions.content)


def decision_night(
    definitions: DecisionDefinitions,
    facts: Facts,
    log: pl.DataFrame,
    delivered: Delivered,
    *,
    as_of: date,
    window_days: int,
) -> DecisionNight:
    """Policies of a night.

    Args:
        definitions: what the user's files say.
        facts: the facts as of tonight.
        log: `lake.decisions`. A policy learns only from decisions that were served and whose outcome is final.
        delivered: what the ledger says.
        as_of: tonight.
        window_days: days after the message in which the goal of the workflow counts.
    """
    learnt, models = {}, {}
    for one in (*definitions.paths, *definitions.content):
        name = one.point.decision_point_id
        mine = log.filter((pl.col("decision_point_id") == name) & (pl.col("night") < day_number(as_of)))
        written = delivered.chosen_for(name)
        served = served_decisions(mine, written, _outcomes(one, facts, written, as_of, window_days))
        learnt[name] = learning_log(served, as_of=as_of, window_days=window_days)
        if one.mode != "rules" or LEARNT in delivered.policies(name):
            models[name] = fit_policy(learnt[name], arms=[arm.arm for arm in one.point.arms], features=FEATURES)
    return DecisionNight(definitions, learnt, models, delivered, moment_of(as_of), as_of, window_days)


def moment_of(as_of: date) -> datetime:
    """The moment from which the rules of a night count back: its end."""
    return datetime.combine(as_of + timedelta(days=1), datetime.min.time())


def profiles_in_blocks(facts: Facts, *, as_of: date) -> Iterator[pl.DataFrame]:
    """The profiles of everybody who can be mailed, a block of people at a time."""
    merge_fields = merge_field_names(facts.subscribers)
    for people in blocks_of_people(facts.subscribers):
        yield profiles_of(facts.of(people), merge_fields, as_of=as_of).filter(pl.col("status").is_in(MAILABLE))


def profiles_of(facts: Facts, merge_fields: list[str], *, as_of: date) -> pl.DataFrame:
    """The profiles of the subscribers in these facts: of all of them, or of a single one.

    Args:
        facts: the facts as of tonight.
        merge_fields: names of the account's merge fields. A single subscriber may lack some of them.
        as_of: tonight.
    """
    flows = facts.workflows.filter(pl.col("kind") != "campaign").sort("workflow_id")["workflow_id"]
    return subscriber_profiles(
        facts.subscribers.collect(),
        facts.messages,
        facts.conversions,
        facts.subscriber_hours,
        stays(facts.step_entries, facts.workflows, as_of=as_of, days=0),
        merge_fields=merge_fields,
        workflow_ids=flows.to_list(),
        as_of=as_of,
    )


def _outcomes(
    one: DecisionDefinition, facts: Facts, written: pl.DataFrame, as_of: date, window_days: int
) -> pl.DataFrame:
    """What followed the messages since the first arm was written, as a record's lift is measured later.

    `shows` lists the arms that a message may show: of a path those that lead to its step, of a content block all.
    """
    first_us: int | None = written["from_us"].min()  # type: ignore[assignment]
    first = as_of + timedelta(days=1) if first_us is None else numbered_day(first_us // DAY_US)
    read = exposures.Facts(facts.steps, facts.workflows, facts.messages, facts.conversions, facts.subscribers)
    arms = one.point.arms
    return pl.concat(
        exposures.message_outcomes(
            read, one.workflow_id, (step_id,), first=first, last=as_of, window_days=window_days
        ).with_columns(shows=pl.lit([arm.arm for arm in arms if not one.is_path or arm.target_step_id == step_id]))
        for step_id in one.mailed_step_ids
    )


def decided(night: DecisionNight, definitions: tuple[DecisionDefinition, ...], profiles: pl.DataFrame) -> pl.DataFrame:
    """The arm of every subscriber of these profiles, at each of these decision points."""
    rows = [_decide(night, one, profiles) for one in definitions]
    return pl.concat(rows) if rows else empty(PathDecisions)


def path_decisions(night: DecisionNight, profiles: pl.DataFrame) -> pl.DataFrame:
    """Rows of `marts.path_decisions` about the subscribers of these profiles."""
    return conform(decided(night, night.definitions.paths, profiles), PathDecisions)


def content_decisions(night: DecisionNight, profiles: pl.DataFrame) -> pl.DataFrame:
    """Rows of `marts.content_decisions` about the subscribers of these profiles."""
    return conform(decided(night, night.definitions.content, profiles), ContentDecisions)


def matches(night: DecisionNight, profiles: pl.DataFrame) -> pl.DataFrame:
    """How many subscribers of these profiles each rule reaches."""
    return rule_matches(profiles, night.definitions.rules, now=night.now)


def coverage(night: DecisionNight, matched: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """`marts.rule_coverage`, from the `matches` of all blocks of subscribers."""
    return conform(rule_coverage(matched, as_of_day=night.as_of), RuleCoverage)


def lint(night: DecisionNight, facts: Facts, coverage: pl.DataFrame) -> pl.DataFrame:
    """`marts.decision_lint`, from rows of `coverage`."""
    names = dict(facts.steps.select("step_key", "step_id").rows())
    found = lint_decision_points(
        [one.point for one in night.points],
        steps=facts.steps.filter(pl.col("status") != "deleted")["step_id"].to_list(),
        edges=[(names[a], names[b]) for a, b in facts.edges.select("from_step_key", "to_step_key").unique().rows()],
        coverage=coverage,
        as_of_day=night.as_of,
    )
    return conform(found, DecisionLint)


def decision_points(night: DecisionNight) -> pl.DataFrame:
    """`marts.decision_points`."""
    rows = [
        {
            "decision_point_id": one.point.decision_point_id,
            "kind": "path" if one.is_path else "content",
            "workflow_id": one.workflow_id,
            "step_id": one.step_id,
            "name": one.name,
            "description": one.description,
            "owner": one.owner,
            "mode": one.mode,
            "default_arm": one.point.default_arm,
            "arms": json.dumps([arm.arm for arm in one.point.arms]),
            "mailed_step_ids": json.dumps(one.mailed_step_ids),
            "means": one.means,
            "outcome_days": night.window_days,
            "as_of_day": night.as_of,
        }
        for one in night.points
    ]
    return conform(pl.DataFrame(rows, schema=empty(DecisionPoints).schema), DecisionPoints)


def values(night: DecisionNight) -> pl.DataFrame:
    """`marts.policy_values`: what each policy would have earned in place of the one that explores."""
    logs = [
        valued_decisions(night.learnt[name], one.point)
        for one in night.points
        if (name := one.point.decision_point_id) in night.models
    ]
    return policy_values(pl.concat([empty_log(), *logs]), as_of_day=night.as_of)


def policy_choices(night: DecisionNight, values: pl.DataFrame, profiles: pl.DataFrame) -> pl.DataFrame:
    """Rows of `marts.policy_choices`: what those policies choose that surely gain, or that the ledger names.

    Args:
        night: tonight.
        values: rows of `policy_values`.
        profiles: the subscribers to choose for.
    """
    better: Mapping[str, str] = dict(better_policies(values).select("decision_point_id", "policy").rows())
    rows = [empty(PolicyChoices)]
    for one in night.points:
        name = one.point.decision_point_id
        for policy in sorted({*night.delivered.policies(name), *([better[name]] if name in better else [])}):
            chosen = _chosen(night, one, profiles, policy).with_columns(policy=pl.lit(policy))
            rows.append(chosen.select(rows[0].columns))
    return conform(pl.concat(rows), PolicyChoices)


def log_rows(night: DecisionNight, facts: Facts, profiles: pl.DataFrame) -> pl.DataFrame:
    """Tonight's rows for `lake.decisions`: about those of the subscribers who are about to pass the decision point."""
    step_keys = {
        (flow, step): key for flow, step, key in facts.steps.select("workflow_id", "step_id", "step_key").rows()
    }
    rows = [empty(Decisions).drop("as_of_day")]
    for one in night.points:
        key = step_keys.get((one.workflow_id, one.step_id))
        if key is None:
            continue
        waiting = waiting_before(facts.step_entries, key, as_of=night.as_of)
        concerned = profiles.join(waiting, on="subscriber_key", how="semi", maintain_order="left")
        chosen = _decide(night, one, concerned)
        logged = logged_decisions(chosen, concerned, one.point, now=night.now, as_of=night.as_of)
        rows.append(logged.select(rows[0].columns))
    return pl.concat(rows)


def model_rows(night: DecisionNight) -> pl.DataFrame:
    """Tonight's rows for `lake.policy_models`."""
    rows = [(name, model.version, model_text(model)) for name, model in sorted(night.models.items())]
    return pl.DataFrame(rows, schema=empty(PolicyModels).drop("as_of_day").schema, orient="row")


def _decide(night: DecisionNight, one: DecisionDefinition, profiles: pl.DataFrame) -> pl.DataFrame:
    """The decisions about these subscribers: those kept out of a switch go on with the policy that explores."""
    chosen = _chosen(night, one, profiles)
    name = one.point.decision_point_id
    if switch := night.delivered.switch(name):
        is_out = pl.lit(is_held_out(profiles["subscriber_key"], switch.optimization_id, switch.holdout_share))
        switched = _chosen(night, one, profiles, switch.policy)
        chosen = pl.concat([chosen.filter(is_out), switched.filter(~is_out)]).sort("subscriber_key")
    stands = standing(night.delivered.of_point(name), night.as_of).select("subscriber_key", _stands="value")
    return (
        chosen.join(stands, on="subscriber_key", how="left", maintain_order="left")
        .with_columns(is_served=pl.col("_stands").eq_missing(pl.col("arm")))
        .drop("_stands")
    )


def _chosen(
    night: DecisionNight, one: DecisionDefinition, profiles: pl.DataFrame, policy: str | None = None
) -> pl.DataFrame:
    is_learning = policy == LEARNT or (policy is None and one.mode != "rules")
    model = night.models.get(one.point.decision_point_id) if is_learning else None
    return decide(profiles, one.point, model, now=night.now, as_of_day=night.as_of, policy=policy)
