"""The log of decisions. From it a policy learns and is valued, and any decision can be repeated.

Here decisions, decision points and policies are written as text and read back, and outcomes are added. The choice is in
`selection`, the learning in `learning`.
"""

import json
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from typing import Any

import numpy as np
import polars as pl
import yaml

from pipeline.analysis.statistics import Array
from pipeline.common.sticky_hash import uniform_hash
from pipeline.common.time import day_number, day_of, end_of_day_us, numbered_day
from pipeline.common.written import stood_when_sent
from pipeline.decisions.definitions import FLOOR, Arm, DecisionPoint, parse_rule, rule_definition
from pipeline.decisions.learning import PolicyModel, fit_policy
from pipeline.decisions.profile import FEATURES, from_text, to_text
from pipeline.decisions.selection import decide, rule_chances
from pipeline.decisions.targets import chosen_by, policies, target_chances

FOLDS = 5
"""Parts of the subscribers; a learning policy is valued on each by what it learnt from the others."""
_HASH = "^[0-9a-f]{16}$"
"""What names the exploring policy in `model_version`."""


def waiting_before(step_entries: pl.LazyFrame, step_key: int, *, as_of: date) -> pl.DataFrame:
    """The subscribers who are in a step tonight, or on the way to it.

    Args:
        step_entries: `core.step_entries`.
        step_key: the branching step, or the step whose e-mail has the content block.
        as_of: tonight.

    Returns:
        `subscriber_key`, each once.
    """
    near = (pl.col("step_key") == step_key) | (pl.col("to_step_key") == step_key)
    waiting = step_entries.filter(near & (pl.col("outcome_us") >= end_of_day_us(as_of)))
    return waiting.select(pl.col("subscriber_key").unique()).collect()


def logged_decisions(
    decisions: pl.DataFrame, profiles: pl.DataFrame, point: DecisionPoint, *, now: datetime, as_of: date
) -> pl.DataFrame:
    """Rows of `lake.decisions` for the subscribers who are about to pass a decision point.

    Args:
        decisions: their rows of `selection.decide`.
        profiles: their profiles, in the same order.
        point: the decision point.
        now: the moment from which rules count back.
        as_of: tonight.
    """
    chances = rule_chances(profiles, point, now)
    return decisions.select(
        "decision_point_id",
        "subscriber_key",
        "arm",
        "is_default",
        "choice_probability",
        "model_version",
        "eligible_arms",
    ).with_columns(
        night=pl.lit(day_number(as_of), dtype=pl.Int64),
        rule_chances=pl.Series([json.dumps(row) for row in chances.round(9).tolist()], dtype=pl.String),
        definition=pl.lit(point_text(point)),
        profile=to_text(profiles),
    )


def served_decisions(log: pl.DataFrame, written: pl.DataFrame, outcomes: pl.DataFrame) -> pl.DataFrame:
    """For each subscriber the first message that an arm was served with, and the decision behind it.

    Args:
        log: rows of `lake.decisions` of one decision point.
        written: rows of `core.written_values` of the records that deliver this decision point.
        outcomes: rows of `message_outcomes` of the steps whose messages an arm is served with, and in `shows` the arms
            that a message may show.

    Returns:
        The rows of the log with the columns of `outcomes` but `shows`. An arm is served with a message if it stood in
        the account when the message was sent, and the message is one that shows it: who passed the branch before their
        value changed went the other way. The decision is the latest one for this arm of the nights before the message.
    """
    held = stood_when_sent(outcomes, written).filter(pl.col("value").is_in(pl.col("shows")))
    held = held.rename({"value": "arm"}).drop("shows")
    decided = (
        held.with_columns(night=day_of("sent_us") - 1)
        .sort("night")
        .join_asof(
            log.with_columns(decided="night").sort("night"),
            on="night",
            by=["subscriber_key", "arm"],
            strategy="backward",
            # Both sides are sorted. Polars cannot check that by group and would warn.
            check_sortedness=False,
        )
    )
    served = decided.filter(pl.col("decided").is_not_null()).with_columns(night="decided").drop("decided")
    return served.sort("subscriber_key", "sent_us").unique("subscriber_key", keep="first", maintain_order=True)


def learning_log(served: pl.DataFrame, *, as_of: date, window_days: int) -> pl.DataFrame:
    """The decisions that were served, with their outcome: what a policy learns from, and what policies are valued by.

    Args:
        served: rows of `served_decisions`. Defaults are left out.
        as_of: tonight.
        window_days: days after the message in which the goal of the workflow counts.

    Returns:
        The rows with `outcome` (0 or 1), `is_matured` (the window has closed) and the features.
    """
    chosen = served.filter(~pl.col("is_default"))
    known = from_text(chosen["profile"].to_list()).select(FEATURES)
    return pl.concat([chosen, known], how="horizontal").with_columns(
        outcome=pl.col("is_converted").cast(pl.Float64),
        is_matured=pl.col("exposed_day") <= as_of - timedelta(days=window_days),
    )


