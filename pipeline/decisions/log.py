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

from pipeline.common.time import day_number, end_of_day_us, numbered_day
from pipeline.decisions.learning import FLOOR, PolicyModel
from pipeline.decisions.profile import FEATURES, from_text, to_text
from pipeline.decisions.rule_definitions import parse_rule, rule_definition
from pipeline.decisions.selection import Arm, DecisionPoint, decide, rule_chances

BY_RULES = "rules"


def waiting_before(step_entries: pl.DataFrame, step_key: int, *, as_of: date) -> pl.DataFrame:
    """The subscribers who are in a step tonight, or on the way to it.

    Args:
        step_entries: `core.step_entries`.
        step_key: the branching step, or the step whose e-mail has the content block.
        as_of: tonight.

    Returns:
        `subscriber_key`, each once.
    """
    near = (pl.col("step_key") == step_key) | (pl.col("to_step_key") == step_key)
    return step_entries.filter(near & (pl.col("outcome_us") >= end_of_day_us(as_of))).select("subscriber_key").unique()


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
        "decision_point_id", "subscriber_key", "arm", "is_default", "choice_probability", "model_version"
    ).with_columns(
        night=pl.lit(day_number(as_of), dtype=pl.Int64),
        rule_chances=pl.Series([json.dumps(row) for row in chances.round(9).tolist()], dtype=pl.String),
        definition=pl.lit(point_text(point)),
        profile=to_text(profiles),
    )


def learning_log(log: pl.DataFrame, conversions: pl.DataFrame, *, as_of: date, horizon_days: int) -> pl.DataFrame:
    """The first decision about each subscriber at a decision point, with its outcome: what a policy learns from.

    Args:
        log: rows of `lake.decisions` of one decision point. Defaults are left out.
        conversions: `core.conversions`.
        as_of: tonight.
        horizon_days: days after the night of the decision in which a conversion counts.

    Returns:
        The rows with `outcome` (0 or 1), `is_matured` (the horizon has closed) and the features.
    """
    first = log.filter(~pl.col("is_default")).sort("night").unique("subscriber_key", keep="first", maintain_order=True)
    after = pl.col("day") - pl.col("night")
    converted = (
        first.select("subscriber_key", "night")
        .join(conversions.select("subscriber_key", "day"), on="subscriber_key")
        .filter(after.is_between(1, horizon_days))
        .select("subscriber_key")
        .unique()
        .with_columns(outcome=pl.lit(1.0))
    )
    known = from_text(first["profile"].to_list()).select(FEATURES)
    return (
        pl.concat([first, known], how="horizontal")
        .join(converted, on="subscriber_key", how="left", maintain_order="left")
        .with_columns(pl.col("outcome").fill_null(0.0), is_matured=pl.col("night") + horizon_days <= day_number(as_of))
    )


def against_rules(learned: pl.DataFrame, point: DecisionPoint, model: PolicyModel | None) -> pl.DataFrame:
    """Decisions with a final outcome, as `policy_values` reads them. The policy to be valued is the rules alone.

    Args:
        learned: rows of `learning_log`.
        point: the decision point.
        model: tonight's policy. Its expectations make the estimate doubly robust.
    """
    names = [arm.arm for arm in point.arms]
    rows = learned.filter(pl.col("is_matured") & pl.col("arm").is_in(names))
    # A decision among other arms cannot be compared.
    rows = rows.filter(pl.col("rule_chances").str.json_decode(pl.List(pl.Float64)).list.len() == len(names))
    chances = np.array([json.loads(text) for text in rows["rule_chances"]]).reshape(rows.height, len(names))
    taken = rows["arm"].replace_strict(names, list(range(len(names))), return_dtype=pl.Int64).to_numpy()
    row = np.arange(rows.height)
    expected = model.expected(rows) if model is not None else None
    modelled: dict[str, Any] = {
        "expected_taken": None if expected is None else expected[row, taken],
        "expected_target": None if expected is None else (expected * chances).sum(axis=1),
    }
    return rows.select(
        "decision_point_id", "subscriber_key", "outcome", "choice_probability", policy=pl.lit(BY_RULES)
    ).with_columns(
        pl.Series("target_probability", chances[row, taken], dtype=pl.Float64),
        *(
            pl.lit(None, dtype=pl.Float64).alias(name) if values is None else pl.Series(name, values, dtype=pl.Float64)
            for name, values in modelled.items()
        ),
    )


def empty_log() -> pl.DataFrame:
    """No rows, in the shape of `against_rules`."""
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
        model: the policy of that version, from `model_from_text`. None for 'rules'.

    Returns:
        The rows of `decide`, in the order of the input.
    """
    night = numbered_day(logged.item(0, "night"))
    now = datetime.combine(night + timedelta(days=1), time())
    point = point_from_text(logged.item(0, "definition"))
    return decide(from_text(logged["profile"].to_list()), point, model, now=now, as_of_day=night)


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
