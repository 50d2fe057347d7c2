"""Which path or content variation each subscriber gets: rules say which arms are eligible, a policy chooses among them.

Here are eligibility, the seeded draw, the reasons that are logged, and the default that every error leads to. Rules are
evaluated in `rules`, policies learn in `learning`. A single subscriber in real time passes through the same code.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

import numpy as np
import polars as pl

from pipeline.common.sticky_hash import uniform_hash
from pipeline.decisions.definitions import Arm, DecisionPoint, Rule
from pipeline.decisions.learning import PolicyModel, best_probabilities, floored
from pipeline.decisions.profile import profile_frame
from pipeline.decisions.rules import compile_rule, evaluate_rules
from pipeline.decisions.targets import LEARNT, RULES, policies, target_chances

REASONS_SHOWN = 2
"""Contributions named in the reasoning. More than two are not read."""


def decide(
    subscribers: pl.DataFrame,
    point: DecisionPoint,
    model: PolicyModel | None,
    *,
    now: datetime,
    as_of_day: date,
    policy: str | None = None,
) -> pl.DataFrame:
    """Choose an arm for every subscriber.

    Args:
        subscribers: one row per subscriber: `subscriber_key` and what rules and policy read.
        point: the decision point.
        model: tonight's policy. Without one, priority and weight choose.
        now: the moment from which rules count back.
        as_of_day: tonight.
        policy: one of `targets.policies` that chooses in place of the exploring policy, if there is one.

    Returns:
        Rows of `schemas.decisions.Decisions`, one per subscriber in the order of the input, none of them served yet.
        The draw is seeded by subscriber and decision point, so that a decision can be repeated from what was known
        then.
    """
    names = [arm.arm for arm in point.arms]
    errors = _rule_errors(subscribers, point, now)
    eligible = _eligible(subscribers, point, now)
    problem = _model_problem(subscribers, model, names) or _policy_problem(policy, model, names)
    by_rules = _by_priority(point.arms, eligible)
    if policy is not None and not problem:
        expected = None if model is None else model.expected(subscribers)
        chances = target_chances(policy, names, eligible, by_rules, expected)
        best = chances
    elif model is None or problem:
        chances = by_rules
        best = chances
    else:
        best = best_probabilities(model, subscribers, eligible)
        chances = floored(best, eligible, point.floor)
    served = eligible.any(axis=1) & (problem is None)
    draw = uniform_hash(subscribers["subscriber_key"], f"decision/{point.decision_point_id}")
    taken = (chances.cumsum(axis=1) <= draw[:, None] * chances.sum(axis=1, keepdims=True)).sum(axis=1)
    # The running sum is rounded, which must not lead past the last arm with a chance.
    last = len(names) - 1 - (chances[:, ::-1] > 0).argmax(axis=1) if names else np.zeros(len(draw), dtype=int)
    taken = np.minimum(taken, np.maximum(last, 0))
    row = np.arange(subscribers.height)
    default_reason = problem or (f"no arm is eligible; {errors}" if errors else "no arm is eligible")
    is_default = pl.Series(~served)

    def chosen(values: np.ndarray) -> pl.Series:
        return pl.Series(values[row, taken] if names else np.zeros(len(row)), dtype=pl.Float64)

    score = model.expected(subscribers) if model is not None and problem is None else None
    frame = subscribers.select("subscriber_key").with_columns(
        decision_point_id=pl.lit(point.decision_point_id),
        arm=pl.Series(names, dtype=pl.String).gather(pl.Series(taken)) if names else pl.lit(None, dtype=pl.String),
        is_default=is_default,
        default_reason=pl.when(is_default).then(pl.lit(default_reason)),
        choice_probability=chosen(chances),
        confidence_probability=chosen(best),
        score_probability=pl.lit(None, dtype=pl.Float64) if score is None else chosen(score),
        eligible_arms=_joined(names, eligible),
        reasoning=_reasoning(point, model if problem is None else None, subscribers, taken),
        model_version=pl.lit(_version(model if problem is None else None, policy)),
        is_served=pl.lit(False),
        rule_errors=pl.lit(errors or None, dtype=pl.String),
        as_of_day=pl.lit(as_of_day, dtype=pl.Date),
        method=pl.lit(_method(score is not None, policy)),
    )
    return frame.with_columns(
        arm=pl.when("is_default").then(pl.lit(point.default_arm)).otherwise("arm"),
        choice_probability=pl.when("is_default").then(1.0).otherwise("choice_probability"),
        confidence_probability=pl.when("is_default").then(None).otherwise("confidence_probability"),
        score_probability=pl.when("is_default").then(None).otherwise("score_probability"),
        reasoning=pl.when("is_default").then("default_reason").otherwise("reasoning"),
    )


def decide_one(
    profile: Mapping[str, Any],
    point: DecisionPoint,
    model: PolicyModel | None,
    *,
    now: datetime,
    as_of_day: date,
    policy: str | None = None,
) -> dict[str, Any]:
    """Choose an arm for one subscriber in real time. The answer is the one that `decide` gives for all subscribers.

    Args:
        profile: `subscriber_key` and the fields of `profile.FIELDS` that are known.
        point, model, now, as_of_day, policy: as for `decide`.

    Returns:
        The row of `decide`.
    """
    rows = decide(profile_frame([profile]), point, model, now=now, as_of_day=as_of_day, policy=policy)
    return rows.row(0, named=True)


def _version(model: PolicyModel | None, policy: str | None) -> str:
    """What chose: the hash of the exploring policy, or the policy switched to, with the hash that it learnt by."""
    if policy == LEARNT and model is not None:
        return f"{LEARNT} {model.version}"
    return policy or (model.version if model is not None else RULES)


def _method(has_model: bool, policy: str | None) -> str:
    if policy is not None:
        return "policy that was switched to"
    return "logistic Thompson policy" if has_model else "priority and weight"


def rule_chances(subscribers: pl.DataFrame, point: DecisionPoint, now: datetime) -> np.ndarray:
    """Chance of each arm by rules, priority and weight alone. Shape (subscribers, arms); a default has chance 0."""
    return _by_priority(point.arms, _eligible(subscribers, point, now))


def _rules(arms: Sequence[Arm]) -> list[Rule]:
    return [arm.rule for arm in arms if arm.rule is not None]


def _rule_errors(subscribers: pl.DataFrame, point: DecisionPoint, now: datetime) -> str:
    compiled = [compile_rule(rule, subscribers.schema, now) for rule in _rules(point.arms)]
    return "; ".join(f"{rule.rule_id}: {rule.error}" for rule in compiled if rule.error)


def _eligible(subscribers: pl.DataFrame, point: DecisionPoint, now: datetime) -> np.ndarray:
    """Whether each subscriber may have each arm, shape (subscribers, arms)."""
    unique = {rule.rule_id: rule for rule in _rules(point.arms)}
    answers = evaluate_rules(subscribers, list(unique.values()), now)
    columns = [
        np.ones(subscribers.height, dtype=bool) if arm.rule is None else answers[arm.rule.rule_id].to_numpy()
        for arm in point.arms
    ]
    return np.column_stack(columns) if columns else np.zeros((subscribers.height, 0), dtype=bool)


def _model_problem(subscribers: pl.DataFrame, model: PolicyModel | None, names: list[str]) -> str | None:
    """Why the policy cannot choose at this point, or None if it can. Everybody then gets the default."""
    if model is None:
        return None
    missing = [name for name in model.features if name not in subscribers.columns]
    if missing:
        return f"the policy reads {', '.join(missing)}, which the subscribers' data do not have"
    if list(model.arms) != names:
        return f"the policy knows the arms {', '.join(model.arms)}, the decision point has {', '.join(names)}"
    return None


def _policy_problem(policy: str | None, model: PolicyModel | None, names: list[str]) -> str | None:
    """Why the policy switched to cannot choose at this point, or None if it can, or there is none."""
    if policy is None or (policy in policies(names) and (policy != LEARNT or model is not None)):
        return None
    return f"the decision point has no policy '{policy}'"


def _by_priority(arms: Sequence[Arm], eligible: np.ndarray) -> np.ndarray:
    """Choice probabilities without a policy: weights among the eligible arms of the highest priority."""
    priority = np.array([arm.priority for arm in arms], dtype=float)
    weight = np.array([arm.weight for arm in arms], dtype=float)
    ranked = np.where(eligible, priority, -np.inf)
    top = ranked.max(axis=1, keepdims=True, initial=-np.inf)
    raw = np.where(eligible & (ranked == top), weight, 0.0)
    total = raw.sum(axis=1, keepdims=True)
    weights: np.ndarray = np.divide(raw, total, out=np.zeros_like(raw), where=total > 0)
    return weights


def _joined(names: list[str], eligible: np.ndarray) -> pl.Series:
    """Names of the eligible arms, separated by commas."""
    codes = (
        eligible @ (1 << np.arange(len(names), dtype=np.int64)) if names else np.zeros(len(eligible), dtype=np.int64)
    )
    distinct = np.unique(codes)
    texts = [",".join(name for bit, name in enumerate(names) if code >> bit & 1) for code in distinct.tolist()]
    return pl.Series(texts, dtype=pl.String).gather(pl.Series(np.searchsorted(distinct, codes)))


def _reasoning(
    point: DecisionPoint, model: PolicyModel | None, subscribers: pl.DataFrame, taken: np.ndarray
) -> pl.Series:
    """The rule that made the arm eligible, and what counted most for or against it, in log-odds to the average arm."""
    held = [f"rule {arm.rule.rule_id} holds" if arm.rule else "open to everybody" for arm in point.arms]
    if not held:
        return pl.repeat("", subscribers.height, dtype=pl.String, eager=True)
    conditions = pl.Series(held).gather(pl.Series(taken))
    if model is None:
        return conditions
    design = model.design(subscribers)
    against_average = model.mode[1:] - model.mode[1:].mean(axis=0)
    contribution = design * against_average[taken]
    labels = pl.Series(["base rate", *model.features])
    order = np.argsort(-np.abs(contribution), axis=1, kind="stable")[:, :REASONS_SHOWN]
    row = np.arange(len(taken))
    parts = pl.DataFrame({"conditions": conditions})
    for place in range(order.shape[1]):
        amount = pl.Series(np.round(contribution[row, order[:, place]], 2))
        parts = parts.with_columns(
            labels.gather(pl.Series(order[:, place])).alias(f"label {place}"), amount.alias(f"amount {place}")
        )
    texts = [
        pl.format(
            "{} {}{}",
            f"label {place}",
            pl.when(pl.col(f"amount {place}") < 0).then(pl.lit("")).otherwise(pl.lit("+")),
            f"amount {place}",
        )
        for place in range(order.shape[1])
    ]
    return parts.select(pl.concat_str(["conditions", *texts], separator="; ")).to_series()