def valued_decisions(learned: pl.DataFrame, point: DecisionPoint) -> pl.DataFrame:
    """Served decisions with a final outcome, once for each policy that could choose in their place.

    Only what the exploring policy chose is valued: no other gives every eligible arm a chance. A learning policy is
    valued on people whom it has not learnt from, in `FOLDS` parts; on those whom it has, it would look better than it
    is.

    Args:
        learned: rows of `learning_log`.
        point: the decision point.

    Returns:
        The rows that `policy_values` reads.
    """
    names = [arm.arm for arm in point.arms]
    explored = pl.col("model_version").str.contains(_HASH) & pl.col("eligible_arms").is_not_null()
    rows = learned.filter(pl.col("is_matured") & pl.col("arm").is_in(names) & explored)
    # A decision among other arms cannot be compared.
    rows = rows.filter(pl.col("rule_chances").str.json_decode(pl.List(pl.Float64)).list.len() == len(names))
    if rows.is_empty():
        return empty_log()
    by_rules = np.array([json.loads(text) for text in rows["rule_chances"]])
    sets = rows["eligible_arms"].str.split(",")
    eligible = np.column_stack([sets.list.contains(name).to_numpy() for name in names])
    taken = rows["arm"].replace_strict(names, list(range(len(names))), return_dtype=pl.Int64).to_numpy()
    expected = _expected_by_others(rows, point)
    row = np.arange(rows.height)
    logged = rows.select("decision_point_id", "subscriber_key", "outcome", "choice_probability")
    parts = []
    for policy in policies(names):
        chances = target_chances(policy, names, eligible, by_rules, expected)
        parts.append(
            logged.with_columns(
                pl.lit(policy).alias("policy"),
                pl.Series("target_probability", chances[row, taken], dtype=pl.Float64),
                pl.Series("expected_taken", expected[row, taken], dtype=pl.Float64),
                pl.Series("expected_target", (expected * chances).sum(axis=1), dtype=pl.Float64),
            )
        )
    return pl.concat(parts)


def _expected_by_others(rows: pl.DataFrame, point: DecisionPoint) -> Array:
    """Expected outcome of every arm for each row, by a policy that learnt from the other parts of the subscribers."""
    names = [arm.arm for arm in point.arms]
    part = (uniform_hash(rows["subscriber_key"], f"fold/{point.decision_point_id}") * FOLDS).astype(np.int64)
    expected: Array = np.zeros((rows.height, len(names)))
    for number in range(FOLDS):
        is_here = pl.Series(part == number)
        model = fit_policy(rows.filter(~is_here), arms=names, features=FEATURES)
        expected[is_here.to_numpy()] = model.expected(rows.filter(is_here))
    return expected


def empty_log() -> pl.DataFrame:
    """No rows, in the shape of `valued_decisions`."""
    return pl.DataFrame(
        schema={
            "decision_point_id": pl.String,
            "subscriber_key": pl.Int64,
            "outcome": pl.Float64,
            "choice_probability": pl.Float64,
            "policy": pl.String,
            "target_probability": pl.Float64,
            "expected_taken": pl.Float64,
            "expected_target": pl.Float64,
        }
    )


def replay(logged: pl.DataFrame, model: PolicyModel | None) -> pl.DataFrame:
    """Past decisions, made again from what was known then.

    Args:
        logged: rows of `lake.decisions` of one night, definition and `model_version`.
        model: the policy whose hash the version ends with, from `model_from_text`; not needed if it names no hash.

    Returns:
        The rows of `decide`, in the order of the input.
    """
    night = numbered_day(logged.item(0, "night"))
    now = datetime.combine(night + timedelta(days=1), time())
    point, version = point_from_text(logged.item(0, "definition")), logged.item(0, "model_version")
    policy, _ = chosen_by(version, [arm.arm for arm in point.arms])
    profiles = from_text(logged["profile"].to_list())
    return decide(profiles, point, model, now=now, as_of_day=night, policy=policy)


def point_text(point: DecisionPoint) -> str:
    """A decision point as YAML, which keeps the types of the values in rules."""
    arms = [
        {
            "arm": arm.arm,
            "rule_id": arm.rule.rule_id if arm.rule else None,
            "rule": rule_definition(arm.rule) if arm.rule else None,
            "priority": arm.priority,
            "weight": arm.weight,
            "target_step_id": arm.target_step_id,
        }
        for arm in point.arms
    ]
    return yaml.safe_dump(
        {
            "decision_point_id": point.decision_point_id,
            "default_arm": point.default_arm,
            "step_id": point.step_id,
            "floor": point.floor,
            "arms": arms,
        }
    )


def point_from_text(text: str) -> DecisionPoint:
    """The decision point that `point_text` wrote."""
    found = yaml.safe_load(text)
    arms = tuple(
        Arm(
            arm["arm"],
            parse_rule(arm["rule_id"], arm["rule"]) if arm["rule"] else None,
            arm["priority"],
            arm["weight"],
            arm["target_step_id"],
        )
        for arm in found["arms"]
    )
    # Points that older releases logged have no floor of their own.
    floor = found.get("floor", FLOOR)
    return DecisionPoint(found["decision_point_id"], arms, found["default_arm"], found["step_id"], floor)


def model_text(model: PolicyModel) -> str:
    """A policy as JSON, from which every number is read back exactly."""
    arrays: dict[str, Sequence[Any]] = {
        name: getattr(model, name).tolist() for name in ("centre", "scale", "mode", "factor")
    }
    return json.dumps({"arms": model.arms, "features": model.features, "outcomes": model.outcomes, **arrays})


def model_from_text(text: str) -> PolicyModel:
    """The policy that `model_text` wrote."""
    found = json.loads(text)
    arrays = {name: np.asarray(found[name], dtype=float) for name in ("centre", "scale", "mode", "factor")}
    return PolicyModel(tuple(found["arms"]), tuple(found["features"]), outcomes=found["outcomes"], **arrays)
