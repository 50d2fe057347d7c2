"""How many subscribers each rule reaches, and faults of decision points that show before anybody passes them.

The decisions themselves are in `selection`.
"""

from collections.abc import Iterator, Sequence
from datetime import date, datetime

import polars as pl

from pipeline.analysis.statistics.intervals import rate_with_interval
from pipeline.decisions.definitions import DecisionPoint, Rule
from pipeline.decisions.rules import compile_rule, evaluate_rules
from pipeline.schemas.base import polars_schema
from pipeline.schemas.decisions import DecisionLint, RuleCoverage
from pipeline.schemas.vocabulary import LintFinding, LintSeverity

Finding = tuple[LintFinding, str, LintSeverity, str]
"""Finding, subject, severity, description."""


def rule_matches(subscribers: pl.DataFrame, rules: Sequence[Rule], *, now: datetime) -> pl.DataFrame:
    """How many of some subscribers each rule reaches.

    Args:
        subscribers: one row per subscriber with the data that rules read.
        rules: the rules, with distinct ids.
        now: the moment from which `withinLast` counts back.

    Returns:
        One row per rule, in their order: `rule_id`, `matches`, `error` and `subscribers`, the number of those asked.
    """
    compiled = [compile_rule(rule, subscribers.schema, now) for rule in rules]
    answers = evaluate_rules(subscribers, rules, now)
    return pl.DataFrame(
        {
            "rule_id": [rule.rule_id for rule in rules],
            "matches": [answers[rule.rule_id].sum() for rule in rules],
            "error": [rule.error for rule in compiled],
        },
        schema={"rule_id": pl.String, "matches": pl.Int64, "error": pl.String},
    ).with_columns(subscribers=pl.lit(subscribers.height, dtype=pl.Int64))


def rule_coverage(matched: Sequence[pl.DataFrame], *, as_of_day: date) -> pl.DataFrame:
    """How many subscribers each rule reaches.

    Args:
        matched: rows of `rule_matches` of each block of subscribers.
        as_of_day: tonight.

    Returns:
        Rows of `schemas.decisions.RuleCoverage`, in the order of the rules.
    """
    frame = (
        pl.concat(matched)
        .group_by("rule_id", maintain_order=True)
        .agg(pl.col("matches", "subscribers").sum(), pl.col("error").first())
    )
    asked = pl.col("subscribers") > 0
    return frame.with_columns(
        *rate_with_interval("match_rate", "matches", "subscribers"),
        is_dead=asked & (pl.col("matches") == 0),
        is_universal=asked & (pl.col("matches") == pl.col("subscribers")),
        status=pl.when(~asked)
        .then(pl.lit("no subscribers"))
        .when(pl.col("error").is_not_null())
        .then(pl.lit("error"))
        .when(pl.col("matches") == 0)
        .then(pl.lit("dead"))
        .otherwise(pl.lit("ok")),
        as_of_day=pl.lit(as_of_day, dtype=pl.Date),
        method=pl.lit("compiled rules over all subscribers"),
    ).select(list(polars_schema(RuleCoverage)))


def lint_decision_points(
    points: Sequence[DecisionPoint],
    *,
    steps: Sequence[str],
    edges: Sequence[tuple[str, str]],
    coverage: pl.DataFrame,
    as_of_day: date,
) -> pl.DataFrame:
    """Faults of decision points.

    Args:
        points: decision points and content blocks. Of content blocks only rules and defaults are checked.
        steps: ids of all existing steps.
        edges: (from step, to step) of the workflows.
        coverage: from `rule_coverage`.
        as_of_day: tonight.

    Returns:
        Rows of `schemas.decisions.DecisionLint`.
    """
    status = dict(coverage.select("rule_id", "status").rows())
    errors = dict(coverage.select("rule_id", "error").drop_nulls().rows())
    following: dict[str, list[str]] = {}
    for source, target in edges:
        following.setdefault(source, []).append(target)
    rows = [
        (point.decision_point_id, *finding, as_of_day, "lint of definitions and tonight's coverage")
        for point in points
        for finding in (*_defaults(point), *_targets(point, set(steps), following), *_arms(point, status, errors))
    ]
    return (
        pl.DataFrame(rows, schema=polars_schema(DecisionLint), orient="row")
        .unique(maintain_order=True)
        .sort("decision_point_id", "finding", "subject")
    )


def _defaults(point: DecisionPoint) -> Iterator[Finding]:
    if point.default_arm not in {arm.arm for arm in point.arms}:
        named = f"'{point.default_arm}' is not one of its arms" if point.default_arm else "it has none"
        yield (
            "missing default",
            point.default_arm or "default",
            "error",
            f"A subscriber without an eligible arm needs a default, but {named}. Name an existing arm.",
        )


def _targets(point: DecisionPoint, steps: set[str], following: dict[str, list[str]]) -> Iterator[Finding]:
    if point.step_id is None:
        return
    for arm in point.arms:
        target = arm.target_step_id
        if target is None or target not in steps:
            where = "nowhere" if target is None else f"to step '{target}', which does not exist"
            yield ("dead end", arm.arm, "error", f"The path leads {where}. Let it lead to an existing step.")
        elif target == point.step_id or _reaches(target, point.step_id, following):
            yield (
                "loop",
                arm.arm,
                "error",
                f"From step '{target}' the workflow leads back to '{point.step_id}'. Change one step on that way.",
            )


def _reaches(source: str, goal: str, following: dict[str, list[str]]) -> bool:
    seen, waiting = {source}, [source]
    while waiting:
        for step in following.get(waiting.pop(), []):
            if step == goal:
                return True
            if step not in seen:
                seen.add(step)
                waiting.append(step)
    return False


def _arms(point: DecisionPoint, status: dict[str, str], errors: dict[str, str]) -> Iterator[Finding]:
    open_priorities = [arm.priority for arm in point.arms if arm.rule is None]
    for number, arm in enumerate(point.arms):
        if any(priority > arm.priority for priority in open_priorities):
            yield (
                "unreachable",
                arm.arm,
                "warning",
                "An arm of higher priority is open to everybody, so by rules alone nobody gets this one.",
            )
        if arm.rule is None:
            continue
        if status.get(arm.rule.rule_id) == "dead":
            yield ("dead rule", arm.rule.rule_id, "warning", "Nobody matches this rule tonight. Check its conditions.")
        if status.get(arm.rule.rule_id) == "error":
            told = (
                f"Nobody matches the rule, for it cannot be answered: {errors[arm.rule.rule_id]}. Correct rules.yaml."
            )
            yield ("rule in error", arm.rule.rule_id, "error", told)
        for other in point.arms[:number]:
            same = other.rule is not None and other.rule.condition == arm.rule.condition
            if same and other.priority == arm.priority:
                yield (
                    "overlapping",
                    arm.arm,
                    "warning",
                    f"Conditions and priority are those of '{other.arm}', so weights alone decide between them.",
                )
