"""All decisions of a night, from facts to tables: profiles, policies learnt from the log, and what they choose.

How a single choice is made is in `selection`. Definitions and the lake are read elsewhere.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

import polars as pl
from pandera.typing.polars import DataFrame

from pipeline.common.time import day_number
from pipeline.decisions.learning import PolicyModel, fit_policy
from pipeline.decisions.lint import lint_decision_points, rule_coverage
from pipeline.decisions.log import against_rules, empty_log, learning_log, logged_decisions, model_text, waiting_before
from pipeline.decisions.memberships import stays
from pipeline.decisions.profile import FEATURES, merge_field_names, subscriber_profiles
from pipeline.decisions.selection import DecisionDefinition, DecisionDefinitions, decide
from pipeline.schemas import core, reductions
from pipeline.schemas.base import conform, empty
from pipeline.schemas.decisions import ContentDecisions, DecisionLint, PathDecisions, RuleCoverage
from pipeline.schemas.lake import Decisions, PolicyModels


@dataclass(frozen=True)
class Facts:
    """The core facts and reductions that decisions are made from."""

    subscribers: DataFrame[core.CoreSubscribers]
    messages: DataFrame[core.CoreMessages]
    conversions: DataFrame[core.CoreConversions]
    subscriber_hours: DataFrame[reductions.SubscriberHours]
    step_entries: DataFrame[core.CoreStepEntries]
    workflows: DataFrame[core.CoreWorkflows]
    steps: DataFrame[core.CoreSteps]
    edges: DataFrame[core.CoreEdges]


@dataclass(frozen=True)
class DecisionNight:
    """What is needed to decide for everybody tonight.

    Attributes:
        definitions: what the user's files say.
        profiles: one row per subscriber, from `profile.subscriber_profiles`.
        learnt: for each decision point with a log, its rows of `log.learning_log`.
        models: for each decision point that learns, tonight's policy.
        now: the moment from which rules count back: the end of tonight.
        as_of: tonight.
    """

    definitions: DecisionDefinitions
    profiles: pl.DataFrame
    learnt: dict[str, pl.DataFrame]
    models: dict[str, PolicyModel]
    now: datetime
    as_of: date

    @property
    def points(self) -> tuple[DecisionDefinition, ...]:
        """All decision points and content blocks."""
        return (*self.definitions.paths, *self.definitions.content)


def decision_night(
    definitions: DecisionDefinitions, facts: Facts, log: pl.DataFrame, *, as_of: date, horizon_days: int
) -> DecisionNight:
    """Profiles and policies of a night.

    Args:
        definitions: what the user's files say.
        facts: the facts as of tonight.
        log: `lake.decisions`. A policy learns only from decisions whose outcome is final.
        as_of: tonight.
        horizon_days: days in which a conversion counts for a decision.
    """
    profiles = profiles_of(facts, merge_field_names(facts.subscribers["merge_fields"]), as_of=as_of)
    learnt, models = {}, {}
    for one in (*definitions.paths, *definitions.content):
        name = one.point.decision_point_id
        mine = log.filter((pl.col("decision_point_id") == name) & (pl.col("night") < day_number(as_of)))
        learnt[name] = learning_log(mine, facts.conversions, as_of=as_of, horizon_days=horizon_days)
        if one.mode != "rules":
            models[name] = fit_policy(learnt[name], arms=[arm.arm for arm in one.point.arms], features=FEATURES)
    return DecisionNight(definitions, profiles, learnt, models, moment_of(as_of), as_of)


def moment_of(as_of: date) -> datetime:
    """The moment from which the rules of a night count back: its end."""
    return datetime.combine(as_of + timedelta(days=1), datetime.min.time())


def profiles_of(facts: Facts, merge_fields: list[str], *, as_of: date) -> pl.DataFrame:
    """The profiles of the subscribers in these facts: of all of them, or of a single one.

    Args:
        facts: the facts as of tonight.
        merge_fields: names of the account's merge fields. A single subscriber may lack some of them.
        as_of: tonight.
    """
    flows = facts.workflows.filter(pl.col("kind") != "campaign").sort("workflow_id")["workflow_id"]
    return subscriber_profiles(
        facts.subscribers,
        facts.messages,
        facts.conversions,
        facts.subscriber_hours,
        stays(facts.step_entries, facts.workflows, as_of=as_of, days=0),
        merge_fields=merge_fields,
        workflow_ids=flows.to_list(),
        as_of=as_of,
    )


def decided(night: DecisionNight, definitions: tuple[DecisionDefinition, ...]) -> pl.DataFrame:
    """The arm of every subscriber at each of these decision points."""
    rows = [_decide(night, one, night.profiles) for one in definitions]
    return pl.concat(rows) if rows else empty(PathDecisions)


def path_decisions(night: DecisionNight) -> pl.DataFrame:
    """`marts.path_decisions`."""
    return conform(decided(night, night.definitions.paths), PathDecisions)


def content_decisions(night: DecisionNight) -> pl.DataFrame:
    """`marts.content_decisions`."""
    return conform(decided(night, night.definitions.content), ContentDecisions)


def coverage(night: DecisionNight) -> pl.DataFrame:
    """`marts.rule_coverage`."""
    found = rule_coverage(night.profiles, night.definitions.rules, now=night.now, as_of_day=night.as_of)
    return conform(found, RuleCoverage)


def lint(night: DecisionNight, facts: Facts) -> pl.DataFrame:
    """`marts.decision_lint`."""
    names = dict(facts.steps.select("step_key", "step_id").rows())
    found = lint_decision_points(
        [one.point for one in night.points],
        steps=facts.steps.filter(pl.col("status") != "deleted")["step_id"].to_list(),
        edges=[(names[a], names[b]) for a, b in facts.edges.select("from_step_key", "to_step_key").unique().rows()],
        coverage=coverage(night),
        as_of_day=night.as_of,
    )
    return conform(found, DecisionLint)


def valued_log(night: DecisionNight) -> pl.DataFrame:
    """Decisions of policies with a final outcome, for `policy_values`, which values the rules alone against them."""
    logs = [
        against_rules(night.learnt[name], one.point, night.models[name])
        for one in night.points
        if (name := one.point.decision_point_id) in night.models
    ]
    return pl.concat([empty_log(), *logs])


def log_rows(night: DecisionNight, facts: Facts) -> pl.DataFrame:
    """Tonight's rows for `lake.decisions`: decisions about subscribers who are about to pass the decision point."""
    step_keys = {
        (flow, step): key for flow, step, key in facts.steps.select("workflow_id", "step_id", "step_key").rows()
    }
    rows = [empty(Decisions).drop("as_of_day")]
    for one in night.points:
        key = step_keys.get((one.workflow_id, one.step_id))
        if key is None:
            continue
        waiting = waiting_before(facts.step_entries, key, as_of=night.as_of)
        profiles = night.profiles.join(waiting, on="subscriber_key", how="semi", maintain_order="left")
        chosen = _decide(night, one, profiles)
        logged = logged_decisions(chosen, profiles, one.point, now=night.now, as_of=night.as_of)
        rows.append(logged.select(rows[0].columns))
    return pl.concat(rows)


def model_rows(night: DecisionNight) -> pl.DataFrame:
    """Tonight's rows for `lake.policy_models`."""
    rows = [(name, model.version, model_text(model)) for name, model in sorted(night.models.items())]
    return pl.DataFrame(rows, schema=empty(PolicyModels).drop("as_of_day").schema, orient="row")


def _decide(night: DecisionNight, one: DecisionDefinition, profiles: pl.DataFrame) -> pl.DataFrame:
    model = night.models.get(one.point.decision_point_id)
    return decide(profiles, one.point, model, now=night.now, as_of_day=night.as_of)
